#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The matrix of script/interop: one row a client, PASS, FAIL or SKIPPED.

Usage: matrix.py [ROW...]
"""
import collections
import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
TOOLS = os.path.join(ROOT, 'build-interop')
PROTO = os.path.join(ROOT, 'proto')
HERE = os.path.join(ROOT, 'tests/interop')

GO_TOOLS = {
    'grpc-go': ('google.golang.org/grpc/interop/client', 'v1.65.0', 'client'),
    'h2spec': ('github.com/summerwind/h2spec/cmd/h2spec', 'latest', 'h2spec'),
    'grpcurl': ('github.com/fullstorydev/grpcurl/cmd/grpcurl', 'v1.9.1',
                'grpcurl'),
    'ghz': ('github.com/bojand/ghz/cmd/ghz', 'latest', 'ghz'),
}

# The device's log is read, so that it is one version.
BREEZ_SDK = 'breez-sdk-spark==0.27.2'

# Those of grpc's interop descriptions that need no credentials.
INTEROP_CASES = [
    'empty_unary', 'large_unary', 'client_streaming', 'server_streaming',
    'ping_pong', 'empty_stream', 'timeout_on_sleeping_server',
    'cancel_after_begin', 'cancel_after_first_response',
    'status_code_and_message', 'special_status_message', 'custom_metadata',
    'unimplemented_method', 'unimplemented_service',
]
# And those that grpc-java's client has beside them; cacheable_unary needs a
# cache in between.
JAVA_CASES = INTEROP_CASES + [
    'client_compressed_unary', 'server_compressed_unary',
    'client_compressed_streaming', 'server_compressed_streaming',
    'pick_first_unary', 'rpc_soak', 'channel_soak',
]
JAVA_TRANSPORTS = ['netty', 'okhttp']

# What h2spec may find, by parts of its tests' names. The web port speaks
# HTTP/1.1 too, and answers a bad preface in it; nghttp2 takes a lower stream id
# for a late frame. The native port refuses h2spec's requests as soon as it has
# their headers, so that streams may end before these tests come to their point:
# what comes for a stream that the server reset is ignored.
H2SPEC_EXPLAINED = {
    'web': ['invalid connection preface', 'numerically smaller'],
    'native': ['numerically smaller', 'WINDOW_UPDATE frame',
               'PRIORITY frame on half-closed', 'closed: Sends a',
               'concurrent stream limit', 'pseudo-header field as trailers',
               'content-length', 'second HEADERS frame',
               'invalid pad length'],
}


class Skip(Exception):
    pass


Server = collections.namedtuple('Server', ['native', 'web', 'process'])


def run(command, seconds=120, **more):
    result = subprocess.run(command, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True,
                            timeout=seconds, check=False, **more)
    return result.returncode, result.stdout


def must(command, **more):
    code, output = run(command, **more)
    if code != 0:
        raise AssertionError(f'{command[0]}: {output.strip()[-400:]}')
    return output


def count_tap(command, **more):
    """Runs a program that prints TAP; the number of its cases."""
    code, output = run(command, 300, **more)
    passed = re.findall(r'^ok \d+', output, re.M)
    if code != 0 or f'\n1..{len(passed)}\n' not in output:
        rest = [line for line in output.splitlines()
                if not line.startswith('ok ')]
        raise AssertionError('\n'.join(rest)[-1000:] or f'status {code}')
    return len(passed)


def need(*programs):
    for name in programs:
        if not shutil.which(name):
            raise Skip(f'{name} is missing')


def build(command, network_words, **more):
    """Its packages may be out of reach; else it builds."""
    code, output = run(command, 600, **more)
    if code == 0:
        return
    lines = output.strip().splitlines()
    for line in lines:
        if re.search(network_words, line):
            raise Skip(f'{command[0]}: {line.strip()[:200]}')
    raise AssertionError(f'{command[0]}: ' + '\n'.join(lines[-20:]))


def go_tool(name):
    package, version, program = GO_TOOLS[name]
    path = os.path.join(TOOLS, 'bin', program)
    if os.path.exists(path):
        return path
    need('go')
    code, output = run(['go', 'install', f'{package}@{version}'], 600,
                       env={**os.environ, 'GOFLAGS': '-mod=mod',
                            'GOBIN': os.path.join(TOOLS, 'bin')})
    if code != 0:
        raise Skip(f'go install {package}: {output.strip().splitlines()[-1]}')
    return path


def venv(name, *packages):
    """The Python of a directory of its own with these packages."""
    directory = os.path.join(TOOLS, name)
    python = os.path.join(directory, 'bin', 'python')
    if os.path.exists(python):
        return python
    for command in ([sys.executable, '-m', 'venv', directory],
                    [python, '-m', 'pip', 'install', '--quiet', *packages]):
        code, output = run(command, 300)
        if code != 0:
            shutil.rmtree(directory, ignore_errors=True)
            raise Skip(f'{command[2]}: {output.strip().splitlines()[-1]}')
    return python


@contextlib.contextmanager
def program(command, pattern, **more):
    """Runs it, which ends well at SIGTERM; gives it and what `pattern` found in
    its output."""
    process = subprocess.Popen(
        ['setpriv', '--pdeathsig', 'KILL', *command], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, stdin=subprocess.PIPE, text=True, **more)
    try:
        for line in process.stdout:
            match = re.search(pattern, line)
            if match:
                yield process, match
                break
        else:
            raise AssertionError(f'{command[0]} did not start')
        process.terminate()
        code = process.wait(60)
        assert code == 0, f'{command[0]} ended with {code}'
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def tallyd(directory=None, **settings):
    """Serves, on free ports unless `settings` name others."""
    with contextlib.ExitStack() as stack:
        directory = directory or stack.enter_context(
            tempfile.TemporaryDirectory())
        env = {**os.environ, 'SQLITE_DIR_PATH': directory + '/db',
               'GRPC_LISTEN_ADDRESS': '127.0.0.1:0',
               'GRPC_WEB_LISTEN_ADDRESS': '127.0.0.1:0',
               'METRICS_LISTEN_ADDRESS': 'off', **settings}
        process, match = stack.enter_context(program(
            [os.path.join(ROOT, 'build/tallyd')],
            r'listening at (\S+?)" web=(\S+)', env=env))
        yield Server(match[1], match[2], process)


@contextlib.contextmanager
def interop_server():
    with program([os.path.join(ROOT, 'build/tests/interop/interop-server')],
                 r'listening at (\S+):(\d+)') as (_, match):
        yield match[1], match[2]


def certificate(directory):
    """A CA's ca.pem, and the settings of a server with its certificate."""
    def issue(name, *more):
        must(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
              'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj',
              f'/CN={name}', '-keyout', f'{name}.key', '-out', f'{name}.pem',
              *more], cwd=directory)
    issue('ca')
    issue('server', '-CA', 'ca.pem', '-CAkey', 'ca.key',
          '-addext', 'subjectAltName=IP:127.0.0.1',
          '-addext', 'basicConstraints=critical,CA:FALSE')
    return f'{directory}/ca.pem', {
        'TLS_CERT_FILE': f'{directory}/server.pem',
        'TLS_KEY_FILE': f'{directory}/server.key'}


