#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the scenarios of scenarios.py, each on a server of its own, and writes
a table, JSON and pictures. docs/PERFORMANCE.md says what the figures mean.

Run it by script/bench, which builds what it needs.
"""
import argparse
import contextlib
import json
import os
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(ROOT, 'tests', 'lib')]

import postgres  # noqa: E402  tests/lib/postgres.py
from ports import free_port  # noqa: E402  tests/lib/ports.py
import report  # noqa: E402
import scenarios  # noqa: E402
import tallyd  # noqa: E402  tests/lib/tallyd.py

CROWD_S = 60
RUN_S = 300
# 10,000 listeners and some more, in each of two processes.
FILES = 12_000
# Users that a scenario has at most.
STRANGERS = 4_000


class Failed(Exception):
    """A scenario could not be measured."""


class Server(tallyd.Server):
    """As its users start it, but for ports and store."""

    def __init__(self, build, environment, tls):
        self.web_address = f'127.0.0.1:{free_port()}'
        self.metrics_address = f'127.0.0.1:{free_port()}'
        env = {**environment,
               'MAX_RATE_PER_USER': '0',  # few users ask for all
               'CORE_DUMPS': 'on',  # else only root may read its I/O counts
               'GRPC_LISTEN_ADDRESS': f'127.0.0.1:{free_port()}',
               'GRPC_WEB_LISTEN_ADDRESS': self.web_address,
               'METRICS_LISTEN_ADDRESS': self.metrics_address}
        if 'SHARDS' in os.environ:
            env['SHARDS'] = os.environ['SHARDS']
        if tls:
            env['TLS_CERT_FILE'] = tls.certificate
            env['TLS_KEY_FILE'] = tls.key
        super().__init__([os.path.join(build, 'tallyd')], env)

    def mean_batch(self):
        """How many operations a transaction had; 0 when there was none."""
        with urllib.request.urlopen(
                f'http://{self.metrics_address}/metrics') as answer:
            text = answer.read().decode()
        total, count = (
            float(re.search(f'^tallyd_store_batch_operations_{what} (.*)$',
                            text, re.MULTILINE)[1])
            for what in ('sum', 'count'))
        return total / count if count else 0


class Peer:
    """Somebody else's server, that is there."""

    def __init__(self, address, web_address, pid):
        self.address, self.web_address = address, web_address or address
        self.process = argparse.Namespace(pid=pid)


class Certificate:
    """Of a CA that nobody knows, for the loopback."""

    def __init__(self, directory):
        self.certificate = os.path.join(directory, 'certificate.pem')
        self.key = os.path.join(directory, 'key.pem')
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
             'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj',
             '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1',
             '-keyout', self.key, '-out', self.certificate],
            check=True, stderr=subprocess.DEVNULL)


def run_json(*command):
    """What a program of ours prints; Failed when it has nothing to say."""
    try:
        done = subprocess.run(command, capture_output=True, text=True,
                              check=False, timeout=RUN_S)
    except subprocess.TimeoutExpired:
        raise Failed('it took too long') from None
    if done.returncode != 0:
        raise Failed(done.stderr.strip() or f'status {done.returncode}')
    return json.loads(done.stdout)


# ---- stores ----

# Users, records and counters of a full store; %s is a list of the users.
FILL_SQLITE = """
    INSERT INTO records (user_id, id, data, revision, schema_version)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
                            WHERE i < {each})
    SELECT u.value, printf('before:%08x-5f3a-4c11-9d7e-00000000', i),
        randomblob({data}), i, '0.2.6' FROM json_each(?) u, n
        ORDER BY u.value, i"""
FILL_POSTGRES = """
    INSERT INTO records (user_id, id, data, revision, schema_version)
    SELECT u, 'before:' || lpad(to_hex(i), 8, '0')
            || '-5f3a-4c11-9d7e-00000000',
        (SELECT string_agg(sha256((u || i || k)::bytea), '')
            FROM generate_series(1, {data} / 32) k),
        i, '0.2.6'
    FROM unnest(ARRAY[{users}]) u, generate_series(1, {each}) i;
    INSERT INTO user_revisions (user_id, revision)
    SELECT u, {each} FROM unnest(ARRAY[{users}]) u;
    ANALYZE"""


class Sqlite:
    def __init__(self, bench):
        self.bench = bench
        self.full = None

    def start_once(self, directory):
        Server(self.bench.build, {'SQLITE_DIR_PATH': directory}, None).stop()

    def fill(self):
        """The directory of a full store; made once, and then used up: its
        users do not meet again."""
        self.full = os.path.join(self.bench.scratch, 'full')
        self.start_once(self.full)
        each, users = self.bench.full_each(), self.bench.users()
        with contextlib.closing(sqlite3.connect(
                os.path.join(self.full, 'db.sqlite'))) as db, db:
            db.execute(FILL_SQLITE.format(each=each, data=256),
                       [json.dumps(users)])
            db.executemany('INSERT INTO user_revisions (user_id, revision)'
                           ' VALUES (?, ?)',
                           [(user, each) for user in users])

    @contextlib.contextmanager
    def place(self, full):
        """(environment of a server, what to tell `limits`)."""
        if full and not self.full:
            self.fill()
        directory = self.full if full else tempfile.mkdtemp(
            dir=self.bench.scratch)
        yield {'SQLITE_DIR_PATH': directory}, directory
        if not full:
            shutil.rmtree(directory)

    def close(self):
        pass


