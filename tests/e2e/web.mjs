// SPDX-License-Identifier: Apache-2.0
// web — gRPC-Web, CORS and the pages beside it, byte by byte, over HTTP/1.1
// and HTTP/2. What is HTTP/1.1's own is in web_http1.mjs.

import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { gunzipSync, gzipSync } from 'node:zlib';
import {
  User, decodeNotification, decodeReply, encode,
} from './lib/client.mjs';
import { sameMessage } from './lib/expect.mjs';
import {
  END_HEADERS, END_STREAM, FRAME, Session, Wire, frame, h2frame, hpack,
  padding, unframe,
} from './lib/raw.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { suite, test, until, within } from './lib/tap.mjs';
import {
  Http1, WEB, WEB_TEXT, askOnce, decodePieces, isText, post, readAnswer,
  request,
} from './lib/web.mjs';

const UNKNOWN = 2;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

const GET_LOCK = '/sync.Syncer/GetLock';
const SET_RECORD = '/sync.Syncer/SetRecord';
const LIST = '/sync.Syncer/ListChanges';
const LISTEN = '/sync.Syncer/ListenChanges';
const ORIGIN = 'https://wallet.example';
const LARGEST_MESSAGE = 262144;

const OK_TRAILER = 'grpc-status: 0\r\n';
// Flag, length, text, as clients match them byte by byte.
const OK_FRAME = Buffer.concat([
  Buffer.from('8000000010', 'hex'), Buffer.from(OK_TRAILER)]);
// An unlocked lock is an empty message.
const UNLOCKED = frame(Buffer.alloc(0));

let user;
const good = () => encode('GetLock', user.signed('GetLock',
  { lock_name: 'n' }));
const listenRequest = () => encode('ListenChanges',
  user.signed('ListenChanges', {}));

/** How a request travels: `ask` resolves to {http, headers, body}. */
const overHttp1 = (port) => ({
  name: 'HTTP/1.1',
  ask: (method, path, { headers, body } = {}) => askOnce(port,
    request(method, path, { headers, body }),
    { bodiless: method === 'HEAD' }),
});

const overHttp2 = (session) => ({
  name: 'HTTP/2',
  ask: async (method, path, { headers = {}, body = null } = {}) =>
    session.call(path, body, { headers: {
      te: undefined, 'content-type': undefined, ...headers,
      ':method': method,
    } }),
});

/** A call whose body is given as it is. */
async function raw(via, path, body, headers = {}) {
  return readAnswer(await via.ask('POST', path,
    { body, headers: { 'content-type': WEB, ...headers } }));
}

/** A call of one message, encoded as its content-type says. */
function call(via, path, message, headers = {}) {
  const framed = frame(message);
  const text = isText(headers['content-type'] ?? WEB);
  return raw(via, path,
    text ? Buffer.from(framed.toString('base64')) : framed, headers);
}

function isUnlocked(answer) {
  assert.equal(answer.http, 200);
  assert.equal(answer.status, 0, answer.message);
  assert.equal(answer.trailer, OK_TRAILER);
  assert.deepEqual(answer.frames.map(({ flag, bytes }) =>
    [flag, bytes.length]), [[0, 0]]);
}

/** An error before any message: headers alone. */
function isHeadersOnly(answer) {
  assert.equal(answer.trailer, undefined);
  assert.equal(answer.body.length, 0, 'the body is empty');
}

/** Rows are [name, (via) => answer, http, grpc status, message]. */
async function table(via, rows) {
  for (const [name, ask, http, status, message] of rows) {
    await test(`${via.name}: ${name}`, async () => {
      const answer = await ask(via);
      assert.equal(answer.http, http, `HTTP ${answer.http}`);
      assert.equal(answer.status, status,
        `status ${answer.status} (${answer.message}), expected ${status}`);
      sameMessage(answer.message, message);
      isHeadersOnly(answer);
      assert.ok(answer.headers['content-type']
        .startsWith('application/grpc-web'));
    });
  }
}

