#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Has the tools that will read the files in deploy/ look at them, and holds
them against the server's defaults. Prints TAP; a tool that is not here has its
case skipped.

Usage: deploy.py TALLYD
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tomllib
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'lib'))

from ports import free_ports  # noqa: E402  tests/lib/ports.py

SYSTEMD = os.path.join(ROOT, 'deploy', 'systemd')

# What `systemd-analyze security` makes of the unit, of 10. What is left: it has
# the network, local sockets, and the host's files to read.
EXPOSURE_MAX = 1.1

SECONDS = 20


class Skip(Exception):
    """Why a case cannot be run here."""


def need(*programs):
    for program in programs:
        path = shutil.which(program, path=os.environ['PATH'] + ':/usr/sbin')
        if path:
            return path
    raise Skip(f'{" or ".join(programs)} is not installed')


def run(command, **options):
    """Its output; an AssertionError with it when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT,
                          check=False, **options)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def read(*path):
    with open(os.path.join(ROOT, *path), encoding='utf-8') as file:
        return file.read()


def default(name):
    """A number's default, as config/config.c has it."""
    return int(re.search(rf'{{"{name}", "(\d+)"',
                         read('config', 'config.c'))[1])


def units_are_valid(tallyd):
    need('systemd-analyze')
    with tempfile.TemporaryDirectory() as directory:
        paths = []
        for path in glob.glob(os.path.join(SYSTEMD, 'tallyd*.s*')):
            if path.endswith('.sysusers'):
                continue
            paths.append(os.path.join(directory, os.path.basename(path)))
            with open(paths[-1], 'w', encoding='utf-8') as file:
                file.write(read(path).replace('/usr/bin/tallyd ',
                                              f'{tallyd} '))
        assert len(paths) == 3, paths
        output = run(['systemd-analyze', 'verify', '--man=no', *paths])
        assert not output, output


def unit_is_hardened(_):
    need('systemd-analyze')
    output = run(['systemd-analyze', 'security', '--offline=true',
                  os.path.join(SYSTEMD, 'tallyd.service')])
    exposure = float(re.search(r'exposure level.*?: ([\d.]+)', output)[1])
    print(f'# exposure {exposure}')
    assert exposure <= EXPOSURE_MAX, '\n'.join(
        line for line in output.splitlines() if not line.startswith('✓'))


def sockets_are_those_we_know(_):
    source = read('src', 'app', 'server.c')
    defaults = read('config', 'config.c')
    sockets = glob.glob(os.path.join(SYSTEMD, '*.socket'))
    unit = read('deploy', 'systemd', 'tallyd.service')
    assert sockets
    for path in sockets:
        text = read(path)
        name = re.search(r'^FileDescriptorName=(.*)$', text, re.M)[1]
        port = re.search(r'^ListenStream=(.*)$', text, re.M)[1]
        assert f'{{"{name}", &s->config->' in source, name
        assert f'"0.0.0.0:{port}"' in defaults, port
        assert os.path.basename(path) in unit, path


def sockets_are_taken(tallyd):
    """By systemd's own word for it, which starts a program when somebody
    connects."""
    activate = need('systemd-socket-activate')
    ports = free_ports(2)
    with tempfile.TemporaryDirectory() as directory:
        options = [f'--listen=127.0.0.1:{port}' for port in ports]
        options += [f'--setenv={name}={value}' for name, value in {
            'SQLITE_DIR_PATH': directory,
            'METRICS_LISTEN_ADDRESS': 'off'}.items()]
        with subprocess.Popen(
                [activate, *options, '--fdname=grpc:web', tallyd], text=True,
                stderr=subprocess.PIPE) as process:
            deadline = threading.Timer(SECONDS, process.kill)
            deadline.start()
            text = ''
            while text.count('Listening on') < len(ports):
                line = process.stderr.readline()
                assert line, text
                text += line
            with urllib.request.urlopen(
                    f'http://127.0.0.1:{ports[1]}/health') as reply:
                assert reply.read() == b'OK'
            process.terminate()
            _, rest = process.communicate()
            deadline.cancel()
            assert process.returncode == 0, rest
            assert f'listening at 127.0.0.1:{ports[0]}' in rest, rest


def user_is_made(_):
    need('systemd-sysusers')
    path = os.path.join(SYSTEMD, 'tallyd.sysusers')
    with tempfile.TemporaryDirectory() as directory:
        os.mkdir(os.path.join(directory, 'etc'))
        if os.getuid() != 0:
            raise Skip('users are made by root only')
        run(['systemd-sysusers', f'--root={directory}', path])
        with open(os.path.join(directory, 'etc', 'passwd'),
                  encoding='utf-8') as file:
            assert re.search(r'^tallyd:.*:/var/lib/tallyd:.*nologin$',
                             file.read(), re.M)


