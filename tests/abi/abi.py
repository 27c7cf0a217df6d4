# SPDX-License-Identifier: BSD-3-Clause
"""abi.py check|write SOURCE_ROOT CC...: the ABI that the public headers describe.

check  compares it with the committed baseline; additions pass, anything else fails
write  writes the baseline anew (docs/abi.md says when)

The headers' functions are compiled with empty bodies into a library that libabigail looks at.
The real library has the same functions (check_symbols.py) under the same prototypes (the compiler
sees to that), but its debug information is full of private types, which are nobody's ABI.
Numbers of constants are not in a library: constants.c pins them.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "packaging"))
import api  # noqa: E402

SKIPPED = 77
FUNCTION = re.compile(r"MODECONN_API\s+([^;]*?\b(modeconn_\w+)\s*\([^;]*\))\s*;")


def stub(root):
    """A C file that defines every public function and does nothing."""
    lines = ["#include <modeconn/modeconn.h>"]
    for prototype, _ in FUNCTION.findall(api.declarations(root)):
        body = "{}" if prototype.startswith("void ") else "{ return 0; }"
        lines.append(f"{prototype} {body}")
    return "\n".join(lines) + "\n"


def compile_stub(root, compiler, folder):
    library = folder / "libmodeconn.so.0"
    (folder / "stub.c").write_text(stub(root), encoding="utf-8")
    subprocess.run([*compiler, "-std=c99", "-g", "-w", "-shared", "-fPIC", "-I",
                    str(root / "include"), f"-Wl,--version-script={root / 'lib' / 'modeconn.map'}",
                    "-Wl,-soname,libmodeconn.so.0", "stub.c", "-o", str(library)],
                   cwd=folder, check=True)
    return library


def main(job, root, compiler):
    baseline = root / "tests" / "abi" / "modeconn-0.xml"
    program = "abidw" if job == "write" else "abidiff"
    if not shutil.which(program):
        print(f"{program} is missing; install it first: apt-get install -y abigail-tools")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        library = compile_stub(root, compiler, pathlib.Path(folder))
        if job == "write":
            return subprocess.run(
                [program, "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs",
                 "--no-elf-needed", "--out-file", str(baseline), str(library)],
                check=False).returncode
        return subprocess.run([program, "--no-added-syms", str(baseline), str(library)],
                              check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:]))
