#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs what README.md and docs/OPERATIONS.md tell an operator to run.

Commands are the lines of indented blocks, and what stands between backquotes
and begins with a program. Each is run as written by a shell, in a directory
that has a database, or is listed below with why it cannot be: one that is
neither fails. So does a rule for a command that no page has any more.

Usage: documented.py      (TALLYD names the binary; build/tallyd without)
"""
import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, 'tests/e2e/lib'),
                os.path.join(ROOT, 'tests/lib')]

import postgres
import tap
from ports import free_ports

PAGES = ['README.md', 'docs/OPERATIONS.md']
SECONDS = 60
USER = '02' + '5a' * 32

# Programs that may be missing here and are programs all the same.
PROGRAMS = {'tallyd', 'docker', 'systemctl', 'pg_dump', 'sqlite3', 'curl',
            'meson', 'node', 'npm', 'fly', 'flyctl', 'promtool', 'psql'}

# Blocks that are no commands, by how their first line begins.
SHOWN = [
    (r'stored "greeting"', 'what a command prints'),
    (r'time=', 'a line of the log'),
    (r'\[\[services\.ports\]\]', 'a part of fly.toml'),
]

# What is not run, by the whole command, and why.
SKIPPED = [
    (r'docker .*', 'Docker is not to be had in the tests'),
    (r'(compose|state)[ (].*', 'Docker is not to be had in the tests'),
    (r'(systemctl|systemd-sysusers|systemd-run)\b.*',
     'it would change this machine'),
    (r'systemd-analyze .*', 'the suite deploy runs it'),
    (r'(apt|apt-get) .*', 'it would change this machine'),
    (r'(fly|flyctl|gh) .*', 'it needs an account'),
    (r'gdb -p', 'it is for a server that stands still'),
    (r'script/test', 'it is what runs this'),
    (r'script/(bootstrap|bench|release)\b.*',
     'it takes minutes, or changes this machine'),
]


class Here:
    """Where commands run, and what they may speak to."""

    def __init__(self, directory):
        self.directory = directory
        self.tallyd = os.path.abspath(os.path.join(
            ROOT, os.environ.get('TALLYD', 'build/tallyd')))
        self.database = None  # a PostgreSQL; None: there is none
        self.missing = None  # why not
        programs = os.path.join(directory, 'bin')
        os.makedirs(programs)
        os.symlink(self.tallyd, os.path.join(programs, 'tallyd'))
        shutil.copytree(os.path.join(ROOT, 'deploy'),
                        os.path.join(directory, 'deploy'))
        os.symlink(os.path.join(ROOT, 'build'),
                   os.path.join(directory, 'build'))
        for folder in ('system', '../sysusers.d'):
            os.makedirs(os.path.join(directory, 'etc/systemd', folder))
        self.path = os.pathsep.join(
            [programs, *glob.glob('/usr/lib/postgresql/*/bin'),
             os.environ['PATH']])
        self.export = os.path.join(directory, 'export')
        with open(self.export, 'w', encoding='utf-8') as file:
            file.write(an_export())

    def shell(self, command, cwd=None, stdin=None, **env):
        with open(stdin or os.devnull, 'rb') as source:
            return subprocess.run(
                ['bash', '-euo', 'pipefail', '-c', command],
                cwd=cwd or self.directory, stdin=source, capture_output=True,
                text=True, timeout=SECONDS, check=False,
                env={**os.environ, 'PATH': self.path, **env})

    def reset(self):
        """A database with one user, and nothing that a command has made."""
        for name in ('db', 'copy.sqlite', 'FILE', 'records.jsonl'):
            path = os.path.join(self.directory, name)
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.remove(path)
        self.must('tallyd import', stdin=self.export)

    def must(self, command, status=0, **options):
        result = self.shell(command, **options)
        if result.returncode != status:
            raise AssertionError(
                f'{command}: exit status {result.returncode}\n'
                f'{result.stdout}\n{result.stderr}')
        return result.stdout

    def lacks(self, how, command):
        """What is needed to run the command and is not here; None."""
        # `cd` is the shell's own.
        program = re.sub(r'^cd \S+ && ', '', command).split()[0]
        if how in (to_postgres, dumps) and not self.database:
            return self.missing
        if program.isalpha() and not shutil.which(program, path=self.path):
            return f'{program} is not installed'
        return None

    def path_of(self, name):
        return os.path.join(self.directory, name)


def an_export():
    """One user with one record, as docs/OPERATIONS.md describes it."""
    lines = [{'format': 'tallyd-export', 'version': 1},
             {'user': USER, 'counter': 1},
             {'user': USER, 'id': 'a', 'revision': 1, 'schema_version': '1.0',
              'data': 'YQ=='}]
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    digest = hashlib.sha256(text.encode()).hexdigest()
    trailer = {'users': 1, 'records': 1, 'bytes': 1, 'sha256': digest}
    return text + json.dumps(trailer) + '\n'


# ---- how commands are run; each raises if the command fails ----

def plain(here, command):
    here.must(command)


def in_tree(here, command):
    here.must(command, cwd=ROOT)


def with_input(here, command):
    here.must(command, stdin=here.export)


def copies(here, command):
    here.must(command)
    copy = here.path_of(command.split()[-1])
    assert here.must(f"sqlite3 '{copy}' 'SELECT count(*) FROM records'"
                     ).strip() == '1'


def asks_first(here, command):
    """Without --yes it says what there is, and fails."""
    out = here.must(re.sub(r'\bID\b', USER, command), status=1)
    assert '1 records' in out, out


def each_help(here, command):
    names = re.findall(r'^  ([a-z][a-z-]*)', here.must('tallyd --help'),
                       re.M)
    assert len(names) > 5, names
    for name in names:
        here.must(command.replace('COMMAND', name))


def to_postgres(here, command):
    """With our own server's address for the example's."""
    here.must('tallyd export > records.jsonl')
    ours = re.sub(r'postgresql://\S+', here.database, command)
    assert ours != command, 'it names no database'
    here.must(ours)
    assert here.must('tallyd export', DATABASE_URL=here.database) == here.must(
        'tallyd export')


def dumps(here, command):
    """The page names the tool and its format; we add database and file."""
    here.must('tallyd migrate', DATABASE_URL=here.database)
    here.must(f"{command} '{here.database}' > dump")
    assert 'TABLE DATA public records' in here.must('pg_restore --list dump')


def installs(here, command):
    here.must(command, DESTDIR=here.path_of('installed'))
    for name in ('bin/tallyd', 'man/man8/tallyd.8', 'completions/tallyd'):
        assert glob.glob(here.path_of(f'installed/**/{name}'),
                         recursive=True), name


def installs_units(here, command):
    here.must(re.sub(r' /etc/', f' {here.directory}/etc/', command))


def writes_password(here, command):
    here.must(command)
    with open(here.path_of('deploy/.env'), encoding='utf-8') as file:
        assert re.fullmatch(r'POSTGRES_PASSWORD=[0-9a-f]{32}\n', file.read())


@contextlib.contextmanager
def served(here, command, cwd):
    """The address of the server that `command` starts."""
    native, web = [f'127.0.0.1:{port}' for port in free_ports(2)]
    process = subprocess.Popen(
        ['bash', '-c', f'exec {command}'], cwd=cwd, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, 'PATH': here.path, 'GRPC_LISTEN_ADDRESS': native,
             'GRPC_WEB_LISTEN_ADDRESS': web, 'METRICS_LISTEN_ADDRESS': 'off',
             'SQLITE_DIR_PATH': here.path_of('db')})
    late = threading.Timer(SECONDS, process.kill)
    late.start()
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if 'Server listening at' in line:
                break
        else:
            raise AssertionError('it does not serve: ' + ''.join(said[-9:]))
        yield native
    finally:
        late.cancel()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)


def serves(here, command):
    with served(here, command, ROOT) as address:
        assert 'read "greeting"' in here.must(
            f'node example.mjs {address}', cwd=ROOT + '/tests/e2e')


def example(here, command):
    """What npm brings is there already, and the server has another port."""
    with served(here, 'tallyd', here.directory) as address:
        ours = command.replace('npm ci', 'test -d node_modules').replace(
            '127.0.0.1:8080', address)
        assert ours.count(address) == 1
        out = here.must(ours, cwd=ROOT)
    assert out == ('stored "greeting" at revision 1\n'
                   'read "greeting" at revision 1: hello\n'), out


# The first that fits the whole command.
RUN = [
    (r'tallyd (check|migrate|export|stats)', plain),
    (r'tallyd COMMAND --help', each_help),
    (r'tallyd backup [^ ]+', copies),
    (r'tallyd import( --dry-run)?', with_input),
    (r'tallyd purge-user ID', asks_first),
    (r'tallyd export > records\.jsonl', plain),
    (r'DATABASE_URL=\S+ tallyd import < records\.jsonl', to_postgres),
    (r'pg_dump -Fc', dumps),
    (r'meson install -C build', installs),
    (r'promtool (check|test) .*', in_tree),
    (r'install -m 644 deploy/.*', installs_units),
    (r'echo "POSTGRES_PASSWORD=.*', writes_password),
    (r'script/server', serves),
    (r'cd tests/e2e && .*', example),
]


# ---- what the pages have ----

def blocks_of(text):
    """Indented blocks, a list of lines each."""
    for match in re.finditer(r'(?<=\n\n)((?: {4}.*\n|\n(?= {4}))+)', text):
        yield [line[4:] for line in match[1].splitlines()]


def commands_of(block):
    """A block's commands, with the lines that belong to them."""
    whole = ''
    for line in block:
        whole += line.strip() if whole else line
        if whole.endswith('\\'):
            whole = whole[:-1]
        elif whole:
            yield whole
            whole = ''