def compose_is_valid(_):
    """By Docker's own reader, which needs no Docker."""
    path = os.path.join(ROOT, 'deploy', 'compose.yml')
    command = ['docker', 'compose']
    if not shutil.which('docker') or subprocess.run(
            [*command, 'version'], capture_output=True,
            check=False).returncode:
        command = [need('docker-compose')]
    environment = {**os.environ, 'POSTGRES_PASSWORD': 'secret'}
    output = run([*command, '-f', path, 'config'], env=environment)
    for number in (1, 2, 3):
        assert f'tallyd-{number}:' in output, output
    environment['POSTGRES_PASSWORD'] = ''
    done = subprocess.run([*command, '-f', path, 'config'], env=environment,
                          capture_output=True, text=True, check=False)
    assert done.returncode, 'it should ask for a password'


def compose_gives_time(_):
    text = read('deploy', 'compose.yml')
    drain = int(re.search(r'DRAIN_TIMEOUT: "(\d+)"', text)[1])
    grace = int(re.search(r'tallyd:.*?stop_grace_period: (\d+)s', text,
                          re.S)[1])
    assert drain == default('DRAIN_TIMEOUT') and grace > drain, (drain, grace)


def haproxy_takes_its_file(_):
    haproxy = need('haproxy')
    output = run([haproxy, '-c', '-f',
                  os.path.join(ROOT, 'deploy', 'haproxy.cfg')])
    # Elsewhere the instances have names.
    faults = [line for line in output.splitlines()
              if re.search(r'ALERT|WARNING', line)
              and 'could not resolve address' not in line]
    assert not faults, faults


def fly_gives_time(_):
    for path in ['fly.toml', 'deploy/fly.postgres.toml']:
        config = tomllib.loads(read(path))
        drain = int(config['env']['DRAIN_TIMEOUT'])
        assert config['kill_timeout'] > drain, path
        assert config['kill_signal'] == 'SIGTERM', path
        ports = [service['internal_port'] for service in config['services']]
        assert ports == [8080, 8081], path
        # Collected inside, never served outside.
        told = config['env']['METRICS_LISTEN_ADDRESS']
        assert told == f':{config["metrics"]["port"]}', path
        for service in config['services']:
            assert service['auto_stop_machines'] == 'off', path
            assert 'tcp_checks' in service or 'http_checks' in service, path
        # One machine for a volume, any number for a database.
        assert ('mounts' in config) == ('SQLITE_DIR_PATH' in config['env'])
        build = config.get('build', {}).get('dockerfile', 'Dockerfile')
        assert os.path.exists(os.path.join(
            ROOT, os.path.dirname(path), build)), path


def package_has_the_version(_):
    version = re.search(r"version: '([^']+)'", read('meson.build'))[1]
    newest = read('debian', 'changelog').splitlines()[0]
    assert newest.startswith(f'tallyd ({version}) '), newest
    assert f'"tallyd {version}"' in read('docs', 'tallyd.8')


def workflows_are_valid(_):
    run([need('actionlint')])


CASES = [
    ('systemd finds the units valid', units_are_valid),
    (f'the service is exposed by {EXPOSURE_MAX} at most', unit_is_hardened),
    ('the sockets are those the server knows', sockets_are_those_we_know),
    ('systemd hands it its ports', sockets_are_taken),
    ('systemd-sysusers makes the user', user_is_made),
    ('Docker finds the composition valid', compose_is_valid),
    ('a container is not killed while it drains', compose_gives_time),
    ('haproxy takes its file', haproxy_takes_its_file),
    ('Fly\'s machines are not killed while they drain', fly_gives_time),
    ('the package has the server\'s version', package_has_the_version),
    ('actionlint finds the workflows valid', workflows_are_valid),
]


def main():
    failed = False
    for number, (title, case) in enumerate(CASES, 1):
        fault = skipped = ''
        try:
            case(os.path.abspath(sys.argv[1]))
        except Skip as reason:
            skipped = f' # SKIP {reason}'
        except Exception as error:  # pylint: disable=broad-except
            fault = f'{type(error).__name__}: {error}'
        failed |= bool(fault)
        print(f'{"not " if fault else ""}ok {number} - {title}{skipped}')
        for line in fault.splitlines():
            print(f'# {line}')
    print(f'1..{len(CASES)}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
