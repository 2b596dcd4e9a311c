// SPDX-License-Identifier: Apache-2.0
// raw — what a server must answer to requests no good client would send.

import assert from 'node:assert/strict';
import { gzipSync, gunzipSync } from 'node:zlib';
import {
  Client, STREAMS, User, decodeReply, encode,
} from './lib/client.mjs';
import { sameMessage } from './lib/expect.mjs';
import {
  FRAME, Session, Wire, frame, h2frame, hpack, padding, requestHeaders,
  unframe,
} from './lib/raw.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { suite, test, within } from './lib/tap.mjs';

const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNKNOWN = 2;

const GET_LOCK = '/sync.Syncer/GetLock';
const SET_RECORD = '/sync.Syncer/SetRecord';
const LISTEN = '/sync.Syncer/ListenChanges';
const PROTOCOL_ERROR = 1;
const STREAM_CLOSED = 5;
const LARGEST_MESSAGE = 262144;
const BAD_WIRE = 'proto: cannot parse invalid wire-format data';

// A value that ends in a space is no valid header; node then shows none.
const NO_SERVICE = ['unknown service ', 'unknown service', undefined];

const hex = (text) => Buffer.from(text.replaceAll(' ', ''), 'hex');

let session;
let client;
let user;

const good = () => encode('GetLock', user.signed('GetLock',
  { lock_name: 'n' }));

function isLockReply(answer) {
  assert.equal(answer.http, 200);
  assert.equal(answer.status, 0, answer.message);
  const [message, ...more] = unframe(answer.body);
  assert.equal(more.length, 0);
  const bytes = message.flag ? gunzipSync(message.bytes) : message.bytes;
  assert.equal(decodeReply('GetLock', bytes).locked, false);
}

/** Rows are [name, () => answer, http status, grpc status, message]. */
async function table(rows) {
  for (const [name, ask, http, status, message] of rows) {
    await test(name, async () => {
      const answer = await ask();
      assert.equal(answer.http, http, `HTTP ${answer.http}`);
      assert.equal(answer.status, status,
        `status ${answer.status} (${answer.message}), expected ${status}`);
      sameMessage(answer.message, message);
    });
  }
}

function pathRows() {
  const at = (path) => () => session.message(path, good());
  return [
    ['unknown method', at('/sync.Syncer/Nope'), 200, UNIMPLEMENTED,
      'unknown method Nope for service sync.Syncer'],
    ['unknown service', at('/foo.Bar/Baz'), 200, UNIMPLEMENTED,
      'unknown service foo.Bar'],
    ['service in the wrong case', at('/sync.syncer/GetLock'), 200,
      UNIMPLEMENTED, 'unknown service sync.syncer'],
    ['method in the wrong case', at('/sync.Syncer/getLock'), 200,
      UNIMPLEMENTED, 'unknown method getLock for service sync.Syncer'],
    ["path '/nope'", at('/nope'), 200, UNIMPLEMENTED,
      'malformed method name: "/nope"'],
    ["path '//'", at('//'), 200, UNIMPLEMENTED, NO_SERVICE],
    ["path '/'", at('/'), 200, UNIMPLEMENTED, 'malformed method name: "/"'],
    ['a path splits at its last slash', at('/a/sync.Syncer/GetLock'), 200,
      UNIMPLEMENTED, 'unknown service a/sync.Syncer'],
    ['a query stays part of the method', at(`${GET_LOCK}?a=1`), 200,
      UNIMPLEMENTED, 'unknown method GetLock?a=1 for service sync.Syncer'],
    ['letters beyond ASCII in a path come back', at('/sync.Syncer/%C3%A9'),
      200, UNIMPLEMENTED,
      'unknown method %C3%A9 for service sync.Syncer'],
    ['an unknown method is told before an unknown compression',
      () => session.message('/sync.Syncer/Nope', good(),
        { headers: { 'grpc-encoding': 'br' } }), 200, UNIMPLEMENTED,
      'unknown method Nope for service sync.Syncer'],
    ['an unknown method is told without a body',
      () => session.call('/sync.Syncer/Nope', null), 200, UNIMPLEMENTED,
      'unknown method Nope for service sync.Syncer'],
  ];
}