// ---- calls ----

async function typeCases(via) {
  const types = [
    'application/grpc-web', WEB, WEB_TEXT, 'application/grpc-web-text',
    'application/grpc-web;charset=utf-8',
    'application/grpc-web-text; charset=utf-8',
  ];
  for (const type of types) {
    await test(`${via.name}: ${type} is answered and echoed`, async () => {
      const answer = await call(via, GET_LOCK, good(),
        { 'content-type': type });
      isUnlocked(answer);
      assert.equal(answer.headers['content-type'], type);
    });
  }
  await test(`${via.name}: Accept does not choose the encoding`, async () => {
    const answer = await call(via, GET_LOCK, good(),
      { accept: 'application/grpc-web-text' });
    isUnlocked(answer);
    assert.deepEqual(answer.body, Buffer.concat([UNLOCKED, OK_FRAME]));
  });
  await test(`${via.name}: a success has no date and no message`,
    async () => {
      const { headers, trailer } = await call(via, GET_LOCK, good());
      assert.equal(headers.date, undefined);
      assert.equal(headers['grpc-status'], undefined);
      assert.equal(headers['grpc-message'], undefined);
      assert.equal(trailer, OK_TRAILER);
    });
}

async function methodCases(via, type) {
  const headers = { 'content-type': type };
  const own = new User(undefined, new Key());
  const ask = async (method, fields) => {
    const answer = await call(via, `/sync.Syncer/${method}`,
      encode(method, own.signed(method, fields)), headers);
    assert.equal(answer.status, 0, answer.message);
    return decodeReply(method, answer.frames[0].bytes);
  };
  const lock = {
    lock_name: 'n', exclusive: true, acquire: true,
    instance_id: '6f1d3f1e-0d6a-4f7c-9d3a-1a2b3c4d5e6f',
  };
  const data = Buffer.alloc(65536, 0xfb);
  await test(`${via.name}, ${type}: a record is set and listed`, async () => {
    const set = await ask('SetRecord', { record: {
      id: 'a', data, revision: '0', schema_version: '1' } });
    assert.equal(set.new_revision, '1');
    const { changes } = await ask('ListChanges', { since_revision: '0' });
    assert.equal(changes.length, 1);
    assert.deepEqual(changes[0].data, data);
  });
  await test(`${via.name}, ${type}: a lock is taken and seen`, async () => {
    await ask('SetLock', lock);
    assert.equal((await ask('GetLock', { lock_name: 'n' })).locked, true);
    await ask('SetLock', { ...lock, acquire: false });
    assert.equal((await ask('GetLock', { lock_name: 'n' })).locked, false);
  });
}

function errorRows() {
  const path = (to) => (via) => call(via, to, good());
  const having = (headers) => (via) => call(via, GET_LOCK, good(), headers);
  const malformed = (text, why) => [`grpc-timeout '${text}'`,
    having({ 'grpc-timeout': text }), 400, INTERNAL,
    `malformed grpc-timeout: transport: ${why}`];
  const text = { 'content-type': WEB_TEXT };
  return [
    ['a bad signature', (via) => call(via, GET_LOCK, encode('GetLock',
      user.signed('GetLock', { lock_name: 'n', signature: '' }))), 200,
    UNAUTHENTICATED, 'invalid signature'],
    ['a bad signature in -text', (via) => call(via, GET_LOCK,
      encode('GetLock', user.signed('GetLock',
        { lock_name: 'n', signature: '' })), text), 200,
    UNAUTHENTICATED, 'invalid signature'],
    ['a listener with a bad signature', (via) => call(via, LISTEN,
      encode('ListenChanges', user.signed('ListenChanges',
        { signature: '' }))), 200, UNAUTHENTICATED, 'invalid signature'],
    ['an unknown method', path('/sync.Syncer/Nope'), 200, UNIMPLEMENTED,
      'unknown method Nope for service sync.Syncer'],
    ['an unknown service', path('/foo.Bar/Baz'), 200, UNIMPLEMENTED,
      'unknown service foo.Bar'],
    ["path '/nope'", path('/nope'), 200, UNIMPLEMENTED,
      'malformed method name: "/nope"'],
    ['path /health is a call when its type says so', path('/health'), 200,
      UNIMPLEMENTED, 'malformed method name: "/health"'],
    ['a message that is escaped', path('/sync.Syncer/a%b'), 200,
      UNIMPLEMENTED, 'unknown method a%b for service sync.Syncer'],
    malformed('5', 'timeout string is too short: "5"'),
    malformed('5x', 'timeout unit is not recognized: "5x"'),
    malformed('123456789n', 'timeout string is too long: "123456789n"'),
    ['grpc-timeout 0n', having({ 'grpc-timeout': '0n' }), 200,
      DEADLINE_EXCEEDED, 'context deadline exceeded'],
    ['bad base64 in a -bin header', having({ 'x-bin': '!!!' }), 400,
      INTERNAL, /^malformed binary metadata "!!!"/],
    ['an unknown compression', having({ 'grpc-encoding': 'br' }), 200,
      UNIMPLEMENTED,
      'grpc: Decompressor is not installed for grpc-encoding "br"'],
  ];
}

