// SPDX-License-Identifier: Apache-2.0
// web_http1 — the web port's HTTP/1.1: connections, framing, limits, times,
// and what is refused.

import assert from 'node:assert/strict';
import http from 'node:http';
import { User, encode } from './lib/client.mjs';
import { frame } from './lib/raw.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { suite, test, until, within } from './lib/tap.mjs';
import {
  Http1, WEB, askOnce, post, readAnswer, request,
} from './lib/web.mjs';

const INVALID_ARGUMENT = 3;
const GET_LOCK = '/sync.Syncer/GetLock';
const LISTEN = '/sync.Syncer/ListenChanges';
const HEADERS_MAX = 16 * 1024;
const FIELDS_MAX = 128;
const FIELD_OVERHEAD = 32; // per field, as HTTP/2 counts
const SLOW_SECONDS = 10;

let port;
let user;
const good = () => encode('GetLock', user.signed('GetLock',
  { lock_name: 'n' }));
const health = (options) => request('GET', '/health', options);
const isHealthy = ({ http: status, body }) => {
  assert.equal(status, 200);
  assert.equal(String(body), 'OK');
};
const isUnlocked = (answer) => assert.equal(readAnswer(answer).status, 0);

/** Runs `fn` with a connection of its own. */
async function connected(fn) {
  const connection = new Http1(port);
  try {
    return await fn(connection);
  } finally {
    await connection.destroy();
  }
}

// ---- connections ----

async function reuseCases() {
  await test('a connection is used again and again', () => connected(
    async (connection) => {
      for (let turn = 0; turn < 50; turn += 1) {
        isUnlocked(await connection.ask(post(GET_LOCK, good())));
        isHealthy(await connection.ask(health()));
      }
    }));
  await test('an error leaves the connection usable', () => connected(
    async (connection) => {
      const { status } = readAnswer(await connection.ask(
        post(GET_LOCK, Buffer.alloc(0))));
      assert.equal(status, INVALID_ARGUMENT);
      isUnlocked(await connection.ask(post(GET_LOCK, good())));
    }));
  await test('requests sent ahead are answered in their order', () =>
    connected(async (connection) => {
      connection.write(Buffer.concat(Array.from({ length: 50 }, () => [
        post(GET_LOCK, good()), health(), post('/sync.Syncer/Nope', good()),
        request('HEAD', '/'),
      ]).flat()));
      for (let turn = 0; turn < 50; turn += 1) {
        isUnlocked(await connection.answer());
        isHealthy(await connection.answer());
        assert.equal(readAnswer(await connection.answer()).status, 12);
        assert.equal((await connection.answer({ bodiless: true })).http, 200);
      }
    }));
  await test('a request behind a listener waits for its end', () => connected(
    async (connection) => {
      connection.write(Buffer.concat([
        post(LISTEN, encode('ListenChanges', user.signed('ListenChanges', {})),
          { headers: { 'grpc-timeout': '300m' } }),
        health()]));
      assert.equal(readAnswer(await connection.answer()).status, 4);
      isHealthy(await connection.answer());
    }));
  await test('Connection: close is said and done', () => connected(
    async (connection) => {
      const answer = await connection.ask(
        health({ headers: { connection: 'close' } }));
      isHealthy(answer);
      assert.equal(answer.headers.connection, 'close');
      await within(5, 'the end', connection.closed);
    }));
  await test('node\'s agent keeps one connection for many calls', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set();
    for (let turn = 0; turn < 5; turn += 1) {
      ports.add(await viaNode(agent));
    }
    agent.destroy();
    assert.equal(ports.size, 1);
  });
}

/** A call through node's client, chunked; resolves to its local port. */
function viaNode(agent) {
  return new Promise((resolve, reject) => {
    const call = http.request({
      port, host: '127.0.0.1', path: GET_LOCK, method: 'POST', agent,
      headers: { 'content-type': WEB },
    }, (response) => {
      const { localPort } = call.socket;
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => {
        const { status } = readAnswer({
          headers: response.headers, body: Buffer.concat(parts) });
        if (status === 0) resolve(localPort);
        else reject(new Error(`status ${status}`));
      });
    });
    call.once('error', reject);
    const body = frame(good());
    call.write(body.subarray(0, 7));
    call.end(body.subarray(7));
  });
}

