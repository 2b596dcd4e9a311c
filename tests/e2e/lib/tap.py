# SPDX-License-Identifier: Apache-2.0
"""tap: cases, one TAP line each, and a plan at the end."""

import sys
import traceback

_count = 0
_failed = 0


def diag(text):
    for line in str(text).splitlines():
        print("# " + line, flush=True)


def _report(good, name, suffix=""):
    global _count
    _count += 1
    verdict = "ok" if good else "not ok"
    print(f"{verdict} {_count} - {name}{suffix}", flush=True)


def skip(name, reason):
    _report(True, name, f" # SKIP {reason}")


def case(name, body):
    """Runs one case; it fails by raising."""
    global _failed
    try:
        body()
    except Exception as error:
        _failed += 1
        _report(False, name)
        diag(f"{type(error).__name__}: {error}")
        diag(traceback.format_exc(limit=-2))
        return False
    _report(True, name)
    return True


def end():
    print(f"1..{_count}", flush=True)
    sys.exit(1 if _failed else 0)
