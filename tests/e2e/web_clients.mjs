// SPDX-License-Identifier: Apache-2.0
// web_clients — clients of the web port that others wrote: the official
// grpc-web, connect for node, for the web and in Go, and curl.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import { User, encode } from './lib/client.mjs';
import { MODULES, generate, load, missing } from './lib/generated.mjs';
import { frame, unframe } from './lib/raw.mjs';
import { protoPath, startServer, temporaryDirectory } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { skip, suite, test, until, within } from './lib/tap.mjs';
import { WEB } from './lib/web.mjs';

const CANCELLED = 1;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const FAILED_PRECONDITION = 9;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;
const UUID = '6f1d3f1e-0d6a-4f7c-9d3a-1a2b3c4d5e6f';
const OTHER_UUID = '00000000-0000-4000-8000-000000000001';
const BIG = 65536;
const MANY = 40;

const run = promisify(execFile);

let server;
let pb;
let protobuf;

/** The generated message of a request that lib/client.mjs has signed. */
function message(method, signed) {
  return protobuf.fromBinary(
    pb[`${method}RequestSchema`], encode(method, signed));
}

const lowerFirst = (name) => name[0].toLowerCase() + name.slice(1);

/**
 * A client: `call` resolves to the reply, `listen` gives what can be iterated;
 * both reject with {code, message} as gRPC knows them.
 */
function connectClient(name, connect, transport) {
  const client = connect.createClient(pb.Syncer, transport);
  const translate = (error) => {
    const { code, rawMessage } = connect.ConnectError.from(error);
    throw Object.assign(new Error(rawMessage), { code });
  };
  return {
    name,
    call: (method, signed, options) => client[lowerFirst(method)](
      message(method, signed), options).catch(translate),
    listen: async function* listen(signed, options) {
      try {
        yield* client.listenChanges(message('ListenChanges', signed), options);
      } catch (error) {
        translate(error);
      }
    },
  };
}

/** The official client; in node its XMLHttpRequest does not stream. */
function officialClient(format) {
  const require = createRequire(import.meta.url);
  globalThis.XMLHttpRequest = require('xhr2');
  const grpcWeb = require('grpc-web');
  const client = new grpcWeb.GrpcWebClientBase({ format });
  const descriptor = (method) => new grpcWeb.MethodDescriptor(
    `/sync.Syncer/${method}`, grpcWeb.MethodType.UNARY, Object, Object,
    (request) => protobuf.toBinary(pb[`${method}RequestSchema`], request),
    (bytes) => protobuf.fromBinary(pb[`${method}ReplySchema`], bytes));
  return {
    name: `grpc-web, format ${format}`,
    call: (method, signed) => client.unaryCall(
      `http://${server.webAddress}/sync.Syncer/${method}`,
      message(method, signed), { deadline: String(Date.now() + 20000) },
      descriptor(method)),
  };
}

async function clients() {
  const connect = await import('@connectrpc/connect');
  const node = await import('@connectrpc/connect-node');
  const web = await import('@connectrpc/connect-web');
  const baseUrl = `http://${server.webAddress}`;
  return [
    officialClient('text'),
    officialClient('binary'),
    ...['1.1', '2'].map((httpVersion) => connectClient(
      `connect-node, gRPC-Web over HTTP/${httpVersion}`, connect,
      node.createGrpcWebTransport({ baseUrl, httpVersion }))),
    connectClient('connect-node, gRPC-Web with gzip', connect,
      node.createGrpcWebTransport({ baseUrl, httpVersion: '1.1',
        compressMinBytes: 0, sendCompression: node.compressionGzip })),
    connectClient('connect-node, gRPC', connect, node.createGrpcTransport(
      { baseUrl: `http://${server.address}` })),
    connectClient('connect-web on node\'s fetch', connect,
      web.createGrpcWebTransport({ baseUrl })),
  ];
}

const signer = () => new User(undefined, new Key(), { quick: true });

/** Rejects with what a call was expected to fail with. */
async function fails(outcome, code, text) {
  const error = await outcome.then(() => undefined, (reason) => reason);
  assert.ok(error, 'it succeeded');
  assert.equal(error.code, code, error.message);
  assert.equal(error.message, text);
}

