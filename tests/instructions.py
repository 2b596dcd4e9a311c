#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions of a fixed run of every RPC and holds them to
tests/instructions.json. Prints TAP, one case a part of the run.

Times on a shared machine prove nothing; instructions are the same in every
run. The server runs under valgrind's callgrind, with one shard on an empty
SQLite, while build/bench/load calls it on one connection, one call after the
other. Only what runs in tallyd itself and in the libraries that it drives is
counted, each by itself, and how often memory was allocated. libc and libcrypto
choose their code by the processor, and libsecp256k1's takes a path that depends
on the signature, so those are left out.

What the compiler made of our sources can only be compared with what the same
compiler made, and a library with the same version of it: the baseline has an
entry for each. Where it has none the part is skipped.

Usage: instructions.py [--record]    (from anywhere; uses build/)

--record takes this machine's figures as the baseline, after a change that was
meant to change them.
"""
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, 'build')
BASELINE = os.path.join(ROOT, 'tests', 'instructions.json')
sys.path.insert(0, os.path.join(ROOT, 'tests', 'lib'))

import tallyd  # noqa: E402  tests/lib/tallyd.py

TOLERANCE = 0.03
CALLS = 60  # of each part; then constant costs of a part hardly show
RUN_S = 90
# Of tallyd's libraries those whose work depends on what tallyd asks of them and
# on nothing else; by the name that pkg-config knows.
LIBRARIES = {'libnghttp2': 'libnghttp2', 'libsqlite3': 'sqlite3',
             'libprotobuf-c': 'libprotobuf-c'}
ALLOCATORS = {'malloc', 'calloc', 'realloc'}
# The grpc.health Check that the load generator makes before and after a part.
MARK = 'start_check'


class Skipped(Exception):
    """Why nothing can be said."""


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True,
                          check=True).stdout


# ---- what the figures depend on ----

def compiler():
    """"gcc 12.2.0", as the binary itself says."""
    text = output_of('readelf', '--string-dump=.comment',
                     os.path.join(BUILD, 'tallyd'))
    found = re.search(r'GCC: \([^)]*\) ([\d.]+)', text)
    if not found or 'clang' in text:
        raise Skipped('build/tallyd was not made by gcc')
    return f'gcc {found[1]}'


def build_options():
    options = json.loads(output_of('meson', 'introspect', '--buildoptions',
                                   BUILD))
    return {option['name']: option['value'] for option in options}


def sources():
    """What made each object: {object: version}."""
    options = build_options()
    if options['b_sanitize'] != 'none':
        raise Skipped('build/tallyd is sanitized')
    made = {'tallyd': f'{compiler()} -O{options["optimization"]}'}
    for name, package in LIBRARIES.items():
        made[name] = output_of('pkg-config', '--modversion', package).strip()
    return {name: f'{version} {os.uname().machine}'
            for name, version in made.items()}


# ---- one run ----

class Server(tallyd.Server):
    """Under callgrind, which writes a file at each mark."""

    def __init__(self, directory):
        self.prefix = os.path.join(directory, 'counts')
        super().__init__(
            ['valgrind', '--tool=callgrind', '--fair-sched=yes',
             f'--callgrind-out-file={self.prefix}',
             f'--dump-before={MARK}', os.path.join(BUILD, 'tallyd')],
            {'SHARDS': '1',
             'GRPC_LISTEN_ADDRESS': '127.0.0.1:0',
             'GRPC_WEB_LISTEN_ADDRESS': '127.0.0.1:0',
             'METRICS_LISTEN_ADDRESS': 'off',
             'SQLITE_DIR_PATH': os.path.join(directory, 'db'),
             'KEEPALIVE_TIME': '3600'})

    def counts(self, mark):
        """What was counted until the mark, from the one before it."""
        return read_counts(f'{self.prefix}.{mark}')


def read_counts(path):
    """Instructions by object, and 'allocations', of a callgrind profile:
    valgrind's "Callgrind Format Specification"."""
    counts, names = collections.Counter(), {}
    where = called = None
    inclusive = False  # the next line is what a call cost altogether

    def name_of(kind, text):
        number, name = re.match(r'(\(\d+\)) ?(.*)', text).groups()
        if name:
            names[kind, number] = name
        return names[kind, number]

    with open(path, encoding='utf-8', errors='replace') as file:
        for line in file:
            if inclusive:
                inclusive = False
                continue
            key, _, value = line.rstrip('\n').partition('=')
            if key == 'ob':
                where = os.path.basename(name_of('ob', value)).split('.so')[0]
            elif key == 'cob':
                name_of('ob', value)
            elif key == 'fn':
                name_of('fn', value)
            elif key == 'cfn':
                called = name_of('fn', value)
            elif key == 'calls':
                inclusive = True
                if called in ALLOCATORS:
                    counts['allocations'] += int(value.split()[0])
            elif re.match(r'[+*\d-]', line):
                counts[where] += int(line.split()[-1])
    return counts


