// SPDX-License-Identifier: Apache-2.0
// web — gRPC-Web and HTTP/1.1 byte by byte.

import net from 'node:net';
import { frame, percentDecode, unframe } from './raw.mjs';
import { within } from './tap.mjs';

const SECONDS = 10;
const TRAILERS = 0x80;

export const WEB = 'application/grpc-web+proto';
export const WEB_TEXT = 'application/grpc-web-text+proto';

/** A request's bytes; `headers` replace or (undefined) remove usual ones. */
export function request(method, target, {
  headers = {}, body, version = '1.1',
} = {}) {
  const all = {
    host: 'localhost',
    ...(body !== undefined && { 'content-length': body.length }),
    ...headers,
  };
  const lines = Object.entries(all)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([
    Buffer.from(`${method} ${target} HTTP/${version}\r\n${lines.join('')}\r\n`,
      'latin1'),
    body ?? Buffer.alloc(0)]);
}

/** A call's bytes: `message` framed, and in base64 if the type says so. */
export function post(path, message, { headers = {}, ...rest } = {}) {
  const type = headers['content-type'] ?? WEB;
  const framed = frame(message);
  return request('POST', path, {
    body: isText(type) ? Buffer.from(framed.toString('base64')) : framed,
    headers: { 'content-type': type, ...headers }, ...rest,
  });
}

export function isText(type) {
  return type.startsWith('application/grpc-web-text');
}

/** Concatenated pieces of base64, each padded. */
export function decodePieces(text) {
  return Buffer.concat(String(text).split(/(?<==)(?!=)/)
    .map((piece) => Buffer.from(piece, 'base64')));
}

/**
 * What a gRPC-Web answer says: its frames, and the status of its trailer
 * frame or, without one, of its headers.
 */
export function readAnswer({ http, headers, body, chunks }) {
  const text = isText(headers['content-type'] ?? '');
  const frames = unframe(text ? decodePieces(body) : body);
  const last = frames.at(-1);
  const trailer = last && last.flag & TRAILERS
    ? frames.pop().bytes.toString('latin1') : undefined;
  const fields = trailer === undefined ? headers : Object.fromEntries(
    trailer.split('\r\n').filter(Boolean).map((line) => line.split(': ')));
  const status = fields['grpc-status'];
  return {
    http, headers, body, chunks, frames, trailer,
    status: status === undefined ? undefined : Number(status),
    message: percentDecode(fields['grpc-message']),
  };
}

/** One HTTP/1.1 connection, read as it comes. */
export class Http1 {
  constructor(port) {
    this.buffer = Buffer.alloc(0);
    this.socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      this.socket.once('close', () => {
        this.ended = true;
        this.wake?.();
        resolve();
      });
    });
    this.connected = new Promise((resolve, reject) => {
      this.socket.once('connect', resolve);
      this.socket.once('error', reject);
    });
    this.connected.catch(() => {});
    this.socket.on('data', (bytes) => {
      this.buffer = Buffer.concat([this.buffer, bytes]);
      this.wake?.();
    });
  }

  /** Resolves when the kernel has the bytes. */
  write(bytes) {
    return new Promise((resolve) => { this.socket.write(bytes, resolve); });
  }

  destroy() {
    this.socket.destroy();
    return this.closed;
  }

  async need(enough) {
    while (!enough()) {
      if (this.ended) throw new Error('the connection ended');
      await new Promise((resolve) => { this.wake = resolve; });
    }
  }

  async line() {
    await this.need(() => this.buffer.includes('\r\n'));
    const end = this.buffer.indexOf('\r\n');
    const text = this.buffer.toString('latin1', 0, end);
    this.buffer = this.buffer.subarray(end + 2);
    return text;
  }

  async bytes(count) {
    await this.need(() => this.buffer.length >= count);
    const bytes = this.buffer.subarray(0, count);
    this.buffer = this.buffer.subarray(count);
    return bytes;
  }

  /** Everything up to the end of the connection. */
  async rest(seconds = SECONDS) {
    await within(seconds, 'the end of the connection', this.closed);
    const bytes = this.buffer;
    this.buffer = Buffer.alloc(0);
    return bytes;
  }

  /** Status line and headers: {http, headers}; repeated ones are joined. */
  async head() {
    const [, http] = /^HTTP\/1\.1 (\d{3}) /.exec(await this.line());
    const headers = {};
    for (let line = await this.line(); line; line = await this.line()) {
      const [, name, value] = /^([^\s:]+): ?(.*)$/.exec(line);
      const key = name.toLowerCase();
      headers[key] = key in headers ? `${headers[key]}, ${value}` : value;
    }
    return { http: Number(http), headers };
  }

  /** The next chunk; empty when it is the last. */
  chunk(seconds = SECONDS) {
    return within(seconds, 'a chunk', (async () => {
      const size = parseInt(await this.line(), 16);
      const bytes = Buffer.from(await this.bytes(size));
      await this.line();
      return bytes;
    })());
  }

  async wholeBody({ http, headers }, bodiless) {
    if (bodiless || http === 204) return [];
    if (headers['transfer-encoding'] === 'chunked') {
      const chunks = [];
      for (;;) {
        const chunk = await this.chunk();
        if (!chunk.length) return chunks;
        chunks.push(chunk);
      }
    }
    if (headers['content-length'] !== undefined) {
      const length = Number(headers['content-length']);
      return length ? [Buffer.from(await this.bytes(length))] : [];
    }
    return [await this.rest()];
  }

  /** The next whole answer: {http, headers, chunks, body}. */
  answer({ bodiless = false, seconds = SECONDS } = {}) {
    return within(seconds, 'an answer', (async () => {
      const head = await this.head();
      const chunks = await this.wholeBody(head, bodiless);
      return { ...head, chunks, body: Buffer.concat(chunks) };
    })());
  }

  async ask(bytes, options) {
    this.write(bytes);
    return this.answer(options);
  }
}

/** One request on a connection of its own. */
export async function askOnce(port, bytes, options) {
  const connection = new Http1(port);
  try {
    return await connection.ask(bytes, options);
  } finally {
    await connection.destroy();
  }
}