async function recordCases({ name, call }) {
  const user = signer();
  const set = (fields) => call('SetRecord', user.record(fields));
  const list = async (since) => (await call('ListChanges',
    user.signed('ListChanges', { since_revision: String(since) }))).changes;
  await test(`${name}: SetRecord and ListChanges`, async () => {
    const data = Buffer.alloc(BIG, 0xc3);
    const { status, newRevision } = await set({ id: 'ä', data });
    assert.equal(status, pb.SetRecordStatus.SUCCESS);
    assert.equal(newRevision, 1n);
    const [record] = await list(0);
    assert.equal(record.id, 'ä');
    assert.equal(record.revision, 1n);
    assert.deepEqual(Buffer.from(record.data), data);
    assert.deepEqual(await list(1), []);
  });
  await test(`${name}: a stale revision is a conflict`, async () => {
    const { status } = await set({ id: 'ä', revision: 7 });
    assert.equal(status, pb.SetRecordStatus.CONFLICT);
  });
  await test(`${name}: ${MANY} calls at once, and 2.5 MiB in one reply`,
    async () => {
      const other = signer();
      const replies = await Promise.all(Array.from({ length: MANY },
        (_, at) => call('SetRecord', other.record(
          { id: `r${at}`, data: Buffer.alloc(BIG, at) }))));
      assert.deepEqual(replies.map(({ newRevision }) => Number(newRevision))
        .sort((a, b) => a - b), Array.from({ length: MANY }, (_, at) => at + 1));
      const { changes } = await call('ListChanges',
        other.signed('ListChanges', { since_revision: '0' }));
      assert.equal(changes.length, MANY);
      for (const { id, data } of changes) {
        assert.equal(data.length, BIG);
        assert.equal(`r${data[BIG - 1]}`, id);
      }
    });
}

async function lockCases({ name, call }) {
  const user = signer();
  const lock = (instance, acquire) => call('SetLock', user.signed('SetLock', {
    lock_name: 'n', instance_id: instance, acquire, exclusive: true }));
  const locked = async () => (await call('GetLock',
    user.signed('GetLock', { lock_name: 'n' }))).locked;
  await test(`${name}: SetLock and GetLock`, async () => {
    assert.equal(await locked(), false);
    await lock(UUID, true);
    assert.equal(await locked(), true);
    await fails(lock(OTHER_UUID, true), FAILED_PRECONDITION,
      'lock held by another instance');
    await lock(UUID, false);
    assert.equal(await locked(), false);
  });
  await test(`${name}: error statuses and their texts`, async () => {
    const get = (fields) => call('GetLock', user.signed('GetLock', fields));
    await fails(get({ lock_name: '' }), INVALID_ARGUMENT,
      'lock_name must not be empty');
    await fails(get({ lock_name: 'n', signature: '' }), UNAUTHENTICATED,
      'invalid signature');
    await fails(get({ lock_name: 'n', signature: '!!!!' }), UNAUTHENTICATED,
      'failed to decode signature: illegal z-base-32 data at input byte 0');
  });
}

function endedListeners() {
  return server.stderr.split('\n').filter((line) =>
    line.includes('/sync.Syncer/ListenChanges')
    && line.includes('to=closed')).length;
}

async function next(iterator) {
  const { value, done } = await within(5, 'a notification', iterator.next());
  assert.equal(done, false, 'it ended');
  return value.clientId;
}

async function listenCases({ name, call, listen }) {
  const user = signer();
  const open = (options) => listen(
    user.signed('ListenChanges', {}), options)[Symbol.asyncIterator]();
  await test(`${name}: a listener hears each change`, async () => {
    const abort = new AbortController();
    const listener = open({ signal: abort.signal });
    assert.equal(await next(listener), undefined);
    for (const clientId of ['ann', 'bob']) {
      await call('SetRecord', user.record({ id: clientId, clientId }));
      assert.equal(await next(listener), clientId);
    }
    const before = endedListeners();
    abort.abort();
    await fails(next(listener), CANCELLED, 'This operation was aborted');
    await until(5, 'the listener to be freed',
      () => endedListeners() === before + 1);
  });
  await test(`${name}: a listener that is refused`, () => fails(
    next(listen(user.signed('ListenChanges', { signature: '' }))),
    UNAUTHENTICATED, 'invalid signature'));
  await test(`${name}: a listener's deadline`, async () => {
    const listener = open({ timeoutMs: 400 });
    assert.equal(await next(listener), undefined);
    const error = await next(listener).catch((reason) => reason);
    assert.equal(error.code, DEADLINE_EXCEEDED, error.message);
  });
}

async function drainCases(all) {
  const listeners = [];
  for (const { name, listen } of all.filter(({ listen }) => listen)) {
    const listener = listen(signer().signed('ListenChanges', {}));
    await next(listener);
    listeners.push([name, listener]);
  }
  const end = server.stop();
  for (const [name, listener] of listeners) {
    await test(`${name}: a drain ends a listener by UNAVAILABLE`, async () => {
      const error = await next(listener).catch((reason) => reason);
      assert.equal(error.code, UNAVAILABLE, error.message);
    });
  }
  await test('with all these clients connected it drains to the end',
    async () => assert.deepEqual(await end, { code: 0, signal: null }));
}

