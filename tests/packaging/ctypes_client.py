# SPDX-License-Identifier: BSD-3-Clause
"""ctypes_client.py LIBRARY: the README's C example in plain Python, without any binding.

Shows that every call can be made with scalars and pointers alone. Trains two small networks on
the built-in shapes, one of them with a cue, measures the line between them and compares what
they rely on; gives the data a cue and an attribute drawn by Python functions, for every view,
probe and fine-tuning method; then asks for errors.
"""

import array
import ctypes
import json
import math
import os
import sys
import tempfile
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_uint64, c_void_p

DATA = b"shapes:size=12,train=300,test=150"
ERROR_ARGUMENT, ERROR_UNKNOWN, ERROR_IO = -1, -3, -4
ERROR_SHAPE, ERROR_CANCELLED, ERROR_BUFFER = -6, -8, -10
BARRIER_LINEAR, BARRIER_HALF = 0, 3

PROGRESS = ctypes.CFUNCTYPE(c_int32, c_void_p, c_int64, c_int64, c_int64, c_double, c_double,
                            c_double, c_double)
CUE = ctypes.CFUNCTYPE(c_int32, c_void_p, c_int64, c_int32, c_int64, c_uint64, POINTER(c_float),
                       c_int64, c_int64, c_int64)
INTERVENTION = ctypes.CFUNCTYPE(c_int32, c_void_p, c_int64, c_int32, c_uint64, POINTER(c_float),
                                c_int64, c_int64, c_int64)
RELEASE = ctypes.CFUNCTYPE(None, c_void_p)
HANDLE = POINTER(c_void_p)
# Arguments of each call that is used; every one returns int32_t unless TEXT or NOTHING says so.
CALLS = {
    "context_create": [c_void_p, HANDLE],
    "options_create": [c_void_p, c_char_p, HANDLE],
    "options_set_str": [c_void_p, c_char_p, c_char_p],
    "options_set_i64": [c_void_p, c_char_p, c_int64],
    "options_set_f64": [c_void_p, c_char_p, c_double],
    "options_parse": [c_void_p, c_char_p],
    "dataset_open": [c_void_p, c_char_p, c_char_p, c_void_p, HANDLE],
    "dataset_from_f32": [c_void_p, POINTER(c_float), POINTER(c_int32)] + 5 * [c_int64]
                        + [c_void_p, HANDLE],
    "dataset_view": [c_void_p, c_char_p, c_double, HANDLE],
    "dataset_shape": [c_void_p] + 5 * [POINTER(c_int64)],
    "dataset_read": [c_void_p, POINTER(c_int64), c_int64, POINTER(c_float), POINTER(c_int32)],
    "dataset_split": [c_void_p, c_int64, c_int64, HANDLE, HANDLE],
    "dataset_with_cue": [c_void_p, c_char_p, c_int64, CUE, RELEASE, c_void_p, HANDLE],
    "dataset_with_attribute": [c_void_p, c_char_p, INTERVENTION, RELEASE, c_void_p, HANDLE],
    "model_create": [c_void_p, c_char_p, c_void_p, c_void_p, HANDLE],
    "model_save": [c_void_p, c_char_p],
    "model_load": [c_void_p, c_char_p, HANDLE],
    "model_parameter_count": [c_void_p, POINTER(c_int64)],
    "model_get_parameters": [c_void_p, POINTER(c_float), c_int64],
    "train": [c_void_p, c_void_p, c_void_p, PROGRESS, c_void_p],
    "path_linear": [c_void_p, c_void_p, HANDLE],
    "path_parameters": [c_void_p, c_double, POINTER(c_float), c_int64],
    "curve_measure": [c_void_p, c_void_p, c_void_p, c_void_p, PROGRESS, c_void_p, HANDLE],
    "curve_size": [c_void_p, POINTER(c_int64)],
    "curve_values": [c_void_p, c_char_p, POINTER(c_double), POINTER(c_double), c_int64],
    "curve_barrier": [c_void_p, c_char_p, c_int32, POINTER(c_double)],
    "curve_json": [c_void_p, c_char_p, c_int64, POINTER(c_int64)],
    "probe_measure": [c_void_p, c_void_p, c_void_p, HANDLE],
    "probe_json": [c_void_p, c_char_p, c_int64, POINTER(c_int64)],
    "finetune": [c_void_p, c_void_p, c_void_p, c_void_p, PROGRESS, c_void_p, HANDLE],
    "compare": [c_void_p, c_void_p, c_void_p, c_void_p, HANDLE],
    "comparison_verdict": [c_void_p, POINTER(c_int32)],
    "comparison_json": [c_void_p, c_char_p, c_int64, POINTER(c_int64)],
    "last_error": [],
    "status_name": [c_int32],
    "verdict_name": [c_int32],
}
TEXT = {"last_error", "status_name", "verdict_name"}
NO_PROGRESS = PROGRESS()