function bodyRows() {
  const binary = (hex) => (via) => raw(via, GET_LOCK,
    Buffer.from(hex.replaceAll(' ', ''), 'hex'));
  const text = (body) => (via) => raw(via, GET_LOCK, Buffer.from(body),
    { 'content-type': WEB_TEXT });
  const base64 = 'request body is not valid base64';
  const whole = () => frame(good()).toString('base64');
  return [
    ['an empty body', binary(''), 200, UNIMPLEMENTED],
    ['an empty body in -text', text(''), 200, UNIMPLEMENTED],
    ['a prefix cut short', binary('00 00'), 200, UNKNOWN, 'unexpected EOF'],
    ['a message cut short', binary('00 00 00 00 09 0a'), 200, UNKNOWN,
      'unexpected EOF'],
    ['two messages', (via) => raw(via, GET_LOCK, Buffer.concat(
      [frame(good()), frame(good())])), 200, UNIMPLEMENTED],
    ['two messages in -text', (via) => raw(via, GET_LOCK, Buffer.from(
      whole() + whole()), { 'content-type': WEB_TEXT }), 200, UNIMPLEMENTED],
    ['a trailer frame behind the message', (via) => raw(via, GET_LOCK,
      Buffer.concat([frame(good()), OK_FRAME])), 200, UNIMPLEMENTED],
    ['a trailer frame alone', (via) => raw(via, GET_LOCK, OK_FRAME), 200,
      INTERNAL, 'grpc: received unexpected payload format 128'],
    ['garbage ff ff ff', binary('00 00000003 ff ff ff'), 200, INTERNAL,
      'grpc: error unmarshalling request: ' +
      'proto: cannot parse invalid wire-format data'],
    ['a message of 262145 bytes',
      (via) => call(via, SET_RECORD, padding(LARGEST_MESSAGE + 1)), 200,
      RESOURCE_EXHAUSTED, 'grpc: received message larger than max ' +
      '(262145 vs. 262144)'],
    ['a message of 262145 bytes in -text', (via) => call(via, SET_RECORD,
      padding(LARGEST_MESSAGE + 1), { 'content-type': WEB_TEXT }), 200,
    RESOURCE_EXHAUSTED],
    ['a message of 262144 bytes in -text', (via) => call(via, SET_RECORD,
      padding(LARGEST_MESSAGE), { 'content-type': WEB_TEXT }), 200,
    INVALID_ARGUMENT, 'record must not be empty'],
    ['gzip that inflates to 64 MiB', (via) => raw(via, GET_LOCK,
      frame(gzipSync(Buffer.alloc(64 << 20)), 1),
      { 'grpc-encoding': 'gzip' }), 200, RESOURCE_EXHAUSTED],
    ["-text '!!!!'", text('!!!!'), 200, INVALID_ARGUMENT, base64],
    ['-text of binary bytes', (via) => raw(via, GET_LOCK, frame(good()),
      { 'content-type': WEB_TEXT }), 200, INVALID_ARGUMENT, base64],
    ['-text with a group cut to one digit', (via) => raw(via, GET_LOCK,
      Buffer.from(`${whole()}A`), { 'content-type': WEB_TEXT }), 200,
    INVALID_ARGUMENT, base64],
    ['-text in the alphabet for URLs', text('AAAA-_-_'), 200,
      INVALID_ARGUMENT, base64],
  ];
}