// ---- programs ----

/** curl as a client; `call` resolves to {head, frames}. */
function curlClient() {
  const dir = temporaryDirectory();
  const options = (method, body, more) => {
    const file = path.join(dir, 'body');
    writeFileSync(file, body);
    return ['--silent', '--show-error', '--fail', '--max-time', '10',
      '--no-buffer', '--dump-header', path.join(dir, 'head'),
      '--header', `content-type: ${WEB}`, '--data-binary', `@${file}`,
      ...more, `http://${server.webAddress}/sync.Syncer/${method}`];
  };
  return {
    call: async (method, signed, ...more) => {
      const { stdout } = await run('/usr/bin/curl',
        options(method, frame(encode(method, signed)), more),
        { encoding: 'buffer' });
      return { head: readFileSync(path.join(dir, 'head'), 'latin1'),
        frames: unframe(stdout) };
    },
    listen: (signed, ...more) => spawn('/usr/bin/curl', options(
      'ListenChanges', frame(encode('ListenChanges', signed)), more),
    { stdio: ['ignore', 'pipe', 'inherit'] }),
  };
}

async function curlMethodCases(version, option) {
  const curl = curlClient();
  const user = signer();
  const call = (method, fields, ...more) => curl.call(
    method, user.signed(method, fields), option, ...more);
  const reply = async (method, fields) => {
    const { frames: [message, trailers] } = await call(method, fields);
    assert.equal(String(trailers.bytes), 'grpc-status: 0\r\n');
    return protobuf.fromBinary(pb[`${method}ReplySchema`], message.bytes);
  };
  await test(`curl over ${version}: SetRecord and ListChanges`, async () => {
    const data = Buffer.alloc(BIG, 0xc3);
    const { newRevision } = await reply('SetRecord', { record: {
      id: 'r', data, revision: '0', schema_version: '1' } });
    assert.equal(newRevision, 1n);
    const { changes } = await reply('ListChanges', { since_revision: '0' });
    assert.deepEqual(Buffer.from(changes[0].data), data);
  });
  await test(`curl over ${version}: SetLock and GetLock`, async () => {
    await reply('SetLock', { lock_name: 'n', instance_id: UUID,
      acquire: true, exclusive: true });
    assert.equal((await reply('GetLock', { lock_name: 'n' })).locked, true);
  });
  await test(`curl over ${version}: an error`, async () => {
    const { head, frames } = await call('GetLock', { lock_name: '' });
    assert.match(head, new RegExp(`^grpc-status: ${INVALID_ARGUMENT}\r$`, 'm'));
    assert.match(head, /^grpc-message: lock_name must not be empty\r$/m);
    assert.deepEqual(frames, []);
  });
  await test(`curl over ${version}: a listener's deadline`, async () => {
    const { frames } = await call('ListenChanges', {},
      '--header', 'grpc-timeout: 300m');
    assert.equal(frames.length, 2);
    assert.match(String(frames[1].bytes),
      new RegExp(`^grpc-status: ${DEADLINE_EXCEEDED}\r\n`));
  });
  await test(`curl over ${version}: a listener hears, and is freed`, () =>
    programListens(
      curl.listen(user.signed('ListenChanges', {}), option),
      (heard) => unframe(Buffer.from(heard, 'latin1')).length,
      () => call('SetRecord', { record: {
        id: 's', data: Buffer.alloc(1), revision: '0', schema_version: '1' } })));
}

/**
 * A program that listens: what it writes becomes, by `count`, one message and,
 * after `change`, two; killed, its call is freed.
 */
async function programListens(child, count, change) {
  const before = endedListeners();
  let heard = '';
  child.stdout.setEncoding('latin1');
  child.stdout.on('data', (text) => { heard += text; });
  try {
    await until(10, 'a greeting', () => count(heard) === 1);
    await change();
    await until(10, 'a notification', () => count(heard) === 2);
  } finally {
    child.kill();
  }
  await until(5, 'the listener to be freed',
    () => endedListeners() === before + 1);
}

