# SPDX-License-Identifier: BSD-3-Clause
"""check_format.py SOURCE_ROOT: every C file is as clang-format leaves it.

Versions of clang-format differ in what they write; the committed style is Debian 12's, so any
other version is a skip.
"""

import pathlib
import re
import shutil
import subprocess
import sys

VERSION = "14"
FOLDERS = ("include", "lib", "tools", "examples", "tests")
SKIPPED = 77


def main(root):
    program = shutil.which("clang-format")
    if not program:
        print("clang-format is not installed")
        return SKIPPED
    told = subprocess.run([program, "--version"], text=True, capture_output=True,
                          check=True).stdout
    if not re.search(rf"version {VERSION}\.", told):
        print(f"clang-format {VERSION} is wanted, this is: {told.strip()}")
        return SKIPPED
    files = sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.[ch]"))
    result = subprocess.run([program, "--dry-run", "-Werror", "--ferror-limit=1", *map(str, files)],
                            check=False)
    if result.returncode != 0:
        print("`make format` mends it")
    return 1 if result.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
