# SPDX-License-Identifier: BSD-3-Clause
"""ctypes_null.py SOURCE_ROOT LIBRARY: every public function with NULL for its pointers.

The headers say what to call, so a new function is tested from its first day. First all arguments
are zero or NULL; then all are good but one pointer, each in its turn. Nothing may crash, every
status is a pinned code, and a handle, text or array that is needed is MODECONN_ERROR_ARGUMENT with
a text that names it.
"""

import ctypes
import os
import pathlib
import re
import sys
import tempfile
from ctypes import byref, c_char_p, c_double, c_int32, c_int64, c_void_p

import api

ERROR_ARGUMENT = -1
ROOM = 1 << 16  # values of every array
PROTOTYPE = re.compile(r"\bMODECONN_API\s+([\w\s]+?[\s*]+)(modeconn_\w+)\s*\(([^;]*?)\)\s*;")

# Functions that need no pointer; destroy functions, which give nothing, besides.
NEEDLESS = {"modeconn_version", "modeconn_status_name", "modeconn_last_error",
            "modeconn_last_error_copy", "modeconn_build_info", "modeconn_verdict_name"}

# Functions whose pointers are outputs that nobody has to want.
WANTLESS = {"modeconn_architecture_describe", "modeconn_finetune_method_describe"}

# Inputs for which NULL stands for something.
OPTIONAL = {
    ("modeconn_options_create", "context"), ("modeconn_model_create", "like"),
    ("modeconn_graph_add", "name"), ("modeconn_graph_add", "settings"),
    ("modeconn_model_set_metadata", "value"), ("modeconn_dataset_read", "indices"),
    ("modeconn_dataset_cue_values", "indices"), ("modeconn_finetune", "cued"),
    # No batch norm here whose statistics would have to be taken.
    ("modeconn_evaluate", "train"), ("modeconn_curve_measure", "train"),
    ("modeconn_connectivity_measure", "train"), ("modeconn_patterns_measure", "train"),
}

TEXTS = {"kind": "train", "key": "epochs", "value": "3", "text": "3", "settings": "epochs=3",
         "spec": "shapes:size=8,train=40,test=20", "split": "train", "view": "nocue",
         "name": "extra", "arch": "mlp", "attribute": "cue", "group": "layers.0",
         "family": "linear", "column": "loss", "type": "relu"}
TEXTS_OF = {("modeconn_options_set_str", "key"): "schedule",
            ("modeconn_options_set_str", "value"): "step",
            ("modeconn_options_get_str", "key"): "schedule",
            ("modeconn_options_get_f64", "key"): "momentum"}
NUMBERS = {"n": 2, "n_inputs": 1, "channels": 1, "height": 8, "width": 8, "classes": 2,
           "capacity": ROOM, "count": 2, "range": 10, "epochs": 1, "output": 1}


class Parameter:
    def __init__(self, text):
        self.name = re.search(r"(\w+)$", text).group(1)
        self.stars = text.count("*")
        self.type = re.search(r"(\w+)[\s*]", text.replace("const ", "").strip() + " ").group(1)
        self.callback = self.type.endswith("_fn")
        self.pointer = self.stars > 0 or self.callback
        self.handle = self.stars > 0 and self.type.startswith("modeconn_") and not self.callback
        # What the function reads: `const T *`, or a handle that it changes.
        self.input = self.stars == 1 and (text.lstrip().startswith("const") or self.handle) or (
            self.stars == 2 and "*const *" in text)


def prototypes(root):
    """(name, return type, parameters) of every public function."""
    for result, name, arguments in PROTOTYPE.findall(api.declarations(root)):
        parameters = [] if arguments.strip() in ("", "void") else [
            Parameter(" ".join(argument.split())) for argument in arguments.split(",")]
        yield name, result.strip(), parameters