class Postgres:
    def __init__(self, bench):
        self.bench = bench
        self.full = None
        self.cluster = postgres.Cluster({'shared_buffers': '512MB',
                                         'max_wal_size': '2GB'})
        self.cluster.make()
        self.n = 0

    def database(self):
        self.n += 1
        name = f'bench_{self.n}'
        url = self.cluster.url(postgres.ROLE)
        postgres.psql(url, f'CREATE DATABASE {name}')
        return url.replace('/postgres', f'/{name}'), name

    def fill(self):
        self.full, _ = self.database()
        Server(self.bench.build, {'DATABASE_URL': self.full}, None).stop()
        users = ', '.join(f"'{user}'" for user in self.bench.users())
        postgres.psql(self.full, FILL_POSTGRES.format(
            each=self.bench.full_each(), data=256, users=users))

    @contextlib.contextmanager
    def place(self, full):
        if full and not self.full:
            self.fill()
        url, name = (self.full, None) if full else self.database()
        yield {'DATABASE_URL': url}, url
        if name:
            postgres.psql(self.cluster.url(postgres.ROLE),
                          f'DROP DATABASE {name} WITH (FORCE)')

    def close(self):
        self.cluster.remove()


STORES = {'sqlite': Sqlite, 'postgres': Postgres}


# ---- runs ----