async function textCases(via) {
  const bodies = [
    ['in one piece', (bytes) => bytes.toString('base64')],
    ['without its last padding',
      (bytes) => bytes.toString('base64').replace(/=+$/, '')],
    ['prefix and message padded each', (bytes) =>
      bytes.subarray(0, 5).toString('base64') +
      bytes.subarray(5).toString('base64')],
    ['in pieces of one byte',
      (bytes) => [...bytes].map((byte) =>
        Buffer.from([byte]).toString('base64')).join('')],
    ['in pieces of two bytes', (bytes) => Array.from(
      { length: Math.ceil(bytes.length / 2) }, (_, at) =>
        bytes.subarray(2 * at, 2 * at + 2).toString('base64')).join('')],
    ['with line breaks', (bytes) =>
      bytes.toString('base64').replace(/(.{7})/g, '$1\r\n')],
  ];
  for (const [name, toText] of bodies) {
    await test(`${via.name}: -text ${name}`, async () => isUnlocked(
      await raw(via, GET_LOCK, Buffer.from(toText(frame(good()))),
        { 'content-type': WEB_TEXT })));
  }
  await test(`${via.name}: -text answers are padded piece by piece`,
    async () => {
      const { body } = await call(via, GET_LOCK, good(),
        { 'content-type': WEB_TEXT });
      assert.equal(String(body),
        UNLOCKED.toString('base64') + OK_FRAME.toString('base64'));
    });
}

async function gzipCases(via) {
  const zipped = { 'grpc-encoding': 'gzip' };
  const list = async (headers) => {
    const own = new User(undefined, new Key());
    await call(via, SET_RECORD, encode('SetRecord', own.record(
      { id: 'big', data: Buffer.alloc(60000) })));
    const message = encode('ListChanges',
      own.signed('ListChanges', { since_revision: '0' }));
    const text = isText(headers['content-type'] ?? '');
    const body = frame(gzipSync(message), 1);
    return raw(via, LIST,
      text ? Buffer.from(body.toString('base64')) : body,
      { ...zipped, ...headers });
  };
  for (const type of [WEB, WEB_TEXT]) {
    await test(`${via.name}, ${type}: gzip both ways`, async () => {
      const { headers, frames, trailer } = await list(
        { 'content-type': type, 'grpc-accept-encoding': 'gzip' });
      assert.equal(headers['grpc-encoding'], 'gzip');
      assert.equal(trailer, OK_TRAILER);
      assert.equal(frames[0].flag, 1);
      const { changes } = decodeReply('ListChanges',
        gunzipSync(frames[0].bytes));
      assert.deepEqual(changes[0].data, Buffer.alloc(60000));
    });
  }
  await test(`${via.name}: a reply is plain for who does not take gzip`,
    async () => {
      const { headers, frames } = await list({});
      assert.equal(headers['grpc-encoding'], undefined);
      assert.equal(frames[0].flag, 0);
    });
  await test(`${via.name}: an unknown compression is told which are known`,
    async () => {
      const { headers } = await call(via, GET_LOCK, good(),
        { 'grpc-encoding': 'br' });
      assert.match(headers['grpc-accept-encoding'], /\bgzip\b/);
    });
}

