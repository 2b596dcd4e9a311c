#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A private PostgreSQL for tests.

It has a directory of its own below TMPDIR, a free port of the loopback and,
started as root, the user of Debian's package; it flushes as in production.
Nothing of it outlives the program that started this one: end of file on
standard input ends the server and removes the directory, and if this program
is killed the kernel ends the server.

Usage: postgres.py [NAME=VALUE...]      settings of postgresql.conf

Prints one line of JSON when the server takes connections:
    {"url": …,      a role that may create databases and nothing more
     "admin": …,    the superuser
     "port": …, "pid": …, "directory": …, "bin": …, "version": …}
or {"missing": "why there is none"}. Then takes commands, one a line, and
answers each with a line of JSON, {} or {"error": …}:
    stop [immediate|fast|smart]     ends the server, keeps its data
    start                           until it takes connections
    restart [immediate|fast|smart]
    freeze, thaw                    SIGSTOP, SIGCONT to all its processes
"""
import contextlib
import glob
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.parse

from ports import free_port

OWNER = 'postgres'  # of Debian's package; PostgreSQL will not run as root
ROLE = 'tallyd'
READY_S = 60  # after a crash on a busy disk
STOP_S = 30
PORT_TRIES = 5
SETPRIV = '/usr/bin/setpriv'
SETTINGS = {
    'listen_addresses': '127.0.0.1',
    'unix_socket_directories': '',
    'shared_buffers': '32MB',
    'max_connections': '200',
    'max_wal_size': '256MB',
    'fsync': 'on',
    'synchronous_commit': 'on',
    'full_page_writes': 'on',
    'timezone': 'UTC',
}
STOP_SIGNALS = {
    'smart': signal.SIGTERM,
    'fast': signal.SIGINT,
    'immediate': signal.SIGQUIT,
}


class Missing(Exception):
    """PostgreSQL cannot be started here; says why."""


def find_programs():
    """The folder of initdb and postgres, of the newest that is installed."""
    found = glob.glob('/usr/lib/postgresql/*/bin/postgres')
    if not found:
        raise Missing('PostgreSQL is not installed')
    return os.path.dirname(max(
        found, key=lambda path: int(path.split('/')[4].split('.')[0])))


def children_of(pid):
    for path in glob.glob('/proc/[0-9]*/stat'):
        try:
            with open(path, encoding='utf-8') as file:
                stat = file.read()
        except OSError:
            continue
        state, parent = stat[stat.rindex(')') + 2:].split()[:2]
        if int(parent) == pid:
            yield int(path.split('/')[2]), state


class Cluster:
    """One data directory and the server on it."""

    def __init__(self, settings):
        self.bin = find_programs()
        self.owner = None
        if os.geteuid() == 0:
            try:
                self.owner = pwd.getpwnam(OWNER)
            except KeyError:
                raise Missing(f'there is no user {OWNER}') from None
        self.settings = {**SETTINGS, **settings}
        self.directory = tempfile.mkdtemp(prefix='tallyd-postgres-')
        self.data = os.path.join(self.directory, 'data')
        self.log = os.path.join(self.directory, 'log')
        self.password = secrets.token_urlsafe(12)
        self.process = None
        self.ready = threading.Event()
        self.lost_port = False

    def command(self, *command, pdeathsig=None):
        """As the owner; `pdeathsig` comes when this program dies. The kernel
        forgets that signal when the user changes, hence two steps."""
        whole = []
        if self.owner:
            whole += [SETPRIV, '--reuid', self.owner.pw_name, '--regid',
                      str(self.owner.pw_gid), '--init-groups']
        if pdeathsig:
            whole += [SETPRIV, '--pdeathsig', pdeathsig]
        return [*whole, os.path.join(self.bin, command[0]), *command[1:]]

    def environment(self):
        return {'PATH': os.environ['PATH'], 'LC_ALL': 'C',
                'HOME': self.directory}

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, 'a', encoding='utf-8') as file:
            file.write(text)
        if self.owner:
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)
        return path

    def make(self):
        if self.owner:
            os.chown(self.directory, self.owner.pw_uid, self.owner.pw_gid)
        password = self.write('password', self.password)
        subprocess.run(
            self.command('initdb', '-D', self.data, '-U', OWNER,
                         '--auth=scram-sha-256', f'--pwfile={password}',
                         '--encoding=UTF8', '--locale=C', '--no-sync',
                         '--no-instructions'),
            cwd=self.directory, env=self.environment(), check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.write('data/postgresql.conf', ''.join(
            f"{name} = '{value}'\n" for name, value in self.settings.items()))
        for _ in range(PORT_TRIES):
            self.port = free_port()
            self.write('data/postgresql.conf', f'port = {self.port}\n')
            self.start()
            if not self.lost_port:
                break
        psql(self.url(OWNER), f'CREATE ROLE {ROLE} LOGIN CREATEDB '
             f"PASSWORD '{self.password}'")

    def url(self, role):
        return (f'postgresql://{role}:{self.password}@127.0.0.1:{self.port}'
                '/postgres')

    def read_log(self, process, ready):
        with open(self.log, 'a', encoding='utf-8', errors='replace') as log:
            for line in process.stderr:
                log.write(line)
                log.flush()
                self.lost_port |= 'could not bind' in line
                if 'ready to accept connections' in line:
                    ready.set()
        ready.set()

    def start(self):
        if self.process and self.process.poll() is None:
            return
        self.lost_port = False
        self.ready = threading.Event()
        self.process = subprocess.Popen(
            self.command('postgres', '-D', self.data, pdeathsig='QUIT'),
            cwd=self.directory, env=self.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, errors='replace')
        threading.Thread(target=self.read_log, daemon=True,
                         args=(self.process, self.ready)).start()
        if not self.ready.wait(READY_S):
            raise RuntimeError(f'not ready after {READY_S} s')
        if not self.lost_port and self.process.poll() is not None:
            with open(self.log, encoding='utf-8') as log:
                raise RuntimeError(f'ended at start: {log.read()[-2000:]}')

    def stop(self, mode='immediate'):
        if not self.process or self.process.poll() is not None:
            return
        self.thaw()
        self.process.send_signal(STOP_SIGNALS[mode])
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def restart(self, mode='immediate'):
        self.stop(mode)
        self.start()

    def freeze(self):
        """The postmaster first, so that no more children come."""
        self.process.send_signal(signal.SIGSTOP)
        going = True
        while going:
            going = [pid for pid, state in children_of(self.process.pid)
                     if state not in 'TZX']
            for pid in going:
                os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        for pid, _ in children_of(self.process.pid):
            os.kill(pid, signal.SIGCONT)
        self.process.send_signal(signal.SIGCONT)

    def version(self):
        text = subprocess.run(
            [os.path.join(self.bin, 'postgres'), '--version'],
            capture_output=True, text=True, check=True).stdout
        return int(re.search(r'(\d+)', text)[1])

    def remove(self):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def psql(url, text):
    subprocess.run([os.path.join(find_programs(), 'psql'), '-qX', '-v',
                    'ON_ERROR_STOP=1', '-d', url, '-c', text], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@contextlib.contextmanager
def database():
    """URL of a new database, on the server that the suites of a run share
    or, without one, on one of its own. May raise Missing."""
    server, cluster = os.environ.get('TEST_DATABASE_URL'), None
    try:
        if not server:
            cluster = Cluster({})
            cluster.make()
            server = cluster.url(ROLE)
        name = f'tallyd_{secrets.token_hex(6)}'
        psql(server, f'CREATE DATABASE {name}')
        yield urllib.parse.urlsplit(server)._replace(path=f'/{name}').geturl()
        psql(server, f'DROP DATABASE {name} WITH (FORCE)')
    finally:
        if cluster:
            cluster.remove()


def say(answer):
    print(json.dumps(answer), flush=True)


def obey(cluster, line):
    name, *arguments = line.split()
    commands = {'start': cluster.start, 'stop': cluster.stop,
                'restart': cluster.restart, 'freeze': cluster.freeze,
                'thaw': cluster.thaw}
    try:
        commands[name](*arguments)
        say({})
    except Exception as error:  # the caller decides what it means
        say({'error': f'{type(error).__name__}: {error}'})


def serve(cluster):
    cluster.make()
    say({'url': cluster.url(ROLE), 'admin': cluster.url(OWNER),
         'port': cluster.port, 'pid': cluster.process.pid,
         'directory': cluster.directory, 'bin': cluster.bin,
         'version': cluster.version()})
    for line in sys.stdin:
        if line.strip():
            obey(cluster, line)


def main():
    # A suite's whole process group may be killed; this one cleans up then.
    if os.getpgrp() != os.getpid():
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    cluster = None
    try:
        cluster = Cluster(dict(
            setting.split('=', 1) for setting in sys.argv[1:]))
        serve(cluster)
    except Missing as missing:
        say({'missing': str(missing)})
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f'{error}\n{error.stderr}\n')
        return 1
    except BrokenPipeError:
        return 1
    finally:
        if cluster:
            cluster.remove()
    return 0


if __name__ == '__main__':
    sys.exit(main())
