#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# The command line from outside: usage, every verb on tiny built-in images, bad input, the whole
# demo at tiny scale. Usage: cli.sh PROGRAM
set -eu

case $1 in
/*) program=$1 ;;
*) program=$PWD/$1 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
data=shapes:size=16,channels=1,train=600,test=200
tiny="--arch vgg13 --width 0.0625 --data $data --epochs 2 --batch-size 50"
tests=0

fail()
{
    echo "FAILED: $*" >&2
    echo "--- standard output" >&2
    head -c 2000 out >&2
    echo "--- standard error" >&2
    head -c 2000 err >&2
    exit 1
}

# expect STATUS ARGUMENT...: runs the program and checks its exit status.
expect()
{
    want=$1
    shift
    got=0
    "$program" "$@" >out 2>err </dev/null || got=$?
    [ "$got" -eq "$want" ] || fail "modeconn $* gives $got, expected $want"
    tests=$((tests + 1))
}

# says FILE TEXT: the last run's out or err contains the text.
says()
{
    grep -qF -- "$2" "$1" || fail "\"$2\" is missing in $1"
}

# Fails naming the culprit: names STATUS TEXT ARGUMENT...
names()
{
    status=$1
    culprit=$2
    shift 2
    expect "$status" "$@"
    says err "$culprit"
    [ ! -s out ] || fail "modeconn $*: text on standard output beside the error"
}

# valid FILE KEY...: JSON that has the keys (each a path, a.b.c).
valid()
{
    file=$1
    shift
    [ -s "$file" ] || fail "$file is missing or empty"
    command -v python3 >/dev/null 2>&1 || return 0
    python3 -m json.tool "$file" >/dev/null || fail "$file is not JSON"
    python3 - "$file" "$@" <<'PYTHON' || fail "$file lacks keys"
import json, sys
value = json.load(open(sys.argv[1]))
for path in sys.argv[2:]:
    at = value
    for key in path.split("."):
        at = at[int(key)] if isinstance(at, list) else at[key]
PYTHON
}

verbs="train eval probe barrier connect finetune align compare connectivity plot report reproduce info bench"

echo "usage"
names 2 "Verbs:"
expect 0 --help
says out "Exit status"
expect 0 --version
says out "modeconn "
names 2 "nosuchverb" nosuchverb
for verb in $verbs; do
    expect 0 "$verb" -h
    says out "Usage: modeconn $verb"
    expect 0 "$verb" --help
    says out "Usage: modeconn $verb"
    [ ! -s err ] || fail "modeconn $verb --help writes to standard error"
    expect 0 help "$verb"
done
for verb in train eval probe barrier connect finetune align compare connectivity plot report info bench; do
    expect 0 "$verb" --help
    says out "--json=FILE"
    says out "--threads="
    says out "--seed="
    names 2 "no-such-option" "$verb" --no-such-option
done
expect 0 reproduce demo --help
says out "--scale=demo|tiny"
for experiment in table1 fig-linear fig-quadratic fig-finetune fig-ablation fig-theory all; do
    expect 0 reproduce $experiment --help
    says out "Usage: modeconn reproduce $experiment"
    expect 0 reproduce --help
    says out "$experiment"
done
# The usage line has what cannot be left out; ranges and defaults stand with the options.
expect 0 finetune --help
says out "Usage: modeconn finetune [OPTION...] --model=FILE --data=DATA --out=FILE"
says out "least 1; default 1000"
expect 0 compare --help
says out "--data=DATA [--cue=box] FIRST SECOND"
names 2 "EXPERIMENT" reproduce
names 2 "no experiment \"fig-99\"" reproduce fig-99
names 2 "--out FILE is missing" train --data "$data"
names 2 "learning_rate" train --data "$data" --out x --learning-rate -1
names 2 "learning_rate" train --data "$data" --out x --learning_rate nonsense
names 2 "\"star\"" train --data "$data" --out x --cue star
names 2 "vgg13" train --data "$data" --out x --arch vgg99
names 2 "nosuchdata" train --data nosuchdata --out x
# Options of training passes are none of what measures.
for verb in eval probe barrier align compare connectivity; do
    names 2 "--crop" $verb --data "$data" --crop 2
done
names 2 "FIRST SECOND" compare only-one --data "$data"
names 2 "too many" plot a.json b.json --out x.svg
names 2 "--clean" finetune --model m --data "$data" --out x --clean 0
# What was typed is wrong, though only the library can tell.
names 2 "widths" train --data "$data" --out x --arch mlp --widths a
names 2 "milestones" train --data "$data" --out x --schedule step --milestones 0.5,0.2
names 2 "warmup" train --data "$data" --out x --epochs 1 --warmup-epochs 9
names 2 "is of a --cue" train --data "$data" --out x --cue-proportion 0.5
# Two results never share a file.
names 2 "--out and --checkpoint: both want same" train --data "$data" --out same --checkpoint same
names 2 "both want same" barrier --from a --to b --data "$data" --csv same --json same
names 2 "--json: the name" barrier --from a --to b --data "$data" --json ''
names 2 "--json: the name" bench --arch mlp --input 1x8x8 --json ''
names 2 "--json: the name" reproduce fig-theory --scale tiny --out none --json ''
[ ! -e none ] || fail "a folder is made before the options are right"
[ ! -e same ] || fail "something was written"
names 1 "no such folder" reproduce fig-linear --finished --scale tiny --data "$data" --out none
[ ! -e none ] || fail "reproduce --finished makes a folder"
names 2 "--input" bench --input 3x32
names 2 "--mode" bench --mode sleep
names 2 "--repeats" bench --repeats 2
names 2 "--scale huge" reproduce demo --scale huge
names 2 "--scale huge" reproduce table1 --scale huge
names 2 "--data is missing" reproduce table1 --scale small --out nowhere
names 2 "--proportions 80,60" reproduce table1 --scale tiny --proportions 80,60 --out nowhere
names 2 "--proportions x" reproduce table1 --scale tiny --proportions x --out nowhere
names 2 "--proportions 60,101" reproduce table1 --scale tiny --proportions 60,101 --out nowhere
names 2 "--out: the name of a folder" reproduce table1 --scale tiny --out ""
names 2 "nosuchdata" reproduce all --scale tiny --data nosuchdata --out nosuch
[ ! -e nowhere ] || fail "wrong usage of reproduce makes its folder"
names 2 "either" info
names 2 "--out: the name of a file" train --data "$data" --out ""
names 2 "--out -: a file" train --data "$data" --out -
names 2 "--csv -: a file" barrier --from a --to b --data "$data" --csv -
names 2 "--out: the name of a folder" reproduce demo --scale tiny --out ""
names 2 "standard output takes one" plot a.json --out - --json -

echo "train"
# shellcheck disable=SC2086
expect 0 train $tiny --cue box --cue-proportion 0.9 --out cue.safetensors --json train.json
says out "epoch   2/2"
valid train.json epochs.1.loss epochs.1.accuracy epochs.1.samples_per_second data.view seconds
if command -v python3 >/dev/null 2>&1; then
    python3 -c 'import json
d = json.load(open("train.json"))["data"]
assert d["view"] == "cue" and d["cue_proportion"] == 0.9, d' || fail "cue view of train"
fi
# shellcheck disable=SC2086
expect 0 train $tiny --cue box --view nocue --out clean.safetensors --json clean.json --threads 1
# Same seed, any number of threads: the same file. Without a cue the images are the same too.
# shellcheck disable=SC2086
expect 0 train $tiny --cue box --view nocue --out clean2.safetensors --threads 2
cmp -s clean.safetensors clean2.safetensors || fail "the number of threads changes the model"
# shellcheck disable=SC2086
expect 0 train $tiny --seed 5 --out other.safetensors
cmp -s clean.safetensors other.safetensors && fail "--seed changes nothing"
# Results and files name every seed, given or not.
# shellcheck disable=SC2086
expect 0 train $tiny --seed 5 --init-seed 7 --out seeds.safetensors --json seeds.json
says seeds.json '"seed": 5'
says seeds.json '"init_seed": 7'
expect 0 info seeds.safetensors
says out '\"momentum\":0.9'
says out '\"seed\":5,\"init_seed\":7'

echo "resume"
# The same state again goes on to the same end; other options are refused.
# shellcheck disable=SC2086
expect 0 train $tiny --out half.safetensors --checkpoint half.state
# shellcheck disable=SC2086
expect 0 train $tiny --out again.safetensors --resume half.state
says out "resumed after 2 of 2"
cmp -s half.safetensors again.safetensors || fail "a resumed run ends elsewhere"
# shellcheck disable=SC2086
expect 1 train $tiny --momentum 0.5 --out x --resume half.state
says err "momentum"

echo "measure"
expect 0 eval --model cue.safetensors --data "$data" --cue box --json -
cp out eval.json
[ ! -s err ] || fail "eval --json - writes to standard error"
valid eval.json views.nocue.loss views.cue.accuracy views.randcue.n views.randimg.loss \
    statistics.policy
expect 0 eval --model cue.safetensors --data "$data" --cue box --view cue --limit 50 --json one.json
valid one.json views.cue.n
grep -q randcue one.json && fail "--view does not narrow eval"
names 2 "either --view or --views" eval --model cue.safetensors --data "$data" --cue box --view cue \
    --views nocue
names 2 "zork" eval --model cue.safetensors --data "$data" --views zork
expect 0 eval --model cue.safetensors --data "$data" --statistics reset --bn_samples 100
expect 0 probe --model cue.safetensors --data "$data" --cue box --json probe.json
says out "when randomised"
valid probe.json attributes.cue.verdict attributes.cue.effect attributes.image.low margin
expect 0 barrier --from cue.safetensors --to clean.safetensors --data "$data" --cue box --points 3 \
    --bn-samples 100 --plot barrier.svg --csv barrier.csv --json barrier.json
valid barrier.json t.2 views.nocue.loss.2 views.cue.accuracy.0 views.nocue.barrier.loss.linear \
    views.randcue.barrier.error.half statistics.policy statistics.n statistics.batch_size
[ "$(wc -l <barrier.csv)" -eq 4 ] || fail "barrier.csv has not a line a point"
expect 0 connect --from cue.safetensors --to clean.safetensors --data "$data" --cue box --epochs 1 \
    --batch-size 50 --checkpoint fit.state --out curve.safetensors --json connect.json \
    --plot curve.svg
valid connect.json epochs.0.loss path.length path.family options.mode curve.views.nocue.summary.loss.max
expect 0 connect --from cue.safetensors --to clean.safetensors --data "$data" --cue box --epochs 1 \
    --batch-size 50 --resume fit.state --out again.safetensors
cmp -s curve.safetensors again.safetensors || fail "a resumed fit differs"
expect 0 connect --from cue.safetensors --to clean.safetensors --data "$data" --cue box --epochs 1 \
    --chain 2 --t-law arc --views cue,nocue --mode reference --out chain.safetensors
expect 0 barrier --path curve.safetensors --data "$data" --cue box --points 3 --bn-samples 100 \
    --views nocue --groups --json groups.json
valid groups.json path_file path.fit.data.0.view groups.linear.views.nocue.barrier.loss.linear views.nocue.summary.error.mean
expect 0 barrier --path chain.safetensors --group layers.0 --data "$data" --points 3 \
    --bn-samples 100 --refine-tolerance 0.2
names 2 "layers.99" barrier --path chain.safetensors --group layers.99 --data "$data"
names 1 "not a saved path" barrier --path cue.safetensors --data "$data"
names 2 "either --from and --to, or --path" barrier --from cue.safetensors --data "$data"
names 2 "exclude each other" connect --from cue.safetensors --to clean.safetensors --data "$data" \
    --degree 3 --chain 1 --out x.safetensors
expect 0 compare cue.safetensors clean.safetensors --data "$data" --cue box --json compare.json
says out "mechanistically"
valid compare.json verdict attributes.cue.first.effect attributes.image.second.verdict
expect 0 compare cue.safetensors clean.safetensors --data "$data" --cue box --cka --json compare.json
says out "layers.0.bn1"
valid compare.json verdict cka.layers.9.debiased cka.layers.10.cka cka.models.second
expect 0 connectivity --from cue.safetensors --to clean.safetensors --data "$data" --cue box \
    --points 3 --bn-samples 100 --patterns --json connectivity.json
says out "along this line"
valid connectivity.json verdict weakest.view views.randcue.excess_high.2 \
    views.nocue.ends.second.loss patterns.layers.9.first.kappa tolerance note from
expect 0 connectivity --path curve.safetensors --data "$data" --cue box --points 3 --bn-samples 100 \
    --json connectivity.json
says out "along this path"
valid connectivity.json verdict weakest.t path_file path.family
grep -q bezier connectivity.json || fail "connectivity --path asks another path"
names 2 "either --from and --to, or --path" connectivity --from cue.safetensors --data "$data"
names 1 "no counterfactual view" connectivity --from cue.safetensors --to clean.safetensors --data "$data"

echo "align"
# A model and itself agree; another one is permuted, and computes what it did.
expect 0 align cue.safetensors cue.safetensors --data "$data" --points 2 --bn-samples 100 \
    --method weights --json same.json
valid same.json alignment.groups.9.name alignment.method before.views.nocue after.views.nocue
grep -q '"moved": [1-9]' same.json && fail "a model is matched to itself otherwise"
expect 0 align cue.safetensors other.safetensors --data "$data" --points 3 --bn-samples 100 \
    --out permuted.safetensors --save units.safetensors --json align.json
says out "before"
valid align.json alignment.groups.0.permutation.1 alignment.data.source before.views.nocue.barrier.loss.linear \
    after.views.nocue.barrier.loss.linear target model
grep -q '"moved": [1-9]' align.json || fail "no unit of another model changes its place"
[ -s units.safetensors ] || fail "the permutations are missing"
expect 0 eval --model other.safetensors --data "$data" --json other.json
expect 0 eval --model permuted.safetensors --data "$data" --json permuted.json
accuracy=$(grep '"accuracy"' other.json)
[ "$accuracy" = "$(grep '"accuracy"' permuted.json)" ] || fail "permuting changes the accuracy"
expect 0 barrier --from cue.safetensors --to permuted.safetensors --data "$data" --points 3 \
    --bn-samples 100
expect 0 align cue.safetensors other.safetensors --data "$data" --points 2 --bn-samples 100 \
    --reference 1 --match-batch-size 60 --json align.json
says align.json 'batch_size=60,reference=1'
says align.json '"samples": 20' # of 200 test images the last batch
names 2 "TARGET MODEL" align cue.safetensors --data "$data"
names 2 "method" align a b --data "$data" --method guess

echo "finetune"
expect 0 finetune --model cue.safetensors --data "$data" --cue box --clean 100 --epochs 2 \
    --batch-size 50 --out cbft.safetensors --json cbft.json
valid cbft.json epochs.1.loss_ce epochs.1.loss_barrier epochs.1.loss_invariance options.schedule \
    options.clean_seed options.seed
expect 0 info cbft.safetensors
says out '\"schedule\":\"alternating\"'
says out '\"clean_seed\":0'
says out '"finetuning_cue_data"'
expect 0 finetune --method naive --model cue.safetensors --data "$data" --clean 100 --epochs 2 \
    --batch-size 50 --learning-rate 0.01 --out naive.safetensors
# What was not trained on is not among what made a model.
expect 0 finetune --method naive --model cbft.safetensors --data "$data" --cue box --clean 100 \
    --epochs 1 --batch-size 50 --learning-rate 0.01 --out again.safetensors
expect 0 info again.safetensors
says out '"finetuning_data"'
grep -q finetuning_cue_data out && fail "naive fine-tuning tells of cue data"
expect 0 finetune --method llrt --model cue.safetensors --data "$data" --clean 100 --epochs 3 \
    --out llrt.safetensors --json llrt.json
valid llrt.json epochs.2.loss
# What results hang on is the instruction set that ran, not the best one here.
expect 0 finetune --method llrt --model cue.safetensors --data "$data" --clean 100 --epochs 1 \
    --isa baseline --out baseline.safetensors --json baseline.json
valid baseline.json build.version build.compiler build.blis.version
grep -q '"isa": "baseline"' baseline.json || fail "baseline.json names another instruction set"
grep -q '"learning_rate": 30' llrt.json || fail "llrt.json lacks the method's own rate"
expect 0 finetune --method lpft --model cue.safetensors --data "$data" --cue box --clean 100 \
    --epochs 1 --head-epochs 2 --track-distance 1 --track-barrier 3 --out lpft.safetensors \
    --json lpft.json
valid lpft.json epochs.2.stage epochs.2.distance epochs.0.barrier_clean epochs.2.barrier_cue
expect 0 finetune --method llrt --model cue.safetensors --data "$data" --clean 100 --epochs 1 \
    --threads 1 --out llrt1.safetensors
expect 0 finetune --method llrt --model cue.safetensors --data "$data" --clean 100 --epochs 1 \
    --threads 2 --out llrt2.safetensors
cmp -s llrt1.safetensors llrt2.safetensors || fail "the number of threads changes llrt"
names 2 "--cue" finetune --method cbft --model cue.safetensors --data "$data" --out x
names 2 "nocue, randcue, randimg" finetune --model cue.safetensors --data "$data" --cue box \
    --view cue --out x
# Any attribute can be unlearnt: the clean samples show it at random, the cue data as it is.
slabs=slabs:slabs=0+4,train=400,test=200
expect 0 train --arch mlp --hidden 32 --data $slabs --epochs 3 --out slabs.safetensors
names 2 "randslab1, randslab2" finetune --model slabs.safetensors --data $slabs --out x
names 2 "randslab3" finetune --model slabs.safetensors --data $slabs --view randslab3 --out x
for method in cbft naive llrt lpft; do
    expect 0 finetune --method $method --model slabs.safetensors --data $slabs --view randslab1 \
        --clean 200 --epochs 1 --head-epochs 1 --track-barrier 3 --out slabs-$method.safetensors \
        --json slabs.json
    valid slabs.json clean.view cue.view epochs.0.barrier_cue
    grep -q '"view": "randslab1"' slabs.json || fail "$method: not the view asked for"
done
names 2 "magic" finetune --method magic --model cue.safetensors --data "$data" --out x
names 2 "--clean 600" finetune --method naive --model cue.safetensors --data "$data" --clean 600 \
    --out x

echo "architectures"
for arch in resnet18 resnet34 resnet50 resnet56 resnet18_bottleneck resnet56_bottleneck theory; do
    size="--width 0.0625"
    images=shapes:size=8,channels=1,train=20,test=20
    if [ $arch = theory ]; then
        size="--width 8"
        images=slabs:slabs=0+2,train=40,test=20
    fi
    # shellcheck disable=SC2086
    expect 0 train --arch $arch $size --data $images --limit 20 --epochs 1 --batch-size 20 \
        --out arch.safetensors
    expect 0 info arch.safetensors --json arch.json
    valid arch.json architecture blocks.0.name
    grep -q "\"$arch\"" arch.json || fail "the file does not say that it is $arch"
    expect 0 eval --model arch.safetensors --data $images --view nocue
done

echo "data"
# Small files of every format: labels i mod 10, pixels of a fixed pattern.
if command -v python3 >/dev/null 2>&1; then
    python3 - <<'PYTHON'
import os, struct, zipfile
N = 20
def pixels(i, n):
    return bytes((i * 31 + p * 7) % 256 for p in range(n))
def idx(images, labels, side=28):
    with open(images, "wb") as f:
        f.write(struct.pack(">4i", 2051, N, side, side) + b"".join(pixels(i, side * side) for i in range(N)))
    with open(labels, "wb") as f:
        f.write(struct.pack(">2i", 2049, N) + bytes(i % 10 for i in range(N)))
def npy(shape, data):
    header = str({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data
for folder in ("cifar10", "cifar100", "fmnist"):
    os.mkdir(folder)
for name in ("cifar10/data_batch_1.bin", "cifar10/test_batch.bin"):
    with open(name, "wb") as f:
        f.write(b"".join(bytes([i % 10]) + pixels(i, 3072) for i in range(N)))
for name in ("cifar100/train.bin", "cifar100/test.bin"):
    with open(name, "wb") as f:
        f.write(b"".join(bytes([i % 20, i % 100]) + pixels(i, 3072) for i in range(N)))
for split in ("train", "t10k"):
    idx("fmnist/%s-images-idx3-ubyte" % split, "fmnist/%s-labels-idx1-ubyte" % split)
idx("images.idx", "labels.idx", 16)
x = npy((N, 16, 16), b"".join(pixels(i, 256) for i in range(N)))
y = npy((N,), bytes(i % 10 for i in range(N)))
for name, data in (("x.npy", x), ("y.npy", y)):
    with open(name, "wb") as f:
        f.write(data)
with zipfile.ZipFile("xy.npz", "w") as archive:
    archive.writestr("x.npy", x)
    archive.writestr("y.npy", y)
PYTHON
    for source in cifar10:cifar10 cifar100:cifar100 dominoes:cifar10,fmnist fashion-mnist:fmnist \
        idx:images.idx,labels.idx npy:x.npy,y.npy npz:xy.npz; do
        expect 0 train --arch mlp --hidden 4 --data $source --epochs 1 --batch-size 10 \
            --out data.safetensors
        expect 0 eval --model data.safetensors --data $source --json data.json
        valid data.json views.nocue.loss
    done
    expect 0 train --arch mlp --hidden 4 --data dominoes:cifar10,fmnist --cue domino \
        --cue-proportion 0.5 --crop 2 --flip 1 --epochs 1 --out domino.safetensors
    expect 0 eval --model domino.safetensors --data dominoes:cifar10,fmnist --cue domino \
        --json domino.json
    valid domino.json views.cue.loss views.randcue.loss views.randimg.loss
    expect 0 train --arch mlp --hidden 4 --data cifar100:cifar100 --labels coarse --epochs 1 \
        --out coarse.safetensors --json coarse.json
    expect 0 info coarse.safetensors
    says out "20"
fi

echo "plot and report"
for result in barrier.json train.json cbft.json connect.json groups.json; do
    expect 0 plot $result --out plot.svg
    grep -q "<svg xmlns" plot.svg && grep -q "</svg>" plot.svg || fail "plot of $result"
done
for picture in barrier.svg plot.svg; do
    grep -q "<title" $picture && grep -q "<desc" $picture || fail "$picture has no description"
    if command -v python3 >/dev/null 2>&1; then
        python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' $picture ||
            fail "$picture is not XML"
    fi
done
expect 0 report barrier.json --out barrier.html
grep -q "</html>" barrier.html || fail "barrier.html is not whole"

echo "info and bench"
expect 0 info cue.safetensors --json info.json
says out "layers.0.conv1.weight"
valid info.json architecture parameters blocks.0.name
expect 0 info --build --json -
cp out build.json
valid build.json version isa blis.version
expect 0 bench --width 0.0625 --input 1x16x16 --batch 20 --batches 2 --repeats 5 --threads 1 --json -
cp out bench.json
valid bench.json samples_per_second.min samples_per_second.median samples_per_second.max threads isa
expect 0 bench --mode infer --width 0.0625 --input 1x16x16 --batch 20 --batches 2
says out "samples/s"

echo "bad files"
names 1 "missing.safetensors" eval --model missing.safetensors --data "$data"
printf 'not a model' >garbage.safetensors
names 1 "garbage.safetensors" eval --model garbage.safetensors --data "$data"
head -c 500 cue.safetensors >short.safetensors
names 1 "short.safetensors" info short.safetensors
names 1 "/nonexistent/images" eval --model cue.safetensors --data idx:/nonexistent/images,/x
names 1 "/nonexistent" eval --model cue.safetensors --data cifar10:/nonexistent
names 2 'hidden: "5,"' train --arch mlp --hidden=5, --data "$data" --out x
names 2 'widths: "5,"' train --arch theory --widths=5, --data slabs:slabs=0+2,train=40,test=20 --out x
names 1 "/nonexistent/x" train --data "$data" --out /nonexistent/x
names 1 "/nonexistent/x.json" train --data "$data" --out x --json /nonexistent/x.json
names 1 "garbage.safetensors" plot garbage.safetensors --out x.svg
names 1 "missing.json" report missing.json --out x.html
names 1 "eval.json" report eval.json --out x.html
names 1 "eval.json" plot eval.json --out x.svg
names 1 "cannot read .: Is a directory" plot . --out x.svg
names 1 "cannot read missing.json: No such file" plot missing.json --out x.svg
printf '{"t": [1, 0], "views": {"nocue": {"loss": [1, 2], "accuracy": [0, 1]}}}' >backwards.json
names 1 "backwards.json" plot backwards.json --out x.svg
printf '{"t": [0, 1], "views": {"nocue": {"loss": [1e308, 2], "accuracy": [0, 1]}}}' >huge.json
expect 0 plot huge.json --out huge.svg
grep -Eq 'nan|inf' huge.svg && fail "a huge loss spoils the picture"
names 1 "3x16x16" eval --model cue.safetensors --data shapes:size=16,channels=3,train=50,test=50
slabs=slabs:slabs=0+2,noise=1,train=100,test=40
expect 0 train --arch mlp --hidden 8 --data $slabs --epochs 1 --out slabs.safetensors
expect 0 probe --model slabs.safetensors --data $slabs --json slabs.json
valid slabs.json attributes.slab1.verdict attributes.slab2.effect
expect 0 eval --model slabs.safetensors --data $slabs --view randslab2
says out randslab2
names 2 "randslab1" eval --model slabs.safetensors --data $slabs --view randslab3
names 2 "--cue" probe --model cue.safetensors --data "$data"
touch file
names 1 "file" reproduce demo --scale tiny --out file/demo
names 1 "file" reproduce table1 --scale tiny --out file/table
names 1 "scale small wants" reproduce table1 --scale small --data "$data" --out few
[ ! -e x ] || fail "a failed run left a file"
if [ -w /dev/full ]; then
    status=0
    "$program" info --build >/dev/full 2>err || status=$?
    [ "$status" -eq 1 ] || fail "a full device goes unnoticed"
    status=0
    "$program" train --help >/dev/full 2>err || status=$?
    [ "$status" -eq 1 ] || fail "a full device goes unnoticed after --help"
    # Text that is lost long before the end; its reason is kept.
    status=0
    "$program" compare cue.safetensors cue.safetensors --data "$data" --cue box >/dev/full 2>err ||
        status=$?
    [ "$status" -eq 1 ] && grep -q "No space left" err || fail "why a text was lost goes unsaid"
fi

echo "names"
# File names are bytes; JSON, metadata and pictures are UTF-8.
odd=$(printf 'odd\377 <&>.safetensors')
cp cue.safetensors "$odd"
expect 0 eval --model "$odd" --data "$data" --json odd.json
valid odd.json model
expect 0 barrier --from "$odd" --to clean.safetensors --data "$data" --points 2 --bn-samples 100 \
    --plot odd.svg --json odd.json
valid odd.json from to
if command -v python3 >/dev/null 2>&1; then
    python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' odd.svg ||
        fail "a name that is not UTF-8 spoils the picture"
fi
expect 0 finetune --method naive --model "$odd" --data "$data" --clean 100 --epochs 1 \
    --batch-size 50 --out naive.safetensors

echo "interrupted"
# The run is far longer than the wait; stopped, it says what is kept and gives 1.
"$program" train --arch vgg13 --width 0.0625 --data "$data" --epochs 1000000 --out long.safetensors \
    --checkpoint long.state >out 2>err &
pid=$!
tries=0
while [ ! -s long.state ] && [ $tries -lt 200 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
kill -TERM $pid
status=0
wait $pid || status=$?
[ "$status" -eq 1 ] || fail "an interrupted run gives $status"
says err "long.state"
[ ! -e long.safetensors ] || fail "an interrupted run wrote its model"

# Whether process $1 has a handler for SIGINT, the second of the mask's bits.
catches_int()
{
    case $(sed -n 's/^SigCgt:.*\(.\)$/\1/p' "/proc/$1/status" 2>/dev/null) in
    [2367abef]) return 0 ;;
    esac
    return 1
}

# stopped ARGUMENT...: a long run that is stopped by Ctrl-C gives 1, says so, and leaves no file.
# Background jobs of a script ignore SIGINT; the program asks for it again, which on a busy machine
# can take it longer than any fixed wait.
stopped()
{
    rm -rf stop
    mkdir stop
    "$program" "$@" >out 2>err &
    pid=$!
    tries=0
    while ! catches_int $pid && [ $tries -lt 600 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    sleep 1
    kill -INT $pid 2>/dev/null || fail "modeconn $1 ended before it was stopped"
    status=0
    wait $pid || status=$?
    [ "$status" -eq 1 ] || fail "modeconn $1, interrupted, gives $status"
    says err "stopped"
    [ -z "$(find stop -type f)" ] || fail "modeconn $1, interrupted, left $(find stop -type f)"
}

stopped train --arch vgg13 --width 0.0625 --data "$data" --epochs 1000000 --out stop/x
stopped finetune --model cue.safetensors --data "$data" --cue box --clean 300 --epochs 1000000 \
    --out stop/x --json stop/y
stopped align cue.safetensors clean.safetensors --data "$data" --points 100001 --out stop/x
stopped barrier --from cue.safetensors --to clean.safetensors --data "$data" --points 100001 \
    --plot stop/x --csv stop/y --json stop/z
stopped connectivity --from cue.safetensors --to clean.safetensors --data "$data" --cue box \
    --points 100001 --limit 60 --json stop/z
stopped reproduce demo --scale tiny --epochs 1000000 --out stop
stopped reproduce table1 --scale demo --data shapes:size=32,channels=3,train=4600,test=20 --out stop

echo "demo"
expect 0 reproduce demo --scale tiny --out demo/results --seed 3 --json copy.json
says out "barrier to"
says out "theta_NC"
says out "Conjecture 1"
cmp -s copy.json demo/results/results.json || fail "--json differs from results.json"
keys="scale.name scale.seed scale.build.version scale.seconds scale.points scale.bn_samples"
for model in theta_C theta_NC FT_large FT_medium FT_small CBFT; do
    [ -s "demo/results/$model.safetensors" ] || fail "$model.safetensors is missing"
    m=models.$model
    for view in nocue cue randcue randimg; do
        keys="$keys $m.views.$view.loss $m.views.$view.accuracy $m.views.$view.n"
        for definition in linear mean max half; do
            keys="$keys $m.barrier_to_theta_C.$view.loss.$definition"
            keys="$keys $m.barrier_to_theta_C.$view.error.$definition"
        done
    done
    for attribute in cue image; do
        for key in verdict effect low high; do
            keys="$keys $m.probe.$attribute.$key"
        done
    done
    [ $model = theta_C ] && continue
    [ -s "demo/results/curve_$model.csv" ] && [ -s "demo/results/curve_$model.svg" ] ||
        fail "the curve of $model is missing"
done
# shellcheck disable=SC2086
valid demo/results/results.json $keys
page=demo/results/report.html
grep -q "</html>" $page && grep -q 'id="curve-CBFT"' $page && grep -q "</svg>" $page || fail "report.html is not whole"
grep -Eq '(src|href)=|@import|url\(' $page && fail "report.html needs other files"
expect 0 report demo/results/results.json --out report.html
cmp -s report.html $page || fail "report makes another page of the same results"
expect 0 plot demo/results/results.json --model CBFT --out cbft.svg
names 1 "nobody" plot demo/results/results.json --model nobody --out x.svg
# The demo's models are models like any other.
expect 0 eval --model demo/results/CBFT.safetensors --data "$data" --cue box
# Nothing but the JSON on standard output.
expect 0 reproduce demo --scale tiny --out demo/second --seed 3 --json -
cp out second.json
valid second.json models.CBFT.views.nocue.loss
cmp -s demo/results/CBFT.safetensors demo/second/CBFT.safetensors ||
    fail "the same seed gives another model"

echo "reproduction"
# again WANTED NAME: the same command once more computes so many cells.
again()
{
    expect 0 reproduce "$2" --scale tiny --proportions 60,80 --out repro --seed 3
    says out "$1 new cells"
}

expect 0 reproduce table1 --scale tiny --proportions 60,80 --out repro --seed 3 --json table.json
says out "12 new cells"
says out "Scale tiny"
valid table.json table1.caption table1.rows.11.accuracy.randimg.mean table1.rows.5.loss_barrier.mean
valid repro/table1.json rows.0.accuracy.nocue.values.0 rows.0.seeds
[ "$(wc -l <repro/table1.csv)" -eq 49 ] || fail "table1.csv has not a line a model and view"
[ "$(grep -c '^| [68]0 %' repro/table1.md)" -eq 12 ] || fail "table1.md has not a line a model"
grep -q "Scale tiny" repro/table1.svg || fail "table1.svg does not state its scale"
cp repro/table1.md first.md
cp repro/cells/CBFT-p80-s3.safetensors first.safetensors
again 0 table1
cmp -s repro/table1.md first.md || fail "finished cells give another table"
# A cell tells its build, and a table those of its cells; another build computes nothing anew.
valid repro/cells/CBFT-p80-s3.json build.isa build.compiler build.blis.version
[ "$(grep -c '"isa"' repro/table1.json)" -eq 1 ] || fail "table1.json does not tell its one build"
sed 's/"isa": "[a-z0-9]*"/"isa": "other"/' repro/cells/LLRT-p80-s3.json >other.json
mv other.json repro/cells/LLRT-p80-s3.json
again 0 table1
valid repro/table1.json builds.1.isa
# What is missing, damaged or of other settings is computed again, and nothing else; the same seed
# gives the same model.
rm repro/cells/CBFT-p80-s3.safetensors
head -c 100 repro/cells/LLRT-p60-s3.json >short.json
mv short.json repro/cells/LLRT-p60-s3.json
sed 's/"clean_samples": 100/"clean_samples": 99/' repro/cells/FT_small-p60-s3.json >changed.json
mv changed.json repro/cells/FT_small-p60-s3.json
expect 0 reproduce table1 --scale tiny --proportions 60,80 --out repro --seed 3 --finished
says out "0 new cells"
[ "$(grep -c '^| [68]0 %' repro/table1.md)" -eq 9 ] || fail "--finished shows unfinished cells"
again 3 table1
cmp -s repro/table1.md first.md || fail "a resumed run ends elsewhere"
cmp -s repro/cells/CBFT-p80-s3.safetensors first.safetensors || fail "another model when resumed"
# Seeds give a deviation.
expect 0 reproduce table1 --scale tiny --proportions 80 --out repro --seed 3 --seeds 2
says out "6 new cells"
says out "±"
expect 0 reproduce all --scale tiny --proportions 80 --out repro --seed 3 --json all.json
valid all.json table1.rows.0 fig-linear.rows.3.barrier.randcue.mean fig-ablation.rows.2.verdicts \
    fig-finetune.rows.5.accuracy_second.nocue.mean fig-quadratic.rows.1.barrier.cue.mean \
    fig-theory.cells.0.pairs.4.activations.kappa
again 0 all
for figure in fig-linear-aligned-theta_C-theta_NC-p80 fig-quadratic-quadratic-theta_C-theta_NC-p80 \
    fig-finetune-linear-theta_C-FT_large-p100 fig-ablation-linear-theta_C-CBFT_no_LB-p80 \
    fig-theory; do
    grep -q "</svg>" "repro/$figure.svg" || fail "$figure.svg is not whole"
done
# The theory needs no images.
expect 0 reproduce fig-theory --scale tiny --out theory
says out "complex to complex'"

echo "$tests runs of the program, all as expected"
