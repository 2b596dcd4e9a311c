// SPDX-License-Identifier: Apache-2.0
// cutter — a proxy before PostgreSQL that knows its protocol well enough to
// cut a connection at a chosen byte of the exchange that stores records.
//
// What a client sends up to a Sync is one exchange. One that binds the
// statement that stores records counts; others pass. The connection must be in
// clear, since what is encrypted cannot be told apart.

import net from 'node:net';

const STORES = Buffer.from('\0set_records\0'); // portal "", statement
const SYNC = 0x53; // 'S' from a client
const READY = 0x5a; // 'Z' from the server
// Of a client: Parse, Bind, Describe, Execute, Close, Flush, Sync. These are
// gathered until a Sync; anything else (passwords, the end) passes at once.
const PIPELINED = new Set(Buffer.from('PBDECHS'));

/** Splits a stream into messages: a type and a length of the rest. */
class Messages {
  constructor(typed) {
    this.typed = typed; // false: the first has no type
    this.bytes = Buffer.alloc(0);
  }

  take(chunk) {
    this.bytes = Buffer.concat([this.bytes, chunk]);
    const messages = [];
    for (;;) {
      const head = this.typed ? 1 : 0;
      if (this.bytes.length < head + 4) return messages;
      const length = head + this.bytes.readUInt32BE(head);
      if (this.bytes.length < length) return messages;
      messages.push({ type: this.typed ? this.bytes[0] : 0,
        bytes: this.bytes.subarray(0, length) });
      this.bytes = this.bytes.subarray(length);
      this.typed = true;
    }
  }
}

class Connection {
  constructor(cutter, client) {
    this.cutter = cutter;
    this.client = client;
    this.server = net.connect(
      { port: cutter.target, host: '127.0.0.1', noDelay: true });
    this.asked = new Messages(false);
    this.told = new Messages(true);
    this.exchange = [];
    this.counting = undefined; // bytes of the answer that counts
    this.limit = Infinity;
    client.on('data', (chunk) => this.fromClient(chunk));
    this.server.on('data', (chunk) => this.fromServer(chunk));
    for (const socket of [client, this.server]) {
      socket.on('error', () => {});
      socket.on('close', () => this.cut());
    }
  }

  cut() {
    this.client.destroy();
    this.server.destroy();
    this.cutter.connections.delete(this);
  }

  fromClient(chunk) {
    for (const { type, bytes } of this.asked.take(chunk)) {
      if (!PIPELINED.has(type)) {
        this.server.write(bytes);
        continue;
      }
      this.exchange.push(bytes);
      if (type === SYNC) this.forward(Buffer.concat(this.exchange.splice(0)));
    }
  }

  forward(bytes) {
    if (!bytes.includes(STORES)) {
      this.server.write(bytes);
      return;
    }
    const { plan } = this.cutter;
    this.cutter.sizes.asked = bytes.length;
    if (plan?.side === 'asked' && plan.at <= bytes.length) {
      this.cutter.done();
      // The server gets so much, then the end; the client the end.
      this.server.end(bytes.subarray(0, plan.at));
      this.client.destroy();
      return;
    }
    this.counting = 0;
    if (plan?.side === 'told') this.limit = plan.at;
    this.server.write(bytes);
    if (this.limit === 0) this.reached();
  }

  reached() {
    this.cutter.done();
    this.client.destroy();
    // The server is not to notice before it is done.
    this.server.removeAllListeners('data');
    this.server.resume();
    this.server.end();
  }

  fromServer(chunk) {
    if (this.counting === undefined) {
      this.client.write(chunk);
      return;
    }
    const room = this.limit - this.counting;
    this.counting += chunk.length;
    const ready = this.told.take(chunk).some(({ type }) => type === READY);
    if (chunk.length >= room) {
      this.client.write(chunk.subarray(0, room), () => this.reached());
      return;
    }
    this.client.write(chunk);
    if (ready) {
      this.cutter.sizes.told = this.counting;
      this.counting = undefined;
      this.limit = Infinity;
    }
  }
}

export class Cutter {
  constructor(target) {
    this.target = target;
    this.plan = undefined;
    this.sizes = { asked: 0, told: 0 };
    this.connections = new Set();
    this.listener = net.createServer({ noDelay: true }, (client) => {
      this.connections.add(new Connection(this, client));
    });
  }

  async start() {
    await new Promise((resolve) => {
      this.listener.listen(0, '127.0.0.1', resolve);
    });
    this.port = this.listener.address().port;
    return this;
  }

  /**
   * The next exchange ends after `at` bytes of what is `asked` or `told`.
   * Whether it did is in `plan`, which is then undefined.
   */
  arm(side, at) {
    this.plan = { side, at };
  }

  done() {
    this.plan = undefined;
  }

  /** Every connection, at once. */
  cutAll() {
    for (const connection of [...this.connections]) connection.cut();
  }

  stop() {
    this.cutAll();
    this.listener.close();
  }
}
