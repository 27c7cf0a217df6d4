# SPDX-License-Identifier: BSD-3-Clause
"""test_summary.py SOURCE_ROOT: the closing line of `make check` and its exit status."""

import json
import os
import subprocess
import sys
import tempfile


def summary(script, *builds):
    """Exit status and last line for builds given as lists of results (None: never tested)."""
    with tempfile.TemporaryDirectory() as root:
        folders = []
        for number, results in enumerate(builds):
            folder = os.path.join(root, f"build{number}")
            os.makedirs(os.path.join(folder, "meson-logs"))
            folders.append(folder)
            if results is None:
                continue
            with open(os.path.join(folder, "meson-logs", "testlog.json"), "w",
                      encoding="utf-8") as log:
                for index, result in enumerate(results):
                    log.write(json.dumps({"name": f"test {index}", "result": result}) + "\n")
        run = subprocess.run([sys.executable, script, *folders], text=True, capture_output=True,
                             check=False)
    return run.returncode, run.stdout.splitlines()[-1]


def main(root):
    script = os.path.join(root, "scripts", "summary.py")
    cases = [
        ((["OK", "SKIP"], ["OK", "OK"]), (0, "3 passed, 0 failed, 1 skipped")),
        ((["OK", "FAIL"], ["TIMEOUT", "ERROR"]), (1, "1 passed, 3 failed, 0 skipped")),
        ((["OK", "INTERRUPT"], ["OK"]), (1, "2 passed, 1 failed, 0 skipped")),
        ((["EXPECTEDFAIL"], ["UNEXPECTEDPASS"]), (1, "1 passed, 1 failed, 0 skipped")),
        ((["OK"], None), (1, "1 passed, 0 failed, 0 skipped")),  # the second did not build
        ((["SKIP"], ["SKIP"]), (1, "0 passed, 0 failed, 2 skipped")),
        (([], []), (1, "0 passed, 0 failed, 0 skipped")),
    ]
    wrong = [(builds, summary(script, *builds), expected) for builds, expected in cases
             if summary(script, *builds) != expected]
    for builds, got, expected in wrong:
        print(f"{builds}: {got}, expected {expected}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