def count_client(*command):
    """The cases of a client of ours: it is given a server in clear, one over
    TLS and its CA, and the process of the first."""
    with tempfile.TemporaryDirectory() as directory:
        ca, settings = certificate(directory)
        with tallyd() as clear, tallyd(**settings) as secure:
            return count_tap([*command, clear.native, secure.native, ca,
                              str(clear.process.pid)])


def signed(method, request):
    """A signed request as JSON, from the end-to-end suites' client."""
    script = (
        "import { User } from './lib/client.mjs';"
        "import { Key } from './lib/sign.mjs';"
        f"const r = new User(null, new Key()).signed({json.dumps(method)},"
        f"{json.dumps(request)}); console.log(JSON.stringify(r));")
    return must(['node', '--input-type=module', '-e', script],
                cwd=os.path.join(ROOT, 'tests/e2e')).strip()


# ---- the rows ----

def grpc_go():
    client = go_tool('grpc-go')
    with interop_server() as (host, port):
        failed = [case for case in INTEROP_CASES if run(
            [client, f'--server_host={host}', f'--server_port={port}',
             f'--test_case={case}'], 60)[0] != 0]
    assert not failed, f'failed: {", ".join(failed)}'
    return f'{len(INTEROP_CASES)} cases'


def h2spec():
    tool = go_tool('h2spec')
    counts = []
    with tallyd() as server:
        for port in 'native', 'web':
            address = getattr(server, port)
            host, number = address.rsplit(':', 1)
            _, output = run([tool, '-h', host, '-p', number], 300)
            summary = re.search(r'(\d+) tests, (\d+) passed.*', output)
            assert summary, output[-400:]
            unexplained = [
                name for name in re.findall(r'^ *× \d+: (.*)', output, re.M)
                if not any(part in name for part in H2SPEC_EXPLAINED[port])]
            assert not unexplained, f'{port}: {unexplained}'
            counts.append(f'{port}: {summary[0]}')
    return '; '.join(counts)