async function versionCases() {
  await test('HTTP/1.0: the end of the body is the end', () => connected(
    async (connection) => {
      const answer = await connection.ask(
        post(GET_LOCK, good(), { version: '1.0' }));
      assert.equal(answer.headers['transfer-encoding'], undefined);
      assert.equal(answer.headers.connection, 'close');
      isUnlocked(answer);
    }));
  await test('HTTP/1.0 needs no Host', async () => isHealthy(await askOnce(
    port, health({ version: '1.0', headers: { host: undefined } }))));
  await test('HTTP/1.0 that asks is kept alive behind an empty body', () =>
    connected(async (connection) => {
      const keep = { version: '1.0', headers: { connection: 'keep-alive' } };
      const answer = await connection.ask(post('/x/y', good(), keep));
      assert.equal(answer.headers.connection, 'keep-alive');
      isHealthy(await connection.ask(health({ version: '1.0' })));
    }));
  await test('an offer of HTTP/2 is not taken up', async () => isHealthy(
    await askOnce(port, health({ headers: {
      connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c',
      'http2-settings': 'AAMAAABkAAQAAP__' } }))));
  await test('an offer of WebSocket is not taken up', async () => isHealthy(
    await askOnce(port, health({ headers: {
      connection: 'Upgrade', upgrade: 'websocket' } }))));
  await test('a target with a host is read', async () => isHealthy(
    await askOnce(port, request('GET', `http://127.0.0.1:${port}/health`))));
}

async function bodyCases() {
  const chunked = (body, headers = {}) => Buffer.concat([
    request('POST', GET_LOCK, { headers: {
      'content-type': WEB, 'transfer-encoding': 'chunked', ...headers } }),
    Buffer.from(body, 'latin1')]);
  const inChunks = (bytes, size) => {
    let text = '';
    for (let at = 0; at < bytes.length; at += size) {
      const part = bytes.subarray(at, at + size);
      text += `${part.length.toString(16)}\r\n${part.toString('latin1')}\r\n`;
    }
    return `${text}0\r\n\r\n`;
  };
  for (const size of [1, 3, 7, 1000]) {
    await test(`a body in chunks of ${size}`, async () => isUnlocked(
      await askOnce(port, chunked(inChunks(frame(good()), size)))));
  }
  await test('chunks with extensions, and trailers', async () => {
    const body = frame(good());
    isUnlocked(await askOnce(port, chunked(
      `${body.length.toString(16).toUpperCase()};a=b\r\n` +
      `${body.toString('latin1')}\r\n0\r\nX-Late: 1\r\n\r\n`)));
  });
  await test('Expect: 100-continue is answered before the body', () =>
    connected(async (connection) => {
      const body = frame(good());
      connection.write(request('POST', GET_LOCK, { headers: {
        'content-type': WEB, expect: '100-continue',
        'content-length': body.length } }));
      assert.equal((await connection.head()).http, 100);
      connection.write(body);
      isUnlocked(await connection.answer());
    }));
  await test('Expect: 100-continue with the body at hand is answered', () =>
    connected(async (connection) => {
      connection.write(post(GET_LOCK, good(),
        { headers: { expect: '100-continue' } }));
      let head = await connection.head();
      if (head.http === 100) head = await connection.head();
      assert.equal(head.http, 200);
    }));
  await test('a refused call is told before its body, which is read over',
    () => connected(async (connection) => {
      connection.write(request('POST', '/x/y', { headers: {
        'content-type': WEB, 'content-length': 1 << 20,
        expect: '100-continue' } }));
      assert.equal(readAnswer(await connection.answer()).status, 12);
      connection.write(Buffer.alloc(1 << 20));
      isHealthy(await connection.ask(health()));
    }));
  await test('a body of more than 1 MiB that nobody wants ends it', () =>
    connected(async (connection) => {
      connection.write(request('POST', '/x/y', { headers: {
        'content-type': WEB, 'content-length': 1 << 30 } }));
      assert.equal(readAnswer(await connection.answer()).status, 12);
      connection.write(Buffer.alloc(2 << 20));
      await within(5, 'the end', connection.closed);
    }));
  await test('who hangs up in the middle of a body does no harm', async () => {
    const whole = post(GET_LOCK, good());
    await Promise.all([1, 20, -40, -1].map((at) => connected(
      (connection) => connection.write(whole.subarray(0, at)))));
    isHealthy(await askOnce(port, health()));
  });
}

// ---- refusals ----

