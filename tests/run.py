#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the test suites and counts their cases.

Every suite is a program that prints TAP; a suite that ends without a plan,
or with fewer cases than it planned, or that takes too long, counts as one
more failure. Output is kept in build/test-logs/; that of a failing suite is
shown.

Usage: tests/run.py [--thorough] [--list] [SUITE...]
"""
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOGS = os.path.join(ROOT, 'build', 'test-logs')

PYTHON = '/usr/bin/python3'

# Some of the clients need this, and Debian 12 has an older one.
NODE_MAJOR_MIN = 20
NODE_FROM_NPM = '22'
NPM_OF_NODE = '10'
E2E = ['compat', 'raw', 'apikey', 'isolation', 'concurrency', 'ledger',
       'notifications', 'paging', 'overlap', 'upgrade', 'signals',
       'tls', 'logs', 'limits', 'metrics', 'python_client', 'health',
       'reflection', 'interop', 'web', 'web_http1', 'web_cuts', 'web_clients',
       'browser', 'breez_sdk', 'attacks', 'connections', 'history', 'service',
       'restart', 'admin', 'commands']
STORES = ['sqlite', 'postgres']
# Suites that ask something of the store; run on PostgreSQL, too.
E2E_STORE = ['compat', 'isolation', 'concurrency', 'ledger', 'notifications',
             'paging', 'overlap', 'upgrade', 'signals', 'python_client',
             'limits', 'metrics', 'health', 'history', 'restart', 'admin',
             'commands']
# Of those the ones that show most of what a sanitizer looks for in that store,
# which has no threads of its own.
E2E_STORE_ASAN = ['compat', 'concurrency', 'pg_cut']
E2E_STORE_TSAN = ['concurrency', 'notifications', 'metrics']
# Suites that have the server traced, which a sanitizer does not bear.
E2E_TRACED = ['sandbox']
# Suites of what only PostgreSQL has: instances, and a server to lose.
E2E_POSTGRES = ['fleet', 'pg_start', 'pg_faults', 'pg_cut', 'pg_frozen',
                'pg_pooler', 'haproxy']
# Suites that hand work between threads, for the thread sanitizer.
E2E_THREADS = ['compat', 'concurrency', 'notifications', 'signals', 'tls',
               'limits', 'metrics', 'health', 'reflection', 'interop',
               'connections', 'service']

# Suites that measure time, or take all of the machine themselves: nothing runs
# beside them. Of the others some run at a time, most of which wait half of it;
# and beside those some that hardly do anything else.
ALONE = ['lint', 'attacks', 'fleet', 'pg_faults', 'pg_frozen']
WAITING = ['store-postgres', 'store-sqlite', 'pg_pooler', 'pg_start', 'apikey',
           'health', 'web_http1', 'python_client', 'signals']
AT_ONCE = 3
WAITING_AT_ONCE = 2
# What only works, and has time: it gets what those leave of the cores, and does
# not disturb them. (Beside the others, which leave little, it would.)
BACKGROUND = ['tidy']
BACKGROUND_S = 1200
WHEN_IDLE = ['chrt', '--idle', '0']
# What takes longest begins first, so that it does not end last, alone.
LONG = ('breez_sdk', 'store-', 'notifications', 'overlap', 'unit', 'admin',
        'tls', 'pg_pooler', 'pg_start')

# Of which every suite has a part, as tests/lib/ports.py tells.
PORTS = range(10000, 30000)

# Sanitized servers are slow, and what they look for shows at small loads.
SANITIZED_SCALE = '0.2'
# On a second store the same amounts would show little more.
POSTGRES_SCALE = '0.2'
SANITIZERS = {
    'ASAN_OPTIONS': 'detect_leaks=1:abort_on_error=1:quarantine_size_mb=16',
    'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1',
    'TSAN_OPTIONS': 'halt_on_error=1:second_deadlock_stack=1',
}


class Build:
    """A build directory and how it is configured."""

    def __init__(self, directory, compiler, *options):
        self.directory = directory
        self.compiler = compiler
        self.options = ['-Dtests=true', '-Dwerror=true', *options]

    def commands(self):
        ninja = os.path.join(ROOT, self.directory, 'build.ninja')
        if not os.path.exists(ninja):
            yield ['meson', 'setup', self.directory, *self.options]
        else:
            # Unlike `meson configure` it knows options that are new.
            yield ['meson', 'setup', '--reconfigure', self.directory,
                   *self.options]
        yield ['ninja', '-C', self.directory, '--quiet']


GCC = Build('build', 'gcc', '-Dbench=true')
CLANG = Build('build-clang', 'clang', '-Dbench=true')
# As their documentation has it: twice as fast to build, hardly slower to run.
ASAN = Build('build-asan', 'gcc', '-Db_sanitize=address,undefined',
             '-Doptimization=1')
TSAN = Build('build-tsan', 'gcc', '-Db_sanitize=thread', '-Doptimization=1')


class Suite:
    """A program that prints TAP; with `on_postgres`, one that is told of the
    server that suites share."""

    def __init__(self, name, command, timeout_s, env=None, on_postgres=False):
        self.name = name
        self.command = command
        self.timeout_s = timeout_s
        self.env = env or {}
        self.on_postgres = on_postgres
        self.alone = name.split('-')[0] in ALONE
        self.waits = name.startswith(tuple(WAITING))
        self.background = name in BACKGROUND
        self.ports = None


class Postgres:
    """The PostgreSQL that suites share, started for the first that asks. It
    ends with its standard input, hence with this process."""

    def __init__(self):
        self.lock = threading.Lock()
        self.process = None
        self.answer = {}

    def start(self):
        with self.lock:
            if self.process:
                return
            self.process = subprocess.Popen(
                [PYTHON, os.path.join(ROOT, 'tests/lib/postgres.py')],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            # Without a word: the suites will find out why, and fail.
            self.answer = json.loads(self.process.stdout.readline() or '{}')

    def env(self):
        self.start()
        return {'TEST_DATABASE_URL': self.answer.get('url', ''),
                'TEST_DATABASE_TEMPORARY': '1'}

    def missing(self):
        """Why there is none; None when there is one."""
        self.start()
        return self.answer.get('missing')

    def end(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


POSTGRES = Postgres()


def unit_suites(label, build, timeout_s, stores=STORES):
    tests = os.path.join(ROOT, build.directory, 'tests')
    env = SANITIZERS
    if build in (ASAN, TSAN):
        # All cases in one process: to make one takes a sanitizer longer than
        # most cases. Elsewhere each has its own.
        env = {**env, 'CK_FORK': 'no'}
    yield Suite(f'unit{label}', [f'{tests}/unit/unit-tests'], timeout_s, env)
    yield Suite(f'fuzz-seeds{label}',
                [PYTHON, 'tests/fuzz/replay.py', build.directory], timeout_s,
                SANITIZERS)
    for backend in stores:
        postgres = backend == 'postgres'
        # One operation after the other, most of them flushed.
        env = {'STORE_MODEL_OPS': '2000'} if postgres else {}
        yield Suite(f'store-{backend}{label}',
                    [f'{tests}/store/store-suite', backend], 2 * timeout_s,
                    {**SANITIZERS, **env}, on_postgres=postgres)


def e2e_suites(label, build, names, scale, timeout_s, thorough,
               on_postgres=False):
    env = {'TALLYD': f'{build.directory}/tallyd', 'E2E_SCALE': scale,
           **SANITIZERS}
    if thorough:
        env['E2E_THOROUGH'] = '1'
    if on_postgres:
        env['E2E_STORE'] = 'postgres'
    for name in names:
        python = name.startswith('python')
        folder = 'interop' if name == 'interop' else 'e2e'
        program = f'tests/{folder}/{name}.{"py" if python else "mjs"}'
        yield Suite(f'{name}{label}',
                    [PYTHON if python else 'node', program], timeout_s, env,
                    on_postgres)


def postgres_suites(thorough):
    """What the store's suites find on SQLite, on PostgreSQL."""
    names, scale = E2E_STORE, POSTGRES_SCALE
    if thorough:
        # gRPC's test service stores nothing.
        names, scale = [name for name in E2E if name != 'interop'], '1'
    yield from e2e_suites('-pg', GCC, names, scale, 180, thorough,
                          on_postgres=True)
    yield from e2e_suites('', GCC, E2E_POSTGRES, '1', 180, thorough,
                          on_postgres=True)