function headerRows() {
  const having = (headers) => () => session.message(
    GET_LOCK, good(), { headers });
  const timeout = (text) => having({ 'grpc-timeout': text });
  const notGrpc = (type) => [`content-type ${type}`,
    having({ 'content-type': type }), 415, INVALID_ARGUMENT,
    `invalid gRPC request content-type "${type ?? ''}"`];
  const malformed = (text, why) => [`grpc-timeout '${text}'`, timeout(text),
    400, INTERNAL, `malformed grpc-timeout: transport: ${why}`];
  return [
    ['GET', () => session.call(GET_LOCK, null,
      { headers: { ':method': 'GET' } }), 405, INTERNAL,
    'Received a HEADERS frame with :method "GET" which should be POST'],
    ['PUT', () => session.message(GET_LOCK, good(),
      { headers: { ':method': 'PUT' } }), 405, INTERNAL,
    'Received a HEADERS frame with :method "PUT" which should be POST'],
    notGrpc('application/json'),
    notGrpc('application/grpc-web'),
    notGrpc('application/grpc-web+proto'),
    notGrpc('application/grpcx'),
    notGrpc('Application/grpc'),
    notGrpc('text/plain'),
    ['no content-type', having({ 'content-type': undefined }), 415,
      INVALID_ARGUMENT, 'invalid gRPC request content-type ""'],
    ['GET of another content-type: the type is told first',
      () => session.call(GET_LOCK, null, { headers: {
        ':method': 'GET', 'content-type': 'text/plain' } }), 415,
      INVALID_ARGUMENT, 'invalid gRPC request content-type "text/plain"'],
    ['GET with a malformed grpc-timeout: that is told first',
      () => session.call(GET_LOCK, null, { headers: {
        ':method': 'GET', 'grpc-timeout': '5' } }), 400, INTERNAL,
      'malformed grpc-timeout: transport: timeout string is too short: "5"'],
    malformed('5', 'timeout string is too short: "5"'),
    malformed('5x', 'timeout unit is not recognized: "5x"'),
    malformed('123456789n', 'timeout string is too long: "123456789n"'),
    ['grpc-timeout 0n', timeout('0n'), 200, DEADLINE_EXCEEDED,
      'context deadline exceeded'],
    ['grpc-timeout -1S', timeout('-1S'), 200, DEADLINE_EXCEEDED,
      'context deadline exceeded'],
    ['bad base64 in a -bin header', having({ 'x-bin': '!!!' }), 400, INTERNAL,
      'malformed binary metadata "!!!" in header "x-bin": ' +
      'illegal base64 data at input byte 0'],
    ['an unknown compression', having({ 'grpc-encoding': 'br' }), 200,
      UNIMPLEMENTED,
      'grpc: Decompressor is not installed for grpc-encoding "br"'],
    ['an unknown compression and the compressed flag',
      () => session.call(GET_LOCK, frame(good(), 1),
        { headers: { 'grpc-encoding': 'br' } }), 200, UNIMPLEMENTED,
      'grpc: Decompressor is not installed for grpc-encoding "br"'],
    ['a listener\'s deadline', () => listenFor('300m'), 200,
      DEADLINE_EXCEEDED, 'context deadline exceeded'],
  ];
}

function listenFor(timeout) {
  return session.message(LISTEN,
    encode('ListenChanges', user.signed('ListenChanges', {})),
    { headers: { 'grpc-timeout': timeout } });
}

