// SPDX-License-Identifier: Apache-2.0
// raw — gRPC requests byte by byte.
//
// Session speaks HTTP/2 through node and lets a test send any header and any
// body. Wire speaks frames on a plain socket, for what node would not send or
// would do by itself (windows), and for thousands of cheap listeners.

import http2 from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';
import { within } from './tap.mjs';

export function frame(message, flag = 0) {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** Splits a body into messages: [{flag, bytes}]. */
export function unframe(body) {
  const messages = [];
  let at = 0;
  while (body.length - at >= 5) {
    const length = body.readUInt32BE(at + 1);
    messages.push({
      flag: body[at], bytes: body.subarray(at + 5, at + 5 + length),
    });
    at += 5 + length;
  }
  return messages;
}

/** A message of exactly `size` bytes (16 KiB to 2 MiB), padding in field 15. */
export function padding(size) {
  const length = size - 4;
  const head = [0x7a, (length & 127) | 128, ((length >> 7) & 127) | 128,
    length >> 14];
  return Buffer.concat([Buffer.from(head), Buffer.alloc(length)]);
}

export function percentDecode(text) {
  if (text === undefined) return undefined;
  const bytes = Buffer.from(text, 'latin1').toString('latin1')
    .replace(/%([0-9A-Fa-f]{2})/g,
      (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

export class Session {
  constructor(address, settings = {}, options = {}) {
    const scheme = options.ca ? 'https' : 'http';
    this.session = http2.connect(
      `${scheme}://${address}`, { settings, ...options });
    this.session.on('error', () => {});
    this.closed = new Promise((resolve) => {
      this.session.once('close', resolve);
    });
  }

  close() {
    this.session.destroy();
    return this.closed;
  }

  /**
   * One request. `headers` replace or (undefined) remove the usual ones;
   * `body` is a Buffer, or null for END_STREAM on HEADERS; `trailers` are
   * sent after the body. Resolves to {http, headers, trailers, status,
   * message, body, reset}.
   */
  async call(path, body, { headers = {}, trailers, seconds = 10 } = {}) {
    const all = {
      ':method': 'POST', ':path': path,
      'content-type': 'application/grpc', te: 'trailers', ...headers,
    };
    for (const name of Object.keys(all)) {
      if (all[name] === undefined) delete all[name];
    }
    const stream = this.session.request(all, {
      endStream: body === null, waitForTrailers: trailers !== undefined,
    });
    const answer = { headers: {}, trailers: {}, reset: 0 };
    const chunks = [];
    const done = new Promise((resolve) => {
      stream.on('response', (got) => { answer.headers = got; });
      stream.on('trailers', (got) => { answer.trailers = got; });
      stream.on('data', (chunk) => chunks.push(chunk));
      stream.on('error', (error) => { answer.error = error.message; });
      stream.on('close', () => resolve());
      if (trailers) {
        stream.on('wantTrailers', () => stream.sendTrailers(trailers));
      }
    });
    if (body !== null) stream.end(body);
    await within(seconds, path, done).finally(
      () => stream.close(http2.constants.NGHTTP2_CANCEL));
    return summarise(answer, stream, Buffer.concat(chunks));
  }

  /** A well-formed unary call of one message. */
  message(path, bytes, options) {
    return this.call(path, frame(bytes), options);
  }
}

function summarise(answer, stream, body) {
  const last = { ...answer.headers, ...answer.trailers };
  const status = last['grpc-status'];
  return {
    ...answer,
    http: answer.headers[':status'],
    status: status === undefined ? undefined : Number(status),
    message: percentDecode(last['grpc-message']),
    body,
    reset: stream.rstCode,
  };
}

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
export const FRAME = {
  DATA: 0, HEADERS: 1, RST_STREAM: 3, SETTINGS: 4, PING: 6, GOAWAY: 7,
  WINDOW_UPDATE: 8, CONTINUATION: 9,
};
export const END_STREAM = 1;
export const END_HEADERS = 4;
const ACK = 1;
const SETTINGS_INITIAL_WINDOW_SIZE = 4;
const DEFAULT_WINDOW = 65535;
export const LARGEST_WINDOW = 0x7fffffff;

export function h2frame(type, flags, stream, payload = Buffer.alloc(0)) {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function hpackString(text) {
  const bytes = Buffer.from(text, 'latin1');
  if (bytes.length < 127) {
    return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  }
  const head = [127];
  let rest = bytes.length - 127;
  while (rest >= 128) {
    head.push((rest & 127) | 128);
    rest >>= 7;
  }
  head.push(rest);
  return Buffer.concat([Buffer.from(head), bytes]);
}

/** Literal header fields, never indexed, without Huffman: valid anywhere. */
export function hpack(fields) {
  return Buffer.concat(fields.flatMap(([name, value]) => [
    Buffer.from([0x10]), hpackString(name), hpackString(value)]));
}

export function requestHeaders(path, extra = [], type = 'application/grpc') {
  return hpack([
    [':method', 'POST'], [':scheme', 'http'], [':path', path],
    [':authority', 'localhost'], ['content-type', type],
    ['te', 'trailers'], ...extra]);
}

/** A socket, over TLS if `ca` is to vouch for the server, and the event that
 * says it is ready. */
function connect(port, ca) {
  const to = { port, host: '127.0.0.1', noDelay: true };
  return ca === undefined ? [net.connect(to), 'connect']
    : [tls.connect({ ...to, ca, servername: 'localhost',
      ALPNProtocols: ['h2'] }), 'secureConnect'];
}

/**
 * A connection that reads frames and answers SETTINGS and PING, nothing
 * else: windows are never widened unless a test does it. A `quiet` one writes
 * nothing by itself.
 */
export class Wire {
  constructor(port, {
    streamWindow = LARGEST_WINDOW, onFrame, quiet = false, ca,
  } = {}) {
    this.quiet = quiet;
    this.onFrame = onFrame ?? (() => {});
    this.pending = Buffer.alloc(0);
    const [socket, event] = connect(port, ca);
    this.socket = socket;
    this.connected = new Promise((resolve, reject) => {
      this.socket.once(event, resolve);
      this.socket.once('error', reject);
    });
    this.connected.catch(() => {});
    /* The server's SETTINGS are acknowledged: unless it pings, all that is
     * written from now on is the test's. */
    this.ready = new Promise((resolve) => { this.onReady = resolve; });
    this.closed = new Promise((resolve) => {
      this.socket.once('close', resolve);
    });
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk) => this.read(chunk));
    if (quiet) return;
    const setting = Buffer.alloc(6);
    setting.writeUInt16BE(SETTINGS_INITIAL_WINDOW_SIZE, 0);
    setting.writeUInt32BE(streamWindow, 2);
    this.write(PREFACE, h2frame(FRAME.SETTINGS, 0, 0, setting));
    this.widen(0, LARGEST_WINDOW - DEFAULT_WINDOW);
  }

  write(...buffers) {
    this.socket.write(
      buffers.length === 1 ? buffers[0] : Buffer.concat(buffers));
  }

  widen(stream, bytes) {
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(bytes);
    this.write(h2frame(FRAME.WINDOW_UPDATE, 0, stream, payload));
  }

  reset(stream, code = 8) {
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(code);
    this.write(h2frame(FRAME.RST_STREAM, 0, stream, payload));
  }

  request(stream, headerBlock, body) {
    this.write(
      h2frame(FRAME.HEADERS, END_HEADERS, stream, headerBlock),
      h2frame(FRAME.DATA, END_STREAM, stream, body));
  }

  /** HEADERS and a part of the body; the request stays open. */
  openRequest(stream, headerBlock, part) {
    this.write(
      h2frame(FRAME.HEADERS, END_HEADERS, stream, headerBlock),
      h2frame(FRAME.DATA, 0, stream, part));
  }

  finishRequest(stream, part) {
    this.write(h2frame(FRAME.DATA, END_STREAM, stream, part));
  }

  read(chunk) {
    let buffer = this.pending.length
      ? Buffer.concat([this.pending, chunk]) : chunk;
    while (buffer.length >= 9) {
      const length = buffer.readUIntBE(0, 3);
      if (buffer.length < 9 + length) break;
      const type = buffer[3];
      const flags = buffer[4];
      const stream = buffer.readUInt32BE(5) & LARGEST_WINDOW;
      this.frame(type, flags, stream, buffer.subarray(9, 9 + length));
      buffer = buffer.subarray(9 + length);
    }
    this.pending = buffer.length ? Buffer.from(buffer) : Buffer.alloc(0);
  }

  acknowledge(type, flags, payload) {
    if (flags & ACK) return;
    if (type === FRAME.SETTINGS) {
      this.write(h2frame(type, ACK, 0));
      this.onReady();
    }
    if (type === FRAME.PING) this.write(h2frame(type, ACK, 0, payload));
  }

  frame(type, flags, stream, payload) {
    if (!this.quiet) this.acknowledge(type, flags, payload);
    const ends = (flags & END_STREAM) !== 0
      && (type === FRAME.DATA || type === FRAME.HEADERS);
    this.onFrame({ type, stream, payload, ends });
  }

  destroy() {
    this.socket.destroy();
    return this.closed;
  }
}