def plan(thorough):
    """Builds and suites, in the order in which they run."""
    scale, threads = SANITIZED_SCALE, E2E_THREADS
    pg_asan, pg_tsan, stores = E2E_STORE_ASAN, E2E_STORE_TSAN, ['sqlite']
    if thorough:
        scale, threads = '1', E2E
        # Memory and time are what pg_frozen measures.
        pg_asan = pg_tsan = E2E_STORE + [
            name for name in E2E_POSTGRES if name != 'pg_frozen']
        stores = STORES
    yield GCC
    yield Suite('lint', [PYTHON, 'tests/lint/lint.py'], 120)
    yield Suite('instructions', [PYTHON, 'tests/instructions.py'], 180)
    yield Suite('documented', [PYTHON, 'tests/documented.py'], 180)
    yield from unit_suites('', GCC, 120)
    yield Suite('deploy', [PYTHON, 'tests/deploy.py', 'build/tallyd'], 120)
    yield from e2e_suites('', GCC, E2E + E2E_TRACED, '1', 180, thorough)
    yield from postgres_suites(thorough)
    if thorough:
        yield Suite('package', [PYTHON, 'tests/package.py'], 600)
    yield CLANG
    yield from unit_suites('-clang', CLANG, 120, stores)
    yield Suite('tidy', [*WHEN_IDLE, PYTHON, 'tests/lint/tidy.py'],
                BACKGROUND_S)
    yield ASAN
    yield from unit_suites('-asan', ASAN, 300)
    yield from e2e_suites('-asan', ASAN, E2E, scale, 600, thorough)
    yield from e2e_suites('-pg-asan', ASAN, pg_asan, scale, 600, thorough,
                          on_postgres=True)
    yield TSAN
    yield from unit_suites('-tsan', TSAN, 300, stores)
    yield from e2e_suites('-tsan', TSAN, threads, scale, 600, thorough)
    yield from e2e_suites('-pg-tsan', TSAN, pg_tsan, scale, 600, thorough,
                          on_postgres=True)


