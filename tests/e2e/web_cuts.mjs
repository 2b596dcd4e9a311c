// SPDX-License-Identifier: Apache-2.0
// web_cuts — however the network cuts a request in two, the answer is the
// same: every cut of requests of each kind, on both ports.

import assert from 'node:assert/strict';
import { User, encode } from './lib/client.mjs';
import {
  END_HEADERS, END_STREAM, FRAME, PREFACE, Wire, frame, h2frame,
  requestHeaders,
} from './lib/raw.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { suite, test, within } from './lib/tap.mjs';
import { Http1, WEB, WEB_TEXT, post, request } from './lib/web.mjs';

const GET_LOCK = '/sync.Syncer/GetLock';
const AT_ONCE = 128;

let control;
const health = (headers) => request('GET', '/health', { headers });

/**
 * Writes `bytes` in two pieces, cut at each place, on connections that `open`
 * gives. Between the pieces another connection makes a round trip: the one
 * shard that serves them all has then read the first pieces. Resolves to
 * [cut, what `read` gives] pairs.
 */
async function cutEverywhere(bytes, open, read) {
  const answers = [];
  for (let first = 1; first < bytes.length; first += AT_ONCE) {
    const last = Math.min(first + AT_ONCE, bytes.length);
    const batch = Array.from({ length: last - first },
      (_, at) => ({ cut: first + at, connection: open() }));
    await Promise.all(batch.map(({ connection }) => connection.connected));
    await Promise.all(batch.map(({ cut, connection }) => new Promise(
      (resolve) => {
        connection.socket.write(bytes.subarray(0, cut), resolve);
      })));
    assert.equal((await control.ask(health())).http, 200);
    for (const { cut, connection } of batch) {
      connection.socket.write(bytes.subarray(cut));
    }
    answers.push(...await Promise.all(batch.map(
      async ({ cut, connection }) => {
        const answer = await read(connection);
        await connection.destroy();
        return [cut, answer];
      })));
  }
  return answers;
}

/** One case: `bytes` uncut are answered by `expected`, and so is every cut. */
async function cutCase(name, bytes, expected, open, read) {
  await test(`${name}, cut at each of ${bytes.length} bytes`, async () => {
    const whole = open();
    whole.socket.write(bytes);
    const answer = await read(whole);
    assert.match(answer, expected);
    for (const [cut, other] of await cutEverywhere(bytes, open, read)) {
      assert.equal(other, answer, `cut at ${cut}`);
    }
  });
}

function http1Requests(message) {
  const close = { connection: 'close' };
  const body = frame(message);
  const chunk = Buffer.from(`${body.length.toString(16)}\r\n` +
    `${body.toString('latin1')}\r\n0\r\n\r\n`, 'latin1');
  const unlocked = /grpc-status: 0\r\n\r\n0\r\n\r\n$/;
  return [
    ['a gRPC-Web call', post(GET_LOCK, message, { headers: close }), unlocked],
    ['a gRPC-Web call in base64', post(GET_LOCK, message,
      { headers: { ...close, 'content-type': WEB_TEXT } }),
    /gAAAABBncnBjLXN0YXR1czogMA0K\r\n0\r\n\r\n$/],
    ['a gRPC-Web call in a chunk', Buffer.concat([
      request('POST', GET_LOCK, { headers: { ...close, 'content-type': WEB,
        'transfer-encoding': 'chunked' } }), chunk]), unlocked],
    ['two requests', Buffer.concat([health(), health(close)]),
      /^HTTP\/1\.1 200 [^]*HTTP\/1\.1 200 /],
    ['a preflight', request('OPTIONS', GET_LOCK, { headers: { ...close,
      origin: 'https://a.example', 'access-control-request-method': 'POST',
    } }), /^HTTP\/1\.1 204 /],
    ['a refused request', Buffer.from('GET / HTTP/1.1\r\nx y: z\r\n\r\n'),
      /^HTTP\/1\.1 400 /],
  ];
}

/** Client's preface, SETTINGS and one call. */
function http2Request(type, message) {
  return Buffer.concat([PREFACE, h2frame(FRAME.SETTINGS, 0, 0),
    h2frame(FRAME.HEADERS, END_HEADERS, 1,
      requestHeaders(GET_LOCK, [], type)),
    h2frame(FRAME.DATA, END_STREAM, 1, frame(message))]);
}

/** Frame types and payloads of stream 1, as text. */
function openHttp2(port) {
  let seen = '';
  let end;
  const ended = new Promise((resolve) => { end = resolve; });
  const wire = new Wire(port, { quiet: true,
    onFrame: ({ type, stream, payload, ends }) => {
      if (stream !== 1) return;
      seen += `${type}:${payload.toString('latin1')};`;
      if (ends) end(seen);
    } });
  return Object.assign(wire, { answer: Promise.race([
    ended, wire.closed.then(() => `${seen} closed`)]) });
}

await suite(async () => {
  const server = await startServer({ env: { SHARDS: '1' } });
  const user = new User(undefined, new Key());
  const message = encode('GetLock', user.signed('GetLock',
    { lock_name: 'n' }));
  control = new Http1(server.webPort);
  for (const [name, bytes, expected] of http1Requests(message)) {
    await cutCase(name, bytes, expected, () => new Http1(server.webPort),
      async (connection) => String(await connection.rest()));
  }
  const readHttp2 = ({ answer }) => within(10, 'an answer', answer);
  await cutCase('a gRPC-Web call over HTTP/2', http2Request(WEB, message),
    /grpc-status: 0/, () => openHttp2(server.webPort), readHttp2);
  await cutCase('a gRPC call', http2Request('application/grpc', message),
    /^1:[^]*;0:[^]*;1:[^]*;$/, () => openHttp2(server.port), readHttp2);
  await control.destroy();
});