class Calls:
    def __init__(self, path, folder):
        self.library = ctypes.CDLL(path)
        self.file = os.path.join(folder, "file").encode()
        self.handles = {}
        self.keep = []
        self.library.modeconn_last_error.restype = c_char_p
        self.library.modeconn_status_name.restype = c_char_p

    def text(self):
        return self.library.modeconn_last_error().decode()

    def make(self, name, *arguments):
        handle = c_void_p()
        status = getattr(self.library, name)(*arguments, byref(handle))
        assert status == 0 and handle.value, f"{name}: {status}: {self.text()}"
        return handle

    def make_handles(self):
        """One of every type, as small as can be."""
        made = self.handles
        null = c_void_p()
        made["context"] = context = self.make("modeconn_context_create", null)
        made["options"] = self.make("modeconn_options_create", context, b"train")
        cue = self.make("modeconn_options_create", context, b"dataset")
        assert self.library.modeconn_options_set_str(cue, b"cue", b"box") == 0
        made["dataset"] = data = self.make("modeconn_dataset_open", context,
                                           TEXTS["spec"].encode(), b"test", cue)
        size = self.make("modeconn_options_create", context, b"model")
        assert self.library.modeconn_options_set_str(size, b"hidden", b"4") == 0
        made["model"] = model = self.make("modeconn_model_create", context, b"mlp", data, size)
        made["graph"] = self.make("modeconn_graph_create", context, c_int64(1), c_int64(8),
                                  c_int64(8))
        made["history"] = self.make("modeconn_model_history", model)
        made["trainer"] = self.make("modeconn_trainer_create", model, data, null)
        made["path"] = path = self.make("modeconn_path_create", model, model, null)
        made["fitter"] = self.make("modeconn_fitter_create", path, data, null)
        made["symmetry"] = self.make("modeconn_symmetry_create", model)
        made["alignment"] = self.make("modeconn_align", model, model, data, null, null, null)
        made["evaluation"] = self.make("modeconn_evaluate", model, data, data, null, null, null)
        made["probe"] = self.make("modeconn_probe_measure", model, data, null)
        made["comparison"] = self.make("modeconn_compare", model, model, data, null)
        for kind in ("curve", "connectivity", "patterns"):
            made[kind] = self.make(f"modeconn_{kind}_measure", path, data, data, null, null, null)
        made["cka"] = self.make("modeconn_cka_measure", model, model, data, null, null, null)
        for name, handle in (("options", cue), ("options", size)):
            getattr(self.library, f"modeconn_{name}_destroy")(handle)

    def room(self):
        memory = (c_double * ROOM)()
        self.keep.append(memory)
        return ctypes.cast(memory, c_void_p)

    def good(self, function, parameter):
        """An argument that the function may take."""
        if parameter.callback or parameter.name == "user":
            return c_void_p()
        if parameter.stars == 2 and parameter.type == "modeconn_model" and parameter.input:
            pair = (c_void_p * 2)(self.handles["model"], self.handles["model"])
            self.keep.append(pair)
            return ctypes.cast(pair, c_void_p)
        if parameter.handle and parameter.stars == 1:
            kind = parameter.type.removeprefix("modeconn_")
            if kind == "options" and not function.startswith("modeconn_options_"):
                return c_void_p()  # every default
            return self.handles[kind]
        if parameter.pointer and parameter.type == "char" and parameter.input:
            if parameter.name in ("path", "file"):
                return c_char_p(self.file)
            text = TEXTS_OF.get((function, parameter.name)) or TEXTS[parameter.name]
            return c_char_p(text.encode())
        if parameter.pointer:
            return self.room()
        if parameter.type == "double":
            return c_double(0.5)
        return (c_int32 if parameter.type == "int32_t" else c_int64)(
            NUMBERS.get(parameter.name, 0))

    def call(self, function, arguments):
        print(function, flush=True)  # the last line tells who crashed
        status = getattr(self.library, function)(*arguments)
        name = self.library.modeconn_status_name(c_int32(status))
        assert name != b"unknown status", f"{function}: {status}"
        return status


def check_zeros(calls, function, parameters):
    zeros = [c_void_p() if p.pointer else c_double(0) if p.type == "double" else c_int64(0)
             for p in parameters]
    status = calls.call(function, zeros)
    assert status == ERROR_ARGUMENT, f"{function} with zeros: {status}: {calls.text()}"


def check_each(calls, function, parameters):
    for missing in (p for p in parameters if p.pointer):
        arguments = [c_void_p() if p is missing else calls.good(function, p) for p in parameters]
        status = calls.call(function, arguments)
        calls.keep.clear()
        options = missing.type == "modeconn_options" and not function.startswith(
            "modeconn_options_")
        needed = missing.input and not options and missing.name != "user" and (
            function, missing.name) not in OPTIONAL
        if needed or (missing.handle and missing.stars == 2 and missing.name == "out"):
            assert status == ERROR_ARGUMENT and missing.name in calls.text(), (
                f"{function} without {missing.name}: {status}: {calls.text()}")


def main(root, library):
    with tempfile.TemporaryDirectory() as folder:
        calls = Calls(library, folder)
        calls.make_handles()
        count = 0
        for function, result, parameters in prototypes(root):
            if function in NEEDLESS:
                continue
            if function.endswith("_destroy"):
                assert result == "void" and len(parameters) == 1, function
                getattr(calls.library, function)(c_void_p())
                continue
            assert result == "int32_t", function
            if function not in WANTLESS:
                check_zeros(calls, function, parameters)
            check_each(calls, function, parameters)
            count += 1
        print(f"{count} functions")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2])
