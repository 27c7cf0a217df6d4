#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""summary.py BUILD_DIR...: sums of the last `meson test` of each folder, in one line."""

import json
import os
import sys

PASSED = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP", "IGNORED"}


def results(build_dir):
    """(test name, result) of each test; a folder that was not built or tested has none."""
    path = os.path.join(build_dir, "meson-logs", "testlog.json")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as log:
        return [(test["name"], test["result"]) for test in map(json.loads, log)]


def main(build_dirs):
    passed = failed = skipped = 0
    complete = True
    for build_dir in build_dirs:
        tests = results(build_dir)
        if not tests:
            print(f"{build_dir}: no test ran", file=sys.stderr)
            complete = False
        for name, result in tests:
            if result in PASSED:
                passed += 1
            elif result in SKIPPED:
                skipped += 1
                print(f"{build_dir}: skipped: {name}")
            else:
                failed += 1
                print(f"{build_dir}: {result.lower()}: {name}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if complete and passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
