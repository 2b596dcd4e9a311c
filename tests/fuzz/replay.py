#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Replays the seed corpora: replay.py BUILD_DIRECTORY. Prints TAP, a case for
each target and seed."""
import glob
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    build = sys.argv[1]
    number = 0
    failed = False
    with tempfile.TemporaryDirectory() as corpora:
        subprocess.run([sys.executable, os.path.join(HERE, 'seeds.py'),
                        corpora], check=True)
        for target in sorted(os.listdir(corpora)):
            program = os.path.join(build, 'tests', 'fuzz', 'fuzz_' + target)
            for seed in sorted(glob.glob(os.path.join(corpora, target, '*'))):
                number += 1
                result = subprocess.run(
                    [program, seed], capture_output=True, text=True,
                    check=False)
                ok = result.returncode == 0
                failed |= not ok
                print(f'{"" if ok else "not "}ok {number} - {target}: '
                      f'{os.path.basename(seed)}')
                for line in '' if ok else result.stderr.splitlines():
                    print('#', line)
    print(f'1..{number}')
    return 1 if failed or not number else 0


if __name__ == '__main__':
    sys.exit(main())
