# SPDX-License-Identifier: BSD-3-Clause
"""check_docs.py SOURCE_ROOT CC...: the documents speak of what is there.

Every modeconn_ name they use is in the headers, every file they name exists, every `make` target
too, and each C program in them compiles.
"""

import pathlib
import re
import subprocess
import sys

import api

TOP_FOLDERS = ("include", "lib", "tools", "examples", "tests", "docs", "scripts", "pkgconfig")
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
PATH = re.compile(r"`((?:%s)/[\w./-]*|[A-Z][\w.]*\.md|Makefile)`" % "|".join(TOP_FOLDERS))
LINK = re.compile(r"\]\(([^)#:]+)\)")
C_FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
# Names beyond the API: the program's own variables and the like.
NOT_API = {"MODECONN_0", "MODECONN_1"}


def main(root, compiler):
    errors = []
    known = api.identifiers(root) | NOT_API
    documents = sorted(root.glob("*.md")) + sorted((root / "docs").glob("*.md"))
    targets = set(re.findall(r"^## (\S+)", (root / "Makefile").read_text(encoding="utf-8"),
                             re.MULTILINE))
    for document in documents:
        text = document.read_text(encoding="utf-8")
        name = document.relative_to(root)
        for word in set(re.findall(r"\b(?:modeconn|MODECONN)_\w+", text)):
            if word not in known and not word.endswith("_"):
                errors.append(f"{name}: {word} is not in the headers")
        for path in PATH.findall(text):
            if not (root / path).exists() and not (document.parent / path).exists():
                errors.append(f"{name}: no file {path}")
        for path in LINK.findall(text):
            if not (document.parent / path).exists():
                errors.append(f"{name}: broken link {path}")
        for target in re.findall(r"`make ([a-z0-9-]+)", text):
            if target not in targets:
                errors.append(f"{name}: no target {target}")
        for language, code in BLOCK.findall(text):
            if language == "c" and "int main(" in code:
                result = subprocess.run(
                    compiler + C_FLAGS + ["-I", str(root / "include"), "-x", "c",
                                          "-fsyntax-only", "-"],
                    input=code, text=True, capture_output=True, check=False)
                if result.returncode != 0:
                    errors.append(f"{name}: the C program does not compile:\n{result.stderr}")
    for error in errors:
        print(error)
    print(f"{len(documents)} documents")
    return 1 if errors or not documents else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2:]))