def is_program(word):
    return word in PROGRAMS or word.startswith('script/') or (
        word.islower() and shutil.which(word) is not None)


def spans_of(text):
    """Commands in running text: two words or more, or a script."""
    prose = re.sub(r'^(?: {4}|\|).*\n', '', text, flags=re.M)
    rows = ''.join(re.findall(r'^\| .*\n', text, flags=re.M))
    for span in re.findall(r'`([^`]+)`', prose + rows):
        command = ' '.join(span.split())
        words = [word for word in command.split()
                 if not re.match(r'[A-Z_]+=', word)]
        if words and is_program(words[0]) and (
                len(words) > 1 or words[0].startswith('script/')):
            yield command


def find(rules, text):
    return next((rule for rule in rules if re.fullmatch(rule[0], text)), None)


def documented():
    """(page, command) of all, each once for a page."""
    for page in PAGES:
        with open(os.path.join(ROOT, page), encoding='utf-8') as file:
            text = file.read()
        found = []
        for block in blocks_of(text):
            if not any(re.match(start, block[0]) for start, _ in SHOWN):
                found += commands_of(block)
        for command in dict.fromkeys([*found, *spans_of(text)]):
            yield page, command


def case(here, page, command, used):
    name = f'{page}: {command[:100]}'
    skipped, rule = find(SKIPPED, command), find(RUN, command)
    if skipped:
        tap.skip(name, skipped[1])
        return

    def body():
        if not rule:
            raise AssertionError(
                'tests/documented.py neither runs nor lists it')
        used.add(rule[0])
        here.reset()
        rule[1](here, command)
    if rule and (missing := here.lacks(rule[1], command)):
        used.add(rule[0])
        tap.skip(name, missing)
        return
    tap.case(name, body)


def all_cases(here):
    used = set()
    for page, command in documented():
        case(here, page, command, used)

    def body():
        assert not (unused := {rule[0] for rule in RUN} - used), unused
    tap.case('every rule is for a command that a page has', body)


def main():
    with tempfile.TemporaryDirectory(prefix='tallyd-documented-') as directory:
        here = Here(directory)
        try:
            with postgres.database() as url:
                here.database = url
                all_cases(here)
        except postgres.Missing as missing:
            here.missing = str(missing)
            all_cases(here)
    tap.end()


if __name__ == '__main__':
    main()