function bodyRows() {
  const get = (text) => () => session.message(GET_LOCK, hex(text));
  const set = (size) => () => session.message(SET_RECORD, padding(size));
  const body = (bytes, headers = {}) => () => session.call(
    GET_LOCK, bytes, { headers });
  const zip = { 'grpc-encoding': 'gzip' };
  const larger = (size) =>
    `grpc: received message larger than max (${size} vs. ${LARGEST_MESSAGE})`;
  const identity =
    'grpc: compressed flag set with identity or empty encoding';
  const unread = (why) => `grpc: error unmarshalling request: ${why}`;
  return [
    ['a message of 262144 bytes', set(LARGEST_MESSAGE), 200,
      INVALID_ARGUMENT, 'record must not be empty'],
    ['a message of 262145 bytes', set(LARGEST_MESSAGE + 1), 200,
      RESOURCE_EXHAUSTED, larger(LARGEST_MESSAGE + 1)],
    ['a message of 1 MiB', set(1 << 20), 200, RESOURCE_EXHAUSTED,
      larger(1 << 20)],
    ['a prefix that promises 4 GiB', body(hex('00 ff ff ff ff')), 200,
      RESOURCE_EXHAUSTED, larger(4294967295)],
    ['garbage ff ff ff', get('ff ff ff'), 200, INTERNAL, unread(BAD_WIRE)],
    ['truncated field 0a 05 61', get('0a 05 61'), 200, INTERNAL,
      unread(BAD_WIRE)],
    ['field number 0', get('00'), 200, INTERNAL, unread(BAD_WIRE)],
    ['a varint of 11 bytes', get('10 ff ff ff ff ff ff ff ff ff ff 01'), 200,
      INTERNAL, unread(BAD_WIRE)],
    ['garbage to ListenChanges', () => session.message(LISTEN, hex('ffffff')),
      200, INTERNAL, /^grpc: failed to unmarshal the received message/],
    ['invalid UTF-8 in lock_name', get('0a 02 c3 28'), 200, INTERNAL,
      unread('string field contains invalid UTF-8')],
    ['overlong UTF-8 in lock_name', get('0a 02 c0 af'), 200, INTERNAL,
      unread('string field contains invalid UTF-8')],
    ['a surrogate in lock_name', get('0a 03 ed a0 80'), 200, INTERNAL,
      unread('string field contains invalid UTF-8')],
    ['invalid UTF-8 in a record id',
      () => session.message(SET_RECORD, hex('0a 04 0a 02 c3 28')), 200,
      INTERNAL, unread('string field contains invalid UTF-8')],
    ['invalid UTF-8 in a client id',
      () => session.message(SET_RECORD, hex('22 02 c3 28')), 200, INTERNAL,
      unread('string field contains invalid UTF-8')],
    ['lock_name as a varint', get('08 05'), 200, INVALID_ARGUMENT,
      'lock_name must not be empty'],
    ['an empty message', get(''), 200, INVALID_ARGUMENT,
      'lock_name must not be empty'],
    ['END_STREAM on HEADERS', () => session.call(GET_LOCK, null,
      { seconds: 3 }), 200, UNIMPLEMENTED],
    ['END_STREAM on HEADERS of ListenChanges',
      () => session.call(LISTEN, null, { seconds: 3 }), 200, UNIMPLEMENTED],
    ['empty DATA with END_STREAM', body(Buffer.alloc(0)), 200, UNIMPLEMENTED],
    ['a prefix cut short', body(hex('00 00')), 200, UNKNOWN, 'unexpected EOF'],
    ['a message cut short', body(hex('00 00 00 00 09 0a')), 200, UNKNOWN,
      'unexpected EOF'],
    ['two messages', body(Buffer.concat([frame(good()), frame(good())])), 200,
      UNIMPLEMENTED],
    ['flag 1 without an encoding', body(frame(good(), 1)), 200, INTERNAL,
      identity],
    ['flag 1 with identity',
      body(frame(good(), 1), { 'grpc-encoding': 'identity' }), 200, INTERNAL,
      identity],
    ['flag 1 on an empty message', body(frame(Buffer.alloc(0), 1)), 200,
      INTERNAL, identity],
    ['flag 2', body(frame(good(), 2)), 200, INTERNAL,
      'grpc: received unexpected payload format 2'],
    ['gzip that is none', body(frame(good(), 1), zip), 200, INTERNAL,
      /^grpc: failed to decompress the received message/],
    ['gzip cut short',
      body(frame(gzipSync(good()).subarray(0, -9), 1), zip), 200, INTERNAL,
      /^grpc: failed to decompress the received message/],
    ['gzip that inflates to 262145 bytes',
      body(frame(gzipSync(padding(LARGEST_MESSAGE + 1)), 1), zip), 200,
      RESOURCE_EXHAUSTED, new RegExp('^grpc: received message after ' +
        'decompression larger than max \\(\\d+ vs\\. 262144\\)$')],
    ['gzip that inflates to 64 MiB',
      body(frame(gzipSync(Buffer.alloc(64 << 20)), 1), zip), 200,
      RESOURCE_EXHAUSTED, new RegExp('^grpc: received message after ' +
        'decompression larger than max \\(\\d+ vs\\. 262144\\)$')],
    ['gzip that inflates to 262144 bytes', () => session.call(SET_RECORD,
      frame(gzipSync(padding(LARGEST_MESSAGE)), 1), { headers: zip }), 200,
    INVALID_ARGUMENT, 'record must not be empty'],
  ];
}

