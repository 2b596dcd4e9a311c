#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the bill of materials of a built server, as CycloneDX 1.5 in JSON: the
Debian packages of all libraries that it loads, as dpkg knows them, and what is
compiled into it.

Usage: sbom.py TALLYD
"""
import hashlib
import json
import os
import re
import subprocess
import sys
import uuid

# Sources that Debian 12 has for want of a library.
COMPILED_IN = 'node-llhttp'


def run(*command):
    return subprocess.run(command, capture_output=True, text=True,
                          check=True).stdout


def libraries(program):
    """Files of the libraries it loads, and those they load."""
    return sorted(set(re.findall(r'(?:=> |^\s)(/\S+)', run('ldd', program),
                                 re.M)))


def owner(path):
    """The package of a file. dpkg knows it by the name that it was packed
    under, which may be the one before or after the merge of /usr."""
    real = os.path.realpath(path)
    for name in (path, real, real.removeprefix('/usr'), '/usr' + path):
        done = subprocess.run(['dpkg-query', '-S', name], text=True,
                              capture_output=True, check=False)
        found = [line for line in done.stdout.splitlines()
                 if not line.startswith('diversion by ')]
        if found:
            return found[0].split(': ')[0].split(',')[0]
    raise SystemExit(f'sbom.py: {path} is of no package')


def distribution():
    with open('/etc/os-release', encoding='utf-8') as file:
        fields = dict(line.rstrip().split('=', 1) for line in file
                      if '=' in line)
    return '{ID}-{VERSION_ID}'.format(
        **{name: value.strip('"') for name, value in fields.items()})


def component(package):
    name, version, machine, source = run(
        'dpkg-query', '-W', '-f',
        '${binary:Package}\t${Version}\t${Architecture}\t${source:Package}',
        package).split('\t')
    name = name.split(':')[0]
    purl = (f'pkg:deb/debian/{name}@{version.replace("+", "%2B")}'
            f'?arch={machine}&distro={distribution()}')
    return {'type': 'library', 'bom-ref': purl, 'name': name,
            'version': version, 'purl': purl,
            'properties': [{'name': 'debian:source', 'value': source}]}


def bill(program):
    packages = {owner(path) for path in libraries(program)}
    if not any('libllhttp' in package for package in packages):
        packages.add(COMPILED_IN)
    parts = [component(package) for package in sorted(packages)]
    with open(program, 'rb') as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    version = run(program, '--version').split()[1]
    itself = f'pkg:generic/tallyd@{version}'
    return {
        'bomFormat': 'CycloneDX',
        'specVersion': '1.5',
        # The same for the same binary.
        'serialNumber': f'urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}',
        'version': 1,
        'metadata': {'component': {
            'type': 'application', 'bom-ref': itself, 'name': 'tallyd',
            'version': version, 'purl': itself,
            'licenses': [{'license': {'id': 'Apache-2.0'}}],
            'hashes': [{'alg': 'SHA-256', 'content': digest}]}},
        'components': parts,
        'dependencies': [
            {'ref': itself, 'dependsOn': [part['bom-ref']
                                          for part in parts]},
            *({'ref': part['bom-ref']} for part in parts)],
    }


if __name__ == '__main__':
    print(json.dumps(bill(sys.argv[1]), indent=2))