def grpcurl():
    tool = go_tool('grpcurl')
    with tallyd() as server:
        services = must([tool, '-plaintext', server.native, 'list'])
        assert 'sync.Syncer' in services, services
        request = signed('GetLock', {'lock_name': 'n'})
        must([tool, '-plaintext', '-d', request, server.native,
              'sync.Syncer/GetLock'])
        health = must([tool, '-plaintext', server.native,
                       'grpc.health.v1.Health/Check'])
        assert 'SERVING' in health, health
    return 'list, GetLock and Check through reflection'


def ghz():
    tool = go_tool('ghz')
    # Its own parser is older than proto3's `optional`.
    descriptors = os.path.join(TOOLS, 'sync.pb')
    must(['protoc', f'--proto_path={PROTO}', '--include_imports',
          f'--descriptor_set_out={descriptors}', 'sync.proto'])
    with tallyd() as server:
        output = must([
            tool, '--insecure', '--protoset', descriptors,
            '--call', 'sync.Syncer.GetLock', '-n', '5000', '-c', '50', '-d',
            signed('GetLock', {'lock_name': 'n'}), server.native])
    assert re.search(r'\[OK\]\s+5000', output), output[-600:]
    return '5000 of 5000 OK, ' + re.search(
        r'Requests/sec:\s*\S+', output)[0].replace('\t', ' ')


def tonic():
    need('cargo', 'rustc')
    folder = os.path.join(HERE, 'tonic')
    with open(os.path.join(folder, 'Cargo.toml'), encoding='utf-8') as file:
        wanted = re.search(r'^rust-version = "(.*)"', file.read(), re.M)[1]
    found = re.match(r'rustc (\d+\.\d+)', must(['rustc', '--version']))[1]
    if [*map(int, found.split('.'))] < [*map(int, wanted.split('.'))]:
        raise Skip(f'Rust {found} is older than {wanted}')
    target = os.path.join(TOOLS, 'tonic')
    build(['cargo', 'build', '--locked', '--quiet'],
          'failed to download|[Cc]ould not resolve host|spurious network',
          cwd=folder, env={**os.environ, 'CARGO_TARGET_DIR': target})
    cases = count_client(os.path.join(target, 'debug/tonic-client'))
    spec = must(['cargo', 'pkgid', '--offline', 'tonic'], cwd=folder)
    return f'tonic {spec.strip().rsplit("@", 1)[1]}, {cases} cases'