/** Requests that are unusual and must be served all the same. */
async function acceptedCases() {
  const served = (name, options = {}) => test(name, async () => isLockReply(
    await session.message(GET_LOCK, good(), options)));
  await served('no te header', { headers: { te: undefined } });
  await served('identity encoding', {
    headers: { 'grpc-encoding': 'identity' } });
  await served('grpc-timeout 99999999H', {
    headers: { 'grpc-timeout': '99999999H' } });
  await served('padded and unpadded -bin headers', {
    headers: { 'x-a-bin': 'YQ==', 'x-b-bin': 'YQ' } });
  await served('two values in one -bin header', {
    headers: { 'x-c-bin': 'YQ,Yg==' } });
  await served('a header of 12 KiB', {
    headers: { 'x-long': 'a'.repeat(12 << 10) } });
  await served('trailers after the body', { trailers: { 'x-late': '1' } });
  await served('an unknown grpc-accept-encoding', {
    headers: { 'grpc-accept-encoding': 'br,zstd' } });
  await test('an unknown field is skipped', async () => isLockReply(
    await session.message(GET_LOCK,
      Buffer.concat([good(), hex('f8 01 05 fa 01 02 61 62')]))));
  await test('a gzip request with flag 1', async () => isLockReply(
    await session.call(GET_LOCK, frame(gzipSync(good()), 1),
      { headers: { 'grpc-encoding': 'gzip' } })));
  await test('a gzip request with flag 0', async () => isLockReply(
    await session.message(GET_LOCK, good(),
      { headers: { 'grpc-encoding': 'gzip' } })));
}

async function replyCases(address) {
  const typed = (asked, answered) => test(
    `content-type ${asked} is answered ${answered}`, async () => {
      const answer = await session.message(GET_LOCK, good(),
        { headers: { 'content-type': asked } });
      isLockReply(answer);
      assert.equal(answer.headers['content-type'], answered);
    });
  await typed('application/grpc', 'application/grpc');
  await typed('application/grpc+proto', 'application/grpc+proto');
  await typed('application/grpc;charset=utf-8', 'application/grpc');
  await test('application/grpc+json is read as protobuf', async () =>
    isLockReply(await session.message(GET_LOCK, good(),
      { headers: { 'content-type': 'application/grpc+json' } })));
  await test('an unknown compression is told which ones are known',
    async () => {
      const answer = await session.message(GET_LOCK, good(),
        { headers: { 'grpc-encoding': 'br' } });
      const known = answer.headers['grpc-accept-encoding'] ?? '';
      assert.ok(known.split(/, */).includes('gzip'), `it said "${known}"`);
    });
  await test('grpc-message escapes what is not plain ASCII', async () => {
    const answer = await session.message('/sync.Syncer/a%b', good());
    const raw = answer.headers['grpc-message'];
    assert.match(raw, /a%25b/);
    assert.match(raw, /^[\x20-\x7e]*$/);
  });
  await test('a success is HEADERS, a message and trailers', async () => {
    const { headers, body, trailers } = await session.message(
      GET_LOCK, good());
    assert.deepEqual(Object.entries(headers), [
      [':status', 200], ['content-type', 'application/grpc']]);
    assert.equal(body.toString('hex'), '0000000000');
    assert.deepEqual(Object.entries(trailers), [
      ['grpc-status', '0'], ['grpc-message', '']]);
  });
  await test('a message is cut to the headers that the client takes',
    async () => {
      const LIST_MAX = 1024;
      const small = new Session(address,
        { maxHeaderListSize: LIST_MAX });
      await small.message(GET_LOCK, good()); // by now it knows the setting
      const { status, message, headers } = await small.message(
        `/sync.Syncer/${'a'.repeat(1000)}`, good());
      assert.equal(status, UNIMPLEMENTED);
      assert.match(message, /^unknown method a{100,}$/);
      const size = Object.entries(headers).reduce((sum, [name, value]) =>
        sum + name.length + String(value).length + 32, 0);
      assert.ok(size <= LIST_MAX, `${size} bytes`);
      await small.close();
    });
  await test('an error is HEADERS alone', async () => {
    const answer = await session.message('/foo.Bar/Baz', good());
    assert.deepEqual(Object.keys(answer.trailers), []);
    assert.equal(answer.body.length, 0);
    assert.equal(answer.headers['content-type'], 'application/grpc');
  });
  await test('a reply is never compressed unasked', async () => {
    const { body, headers } = await session.message(GET_LOCK, good(),
      { headers: { 'grpc-encoding': 'gzip' } });
    assert.equal(body[0], 0);
    assert.ok([undefined, 'identity'].includes(headers['grpc-encoding']));
  });
  const accepting = {
    'grpc-accept-encoding': 'identity,deflate,gzip' };
  const compressing = { ...accepting, 'grpc-encoding': 'gzip' };
  await test('a reply is gzip to who sends and accepts it', async () => {
    const { flag, encoding, changes } = await list(60000, compressing);
    assert.equal(flag, 1);
    assert.equal(encoding, 'gzip');
    assert.deepEqual(changes[0].data, Buffer.alloc(60000));
  });
  await test('one above 64 KiB is not, so that nobody has to wait for it',
    async () => {
      const { flag, changes } = await list(65536, compressing);
      assert.equal(flag, 0);
      assert.deepEqual(changes[0].data, Buffer.alloc(65536));
    });
  await test('a large reply is readable to who only accepts it', async () => {
    const { changes } = await list(65536, accepting);
    assert.deepEqual(changes[0].data, Buffer.alloc(65536));
  });
}

