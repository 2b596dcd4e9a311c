// SPDX-License-Identifier: Apache-2.0
// interop — gRPC's interoperability cases (grpc/grpc
// doc/interop-test-descriptions.md): official clients against src/rpc.
//
// grpc for Ruby brings the client of those descriptions along; python.py has
// the cases it lacks; and what no client shows, whether a message came
// compressed, is looked at here.

import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { Session, frame, unframe } from '../e2e/lib/raw.mjs';
import { binaryPath, temporaryDirectory } from '../e2e/lib/server.mjs';
import { contract } from '../e2e/lib/service.mjs';
import {
  atEnd, onFailure, skip, suite, test, within,
} from '../e2e/lib/tap.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PYTHON = '/usr/bin/python3';
const CASE_SECONDS = 60;
const OK = 0;
const INVALID_ARGUMENT = 3;
const RUBY_CASES = [
  'empty_unary', 'large_unary', 'client_compressed_unary', 'client_streaming',
  'client_compressed_streaming', 'server_streaming', 'ping_pong',
  'empty_stream', 'custom_metadata', 'status_code_and_message',
  'unimplemented_method', 'unimplemented_service', 'cancel_after_begin',
  'cancel_after_first_response', 'timeout_on_sleeping_server',
];
const PYTHON_CASES = [
  'empty_unary', 'large_unary', 'cacheable_unary', 'client_compressed_unary',
  'client_compressed_streaming', 'client_streaming', 'server_streaming',
  'intervals', 'ping_pong', 'half_duplex', 'empty_stream', 'custom_metadata',
  'metadata_of_a_failure', 'status_code_and_message', 'special_status_message',
  'unimplemented_method', 'unimplemented_service', 'cancel_after_begin',
  'cancel_after_first_response', 'timeout_on_sleeping_server',
  'many_at_once', 'slow_reader',
];
const run = promisify(execFile);
const { 'grpc.testing.TestService': service } = contract(
  'grpc/testing/test.proto', HERE);

/** The server; it ends at SIGTERM. */
class InteropServer {
  async start() {
    const binary = path.join(
      path.dirname(binaryPath()), 'tests/interop/interop-server');
    const setpriv = '/usr/bin/setpriv';
    const [file, args] = existsSync(setpriv)
      ? [setpriv, ['--pdeathsig', 'KILL', binary]] : [binary, []];
    this.child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.stderr = '';
    this.child.stderr.on('data', (text) => { this.stderr += text; });
    this.exited = new Promise((resolve) => {
      this.child.once('error', (error) => resolve({ error: error.message }));
      this.child.once('close', (code, signal) => resolve({ code, signal }));
    });
    const line = await within(20, 'listening at', Promise.race([
      new Promise((resolve) => { this.child.stdout.once('data', resolve); }),
      this.exited.then((end) => {
        throw new Error(`${binary}: ${JSON.stringify(end)}`);
      })]));
    this.address = /^listening at (\S+)\n/.exec(line)[1];
    return this;
  }

  /** Settles to {code, signal}. */
  stop() {
    this.child.kill();
    return within(10, 'the server\'s end', this.exited);
  }
}

/** Fails with what the client wrote. */
async function client(...command) {
  await run(command[0], command.slice(1), { timeout: CASE_SECONDS * 1000 })
    .catch(({ code, signal, stdout, stderr }) => {
      throw new Error(`${signal ?? code}: ${stdout}\n${stderr}`.slice(-1500));
    });
}

async function rubyCases({ address }) {
  let program;
  try {
    program = execFileSync('dpkg', ['-L', 'ruby-grpc'], { stdio: 'pipe' })
      .toString().split('\n').find((name) => name.endsWith('/test/client.rb'));
    await run('ruby', ['-e', 'require "googleauth"'], { timeout: 20000 });
  } catch {
    program = undefined;
  }
  const [host, port] = address.split(':');
  for (const name of RUBY_CASES) {
    const title = `Ruby: ${name}`;
    if (!program) skip(title, 'needs Debian\'s ruby-grpc and ruby-googleauth');
    else {
      await test(title, () => client('ruby', program, '--server_host', host,
        '--server_port', port, '--test_case', name),
      { seconds: CASE_SECONDS + 5 });
    }
  }
}

