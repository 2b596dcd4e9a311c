#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Has clang-tidy look at the C files, by .clang-tidy; prints TAP, a case a
file. Needs build-clang/, configured, for the flags and the generated code."""
import concurrent.futures
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, 'build-clang')
FILES_AT_ONCE = 8  # a start of clang-tidy costs as much as a file


def sources():
    """Ours, of the compiled: not what the build has generated."""
    with open(os.path.join(BUILD, 'compile_commands.json'),
              encoding='utf-8') as file:
        commands = json.load(file)
    paths = {os.path.realpath(os.path.join(command['directory'],
                                           command['file']))
             for command in commands}
    names = sorted(os.path.relpath(path, ROOT) for path in paths)
    # check's macros, all on one line each, confuse the analyzer.
    return [name for name in names
            if not name.startswith(('build', 'tests/unit', 'tests/store'))]


def look(names):
    result = subprocess.run(
        ['clang-tidy', '-p', BUILD, '--quiet', *names], cwd=ROOT,
        capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return []
    return (result.stdout + result.stderr).splitlines()


def main():
    names = sources()
    groups = [names[at:at + FILES_AT_ONCE]
              for at in range(0, len(names), FILES_AT_ONCE)]
    failed = False
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, (group, output) in enumerate(
                zip(groups, pool.map(look, groups)), 1):
            failed |= bool(output)
            print(f'{"not " if output else ""}ok {number}'
                  f' - clang-tidy has no complaint of {", ".join(group)}')
            for line in output:
                print(f'# {line}')
    print(f'1..{len(groups)}')
    return 1 if failed or not groups else 0


if __name__ == '__main__':
    sys.exit(main())