/** A request's lines, joined; what is no line is a body. */
const lines = (...all) => Buffer.from(`${all.join('\r\n')}\r\n\r\n`, 'latin1');

const REFUSED = [
  ['no Host', lines('GET /health HTTP/1.1'), 400],
  ['two Hosts', lines('GET /health HTTP/1.1', 'Host: a', 'Host: a'), 400],
  ['HTTP/1.2', lines('GET /health HTTP/1.2', 'Host: a'), 400],
  ['HTTP/3.0', lines('GET /health HTTP/3.0', 'Host: a'), 400],
  ['no version', lines('GET /health', 'Host: a'), 400],
  ['nonsense', lines('\x16\x03\x01\x02 hello'), 400],
  ['a control character in the target',
    lines('GET /hea\x01lth HTTP/1.1', 'Host: a'), 400],
  ['a space in a header\'s name',
    lines('GET /health HTTP/1.1', 'Host: a', 'x y: z'), 400],
  ['a space behind a header\'s name',
    lines('GET /health HTTP/1.1', 'Host: a', 'x : z'), 400],
  ['a control character in a header\'s name',
    lines('GET /health HTTP/1.1', 'Host: a', 'x\x01: z'), 400],
  ['NUL in a header\'s name',
    lines('GET /health HTTP/1.1', 'Host: a', 'x\0: z'), 400],
  ['no header name', lines('GET /health HTTP/1.1', 'Host: a', ': z'), 400],
  ['no colon', lines('GET /health HTTP/1.1', 'Host: a', 'x'), 400],
  ['a control character in a value',
    lines('GET /health HTTP/1.1', 'Host: a', 'x: y\x01z'), 400],
  ['NUL in a value',
    lines('GET /health HTTP/1.1', 'Host: a', 'x: y\0z'), 400],
  ['a lone CR in a value',
    lines('GET /health HTTP/1.1', 'Host: a', 'x: y\rz'), 400],
  ['DEL in a value',
    lines('GET /health HTTP/1.1', 'Host: a', 'x: y\x7fz'), 400],
  ['a CR in an Origin', lines('GET /health HTTP/1.1', 'Host: a',
    'Origin: x\rSet-Cookie: a'), 400],
  ['Content-Length and Transfer-Encoding', lines('POST /health HTTP/1.1',
    'Host: a', 'Content-Length: 4', 'Transfer-Encoding: chunked', '',
    '0'), 400],
  ['Transfer-Encoding and Content-Length', lines('POST /health HTTP/1.1',
    'Host: a', 'Transfer-Encoding: chunked', 'Content-Length: 4', '',
    '0'), 400],
  ['two Content-Lengths', lines('POST /health HTTP/1.1', 'Host: a',
    'Content-Length: 4', 'Content-Length: 5', '', '0'), 400],
  ['Content-Length: +4', lines('POST /health HTTP/1.1', 'Host: a',
    'Content-Length: +4', '', '0'), 400],
  ['Content-Length: 4 4', lines('POST /health HTTP/1.1', 'Host: a',
    'Content-Length: 4 4', '', '0'), 400],
  ['a Content-Length beyond 2^64', lines('POST /health HTTP/1.1', 'Host: a',
    'Content-Length: 18446744073709551620', '', '0'), 400],
  ['Transfer-Encoding: xchunked', lines('POST /health HTTP/1.1', 'Host: a',
    'Transfer-Encoding: xchunked', '', '0'), [400, 501]],
  ['Transfer-Encoding: gzip, chunked', lines('POST /health HTTP/1.1',
    'Host: a', 'Transfer-Encoding: gzip, chunked', '', '0'), [400, 501]],
  ['Transfer-Encoding over HTTP/1.0', lines('POST /health HTTP/1.0',
    'Transfer-Encoding: chunked', '', '0'), [400, 501]],
];

/** What a request and another behind it are answered: [head, the rest]. */
function refusalOf(bytes) {
  return connected(async (connection) => {
    connection.write(Buffer.concat([bytes, health()]));
    return [await connection.answer(), await connection.rest()];
  });
}