async function pythonCases({ address }) {
  const generated = path.join(temporaryDirectory(), 'generated');
  let works = true;
  try {
    mkdirSync(generated);
    await run('protoc', [`--proto_path=${HERE}`, `--python_out=${generated}`,
      'grpc/testing/empty.proto', 'grpc/testing/messages.proto']);
    await run(PYTHON, ['-c', 'import grpc, google.protobuf']);
  } catch {
    works = false;
  }
  for (const name of PYTHON_CASES) {
    const title = `Python: ${name}`;
    if (!works) skip(title, 'needs Debian\'s python3-grpcio and protoc');
    else {
      await test(title, () => client(PYTHON, path.join(HERE, 'python.py'),
        address, path.join(generated, 'grpc/testing'), name),
      { seconds: CASE_SECONDS + 5 });
    }
  }
}

const ZEROS = 31415;
const accepting = { 'grpc-accept-encoding': 'identity,deflate, gzip' };

function flags({ body }) {
  return unframe(body).map(({ flag, bytes }) => {
    assert.ok((flag ? gunzipSync(bytes) : bytes).length >= ZEROS);
    return flag;
  });
}

async function compressedCases({ address }) {
  const session = new Session(address);
  const unary = (request, headers) => {
    const { path: where, requestSerialize } = service.UnaryCall;
    return session.message(where, requestSerialize(request), { headers });
  };
  const rows = [
    ['asked for and accepted', { response_compressed: { value: true } },
      accepting, [1], 'gzip'],
    ['asked to be plain', { response_compressed: { value: false } },
      accepting, [0], 'gzip'],
    ['asked for and not accepted', { response_compressed: { value: true } },
      {}, [0], undefined],
    ['not asked for', {}, accepting, [0], undefined],
  ];
  for (const [name, request, headers, expected, encoding] of rows) {
    await test(`server_compressed_unary: ${name}`, async () => {
      const answer = await unary({ response_size: ZEROS, ...request }, headers);
      assert.equal(answer.status, OK);
      assert.deepEqual(flags(answer), expected);
      assert.equal(answer.headers['grpc-encoding'], encoding);
    });
  }
  await test('server_compressed_streaming: message by message', async () => {
    const { path: where, requestSerialize } = service.StreamingOutputCall;
    const answer = await session.message(where, requestSerialize({
      response_parameters: [true, false, true].map((value) => (
        { size: ZEROS, compressed: { value } })) }), { headers: accepting });
    assert.equal(answer.status, OK);
    assert.deepEqual(flags(answer), [1, 0, 1]);
  });
  await test('expect_compressed: a plain message is found out', async () =>
    assert.equal((await unary({ expect_compressed: { value: true } })).status,
      INVALID_ARGUMENT));
  await session.close();
}

/** What clients do not do: many requests in one DATA frame. */
async function framingCases({ address }) {
  const session = new Session(address);
  const { path: where, requestSerialize, responseDeserialize } =
    service.StreamingInputCall;
  const body = Buffer.concat(Array.from({ length: 50 }, (_, size) =>
    frame(requestSerialize({ payload: { body: Buffer.alloc(size) } }))));
  await test('50 messages in one piece are 50 messages', async () => {
    const answer = await session.call(where, body);
    assert.equal(answer.status, OK);
    assert.equal(responseDeserialize(unframe(answer.body)[0].bytes)
      .aggregated_payload_size, 49 * 50 / 2);
  });
  await session.close();
}

await suite(async () => {
  const server = await new InteropServer().start();
  atEnd(() => server.child.kill('SIGKILL'));
  onFailure(() => server.stderr.slice(-1500));
  await rubyCases(server);
  await pythonCases(server);
  await compressedCases(server);
  await framingCases(server);
  await test('the server ends and has lost nothing', async () =>
    assert.deepEqual(await server.stop(), { code: 0, signal: null }));
}, { seconds: 500 });