class Library:
    """The shared library; calls go through functions of the same name without the prefix."""

    def __init__(self, path):
        library = ctypes.CDLL(path)
        for name, arguments in CALLS.items():
            function = getattr(library, "modeconn_" + name)
            function.argtypes = arguments
            function.restype = c_char_p if name in TEXT else c_int32
            setattr(self, name, function)
        self.library = library

    def ok(self, name, *arguments):
        """Makes a call that must succeed."""
        status = getattr(self, name)(*arguments)
        assert status == 0, f"{name}: {self.status_name(status)}: {self.last_error().decode()}"

    def fails(self, expected, culprit, name, *arguments):
        """Makes a call that must fail with this status and name the culprit."""
        status = getattr(self, name)(*arguments)
        text = self.last_error().decode()
        assert status == expected, f"{name}: {self.status_name(status)} ({text})"
        assert culprit in text, f"{name}: '{text}' does not name '{culprit}'"

    def make(self, name, *arguments):
        """Makes a call whose last output is a new handle."""
        handle = c_void_p()
        self.ok(name, *arguments, byref(handle))
        assert handle.value
        return handle

    def destroy(self, kind, handle):
        function = getattr(self.library, f"modeconn_{kind}_destroy")
        function.argtypes, function.restype = [c_void_p], None
        function(handle)

    def json(self, name, handle):
        """A result's JSON text, asked for its size first."""
        needed = c_int64()
        status = getattr(self, name)(handle, None, 0, byref(needed))
        assert status in (0, ERROR_BUFFER), self.status_name(status)
        buffer = ctypes.create_string_buffer(needed.value)
        self.ok(name, handle, buffer, needed.value, byref(needed))
        assert needed.value == len(buffer.value) + 1
        self.fails(ERROR_BUFFER, "", name, handle, buffer, needed.value - 1, byref(needed))
        return json.loads(buffer.value)


def train_model(lib, context, data):
    """A small network trained for two epochs, and the progress calls it made."""
    steps = []

    def on_progress(_user, _epoch, step, total, loss, _accuracy, _rate, _seconds):
        steps.append((step, total))
        assert loss > 0
        return 0

    options = lib.make("options_create", context, b"model")
    lib.ok("options_set_str", options, b"hidden", b"24")
    model = lib.make("model_create", context, b"mlp", data, options)
    lib.destroy("options", options)
    options = lib.make("options_create", context, b"train")
    lib.ok("options_set_i64", options, b"epochs", 2)
    lib.ok("options_set_f64", options, b"learning_rate", 0.05)
    lib.ok("options_parse", options, b"batch_size=60,momentum=0.5")
    lib.ok("train", model, data, options, PROGRESS(on_progress), None)
    lib.destroy("options", options)
    assert steps[-1] == (10, 10), steps  # 2 epochs of 300 / 60 batches
    return model