/** Chunks and their bounds: only HTTP/1.1 shows them. */
async function chunkCases(port) {
  const ask = async (message, headers) => askOnce(port,
    post(GET_LOCK, message, { headers }));
  await test('a message and the trailer frame are a chunk each', async () => {
    const { headers, chunks } = await ask(good());
    assert.equal(headers['transfer-encoding'], 'chunked');
    assert.deepEqual(chunks, [UNLOCKED, OK_FRAME]);
  });
  await test('so they are in -text, each padded', async () => {
    const { chunks } = await ask(good(), { 'content-type': WEB_TEXT });
    assert.deepEqual(chunks.map(String), [
      UNLOCKED.toString('base64'), OK_FRAME.toString('base64')]);
  });
  await test('an error is headers and a length of 0', async () => {
    const { headers, body } = await ask(Buffer.from('ff', 'hex'));
    assert.equal(headers['grpc-status'], String(INTERNAL));
    assert.equal(headers['content-length'], '0');
    assert.equal(headers['transfer-encoding'], undefined);
    assert.equal(body.length, 0);
  });
  await test('header names are lower case, as in HTTP/2', async () => {
    const connection = new Http1(port);
    connection.write(post(GET_LOCK, good(), {
      headers: { origin: ORIGIN, connection: 'close' } }));
    const [head] = (await connection.rest()).toString().split('\r\n\r\n');
    for (const line of head.split('\r\n').slice(1)) {
      assert.match(line, /^[a-z-]+: /);
    }
  });
}

// ---- CORS, pages ----

const PREFLIGHT_VARY = 'Origin, Access-Control-Request-Method, ' +
  'Access-Control-Request-Headers';
const WANTED = 'content-type,x-grpc-web,x-user-agent,grpc-timeout';

function allowed(headers) {
  return Object.fromEntries(Object.entries(headers).filter(([name]) =>
    name.startsWith('access-control-')));
}

async function preflightCases(via) {
  const ask = (headers, path = SET_RECORD) => via.ask(
    'OPTIONS', path, { headers });
  for (const method of ['POST', 'GET', 'HEAD', 'PUT', 'PATCH', 'DELETE']) {
    await test(`${via.name}: a preflight for ${method}`, async () => {
      const { http, headers, body } = await ask({
        origin: ORIGIN, 'access-control-request-method': method,
        'access-control-request-headers': WANTED });
      assert.equal(http, 204);
      assert.equal(body.length, 0);
      assert.equal(headers['content-length'], undefined);
      assert.equal(headers.vary, PREFLIGHT_VARY);
      assert.deepEqual(allowed(headers), {
        'access-control-allow-origin': '*',
        'access-control-allow-methods': method,
        'access-control-allow-headers': WANTED,
        'access-control-max-age': '7200',
      });
    });
  }
  for (const method of ['TRACE', 'post', 'POST, GET']) {
    await test(`${via.name}: a preflight for ${method} allows nothing`,
      async () => {
        const { http, headers } = await ask({
          origin: ORIGIN, 'access-control-request-method': method,
          'access-control-request-headers': WANTED });
        assert.equal(http, 204);
        assert.equal(headers.vary, PREFLIGHT_VARY);
        assert.deepEqual(allowed(headers), {});
      });
  }
  await test(`${via.name}: a preflight that names no headers`, async () => {
    const { http, headers } = await ask(
      { origin: ORIGIN, 'access-control-request-method': 'POST' }, '/any');
    assert.equal(http, 204);
    assert.equal(headers['access-control-allow-headers'], undefined);
  });
  await test(`${via.name}: a preflight without an origin`, async () => {
    const { http, headers } = await ask(
      { 'access-control-request-method': 'POST' });
    assert.equal(http, 204);
    assert.equal(headers.vary, PREFLIGHT_VARY);
    assert.deepEqual(allowed(headers), {});
  });
  await test(`${via.name}: OPTIONS alone is no preflight`, async () => {
    const { http, headers } = await ask({ origin: ORIGIN }, '/');
    assert.equal(http, 200);
    assert.equal(headers['access-control-allow-methods'], undefined);
  });
  await test(`${via.name}: nor is OPTIONS for no method`, async () => {
    const { http } = await ask(
      { origin: ORIGIN, 'access-control-request-method': '' }, '/');
    assert.equal(http, 200);
  });
}

