#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the Debian package from the files git knows, has lintian look at it,
and runs what is in it. Prints TAP; skipped where the tools are not installed.

Usage: package.py [DIRECTORY]     (where the packages are to be left)
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOOLS = ['dpkg-buildpackage', 'dh', 'lintian']
START_SECONDS = 20

# An init script would hold no sockets, and close none of the unit's doors. No
# override says so: Debian 13's lintian knows the tag no more, and objects.
UNKNOWN_TAGS = ['package-supports-alternative-init-but-no-init.d-script']

FILES = [
    './etc/tallyd/tallyd.env',
    './usr/bin/tallyd',
    './usr/lib/sysusers.d/tallyd.conf',
    './usr/share/doc/tallyd/copyright',
    './usr/share/man/man8/tallyd.8.gz',
]
UNITS = ['tallyd.service', 'tallyd-grpc.socket', 'tallyd-web.socket']


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False,
                          **options)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def copy_source(directory):
    """What git has or would add: what a checkout would be."""
    names = run(['git', 'ls-files', '-co', '--exclude-standard'],
                cwd=ROOT).splitlines()
    for name in names:
        if os.path.lexists(os.path.join(ROOT, name)):
            target = os.path.join(directory, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(os.path.join(ROOT, name), target,
                         follow_symlinks=False)


class Package:
    """The cases, in order; each builds upon those before."""

    def __init__(self, directory):
        self.directory = directory
        self.source = os.path.join(directory, 'tallyd')
        self.root = os.path.join(directory, 'root')
        copy_source(self.source)

    def packages(self, kind='deb'):
        return glob.glob(os.path.join(self.directory, f'*.{kind}'))

    def main(self):
        return next(path for path in self.packages()
                    if os.path.basename(path).startswith('tallyd_'))

    def is_built(self):
        env = {**os.environ, 'DEB_BUILD_OPTIONS': 'nocheck parallel=2'}
        env.pop('MAKEFLAGS', None)
        run(['dpkg-buildpackage', '-us', '-uc', '-b'], cwd=self.source,
            env=env)
        names = sorted(os.path.basename(path).split('_')[0]
                       for path in self.packages())
        assert names == ['tallyd', 'tallyd-dbgsym'], names

    def has_the_servers_version(self):
        version = run(['dpkg-deb', '-f', self.main(), 'Version']).strip()
        with open(os.path.join(ROOT, 'meson.build'),
                  encoding='utf-8') as file:
            project = re.search(r"version: '([^']+)'", file.read())[1]
        assert version == project, (version, project)

    def is_without_fault(self):
        """By lintian, from its slightest hint on."""
        output = run(['lintian', '--allow-root', '--tag-display-limit', '0',
                      '--display-info', '--pedantic', '--fail-on',
                      'error,warning', *self.packages('changes')])
        faults = [line for line in output.splitlines()
                  if not any(tag in line for tag in UNKNOWN_TAGS)]
        assert not faults, '\n'.join(faults)

    def has_its_files(self):
        listing = run(['dpkg-deb', '-c', self.main()]).splitlines()
        modes = {line.split()[5]: line.split()[0] for line in listing}
        for name in FILES:
            assert name in modes, (name, modes)
        for unit in UNITS:
            assert any(name.endswith(f'lib/systemd/system/{unit}')
                       for name in modes), unit
        assert modes['./etc/tallyd/tallyd.env'] == '-rw-------'
        control = os.path.join(self.directory, 'control')
        run(['dpkg-deb', '-e', self.main(), control])
        with open(os.path.join(control, 'conffiles'),
                  encoding='utf-8') as file:
            assert '/etc/tallyd/tallyd.env' in file.read().split()
        with open(os.path.join(control, 'postinst'),
                  encoding='utf-8') as file:
            script = file.read()
        assert 'systemd-sysusers' in script
        for unit in UNITS:
            assert unit in script, unit

    def serves(self):
        run(['dpkg-deb', '-x', self.main(), self.root])
        program = os.path.join(self.root, 'usr/bin/tallyd')
        assert run([program, '--version']).startswith('tallyd ')
        env = {'GRPC_LISTEN_ADDRESS': '127.0.0.1:0',
               'GRPC_WEB_LISTEN_ADDRESS': '127.0.0.1:0',
               'METRICS_LISTEN_ADDRESS': '127.0.0.1:0',
               'SQLITE_DIR_PATH': os.path.join(self.directory, 'db')}
        with subprocess.Popen([program], env=env, text=True,
                              stderr=subprocess.PIPE) as process:
            deadline = threading.Timer(START_SECONDS, process.kill)
            deadline.start()
            text = ''
            while 'Server listening at' not in text:
                line = process.stderr.readline()
                assert line, text
                text += line
            web = re.search(r'web=(\S+)', text)[1]
            with urllib.request.urlopen(f'http://{web}/health') as reply:
                assert reply.read() == b'OK', web
            process.terminate()
            assert process.wait() == 0
            deadline.cancel()


    def is_made_of_what_its_bill_says(self):
        program = os.path.join(self.root, 'usr/bin/tallyd')
        bill = json.loads(run([os.path.join(ROOT, 'deploy', 'sbom.py'),
                               program]))
        assert bill['bomFormat'] == 'CycloneDX', bill
        names = {part['name'] for part in bill['components']}
        depends = run(['dpkg-deb', '-f', self.main(), 'Depends'])
        for name in re.findall(r'\bz?lib[\w.+-]+', depends):
            assert name in names, (name, names)
        refs = [part['bom-ref'] for part in bill['components']]
        assert len(set(refs)) == len(refs) > 10, refs


CASES = [
    ('it is built', Package.is_built),
    ('it has the server\'s version', Package.has_the_servers_version),
    ('lintian finds nothing', Package.is_without_fault),
    ('it has its files, and what sets them up', Package.has_its_files),
    ('what is in it serves', Package.serves),
    ('it is made of what its bill of materials says',
     Package.is_made_of_what_its_bill_says),
]


def main():
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        print(f'ok 1 - the package # SKIP {missing[0]} is not installed\n1..1')
        return 0
    failed = False
    with tempfile.TemporaryDirectory(prefix='tallyd-package-') as directory:
        package = Package(directory)
        for number, (title, case) in enumerate(CASES, 1):
            fault = ''
            try:
                case(package)
            except Exception as error:  # pylint: disable=broad-except
                fault = f'{type(error).__name__}: {error}'
            failed |= bool(fault)
            print(f'{"not " if fault else ""}ok {number} - {title}')
            for line in fault.splitlines():
                print(f'# {line}')
            sys.stdout.flush()
            if not package.packages():
                break  # the rest is about what was built
        if len(sys.argv) > 1 and not failed:
            for path in package.packages('*'):
                if os.path.isfile(path):
                    shutil.copy2(path, sys.argv[1])
    print(f'1..{number}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
