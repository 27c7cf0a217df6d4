# SPDX-License-Identifier: BSD-3-Clause
"""The public API as the headers declare it."""

import re

COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
FUNCTION = re.compile(r"\bMODECONN_API\s+[\w\s]+?[\s*](modeconn_\w+)\s*\(")


def header_paths(root):
    return sorted((root / "include" / "modeconn").glob("*.h"))


def declarations(root):
    """All public headers in one text, without comments."""
    return "\n".join(COMMENT.sub(" ", path.read_text(encoding="utf-8"))
                     for path in header_paths(root))


def functions(root):
    """Names of the functions marked MODECONN_API; each declared once."""
    names = FUNCTION.findall(declarations(root))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SystemExit(f"declared twice: {twice}")
    return set(names)


def identifiers(root):
    """Every modeconn_ or MODECONN_ word of the headers: functions, types, constants."""
    return set(re.findall(r"\b(?:modeconn|MODECONN)_\w+", declarations(root)))