/** A new user's list of one record, as sent: {flag, encoding, changes}. */
async function list(size, headers) {
  const user = new User(client, new Key());
  await user.write({ id: 'big', data: Buffer.alloc(size) });
  const request = encode('ListChanges',
    user.signed('ListChanges', { since_revision: '0' }));
  const answer = await session.message('/sync.Syncer/ListChanges', request,
    { headers });
  const [{ flag, bytes }] = unframe(answer.body);
  const { changes } = decodeReply(
    'ListChanges', flag ? gunzipSync(bytes) : bytes);
  return { flag, encoding: answer.headers['grpc-encoding'], changes };
}

/** Sends one header block on a new connection; resolves to its fate. */
async function wireFate(port, block) {
  let settle;
  const fate = new Promise((resolve) => { settle = resolve; });
  const wire = new Wire(port, {
    onFrame: ({ type, stream, payload, ends }) => {
      if (type === FRAME.RST_STREAM && stream === 1) {
        settle({ reset: payload.readUInt32BE(0) });
      } else if (type === FRAME.GOAWAY) {
        settle({ goaway: payload.readUInt32BE(4) });
      } else if (ends && stream === 1) settle({ answered: true });
    },
  });
  wire.closed.then(() => settle({ closed: true }));
  wire.request(1, block, frame(good()));
  try {
    return await within(10, 'an answer', fate);
  } finally {
    await wire.destroy();
  }
}

