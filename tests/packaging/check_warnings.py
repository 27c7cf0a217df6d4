# SPDX-License-Identifier: BSD-3-Clause
"""check_warnings.py SOURCE_ROOT BUILD_ROOT: no warning from gcc or from clang.

Compiles every C file of the build once more with its own flags and -Werror, by each compiler
that is installed; skipped where neither is.
"""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wstrict-prototypes",
            "-Wmissing-prototypes", "-Wvla", "-Werror"]
SKIPPED = 77


def compile_flags(command):
    """The preprocessor and machine flags of a compile command."""
    words = iter(shlex.split(command)[1:])
    flags = []
    for word in words:
        if word in ("-isystem", "-include"):
            flags += [word, next(words)]
        elif word.startswith("-fdiagnostics"):
            continue
        elif word.startswith(("-I", "-D", "-m", "-f", "-std=", "-pthread", "-isystem")):
            flags.append(word)
    return flags


def main(root, build):
    with open(build / "compile_commands.json", encoding="utf-8") as commands:
        jobs = {}
        for entry in json.load(commands):
            source = (build / entry["file"]).resolve()
            # One source can be compiled several times, once per instruction set.
            flags = compile_flags(entry["command"])
            isa = tuple(f for f in flags if f.startswith(("-m", "-D")))
            if source.suffix == ".c" and source.is_relative_to(root):
                jobs[(source, isa)] = flags
    compilers = {}
    for program in ("gcc", "clang"):
        path = shutil.which(program)
        if path:
            # clang's analysis does not depend on the optimiser; gcc's does.
            compilers[path] = ["-O2"] if program == "gcc" else ["-O0"]
    if not compilers:
        print("neither gcc nor clang is installed")
        return SKIPPED

    with tempfile.TemporaryDirectory() as scratch:
        def compile_one(job):
            compiler, level, source, flags, number = job
            return subprocess.run([compiler, *flags, *level, *WARNINGS, "-c", str(source), "-o",
                                   f"{scratch}/{number}.o"], cwd=build, text=True,
                                  capture_output=True, check=False)

        work = [(compiler, level, source, flags, number)
                for compiler, level in compilers.items()
                for number, ((source, _), flags) in enumerate(sorted(jobs.items()))]
        work = [(c, l, s, f, f"{os.path.basename(c)}{n}") for c, l, s, f, n in work]
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(compile_one, work))
    bad = [result for result in results if result.returncode != 0]
    for result in bad:
        print(result.stderr)
    print(f"{len(work)} compilations by {sorted(compilers)}, {len(bad)} with warnings")
    return 1 if bad or not work else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()))
