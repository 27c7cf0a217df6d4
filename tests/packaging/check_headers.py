# SPDX-License-Identifier: BSD-3-Clause
"""check_headers.py SOURCE_ROOT CC...: every public header stands alone.

Each compiles by itself as strict C99 and, where g++ is installed, as C++98. Each is installed
and included by modeconn.h. No function takes what cannot cross the boundary to another language.
Constants have the numbers that tests/abi/constants.c pins.
"""

import pathlib
import re
import shutil
import subprocess
import sys

import api

C_FLAGS = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-Wstrict-prototypes"]
CXX_FLAGS = ["-std=c++98", "-Wall", "-Wextra", "-pedantic", "-Werror"]
# Only scalars of fixed size and pointers: no variable arguments, no long, no bool.
FORBIDDEN = re.compile(r"\.\.\.|\b(?:long|short|unsigned|bool|_Bool|va_list|float|int)\b")
POINTERS = re.compile(r"(?:const\s+)?\w+\s*\*(?:\s*const)?(?:\s*\*)?")


def compiles(command, language, header):
    # Twice: the guard holds.
    text = f"#include <modeconn/{header}>\n#include <modeconn/{header}>\n"
    result = subprocess.run(command + ["-x", language, "-fsyntax-only", "-"], input=text,
                            text=True, capture_output=True, check=False)
    if result.returncode != 0:
        print(f"{header} as {language}:\n{result.stderr}")
    return result.returncode == 0


def boundary_errors(root):
    """Parameters by value other than int32_t, int64_t, double, size_t or a callback type."""
    text = api.declarations(root)
    errors = []
    for match in re.finditer(r"MODECONN_API\s+([^;]*?)\b(modeconn_\w+)\s*\(([^;]*)\)\s*;", text):
        returned, name, parameters = match.groups()
        by_value = re.sub(POINTERS, "pointer ", parameters)
        bad = FORBIDDEN.search(by_value)
        if bad:
            errors.append(f"{name}: {bad.group()} crosses the boundary")
        if " ".join(returned.split()) not in ("int32_t", "void", "const char *"):
            errors.append(f"{name} returns {returned.strip()}")
    return errors


def constant_errors(root, compiler):
    """Constants that are not pinned, or not to the number that they have."""
    pins = root / "tests" / "abi" / "constants.c"
    result = subprocess.run(compiler + ["-std=c99", "-fsyntax-only", "-I", str(root / "include"),
                                        str(pins)], text=True, capture_output=True, check=False)
    errors = [result.stderr] if result.returncode != 0 else []
    pinned = set(re.findall(r"PINNED\((\w+),", pins.read_text(encoding="utf-8")))
    for body in re.findall(r"enum\s*\{(.*?)\}", api.declarations(root), re.DOTALL):
        for name in re.findall(r"\b(MODECONN_\w+)\s*(?=[=,]|$)", body):
            if name not in pinned:
                errors.append(f"{name} is not pinned in tests/abi/constants.c")
    return errors


def main(root, compiler):
    ok = True
    include = ["-I", str(root / "include")]
    cxx = shutil.which("g++")
    names = [path.name for path in api.header_paths(root)]
    for header in names:
        ok &= compiles(compiler + C_FLAGS + include, "c", header)
        if cxx:
            ok &= compiles([cxx] + CXX_FLAGS + include, "c++", header)
    if not cxx:
        print("g++ is not installed: C++ was not checked")

    installed = (root / "include" / "modeconn" / "meson.build").read_text(encoding="utf-8")
    umbrella = (root / "include" / "modeconn" / "modeconn.h").read_text(encoding="utf-8")
    for header in names:
        if f"'{header}'" not in installed:
            print(f"{header} is not installed")
            ok = False
        if header != "modeconn.h" and f"#include <modeconn/{header}>" not in umbrella:
            print(f"modeconn.h does not include {header}")
            ok = False
    for error in boundary_errors(root) + constant_errors(root, compiler):
        print(error)
        ok = False
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2:]))