async function curlCases() {
  if (!existsSync('/usr/bin/curl')) {
    skip('curl', 'curl is not installed');
    return;
  }
  await curlMethodCases('HTTP/1.1', '--http1.1');
  await curlMethodCases('HTTP/2', '--http2-prior-knowledge');
  for (const [version, option] of [
    ['HTTP/1.1', '--http1.1'], ['HTTP/2', '--http2-prior-knowledge'],
    ['HTTP/1.0', '--http1.0']]) {
    await test(`curl over ${version}: a body it asks leave for`, async () => {
      const user = signer();
      const { head, frames } = await curlClient().call('SetRecord',
        user.record({ id: 'r', data: Buffer.alloc(BIG) }), option,
        '--header', 'expect: 100-continue');
      assert.match(head, /HTTP\/[12][.1]* 200/);
      assert.equal(String(frames[1].bytes), 'grpc-status: 0\r\n');
      assert.equal(protobuf.fromBinary(
        pb.SetRecordReplySchema, frames[0].bytes).newRevision, 1n);
    });
  }
  await test('curl: /health', async () => {
    const { stdout } = await run('/usr/bin/curl', ['--silent', '--fail',
      `http://${server.webAddress}/health`]);
    assert.equal(stdout, 'OK');
  });
}

/** connect-go, in buf. */
async function bufCases() {
  // The program itself: what npm's @bufbuild/buf puts before it would outlive
  // a kill, and cannot be locked where systems' packages are missing.
  const arch = process.arch === 'arm64' ? 'aarch64' : process.arch;
  const buf = path.join(MODULES, `@bufbuild/buf-linux-${arch}/bin/buf`);
  if (!existsSync(buf)) {
    skip('buf curl', `npm has no @bufbuild/buf for ${arch}`);
    return;
  }
  const schema = ['--schema', path.dirname(protoPath())];
  const ways = [
    ['grpcweb over HTTP/1.1', server.webAddress,
      ['--protocol', 'grpcweb', ...schema]],
    ['grpcweb over HTTP/2', server.webAddress,
      ['--protocol', 'grpcweb', '--http2-prior-knowledge', ...schema]],
    ['grpc', server.address, ['--protocol', 'grpc', ...schema]],
    ['grpc, through reflection', server.address,
      ['--protocol', 'grpc', '--http2-prior-knowledge']],
  ];
  for (const [name, address, options] of ways) {
    await bufMethodCases(`buf curl, ${name}`, buf, (method, request) => [
      'curl', '--data', JSON.stringify(request), ...options,
      `http://${address}/sync.Syncer/${method}`]);
  }
}

async function bufMethodCases(name, buf, command) {
  const user = signer();
  const call = async (method, fields) => {
    const { stdout } = await run(buf,
      command(method, user.signed(method, fields)), { timeout: 20000 });
    return JSON.parse(stdout);
  };
  const set = (id) => {
    const record = { id, data: Buffer.from('d'), revision: '0',
      schema_version: '1' };
    const request = user.signed('SetRecord', { record });
    request.record = { ...record, data: record.data.toString('base64') };
    return run(buf, command('SetRecord', request), { timeout: 20000 });
  };
  await test(`${name}: a record is set and listed`, async () => {
    await set('r');
    const { changes } = await call('ListChanges', { since_revision: '0' });
    assert.deepEqual(changes, [
      { id: 'r', revision: '1', schemaVersion: '1', data: 'ZA==' }]);
  });
  await test(`${name}: a lock is taken and seen`, async () => {
    await call('SetLock', { lock_name: 'n', instance_id: UUID, acquire: true,
      exclusive: true });
    assert.deepEqual(await call('GetLock', { lock_name: 'n' }),
      { locked: true });
  });
  await test(`${name}: an error`, async () => {
    const { stderr } = await call('GetLock', { lock_name: '' })
      .catch((error) => error);
    const { code, message: text } = JSON.parse(stderr);
    assert.equal(code, 'invalid_argument');
    assert.equal(text, 'lock_name must not be empty');
  });
  await test(`${name}: a listener hears, and is freed`, () => programListens(
    spawn(buf, command('ListenChanges', user.signed('ListenChanges', {})),
      { stdio: ['ignore', 'pipe', 'ignore'] }),
    (heard) => heard.split('{}').length - 1, () => set('s')));
}

await suite(async () => {
  const reason = missing('grpc-web', 'xhr2', '@connectrpc/connect-node',
    '@connectrpc/connect-web', '@bufbuild/protoc-gen-es');
  if (reason) {
    skip('clients of the web port', reason);
    return;
  }
  server = await startServer({ env: { LOG_LEVEL: 'debug' } });
  pb = await load(generate());
  protobuf = await import('@bufbuild/protobuf');
  const all = await clients();
  for (const client of all) {
    await recordCases(client);
    await lockCases(client);
    if (client.listen) await listenCases(client);
  }
  await curlCases();
  await bufCases();
  await drainCases(all);
});