async function wireCases(server) {
  const refused = (name, block) => test(name, async () => {
    const fate = await wireFate(server.port, block);
    assert.ok(fate.reset === PROTOCOL_ERROR || fate.goaway === PROTOCOL_ERROR,
      JSON.stringify(fate));
  });
  const answered = (name, block) => test(name, async () =>
    assert.deepEqual(await wireFate(server.port, block), { answered: true }));
  await answered('a plain header block is answered',
    requestHeaders(GET_LOCK));
  await answered('a space behind a value is no fault',
    requestHeaders(GET_LOCK, [['x-a', 'b ']]));
  await answered('a control character in a value is no fault',
    requestHeaders(GET_LOCK, [['x-a', 'b\x01c']]));
  await test('settings that it does not know are skipped, and it sends none',
    async () => {
      const known = [3, 4, 6]; // streams, window, header list
      const unknown = Buffer.from('fe0300000001' + '0999ffffffff', 'hex');
      let sent;
      let settle;
      const done = new Promise((resolve) => { settle = resolve; });
      const wire = new Wire(server.port, {
        onFrame: ({ type, stream, payload, ends }) => {
          if (type === FRAME.SETTINGS && payload.length) sent ??= payload;
          if (ends && stream === 1) settle();
        },
      });
      wire.write(h2frame(FRAME.SETTINGS, 0, 0, unknown));
      wire.request(1, requestHeaders(GET_LOCK), frame(good()));
      await within(10, 'an answer', done);
      for (let at = 0; at < sent.length; at += 6) {
        assert.ok(known.includes(sent.readUInt16BE(at)), sent.toString('hex'));
      }
      await wire.destroy();
    });
  await test('DATA behind the end of a stream is STREAM_CLOSED', async () => {
    let settle;
    const code = new Promise((resolve) => { settle = resolve; });
    const wire = new Wire(server.port, {
      onFrame: ({ type, payload }) => {
        if (type === FRAME.RST_STREAM) settle(payload.readUInt32BE(0));
        if (type === FRAME.GOAWAY) settle(payload.readUInt32BE(4));
      },
    });
    wire.request(1, requestHeaders(LISTEN), frame(encode('ListenChanges',
      user.signed('ListenChanges', {}))));
    wire.finishRequest(1, frame(good()));
    assert.equal(await within(10, 'an error', code), STREAM_CLOSED);
    await wire.destroy();
    isLockReply(await session.message(GET_LOCK, good()));
  });
  await refused('a header name in capitals is a protocol error',
    requestHeaders(GET_LOCK, [['X-Capital', '1']]));
  await refused('a connection header is a protocol error',
    requestHeaders(GET_LOCK, [['connection', 'close']]));
  await test('a path without a slash does no harm', async () => {
    const fate = await wireFate(server.port, requestHeaders('nope'));
    assert.ok(fate.answered || fate.reset !== undefined, JSON.stringify(fate));
    isLockReply(await session.message(GET_LOCK, good()));
  });
  await test('headers without :path do no harm', async () => {
    const fate = await wireFate(server.port, hpack([
      [':method', 'POST'], [':scheme', 'http'],
      ['content-type', 'application/grpc']]));
    assert.ok(Object.keys(fate).length, JSON.stringify(fate));
    isLockReply(await session.message(GET_LOCK, good()));
  });
  await test('headers of 60 KiB are refused and do no harm', async () => {
    const other = new Session(server.address);
    const answer = await other.message(GET_LOCK, good(),
      { headers: { 'x-long': 'a'.repeat(60 << 10) } });
    assert.notEqual(answer.status, 0);
    await other.close();
    isLockReply(await session.message(GET_LOCK, good()));
  });
  await test('HTTP/1.1 on this port is not served and does no harm',
    async () => {
      const wire = new Wire(server.port);
      await wire.destroy();
      const answer = await fetch(`http://${server.address}/health`,
        { signal: AbortSignal.timeout(5000) }).catch(() => undefined);
      assert.ok(!answer?.ok);
      isLockReply(await session.message(GET_LOCK, good()));
    });
  await test('a request in pieces of one byte is answered', async () => {
    const body = frame(good());
    let settle;
    const answered = new Promise((resolve) => { settle = resolve; });
    const wire = new Wire(server.port, {
      onFrame: ({ ends }) => ends && settle(),
    });
    wire.openRequest(1, requestHeaders(GET_LOCK), body.subarray(0, 1));
    for (let at = 1; at < body.length - 1; at += 1) {
      wire.write(Buffer.concat([
        Buffer.from([0, 0, 1, FRAME.DATA, 0, 0, 0, 0, 1]),
        body.subarray(at, at + 1)]));
    }
    wire.finishRequest(1, body.subarray(-1));
    await within(10, 'an answer', answered);
    await wire.destroy();
  });
  await test(`${STREAMS} calls at once on one connection`, async () => {
    const answers = await Promise.all(Array.from({ length: STREAMS },
      () => session.message(GET_LOCK, good())));
    answers.forEach(isLockReply);
  });
}

await suite(async () => {
  const server = await startServer();
  client = new Client(server.address);
  user = new User(client, new Key(), { quick: true });
  session = new Session(server.address);
  await test('a plain request is answered', async () =>
    isLockReply(await session.message(GET_LOCK, good())));
  await table(pathRows());
  await table(headerRows());
  await table(bodyRows());
  await acceptedCases();
  await replyCases(server.address);
  await wireCases(server);
  await session.close();
  client.close();
});
