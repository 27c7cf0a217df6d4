# SPDX-License-Identifier: BSD-3-Clause
"""check_includes.py SOURCE_ROOT: every #include points downwards.

ALLOWED is the dependency rule of docs/architecture.md. A folder may include its own headers and
those of the folders named; programs outside lib/ see public headers only; a foreign library is
reached from the folders that own it.
"""

import pathlib
import re
import sys

ALLOWED = {
    "core": set(),
    "io": {"core"},
    "kernels": {"core"},
    "data": {"core", "io"},
    "nn": {"core", "io", "kernels"},
    "train": {"core", "io", "data", "nn"},
    "path": {"core", "io", "data", "nn", "train"},
    "finetune": {"core", "io", "data", "nn", "train", "path"},
    "align": {"core", "io", "kernels", "data", "nn", "train"},
    "measure": {"core", "io", "data", "nn", "train", "path", "finetune", "align"},
}

# Public header: the folder that implements it. Who may include the folder may include the header;
# nn asks a data set for its shape, through the public header alone.
PUBLIC = {
    "dataset.h": "data",
    "model.h": "nn",
    "train.h": "train",
    "path.h": "path",
    "finetune.h": "finetune",
    "align.h": "align",
    "measure.h": "measure",
    "similarity.h": "measure",
}
BESIDES = {("nn", "dataset.h")}

# Headers that no other folder of lib/ includes.
INSIDE = {"nn/graph.h", "kernels/isa.h"}

# Header of a foreign library: the folders of lib/ that may include it.
FOREIGN = {
    "blis.h": {"kernels"},
    "jansson.h": {"io", "align", "measure"},
    "zlib.h": {"data"},
    "zip.h": {"data"},
}
ONE_FILE = {"blis.h"}  # all of BLIS in one source file

PUBLIC_HEADER_INCLUDES = {"stddef.h", "stdint.h"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def includes(path):
    """(brackets, name) of each #include line of a file."""
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def check_lib(root, errors):
    lib = root / "lib"
    folders = {path.name for path in lib.iterdir() if path.is_dir()}
    for folder in sorted(folders - set(ALLOWED)):
        errors.append(f"lib/{folder}: no dependency rule for this folder")
    users = {}
    for folder in sorted(folders & set(ALLOWED)):
        for path in sorted((lib / folder).rglob("*.[ch]")):
            name = path.relative_to(root)
            for bracket, target in includes(path):
                if target in FOREIGN:
                    users.setdefault(target, set()).add(str(name))
                    if folder not in FOREIGN[target]:
                        errors.append(f"{name}: <{target}> belongs to {sorted(FOREIGN[target])}")
                if bracket == "<":
                    owner = PUBLIC.get(target.removeprefix("modeconn/"), folder)
                    if (target == "modeconn/modeconn.h" or
                            (owner not in ALLOWED[folder] | {folder} and
                             (folder, target.removeprefix("modeconn/")) not in BESIDES)):
                        errors.append(f"{name}: {folder} may not include <{target}>")
                    continue
                top = target.split("/")[0]
                if top in ALLOWED and (lib / target).exists():
                    if top != folder and (top not in ALLOWED[folder] or target in INSIDE):
                        errors.append(f"{name}: {folder} may not include {target}")
                elif not (path.parent / target).resolve().is_relative_to(lib / folder):
                    errors.append(f"{name}: \"{target}\" leaves its folder")
    for target in ONE_FILE:
        if len(users.get(target, ())) > 1:
            errors.append(f"<{target}> is included by more than one file: {users[target]}")


def check_public_headers(root, errors):
    for path in sorted((root / "include" / "modeconn").glob("*.h")):
        for bracket, target in includes(path):
            own = (root / "include" / target).exists() and target.startswith("modeconn/")
            if bracket != "<" or not (own or target in PUBLIC_HEADER_INCLUDES):
                errors.append(f"{path.relative_to(root)}: a public header includes {target}")


def check_clients(root, errors):
    """Programs see the public headers, the C library's and their own."""
    for folder in ("tools", "examples"):
        for path in sorted((root / folder).rglob("*.[ch]")):
            for bracket, target in includes(path):
                name = path.relative_to(root)
                if bracket == '"':
                    found = (path.parent / target).resolve()
                    own = found.exists() and found.is_relative_to(root / folder)
                    if folder == "examples" or not own:
                        errors.append(f"{name}: {folder} may not include \"{target}\"")
                elif target.startswith("modeconn/") and not (root / "include" / target).exists():
                    errors.append(f"{name}: no public header {target}")


def main(root):
    errors = []
    check_lib(root, errors)
    check_public_headers(root, errors)
    check_clients(root, errors)
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