async function originCases(via) {
  const exposed = (headers) => headers['access-control-expose-headers']
    .split(/, */);
  for (const [what, message, status] of [
    ['a success', () => good(), 0],
    ['an error', () => Buffer.from('ff', 'hex'), INTERNAL]]) {
    await test(`${via.name}: ${what} for another origin`, async () => {
      const answer = await call(via, GET_LOCK, message(),
        { origin: ORIGIN });
      assert.equal(answer.status, status);
      const { headers } = answer;
      assert.equal(headers['access-control-allow-origin'], ORIGIN);
      assert.equal(headers['access-control-allow-credentials'], 'true');
      assert.match(headers.vary, /^Origin$/);
      for (const name of ['content-type', 'grpc-status', 'grpc-message',
        'grpc-encoding', 'grpc-accept-encoding']) {
        assert.ok(exposed(headers).includes(name), name);
      }
    });
  }
  await test(`${via.name}: every header of a reply is exposed`, async () => {
    const { headers } = await call(via, GET_LOCK, good(),
      { origin: ORIGIN, 'grpc-encoding': 'br' });
    const plumbing = /^(:status|vary|access-control-.*|content-length)$/;
    for (const name of Object.keys(headers)) {
      if (!plumbing.test(name)) assert.ok(exposed(headers).includes(name), name);
    }
  });
  await test(`${via.name}: without an origin none is allowed`, async () => {
    const { headers } = await call(via, GET_LOCK, good());
    assert.equal(headers['access-control-allow-origin'], undefined);
    assert.ok(exposed(headers).includes('grpc-status'));
  });
}

/** Rows are [method, path, content-type, http, body]. */
const PAGES = [
  ['GET', '/health', undefined, 200, 'OK'],
  ['POST', '/health', 'text/plain', 200, 'OK'],
  ['DELETE', '/health', undefined, 200, 'OK'],
  ['HEAD', '/health', undefined, 200, ''],
  ['OPTIONS', '/health', undefined, 200, 'OK'],
  ['GET', '/', undefined, 200, 'gRPC-Web service is running!'],
  ['HEAD', '/', undefined, 200, ''],
  ['POST', '/', 'application/json', 200, 'gRPC-Web service is running!'],
  ['GET', '/favicon.ico', undefined, 404, 'not found'],
  ['GET', '/healthy', undefined, 404, 'not found'],
  ['GET', GET_LOCK, WEB, 404, 'not found'],
  ['POST', GET_LOCK, 'application/grpc', 404, 'not found'],
  ['POST', GET_LOCK, 'application/json', 404, 'not found'],
  ['POST', GET_LOCK, 'Application/grpc-web', 404, 'not found'],
  ['POST', GET_LOCK, undefined, 404, 'not found'],
];

async function pageCases(via) {
  for (const [method, path, type, http, body] of PAGES) {
    await test(`${via.name}: ${method} ${path} ${type ?? ''}`, async () => {
      const answer = await via.ask(method, path, {
        headers: { ...(type && { 'content-type': type }) },
        body: method === 'POST' ? frame(good()) : undefined });
      assert.equal(answer.http, http);
      assert.equal(String(answer.body), body);
      assert.equal(answer.headers['content-type'],
        'text/plain; charset=utf-8');
      assert.equal(answer.headers['access-control-allow-origin'], '*');
    });
  }
}

// ---- listeners ----

/** The frames of a piece, which must be readable on its own. */
function framesOf(type, piece) {
  return unframe(isText(type) ? decodePieces(piece) : piece);
}

class Http1Listener {
  constructor(server, type, headers = {}) {
    this.type = type;
    this.connection = new Http1(server.webPort);
    this.connection.write(post(LISTEN, listenRequest(),
      { headers: { 'content-type': type, ...headers } }));
    this.head = this.connection.head();
  }