def check_line(lib, context, a, b, train, test):
    """The linear path between two models and its barrier."""
    line = lib.make("path_linear", a, b)
    count = c_int64()
    lib.ok("model_parameter_count", a, byref(count))
    theta = [(c_float * count.value)() for _ in range(3)]
    lib.ok("model_get_parameters", a, theta[0], count)
    lib.ok("model_get_parameters", b, theta[1], count)
    lib.ok("path_parameters", line, 0.5, theta[2], count)
    for first, second, middle in zip(*theta):
        assert math.isclose(middle, (first + second) / 2, rel_tol=1e-6, abs_tol=1e-9)
    lib.fails(ERROR_ARGUMENT, "t", "path_parameters", line, 1.5, theta[2], count)
    lib.fails(ERROR_SHAPE, str(count.value), "path_parameters", line, 0.5, theta[2],
              count.value - 1)

    options = lib.make("options_create", context, b"curve")
    lib.ok("options_set_i64", options, b"points", 5)
    curve = lib.make("curve_measure", line, train, test, options, NO_PROGRESS, None)
    lib.destroy("options", options)
    lib.destroy("path", line)  # the curve stays

    points = c_int64()
    lib.ok("curve_size", curve, byref(points))
    assert points.value == 5
    loss, accuracy = (c_double * 5)(), (c_double * 5)()
    lib.ok("curve_values", curve, b"nocue", loss, accuracy, 5)
    height = c_double()
    lib.ok("curve_barrier", curve, b"nocue", BARRIER_LINEAR, byref(height))
    expected = max(loss[i] - ((1 - i / 4) * loss[0] + i / 4 * loss[4]) for i in range(5))
    assert math.isclose(height.value, expected, abs_tol=1e-12), (height.value, expected)
    lib.fails(ERROR_UNKNOWN, "no such view", "curve_barrier", curve, b"no such view",
              BARRIER_HALF, byref(height))

    result = lib.json("curve_json", curve)
    assert result["t"] == [0, 0.25, 0.5, 0.75, 1]
    assert set(result["views"]) == {"nocue", "cue", "randcue", "randimg"}
    assert result["views"]["nocue"]["loss"] == list(loss)
    assert result["views"]["nocue"]["accuracy"] == list(accuracy)
    lib.destroy("curve", curve)
    return height.value


def check_compare(lib, a, b, test):
    """Mechanistic similarity of two models; a model is similar to itself or undecided."""
    same = lib.make("compare", a, b, test, None)
    verdict = c_int32()
    lib.ok("comparison_verdict", same, byref(verdict))
    name = lib.verdict_name(verdict).decode()
    assert name in ("similar", "dissimilar", "undecided"), name
    result = lib.json("comparison_json", same)
    assert result["verdict"] == name
    assert set(result["attributes"]) == {"cue", "image"}
    lib.destroy("comparison", same)
    return name


def with_attributes(lib, train, test, calls):
    """Both sets with a cue of ours, the label as brightness of a corner, and an attribute, the
    brightness of another."""

    @CUE
    def draw(_user, _sample, label, value, _random, image, _channels, _height, width):
        calls.append(("cue", label, value))
        image[width - 1] = value / 5 - 1
        return 0

    @INTERVENTION
    def randomise(_user, _sample, _label, random, image, _channels, _height, _width):
        image[0] = random % 201 / 100 - 1
        return 0

    @RELEASE
    def release(_user):
        calls.append(("release", 0, 0))

    made = []
    for data in (train, test):
        cued = lib.make("dataset_with_cue", data, b"corner", 10, draw, release, None)
        made.append(lib.make("dataset_with_attribute", cued, b"light", randomise, release, None))
        lib.destroy("dataset", cued)
    return made, (draw, randomise, release)  # as long as the data are used


def check_callbacks(lib, context, model, train, test):
    """A cue and an attribute of the host's in every view, probe and fine-tuning method."""
    calls = []
    (train, test), keep = with_attributes(lib, train, test, calls)
    image, label = (c_float * 144)(), (c_int32 * 1)()
    corner = {}
    for name in ("nocue", "cue", "randcue", "randimg", "randlight"):
        view = lib.make("dataset_view", train, name.encode(), 1.0)
        lib.ok("dataset_read", view, None, 1, image, label)
        corner[name] = image[11], image[0]
        lib.destroy("dataset", view)
    assert math.isclose(corner["cue"][0], label[0] / 5 - 1, abs_tol=1e-6), corner
    assert corner["randimg"][0] == corner["randlight"][0] == corner["cue"][0], corner
    assert corner["randlight"][1] != corner["cue"][1] == corner["nocue"][1], corner

    probe = lib.make("probe_measure", model, test, None)
    assert set(lib.json("probe_json", probe)["attributes"]) == {"cue", "image", "light"}
    lib.destroy("probe", probe)

    drawn, rest = c_void_p(), c_void_p()
    lib.ok("dataset_split", train, 60, -1, byref(drawn), byref(rest))
    cued = lib.make("dataset_view", rest, b"cue", 1.0)
    for view in (b"nocue", b"randlight"):
        clean = lib.make("dataset_view", drawn, view, 1.0)
        for method in (b"naive", b"llrt", b"lpft", b"cbft"):
            options = lib.make("options_create", context, b"finetune")
            lib.ok("options_parse", options, b"epochs=1,head_epochs=1,batch_size=30")
            lib.ok("options_set_str", options, b"method", method)
            tuned = lib.make("finetune", model, clean, cued, options, NO_PROGRESS, None)
            lib.destroy("model", tuned)
            lib.destroy("options", options)
        lib.destroy("dataset", clean)
    for handle in (drawn, rest, cued, train, test):
        lib.destroy("dataset", handle)
    assert [call[0] for call in calls].count("release") == 4  # cue and attribute, train and test
    assert ("cue", 3, 3) in calls
    del keep