@functools.cache
def java_command():
    """Builds tests/interop/java; how to run its classes."""
    need('java', 'javac', 'mvn')
    folder = os.path.join(HERE, 'java')
    build(['mvn', '--batch-mode', '--quiet', '-Dstyle.color=never', 'compile'],
          '(Could not|failed to) transfer|Unknown host|release .* not supported',
          cwd=folder)
    target = os.path.join(TOOLS, 'java')
    with open(os.path.join(target, 'classpath'), encoding='utf-8') as file:
        return ['java', '-cp', f'{target}/classes:{file.read()}']


def grpc_java():
    java = java_command()
    vectors = os.path.join(ROOT, 'tests/vectors/signing.json')
    version = re.search(r'grpc-stub-([\d.]+)\.jar', java[-1])[1]
    counts = [f'{count_client(*java, "tallyd.Client", name, vectors)} cases '
              f'over {name}' for name in JAVA_TRANSPORTS]
    return f'grpc-java {version}, {", ".join(counts)}'


def grpc_java_interop():
    java = java_command()
    client = 'io.grpc.testing.integration.TestServiceClient'
    with interop_server() as (host, port):
        failed = [f'{case} over {name}' for name in JAVA_TRANSPORTS
                  for case in JAVA_CASES if run(
                      [*java, client, f'--server_host={host}',
                       f'--server_port={port}', '--use_tls=false',
                       f'--use_okhttp={str(name == "okhttp").lower()}',
                       f'--test_case={case}'], 60)[0] != 0]
    assert not failed, f'failed: {", ".join(failed)}'
    return f'{len(JAVA_CASES)} cases over {" and ".join(JAVA_TRANSPORTS)} each'


def pypi_grpcio():
    python = venv('venv', 'grpcio', 'protobuf', 'grpcio-tools')
    cases = count_tap([python, 'tests/e2e/python_client.py'], cwd=ROOT,
                      env={**os.environ, 'TALLYD': 'build/tallyd'})
    version = must([python, '-c', 'import grpc; print(grpc.__version__)'])
    return f'grpcio {version.strip()}, {cases} cases'


def pypi_breez_sdk():
    python = venv('venv-breez', BREEZ_SDK)
    alone = ['unshare', '--net']
    if os.geteuid() != 0:
        alone.insert(1, '--map-root-user')
    code, output = run([*alone, 'true'])
    if code != 0:
        raise Skip(f'no network of its own: {output.strip()}')
    cases = count_tap([*alone, sys.executable,
                       os.path.join(HERE, 'breez_sdk.py'), python])
    return f'{BREEZ_SDK.replace("==", " ")}, {cases} cases'


ROWS = {
    'grpc-go': grpc_go,
    'h2spec': h2spec,
    'grpcurl': grpcurl,
    'ghz': ghz,
    'tonic': tonic,
    'grpc-java': grpc_java,
    'java-interop': grpc_java_interop,
    'pypi-grpcio': pypi_grpcio,
    'pypi-breez': pypi_breez_sdk,
}


def main():
    os.makedirs(TOOLS, exist_ok=True)
    counts = {'PASS': 0, 'FAIL': 0, 'SKIPPED': 0}
    for name in sys.argv[1:] or ROWS:
        try:
            result, detail = 'PASS', ROWS[name]()
        except Skip as reason:
            result, detail = 'SKIPPED', reason
        except (AssertionError, subprocess.TimeoutExpired) as reason:
            result, detail = 'FAIL', reason
        counts[result] += 1
        print(f'{result:8} {name:13} {detail}', flush=True)
    print(f'{counts["PASS"]} passed, {counts["FAIL"]} failed, '
          f'{counts["SKIPPED"]} skipped')
    return 1 if counts['FAIL'] or not counts['PASS'] else 0


if __name__ == '__main__':
    sys.exit(main())
