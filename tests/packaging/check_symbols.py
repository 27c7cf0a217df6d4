# SPDX-License-Identifier: BSD-3-Clause
"""check_symbols.py SOURCE_ROOT SHARED_LIBRARY STATIC_ARCHIVE: what the linker sees.

The shared library exports exactly the functions that the headers mark, at the version node, and
no function of the committed ABI baseline is gone (abi.py compares their types). Global names of the archive carry the project's
prefixes. The library holds no call that prints or ends the process.
"""

import pathlib
import re
import subprocess
import sys

import api

NODE = "MODECONN_0"
SONAME = "libmodeconn.so.0"
# A library that never prints, exits, or touches signals and locale imports none of these.
UNWANTED = {"printf", "puts", "putchar", "perror", "vprintf", "exit", "_exit", "abort", "signal",
            "sigaction", "setlocale", "setenv", "putenv", "srand", "rand", "stdout", "stderr",
            "__printf_chk", "__vprintf_chk"}


def run(*command):
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout


def dynamic_symbols(library):
    """(defined {name: version}, undefined names) of the dynamic table."""
    defined, undefined = {}, set()
    for line in run("nm", "-D", "--with-symbol-versions", library).splitlines():
        kind, symbol = line.split()[-2:]
        name, _, version = symbol.partition("@")
        if kind in "Uwv":
            undefined.add(name)
        elif kind != "A":  # the version node itself
            defined[name] = version.lstrip("@")
    return defined, undefined


def main(root, shared, archive):
    errors = []
    declared = api.functions(root)
    exported, imported = dynamic_symbols(shared)

    errors += [f"declared but not exported: {n}" for n in sorted(declared - set(exported))]
    errors += [f"exported but not declared: {n}" for n in sorted(set(exported) - declared)]
    errors += [f"{n} has version {v or 'none'}, not {NODE}"
               for n, v in sorted(exported.items()) if v != NODE]
    errors += [f"the library imports {n}" for n in sorted(imported & UNWANTED)]
    if f"[{SONAME}]" not in run("readelf", "-d", shared):
        errors.append(f"the shared library's name is not {SONAME}")

    baseline = root / "tests" / "abi" / "modeconn-0.xml"
    if baseline.exists():
        promised = re.findall(r"<elf-symbol name='(\w+)'", baseline.read_text(encoding="utf-8"))
        errors += [f"gone since the ABI baseline: {n}" for n in promised if n not in exported]

    for line in run("nm", "-g", "--defined-only", archive).splitlines():
        fields = line.split()
        if len(fields) == 3 and not fields[2].startswith(("mc_", "modeconn_")):
            errors.append(f"global in the archive without a prefix: {fields[2]}")

    for error in errors:
        print(error)
    print(f"{len(exported)} functions exported, {len(declared)} declared")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