def say(text):
    sys.stdout.write(f'{text}\n')
    sys.stdout.flush()


def run_logged(command, log_path, timeout_s, env):
    """Exit status, or None when the time was up; its group is killed."""
    with open(log_path, 'ab') as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, env={**os.environ, **env},
            start_new_session=True)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


class Counts:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        text = f'{self.passed} passed, {self.failed} failed'
        return f'{text}, {self.skipped} skipped' if self.skipped else text


def count_tap(log_path, status):
    """The cases of a log, and a sentence when it is not a whole run."""
    counts, planned = Counts(), None
    with open(log_path, encoding='utf-8', errors='replace') as log:
        for line in log:
            case = re.match(r'(not )?ok \d+', line)
            bounds = re.match(r'1\.\.(\d+)\s*$', line)
            if bounds:
                planned = int(bounds[1])
            elif line.startswith('# SKIPPED: '):
                # libcheck has no word for it: the case will say "ok".
                counts.skipped += 1
                counts.passed -= 1
            elif case and re.search(r'# SKIP', line, re.IGNORECASE):
                counts.skipped += 1
            elif case and case[1]:
                counts.failed += 1
            elif case:
                counts.passed += 1
    seen = counts.passed + counts.failed + counts.skipped
    fault = None
    if status is None:
        fault = 'it took too long'
    elif planned is None or planned != seen or seen == 0:
        fault = f'{seen} cases of {planned or "no plan"}'
    elif status != 0 and counts.failed == 0:
        fault = f'exit status {status}'
    if fault:
        counts.failed += 1
    return counts, fault


def complaints(log_path):
    """What a log says beside "ok", as lines below another."""
    with open(log_path, encoding='utf-8', errors='replace') as log:
        return ''.join('\n    ' + line.rstrip()[:400] for line in log
                       if not line.startswith('ok '))


def run_suite(suite):
    log_path = os.path.join(LOGS, suite.name + '.tap')
    if os.path.exists(log_path):
        os.remove(log_path)
    if suite.on_postgres and POSTGRES.missing():
        say(f'{suite.name}: SKIPPED: {POSTGRES.missing()}')
        counts = Counts()
        counts.skipped = 1
        return counts
    env = {**suite.env, **(POSTGRES.env() if suite.on_postgres else {}),
           'TEST_PORTS': f'{suite.ports[0]}-{suite.ports[-1]}'}
    begun = time.monotonic()
    try:
        status = run_logged(suite.command, log_path, suite.timeout_s, env)
    except OSError as error:
        with open(log_path, 'w', encoding='utf-8') as log:
            log.write(f'{error}\n')
        status = -1
    counts, fault = count_tap(log_path, status)
    took = time.monotonic() - begun
    say(f'{suite.name}: {counts} ({took:.1f} s)'
        + (f' — {fault}' if fault else '')
        + (complaints(log_path) if counts.failed else ''))
    return counts


def run_build(build):
    """A build counts as one case: it compiles without a warning."""
    log_path = os.path.join(LOGS, build.directory + '.log')
    counts = Counts()
    begun = time.monotonic()
    for command in build.commands():
        if run_logged(command, log_path, 600, {'CC': build.compiler}) != 0:
            counts.failed = 1
            say(f'{build.directory}: does not build' + complaints(log_path))
            return counts
    counts.passed = 1
    say(f'{build.directory}: built with {build.compiler}'
        f' ({time.monotonic() - begun:.1f} s)')
    return counts