class Bench:
    def __init__(self, options, scratch):
        self.options = options
        self.build = os.path.join(ROOT, options.build)
        self.scratch = scratch
        self.stores = {}
        self.certificate = None
        self.rates = {}  # by scenario, store and transport
        self.rows = []
        # Somebody else's store may have known the users of earlier runs.
        self.strangers = random.randrange(10**9)

    def program(self, name):
        return os.path.join(self.build, 'bench', name)

    def full_each(self):
        return max(int(scenarios.FULL_EACH * min(self.options.scale, 1)), 200)

    def users(self):
        return subprocess.run(
            [self.program('load'), 'users', '--users',
             str(scenarios.FULL_USERS)], capture_output=True, text=True,
            check=True).stdout.split()

    def store(self, name):
        if name not in self.stores:
            self.stores[name] = STORES[name](self)
        return self.stores[name]

    def tls(self):
        self.certificate = self.certificate or Certificate(self.scratch)
        return self.certificate

    def recover(self):
        return run_json(self.program('limits'), 'recover')['cpu_us']

    def limits_of(self, scenario, store, batch):
        """What the store reaches in process, on a place of its own; of a full
        one, with users that nobody else writes. The writer alone has as many
        to write at once as the server's had, `batch`, or all callers'."""
        with self.store(store).place(scenario.full) as (_, where):
            amount = max(int(scenario.requests * self.options.scale * 0.5),
                         2 * scenario.callers)

            def run(recover, callers, first_user, records=0):
                return run_json(
                    self.program('limits'), 'store', where, str(recover),
                    str(callers), str(amount), str(scenario.data),
                    str(scenario.users), str(first_user), str(records))
            if scenario.limit == 'list':
                return {'list_in_process': run(1, scenario.callers, 0,
                                               scenario.records)}
            first = scenarios.USERS
            alone = max(round(batch), 1) if batch else scenario.callers
            return {'in_process': run(1, scenario.callers, first),
                    'writer_alone': run(0, alone, 2 * first)}

    def load(self, scenario, store, transport, server):
        arguments = scenario.arguments(self.options.scale)
        if scenario.full:
            records = str(self.full_each())
            arguments = [records if argument == str(scenarios.FULL_EACH)
                         else argument for argument in arguments]
        if scenario.half_rate_of:
            rate = self.rates.get((scenario.half_rate_of, store, transport))
            if not rate:
                raise Failed(f'{scenario.half_rate_of} is not there')
            arguments += ['--rate', str(rate / 2)]
        address = server.address
        if transport == 'web':
            arguments.append('--web')
            address = server.web_address
        if self.options.address:
            self.strangers += STRANGERS
            arguments += ['--first-user', str(self.strangers)]
        if self.options.tls_ca:
            arguments += ['--tls-ca', self.options.tls_ca]
        elif transport == 'tls':
            arguments += ['--tls-ca', self.tls().certificate]
        if server.process.pid:
            arguments += ['--pid', str(server.process.pid)]
        return run_json(self.program('load'), *arguments, '--address',
                        address)

    @contextlib.contextmanager
    def crowd(self, scenario, server):
        """Its listeners are there; the server has their connections."""
        count = int(scenario.crowd * self.options.scale)
        if not count:
            yield
            return
        crowd = subprocess.Popen(
            [self.program('load'), 'idle', '--listeners', str(count),
             '--users', str(scenarios.CROWD_USERS), '--first-user',
             str(scenarios.CROWD_FIRST_USER), '--seconds', str(RUN_S),
             '--address', server.address], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + CROWD_S
            while len(os.listdir(f'/proc/{server.process.pid}/fd')) < count:
                if time.monotonic() > deadline or crowd.poll() is not None:
                    raise Failed('the crowd does not come')
                time.sleep(0.1)
            yield
        finally:
            crowd.kill()
            crowd.wait()

    def measure(self, scenario, store, transport):
        row = {'scenario': scenario.name, 'title': scenario.title,
               'store': store, 'transport': transport,
               'callers': scenario.callers, 'curve': scenario.curve,
               'listeners': scenario.listeners}
        if self.options.address:
            server = Peer(self.options.address, self.options.web_address,
                          self.options.pid)
            row.update(self.load(scenario, store, transport, server),
                       store='peer')
            return row
        before = self.recover() if scenario.limit else 0
        with self.store(store).place(scenario.full) as (environment, _):
            server = Server(self.build, environment,
                            self.tls() if transport == 'tls' else None)
            try:
                with self.crowd(scenario, server):
                    row.update(self.load(scenario, store, transport, server))
                if scenario.limit == 'store':
                    row['batch'] = server.mean_batch()
            finally:
                server.stop()
        if scenario.limit:
            # The machine may be slower in one moment than in the next.
            row['recover_us'] = (before + self.recover()) / 2
        if scenario.limit in ('store', 'list'):
            row.update(self.limits_of(scenario, store, row.get('batch')))
        if scenario.name == 'fanout-one':
            row['floor'] = run_json(
                self.program('limits'), 'fanout',
                str(scenario.scaled_listeners(self.options.scale)))
        if scenario.callers == 1 and 'in_process' in row and (
                store == 'sqlite'):
            row['disk'] = run_json(self.program('limits'), 'disk',
                                   self.scratch)
        return row

    def run(self, scenario, store, transport):
        try:
            row = self.measure(scenario, store, transport)
        except (Failed, tallyd.NotServing) as failure:
            print(f'{scenario.name} {store} {transport}: {failure}',
                  file=sys.stderr)
            return False
        self.rates[scenario.name, store, transport] = report.rate(row)
        self.rows.append(row)
        print(report.line(row), flush=True)
        return row['bad'] == 0

    def close(self):
        for store in self.stores.values():
            store.close()


def wanted(options):
    """(scenario, store, transport) in order, the cheap stores first."""
    for store in STORES:
        for scenario in scenarios.ALL:
            for transport in ('plain', 'tls', 'web'):
                if options.scenario and not any(
                        scenario.name.startswith(name)
                        for name in options.scenario):
                    continue
                chosen = {
                    'store': options.store or scenario.stores,
                    'transport': options.transport or scenario.transports}
                if (scenario.full or scenario.crowd) and options.address:
                    continue
                if store in chosen['store'] and (
                        transport in chosen['transport']) and not (
                            transport == 'web' and scenario.listeners):
                    yield scenario, store, transport


def read_options():
    parser = argparse.ArgumentParser(
        prog='script/bench', description='measures tallyd')
    parser.add_argument('scenario', nargs='*',
                        help='those whose names begin so; all without')
    parser.add_argument('--list', action='store_true',
                        help='names the scenarios and ends')
    parser.add_argument('--store', action='append', choices=list(STORES),
                        help='instead of those a scenario names')
    parser.add_argument('--transport', action='append',
                        choices=['plain', 'tls', 'web'],
                        help='instead of those a scenario names')
    parser.add_argument('--scale', type=float, default=1,
                        help='share of the usual amounts')
    parser.add_argument('--build', default='build-bench')
    parser.add_argument('--output', default='build-bench/report',
                        help='directory of table, JSON and pictures')
    parser.add_argument('--address', help='HOST:PORT of another server')
    parser.add_argument('--web-address', help='where it speaks gRPC-Web')
    parser.add_argument('--tls-ca', help='PEM; that server speaks TLS')
    parser.add_argument('--pid', type=int, default=0,
                        help='its process, to read its CPU time and memory')
    return parser.parse_args()


def main():
    options = read_options()
    if options.list:
        for scenario in scenarios.ALL:
            print(f'{scenario.name:14} {scenario.title}')
        return 0
    if options.address:
        options.store = ['sqlite']  # a name only: the store is its own
        options.transport = options.transport or [
            'tls' if options.tls_ca else 'plain',
            *(['web'] if options.web_address else [])]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < FILES:
        print(f'only {most} open files: some scenarios will fail',
              file=sys.stderr)
    print(report.HEAD)
    good = True
    with tempfile.TemporaryDirectory(prefix='tallyd-bench-') as scratch:
        bench = Bench(options, scratch)
        try:
            for scenario, store, transport in wanted(options):
                good &= bench.run(scenario, store, transport)
        finally:
            bench.close()
            report.write(options.output, bench.rows)
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