async function refusedCases() {
  // All at once: each has a second to read its answer.
  const outcomes = REFUSED.map(([, bytes]) => refusalOf(bytes).then(
    (answers) => ({ answers }), (error) => ({ error })));
  for (const [at, [name, , expected]] of REFUSED.entries()) {
    await test(`refused: ${name}`, async () => {
      const { answers, error } = await outcomes[at];
      if (error) throw error;
      const [{ http: status, headers }, rest] = answers;
      assert.ok([expected].flat().includes(status), `HTTP ${status}`);
      assert.equal(headers.connection, 'close');
      assert.equal(rest.length, 0, 'nothing is answered behind it');
    });
  }
  await test('a chunk that is none is refused, and nothing behind it', () =>
    connected(async (connection) => {
      connection.write(Buffer.concat([
        request('POST', GET_LOCK, { headers: {
          'content-type': WEB, 'transfer-encoding': 'chunked' } }),
        Buffer.from('zz\r\n'), health()]));
      assert.equal((await connection.answer()).http, 400);
      assert.equal((await connection.rest()).length, 0);
    }));
  await test('a refusal behind a good request leaves that one answered', () =>
    connected(async (connection) => {
      connection.write(Buffer.concat([
        post(GET_LOCK, good()), lines('nonsense')]));
      isUnlocked(await connection.answer());
      assert.equal((await connection.answer()).http, 400);
    }));
}

async function limitCases() {
  const fixed = '/health'.length + FIELD_OVERHEAD + 'hostlocalhost'.length
    + FIELD_OVERHEAD + 'x'.length;
  const sized = (total) => health(
    { headers: { x: 'v'.repeat(total - fixed) } });
  const counted = (fields) => health({ headers: Object.fromEntries(
    Array.from({ length: fields - 1 }, (_, at) => [`x${at}`, 'v'])) });
  const rows = [
    ['headers of 16 KiB', sized(HEADERS_MAX), 200],
    ['headers of 16 KiB and a byte', sized(HEADERS_MAX + 1), 431],
    ['headers of 60 KiB', sized(60 << 10), 431],
    ['128 header fields', counted(FIELDS_MAX), 200],
    ['129 header fields', counted(FIELDS_MAX + 1), 431],
    ['a target of 20 KB', request('GET', `/${'a'.repeat(20000)}`), 431],
  ];
  for (const [name, bytes, expected] of rows) {
    await test(`${name}: ${expected}`, async () => {
      const answer = await askOnce(port, bytes);
      assert.equal(answer.http, expected);
    });
  }
  await test('headers without an end are refused at the bound', () =>
    connected(async (connection) => {
      connection.write(request('GET', '/health').subarray(0, -2));
      let sent = 0;
      connection.answer().then(({ http: status }) => { sent = -status; });
      while (sent >= 0 && sent < 1 << 16) {
        await connection.write(Buffer.from(`x${sent}: ${'v'.repeat(100)}\r\n`));
        sent = sent < 0 ? sent : sent + 100;
      }
      await until(5, 'a refusal', () => sent === -431);
    }));
}

/** Begun at once, waited for last: they take as long as a peer is given. */
function slowCases() {
  const timed = (begin, drip) => connected(async (connection) => {
    await connection.connected;
    await begin(connection);
    const began = performance.now();
    const timer = drip && setInterval(() => connection.write(drip), 500);
    await within(30, 'the end', connection.closed);
    clearInterval(timer);
    return (performance.now() - began) / 1000;
  });
  return [
    ['a connection that says nothing', timed(() => {})],
    ['half a request line', timed((it) => it.write('GET /hea'))],
    ['headers that drip in', timed((it) => it.write(
      'GET /health HTTP/1.1\r\nhost: h\r\n'), 'x: y\r\n')],
    ['a second request that stays half', timed(async (it) => {
      isHealthy(await it.ask(health()));
      await it.write('GET /health HTTP/1.1\r\n');
    })],
  ].map(([name, outcome]) => [name,
    outcome.then((seconds) => ({ seconds }), (error) => ({ error }))]);
}

async function slowAnswers(outcomes) {
  for (const [name, outcome] of outcomes) {
    await test(`slow: ${name} ends after ${SLOW_SECONDS} s`, async () => {
      const { seconds, error } = await outcome;
      if (error) throw error;
      assert.ok(seconds > SLOW_SECONDS - 1 && seconds < SLOW_SECONDS + 5,
        `after ${seconds.toFixed(1)} s`);
    }, { seconds: 60 });
  }
}

await suite(async () => {
  const server = await startServer();
  port = server.webPort;
  user = new User(undefined, new Key(), { quick: true });
  const slow = slowCases();
  await reuseCases();
  await versionCases();
  await bodyCases();
  await refusedCases();
  await limitCases();
  await slowAnswers(slow);
});