def node_version():
    """The major version of the Node.js that would be run; 0 for none."""
    try:
        output = subprocess.run(['node', '--version'], capture_output=True,
                                text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(output.lstrip('v').split('.')[0])


def use_new_node():
    """Puts a Node.js from npm first in the path, if this one is too old, with
    its own npm: Debian's links what it compiles to Debian's Node.js. A machine
    for which npm has none goes on with the old."""
    machine = {'x86_64': 'x64', 'aarch64': 'arm64'}.get(os.uname().machine)
    if node_version() >= NODE_MAJOR_MIN or not machine:
        return
    prefix = os.path.join(ROOT, 'build', 'node')
    package = f'node-linux-{machine}'
    modules = os.path.join(prefix, 'node_modules')
    home = os.path.join(modules, package)
    node, npm = os.path.join(home, 'bin'), os.path.join(modules, '.bin')
    if not (os.path.exists(os.path.join(node, 'node'))
            and os.path.exists(os.path.join(npm, 'npm'))):
        subprocess.run(['npm', 'install', '--silent', '--no-save', '--prefix',
                        prefix, f'{package}@{NODE_FROM_NPM}',
                        f'npm@{NPM_OF_NODE}'], check=True)
    os.environ['PATH'] = os.pathsep.join([node, npm, os.environ['PATH']])
    os.environ['npm_config_nodedir'] = home  # for what is compiled


def install_npm_packages():
    """Once, and again when the list of packages has changed, or Node.js: what
    is compiled for one cannot be loaded by the next, and is left out when it
    cannot be compiled."""
    lock = os.path.join(ROOT, 'tests/e2e/package-lock.json')
    done = os.path.join(ROOT, 'tests/e2e/node_modules/.for-node')
    version = str(node_version())
    if os.path.exists(done) and os.path.getmtime(done) >= os.path.getmtime(
            lock):
        with open(done, encoding='utf-8') as stamp:
            if stamp.read() == version:
                return
    # The Breez SDK's SQLite may have to be compiled, which takes a minute if
    # the compiler is to think about it.
    subprocess.run(['npm', 'ci', '--no-audit', '--no-fund', '--silent'],
                   cwd=os.path.join(ROOT, 'tests/e2e'), check=True,
                   env={**os.environ, 'CFLAGS': '-O0', 'CXXFLAGS': '-O0'})
    with open(done, 'w', encoding='utf-8') as stamp:
        stamp.write(version)


def wanted(item, names):
    return not names or isinstance(item, Build) or any(
        item.name.startswith(name) for name in names)


def give_ports(suites):
    each = len(PORTS) // max(len(suites), 1)
    for number, suite in enumerate(suites):
        suite.ports = PORTS[number * each:(number + 1) * each]


def run_side_by_side(suites):
    """Those that work and those that wait, what takes longest first."""
    suites = sorted(suites, key=lambda suite: not suite.name.startswith(LONG))
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as work, \
            concurrent.futures.ThreadPoolExecutor(WAITING_AT_ONCE) as wait:
        running = [(wait if suite.waits else work).submit(run_suite, suite)
                   for suite in suites]
        return [one.result() for one in running]


def run_all(items):
    """All builds first: then nobody waits for the end of a build's suites."""
    suites = [item for item in items if isinstance(item, Suite)]
    give_ports(suites)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        installing = pool.submit(install_npm_packages)
        counts = [run_build(item) for item in items if isinstance(item, Build)]
        installing.result()
    counts += run_side_by_side([suite for suite in suites
                                if not suite.alone and not suite.background])
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        beside = [pool.submit(run_suite, suite)
                  for suite in suites if suite.background]
        counts += [run_suite(suite) for suite in suites if suite.alone]
        counts += [one.result() for one in beside]
    total = Counts()
    for some in counts:
        total.add(some)
    return total


def main():
    arguments = sys.argv[1:]
    thorough = '--thorough' in arguments
    names = [name for name in arguments if not name.startswith('-')]
    items = [item for item in plan(thorough) if wanted(item, names)]
    # A build whose suites are not wanted is not wanted either.
    items = [item for at, item in enumerate(items)
             if not names or isinstance(item, Suite)
             or isinstance(items[min(at + 1, len(items) - 1)], Suite)]
    if '--list' in arguments:
        for item in items:
            if isinstance(item, Suite):
                say(item.name)
        return 0
    shutil.rmtree(LOGS, ignore_errors=True)
    os.makedirs(LOGS)
    use_new_node()
    try:
        total = run_all(items)
    finally:
        POSTGRES.end()
    say(str(total))
    return 1 if total.failed or not total.passed else 0


if __name__ == '__main__':
    sys.exit(main())