def check_memory(lib, context):
    """Arrays of the caller become a dataset."""
    pixels = array.array("f", [i / 36 for i in range(4 * 36)])
    labels = array.array("i", [0, 1, 0, 1])
    images = (c_float * len(pixels)).from_buffer(pixels)
    targets = (c_int32 * 4).from_buffer(labels)
    data = lib.make("dataset_from_f32", context, images, targets, 4, 1, 6, 6, 2, None)
    values = [c_int64() for _ in range(5)]
    lib.ok("dataset_shape", data, *map(byref, values))
    assert [value.value for value in values] == [4, 1, 6, 6, 2]
    lib.destroy("dataset", data)
    labels[2] = 7
    handle = c_void_p(1)
    lib.fails(ERROR_ARGUMENT, "2", "dataset_from_f32", context, images, targets, 4, 1, 6, 6, 2,
              None, byref(handle))
    assert not handle.value


def check_errors(lib, context, model, data, folder):
    """Every kind of mistake is a code and a text that names it; nothing aborts."""
    handle = c_void_p()
    lib.fails(ERROR_ARGUMENT, "", "context_create", None, None)
    lib.fails(ERROR_UNKNOWN, "trian", "options_create", context, b"trian", byref(handle))
    options = lib.make("options_create", context, b"train")
    lib.fails(ERROR_UNKNOWN, "epoch_count", "options_set_i64", options, b"epoch_count", 3)
    lib.fails(ERROR_ARGUMENT, "momentum", "options_set_f64", options, b"momentum", -1.0)
    # An object of another kind.
    lib.fails(ERROR_ARGUMENT, "train", "dataset_open", context, DATA, b"test", options,
              byref(handle))
    lib.fails(ERROR_UNKNOWN, "no-such-data", "dataset_open", context, b"no-such-data", b"test",
              None, byref(handle))
    missing = os.path.join(folder, "missing.safetensors")
    lib.fails(ERROR_IO, "missing.safetensors", "model_load", context, missing.encode(),
              byref(handle))
    lib.fails(ERROR_UNKNOWN, "vgg99", "model_create", context, b"vgg99", data, None,
              byref(handle))
    plain = lib.make("dataset_open", context, DATA, b"test", None)
    lib.fails(ERROR_UNKNOWN, "randcue", "dataset_view", plain, b"randcue", 1.0, byref(handle))
    lib.destroy("dataset", plain)
    lib.fails(ERROR_CANCELLED, "", "train", model, data, options, PROGRESS(lambda *_: 1), None)
    lib.destroy("options", options)


def main(path):
    lib = Library(path)
    context = lib.make("context_create", None)
    cue = lib.make("options_create", context, b"dataset")
    lib.ok("options_set_str", cue, b"cue", b"box")
    train = lib.make("dataset_open", context, DATA, b"train", cue)
    test = lib.make("dataset_open", context, DATA, b"test", cue)
    lib.destroy("options", cue)
    cued = lib.make("dataset_view", train, b"cue", 0.9)

    a = train_model(lib, context, cued)
    b = train_model(lib, context, train)
    with tempfile.TemporaryDirectory() as folder:
        saved = os.path.join(folder, "a.safetensors").encode()
        lib.ok("model_save", a, saved)
        lib.destroy("model", a)
        a = lib.make("model_load", context, saved)
        height = check_line(lib, context, a, b, train, test)
        verdict = check_compare(lib, a, b, test)
        assert check_compare(lib, a, a, test) != "dissimilar"
        check_callbacks(lib, context, a, train, test)
        check_memory(lib, context)
        check_errors(lib, context, a, cued, folder)

    lib.destroy("context", context)  # in any order
    for kind, handle in (("dataset", train), ("dataset", test), ("dataset", cued), ("model", b),
                         ("model", a), ("model", None)):
        lib.destroy(kind, handle)
    print(f"barrier {height:.3f} nats, mechanistically {verdict}")


if __name__ == "__main__":
    main(sys.argv[1])