  /** The one frame that the next chunk is. */
  async next() {
    await this.head;
    const chunk = await this.connection.chunk();
    const frames = chunk.length ? framesOf(this.type, chunk) : [undefined];
    assert.equal(frames.length, 1, 'one frame a chunk');
    return frames[0];
  }

  close() {
    return this.connection.destroy();
  }
}

class Http2Listener {
  constructor(server, type, headers = {}) {
    this.session = http2.connect(`http://${server.webAddress}`);
    this.session.on('error', () => {});
    this.stream = this.session.request({
      ':method': 'POST', ':path': LISTEN, 'content-type': type, ...headers });
    this.stream.on('error', () => {});
    this.closed = new Promise((resolve) => {
      this.stream.once('close', resolve);
    });
    const framed = frame(listenRequest());
    this.stream.end(isText(type) ? framed.toString('base64') : framed);
    this.queue = [];
    this.stream.on('data', (piece) => {
      this.queue.push(...framesOf(type, piece));
      this.wake?.();
    });
    this.stream.on('end', () => {
      this.queue.push(undefined);
      this.wake?.();
    });
  }

  next() {
    return within(10, 'a frame', (async () => {
      while (!this.queue.length) {
        await new Promise((resolve) => { this.wake = resolve; });
      }
      return this.queue.shift();
    })());
  }

  async close() {
    this.stream.close(http2.constants.NGHTTP2_CANCEL);
    await this.closed;
    this.session.destroy();
  }
}

function saysWho(notification) {
  assert.equal(notification.flag, 0);
  return decodeNotification(notification.bytes).client_id;
}

async function listenerCases(server, via, Listener) {
  const write = (clientId) => call(via, SET_RECORD, encode('SetRecord',
    user.record({ id: `by ${clientId}`, clientId })));
  for (const type of [WEB, WEB_TEXT]) {
    const name = `${via.name}, ${type}`;
    await test(`${name}: a listener hears each change at once`, async () => {
      const listener = new Listener(server, type);
      assert.equal(saysWho(await listener.next()), undefined);
      for (const who of ['ann', 'bob', 'eve']) {
        await write(`${who} ${name}`);
        assert.equal(saysWho(await listener.next()), `${who} ${name}`);
      }
      await listener.close();
    });
    await test(`${name}: a listener's deadline ends it by a trailer frame`,
      async () => {
        const listener = new Listener(server, type,
          { 'grpc-timeout': '300m' });
        await listener.next();
        const { flag, bytes } = await listener.next();
        assert.equal(flag, 0x80);
        assert.match(String(bytes), new RegExp(
          `^grpc-status: ${DEADLINE_EXCEEDED}\r\n` +
          'grpc-message: context deadline exceeded\r\n' +
          'x-request-id: [0-9a-f-]+\r\n$'));
        assert.equal(await listener.next(), undefined);
        await listener.close();
      });
  }
  await test(`${via.name}: a listener that goes away frees its call`,
    async () => {
      const ended = () => server.stderr.split('\n').filter((line) =>
        line.includes('event=call.state') && line.includes(LISTEN)
        && line.includes('from=streaming to=closed')).length;
      const before = ended();
      const listeners = Array.from({ length: 20 },
        () => new Listener(server, WEB));
      for (const listener of listeners) await listener.next();
      assert.equal(ended(), before);
      for (const listener of listeners) await listener.close();
      await until(10, 'all calls to end', () => ended() === before + 20);
    });
}

async function agentCases(server, via) {
  const heard = async (headers, expected) => {
    await call(via, GET_LOCK, good(), headers);
    await until(5, expected, () => server.stderr.includes(expected));
  };
  await test(`${via.name}: x-user-agent comes before user-agent`, () =>
    heard({ 'user-agent': 'browser', 'x-user-agent': `page-${via.name}` },
      `user_agent=page-${via.name}`));
  await test(`${via.name}: user-agent is heard without it`, () =>
    heard({ 'user-agent': `browser-${via.name}` },
      `user_agent=browser-${via.name}`));
}