def measure():
    """{part: {object: count a call}}"""
    wanted = ['tallyd', *LIBRARIES, 'allocations']
    with tempfile.TemporaryDirectory(prefix='tallyd-counts-') as directory:
        server = Server(directory)
        try:
            run = subprocess.run(
                [os.path.join(BUILD, 'bench', 'load'), 'each', '--requests',
                 str(CALLS), '--address', server.address],
                capture_output=True, text=True, timeout=RUN_S, check=False)
        finally:
            server.stop()
        if run.returncode != 0:
            raise RuntimeError(f'{run.stderr} after {run.stdout.split()}')
        parts = {}
        for number, line in enumerate(run.stdout.splitlines()):
            name, calls = line.split()
            counts = server.counts(2 * number + 2)
            parts[name] = {key: round(counts[key] / int(calls), 1)
                           for key in wanted}
        return parts


# ---- comparison ----

def read_baseline():
    with open(BASELINE, encoding='utf-8') as file:
        return json.load(file)


def record(parts, made):
    """Puts the figures of these objects in the place of what was known."""
    baseline = read_baseline() if os.path.exists(BASELINE) else {}
    for part, counts in parts.items():
        for name, count in counts.items():
            version = made.get(name) or made['tallyd']
            baseline.setdefault(part, {}).setdefault(name, {})[version] = count
    with open(BASELINE, 'w', encoding='utf-8') as file:
        json.dump(baseline, file, indent=1, sort_keys=True)
        file.write('\n')


def compare(counts, known, made):
    """(faults, objects without a baseline, what to print) of one part."""
    faults, unknown, said = [], [], []
    for name, count in counts.items():
        version = made.get(name) or made['tallyd']
        base = known.get(name, {}).get(version)
        if base is None:
            unknown.append(f'{name} of {version}')
            continue
        off = count / base - 1 if base else float(count != base)
        said.append(f'{name} {count:.0f} ({off * 100:+.1f} %)')
        if abs(off) > TOLERANCE:
            faults.append(f'{name}: {count:.1f} a call, {off * 100:+.1f} % '
                          f'from {base:.1f}; if it is meant, --record')
    return faults, unknown, ', '.join(said)


def report(parts, made):
    baseline, failed = read_baseline(), False
    for number, (part, counts) in enumerate(parts.items(), 1):
        faults, unknown, said = compare(counts, baseline.get(part, {}), made)
        failed |= bool(faults)
        skip = ''
        if not said:
            skip = f' # SKIP no baseline for {", ".join(unknown)}'
        print(f'{"not " if faults else ""}ok {number} - {part}{skip}')
        for text in [said, *faults, *(f'no baseline for {what}'
                                      for what in unknown if said)]:
            if text:
                print(f'# {text}')
    print(f'1..{len(parts)}')
    return 1 if failed else 0


def main():
    try:
        if not shutil.which('valgrind'):
            raise Skipped('valgrind is not installed')
        made = sources()
        if not any(made['tallyd'] in versions.get('tallyd', {})
                   for versions in read_baseline().values()) and (
                       '--record' not in sys.argv):
            raise Skipped(f'no baseline for {made["tallyd"]}')
        parts = measure()
    except Skipped as why:
        print(f'ok 1 - instructions # SKIP {why}\n1..1')
        return 0
    if '--record' in sys.argv:
        record(parts, made)
        return 0
    return report(parts, made)


if __name__ == '__main__':
    sys.exit(main())
