#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks of the source that no compiler makes. Prints TAP, one case a check.

Usage: lint.py    (from anywhere; looks at the files git knows or would add)
"""
import concurrent.futures
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

# docs/ARCHITECTURE.md, "Floors": a file includes its own folder and lower
# floors. Longest prefix wins.
FLOORS = {
    'src/base': 0, 'proto': 0,
    'config': 1, 'src/loop': 1,
    'src/net': 2, 'store': 2, 'middleware': 2, 'src/hub': 2,
    'src/http': 3,
    'src/rpc': 4,
    'src/syncer': 5,
    'src/app': 6,
}

# Functions with a safer sister, or with a door of ours in front.
BANNED = {
    r'\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atof)\s*\(':
        'unbounded or silent about errors',
    r'\b(malloc|calloc|realloc|strdup|strndup)\s*\(': 'use base/mem.h',
    r'(?<![\w.>])free\s*\(': 'use base/mem.h',
    r'\b(gettimeofday|clock_gettime|time)\s*\(': 'use base/clock.h',
    r'\b(sleep|usleep|nanosleep)\s*\(': 'wait for the event',
    r'\bgoto\b': 'use CLEANUP',
}
BANNED_ALLOWED = {
    'src/base/mem.c': ('base/mem.h',),
    'src/base/clock.c': ('base/clock.h',),
}

FUNCTION_LINES = 60  # past this a function should be two, or a table


def git_files():
    out = subprocess.run(
        ['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT,
        capture_output=True, text=True, check=True).stdout
    return [name for name in out.splitlines()
            if os.path.isfile(os.path.join(ROOT, name))]


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as file:
        return file.read()


def without_comments(text):
    """The code, with comments and strings blanked, line for line."""
    def blank(match):
        return re.sub(r'[^\n]', ' ', match[0])
    return re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\])+\'',
                  blank, text, flags=re.S)


def c_files(files):
    return [name for name in files if name.endswith(('.c', '.h'))]


def folder_of(path):
    folders = [folder for folder in FLOORS if path.startswith(folder + '/')]
    return max(folders, key=len) if folders else None


def resolve(include):
    for root in ('', 'src/'):
        if folder_of(root + include):
            return root + include
    return None


def check_floors(files):
    for name in c_files(files):
        own = folder_of(name)
        if not own:
            continue
        for line, text in enumerate(read(name).splitlines(), 1):
            match = re.match(r'\s*#include "([^"]+)"', text)
            target = resolve(match[1]) if match else None
            if not target:
                continue
            other = folder_of(target)
            if other != own and FLOORS[other] >= FLOORS[own]:
                yield f'{name}:{line}: floor {FLOORS[own]} includes {target}'


def check_format(files):
    result = subprocess.run(
        ['clang-format', '--dry-run', '-Werror', *c_files(files)], cwd=ROOT,
        capture_output=True, text=True, check=False)
    for line in result.stderr.splitlines():
        if 'error:' in line:
            yield line


def library_flags():
    """For headers that Debian keeps outside of the compiler's own path."""
    return subprocess.run(['pkg-config', '--cflags', 'libpq'],
                          capture_output=True, text=True,
                          check=True).stdout.split()


def compile_alone(name):
    result = subprocess.run(
        ['gcc', '-std=gnu17', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror',
         '-fsyntax-only', '-I.', '-Isrc', '-Itests', '-isystem',
         'build/proto', '-isystem', 'build/tests/interop', *library_flags(),
         '-x', 'c', '-include', name, '/dev/null'], cwd=ROOT,
        capture_output=True, text=True, check=False)
    return f'{name}: {result.stderr.strip()}' if result.returncode else None


def check_headers_alone(files):
    headers = [name for name in c_files(files) if name.endswith('.h')]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield from filter(None, pool.map(compile_alone, headers))


def check_licence(files):
    for name in files:
        first = read(name).splitlines()[:2] if name.endswith(
            ('.c', '.h', '.py', '.mjs')) or name.startswith(
                ('script/', '.ci/')) else None
        if first is not None and not any(
                'SPDX-License-Identifier: Apache-2.0' in line
                for line in first):
            yield f'{name}: no SPDX line at the top'


def check_banned(files):
    for name in c_files(files):
        if name.startswith('tests/'):
            continue
        allowed = BANNED_ALLOWED.get(name, ())
        for line, text in enumerate(
                without_comments(read(name)).splitlines(), 1):
            for pattern, why in BANNED.items():
                if re.search(pattern, text) and not any(
                        part in why for part in allowed):
                    yield f'{name}:{line}: {text.strip()} ({why})'


def check_unfinished(files):
    for name in files:
        if name.startswith('tests/lint/') or name == 'LICENSE':
            continue
        for line, text in enumerate(read(name).splitlines(), 1):
            if re.search(r'\b(TODO|FIXME|XXX|HACK)\b', text):
                yield f'{name}:{line}: {text.strip()}'


def check_white_space(files):
    for name in files:
        text = read(name)
        if text and not text.endswith('\n'):
            yield f'{name}: no newline at the end'
        for line, content in enumerate(text.splitlines(), 1):
            if content != content.rstrip():
                yield f'{name}:{line}: trailing white space'


def check_scripts(files):
    for name in files:
        if name.startswith(('script/', '.ci/')) or name.endswith('.sh'):
            result = subprocess.run(
                ['bash', '-n', name], cwd=ROOT, capture_output=True,
                text=True, check=False)
            if result.returncode:
                yield f'{name}: {result.stderr.strip()}'


def check_function_length(files):
    for name in c_files(files):
        start = None
        for line, text in enumerate(read(name).splitlines(), 1):
            if text.startswith('{'):
                start = line
            elif text.startswith('}') and start:
                if line - start - 1 > FUNCTION_LINES:
                    yield f'{name}:{start}: {line - start - 1} lines'
                start = None


CHECKS = [
    ('files include only their own folder and lower floors', check_floors),
    ('clang-format has nothing to change', check_format),
    ('every header compiles alone', check_headers_alone),
    ('every source names its licence', check_licence),
    ('no banned function is called', check_banned),
    ('nothing is left for later', check_unfinished),
    ('no stray white space', check_white_space),
    ('scripts parse', check_scripts),
    ('functions are short', check_function_length),
]


def main():
    files = git_files()
    failed = False
    for number, (title, check) in enumerate(CHECKS, 1):
        faults = list(check(files))
        failed |= bool(faults)
        print(f'{"not " if faults else ""}ok {number} - {title}')
        for fault in faults:
            print('# ' + fault.replace('\n', '\n# '))
    print(f'1..{len(CHECKS)}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