// ---- the end ----

/** An HTTP/2 connection that a drain finds open. */
class OldConnection {
  constructor(port) {
    this.body = '';
    this.goaway = new Promise((resolve) => { this.onGoaway = resolve; });
    this.answer = new Promise((resolve) => { this.onAnswer = resolve; });
    this.settings = new Promise((resolve) => { this.onSettings = resolve; });
    this.wire = new Wire(port, { onFrame: (event) => this.take(event) });
  }

  take({ type, stream, payload, ends }) {
    if (type === FRAME.SETTINGS) this.onSettings();
    if (type === FRAME.GOAWAY) this.onGoaway();
    if (type === FRAME.DATA) this.body += payload;
    if (ends && stream === 1) this.onAnswer(this.body);
  }

  askHealth() {
    this.wire.write(h2frame(FRAME.HEADERS, END_STREAM | END_HEADERS, 1,
      hpack([[':method', 'GET'], [':scheme', 'http'], [':path', '/health'],
        [':authority', 'h']])));
    return this.answer;
  }
}

async function drainCases() {
  const server = await startServer({ env: { DRAIN_TIMEOUT: '10' } });
  const listeners = [
    ['HTTP/1.1', new Http1Listener(server, WEB)],
    ['HTTP/1.1 -text', new Http1Listener(server, WEB_TEXT)],
    ['HTTP/2', new Http2Listener(server, WEB)],
  ];
  for (const [, listener] of listeners) await listener.next();
  const half = new Http1(server.webPort);
  await half.write('GET /health HTTP/1.1\r\n');
  await askOnce(server.webPort, request('GET', '/health'));
  const old = new OldConnection(server.webPort);
  await within(5, 'SETTINGS', old.settings);
  const end = server.stop('SIGTERM', 15);
  for (const [name, listener] of listeners) {
    await test(`SIGTERM ends a listener over ${name} by UNAVAILABLE`,
      async () => {
        const { flag, bytes } = await listener.next();
        assert.equal(flag, 0x80);
        assert.match(String(bytes),
          new RegExp(`^grpc-status: ${UNAVAILABLE}\r\n`));
        assert.equal(await listener.next(), undefined);
        await listener.close();
      });
  }
  await test('draining, a kept connection hears 503 and is closed',
    async () => {
      half.write('host: h\r\n\r\n');
      const { http, body } = await half.answer();
      assert.equal(http, 503);
      assert.equal(String(body), 'not serving');
      // At its own moment of the drain, perhaps after this answer.
      await within(5, 'the end', half.closed);
    });
  await test('draining, HTTP/2 hears 503 too', async () => {
    await within(5, 'GOAWAY', old.goaway);
    assert.equal(await within(5, 'an answer', old.askHealth()),
      'not serving');
  });
  await test('draining, new connections are refused', () => assert.rejects(
    askOnce(server.webPort, request('GET', '/health'))));
  await old.wire.destroy();
  await test('drained, it exits with code 0', async () =>
    assert.deepEqual(await end, { code: 0, signal: null }));
}

await suite(async () => {
  const server = await startServer({ env: { LOG_LEVEL: 'debug' } });
  const session = new Session(server.webAddress);
  user = new User(undefined, new Key(), { quick: true });
  const http1 = overHttp1(server.webPort);
  const http2Way = overHttp2(session);
  for (const [via, Listener] of [
    [http1, Http1Listener], [http2Way, Http2Listener]]) {
    await typeCases(via);
    for (const type of [WEB, WEB_TEXT]) await methodCases(via, type);
    await table(via, errorRows());
    await table(via, bodyRows());
    await textCases(via);
    await gzipCases(via);
    await preflightCases(via);
    await originCases(via);
    await pageCases(via);
    await listenerCases(server, via, Listener);
    await agentCases(server, via);
  }
  await chunkCases(server.webPort);
  await session.close();
  await drainCases();
});
