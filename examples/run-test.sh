#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# run-test.sh NAME TRAIN_AND_SAVE PROGRAM: runs one example on the built-in shapes, on models that
# train_and_save makes first, and checks what it prints. A few seconds each.
set -eu
name=$1
train=$2
program=$3
data=shapes:size=12,train=200,test=100
settings=epochs=5,batch_size=20,learning_rate=0.05

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
output=$work/output

# expect PATTERN: a line of the last output matches.
expect() {
    grep -Eq "$1" "$output" && return
    echo "$name: no line matches '$1' in:" >&2
    cat "$output" >&2
    exit 1
}

"$train" "$work/cue.safetensors" $data 0.9 $settings > "$output" 2> "$work/progress"
cat "$output"
case $name in
train_and_save)
    for view in nocue cue randcue randimg; do
        expect "^$view +loss [0-9.]+  accuracy [01]\.[0-9]{3}$"
    done
    grep -q '100 %' "$work/progress"
    "$train" "$work/again.safetensors" $data 0.9 $settings 2> "$work/progress" | cmp - "$output"
    # The same seed gives the same model; files also tell how fast it was trained.
    for model in cue again; do
        tail -c 2000000 "$work/$model.safetensors" > "$work/$model.tensors"
    done
    cmp "$work/cue.tensors" "$work/again.tensors"
    # What the box is for: it gives the class away, and the model goes by it.
    expect '^cue .* accuracy (0\.[89]|1\.0)'
    expect '^randcue .* accuracy 0\.[0-5]'
    if "$program" "$work/none.safetensors" $data 0.9 epoch=1 2> "$output"; then
        echo "$name: takes a key that does not exist" >&2
        exit 1
    fi
    expect 'epoch' # and is named
    ;;
measure_barrier)
    "$train" "$work/clean.safetensors" $data 0 $settings 2> "$work/progress"
    "$program" "$work/cue.safetensors" "$work/clean.safetensors" $data points=3 > "$output"
    expect '^barrier [0-9.]+ nats, mechanistically (similar|dissimilar|undecided)$'
    ;;
probe_model)
    "$program" "$work/cue.safetensors" $data resamples=200 > "$output"
    expect '^cue +dependent '
    expect '^image +(invariant|dependent|undecided) '
    ;;
cbft)
    "$program" "$work/cue.safetensors" "$work/tuned.safetensors" $data 60 \
        epochs=4,batch_size=20,learning_rate=0.03 > "$output"
    expect '^before .*randimg +[0-9.]+ %$'
    expect '^after .*randimg +[0-9.]+ %$'
    expect 'mechanistically (similar|dissimilar|undecided)$'
    test -s "$work/tuned.safetensors"
    ;;
*)
    echo "no test for the example $name" >&2
    exit 1
    ;;
esac
cat "$output"
