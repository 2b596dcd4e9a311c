// SPDX-License-Identifier: Apache-2.0
// signals — SIGTERM and SIGINT end the server without breaking a promise.

import assert from 'node:assert/strict';
import { Client, User, encode } from './lib/client.mjs';
import { Pool, atOnce, below, pause } from './lib/load.mjs';
import { FRAME, Wire, frame, requestHeaders } from './lib/raw.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { diag, suite, test, within } from './lib/tap.mjs';

const OK = 0;
const UNAVAILABLE = 14;
const DRAIN_SECONDS = 5;
const WRITERS = 16;
const LOAD_MS = 300;
const SET_RECORD = '/sync.Syncer/SetRecord';
const env = { SHARDS: '2', DRAIN_TIMEOUT: String(DRAIN_SECONDS) };

/** Writers of their own ids until the server is gone. */
class Load {
  constructor(server) {
    this.pool = new Pool(server.address, 4);
    this.key = new Key();
    this.acknowledged = new Map();
    this.strange = [];
    this.refused = 0;
    this.going = true;
    this.running = atOnce(WRITERS, (index) => this.writer(index));
  }

  async writer(index) {
    const user = this.pool.user(this.key);
    let revision = 0;
    while (this.going) {
      const id = `writer ${index}`;
      const data = `${index}.${revision}`;
      const { code, message, reply } = await user.setRecord(
        { id, data, revision });
      if (code === OK && reply.status === 'SUCCESS') {
        revision = Number(reply.new_revision);
        this.acknowledged.set(id, { revision, data });
      } else if (code === UNAVAILABLE) {
        this.refused += 1;
        return;
      } else if (code !== OK) {
        this.strange.push(`${code} ${message}`);
        return;
      }
    }
  }

  async ended() {
    await this.running;
    this.pool.close();
  }
}

/** What is stored must be what was acknowledged, or one write further. */
async function verify(server, load) {
  const client = new Client(server.address);
  const stored = await new User(client, load.key).everything();
  const found = new Map(stored.map((record) => [record.id, record]));
  for (const [id, { revision, data }] of load.acknowledged) {
    const record = found.get(id);
    assert.ok(record, `${id} lost`);
    assert.ok(record.revision >= revision, `${id} is back at an old revision`);
    if (record.revision === revision) {
      assert.equal(record.data.toString(), data);
    }
  }
  client.close();
}

async function underLoad(signal) {
  const server = await startServer({ env });
  const load = new Load(server);
  const client = new Client(server.address);
  const listener = await new User(client, load.key).listen().greeting();
  await pause(LOAD_MS + below(LOAD_MS));
  const began = performance.now();
  const end = server.stop(signal, DRAIN_SECONDS + 10);
  await test(`${signal} under load: exit code 0 within DRAIN_TIMEOUT`,
    async () => {
      assert.deepEqual(await end, { code: 0, signal: null });
      const seconds = (performance.now() - began) / 1000;
      assert.ok(seconds < DRAIN_SECONDS + 1, `after ${seconds} s`);
    });
  load.going = false;
  await load.ended();
  diag(`${load.acknowledged.size} writers acknowledged, ` +
    `${load.refused} refused`);
  await test(`${signal} under load: only SUCCESS, CONFLICT, UNAVAILABLE`,
    () => assert.deepEqual(load.strange, []));
  await test(`${signal} under load: a listener ends with UNAVAILABLE`,
    async () => {
      const { code } = await within(5, 'its end', listener.ended);
      assert.equal(code, UNAVAILABLE);
    });
  await test(`${signal} under load: every acknowledged write is kept`,
    async () => {
      assert.ok(load.acknowledged.size > 0);
      await server.start();
      await verify(server, load);
    });
  client.close();
  await server.kill();
}

/** A SetRecord of which only the headers and the first bytes were sent. */
class HalfSent {
  constructor(server) {
    const request = new User(undefined, new Key()).record({ id: 'half' });
    this.body = frame(encode('SetRecord', request));
    this.goaway = new Promise((resolve) => { this.onGoaway = resolve; });
    this.answered = new Promise((resolve) => { this.onAnswer = resolve; });
    this.wire = new Wire(server.port, { onFrame: (event) => {
      if (event.type === FRAME.GOAWAY) this.onGoaway();
      if (event.type === FRAME.DATA && event.stream === 1) this.replied = true;
      if (event.stream === 1 && event.ends) this.onAnswer(this.replied);
    } });
    this.wire.openRequest(1, requestHeaders(SET_RECORD),
      this.body.subarray(0, 9));
  }

  /** Settles when the server has read what was sent: it answers a PING. */
  async arrived() {
    await new Promise((resolve) => {
      const { onFrame } = this.wire;
      this.wire.onFrame = (event) => {
        if (event.type === FRAME.PING) resolve();
        onFrame(event);
      };
      this.wire.write(Buffer.concat([
        Buffer.from([0, 0, 8, FRAME.PING, 0, 0, 0, 0, 0]), Buffer.alloc(8)]));
    });
    return this;
  }

  finish() {
    this.wire.finishRequest(1, this.body.subarray(9));
  }
}

/** Whether a new connection gets as far as a server's first frame. */
function isServed(port) {
  return within(10, 'a connection to fail', new Promise((resolve) => {
    const wire = new Wire(port, { onFrame: ({ type }) => {
      if (type === FRAME.SETTINGS) resolve(true);
    } });
    wire.closed.then(() => resolve(false));
  }));
}

async function drainCases() {
  const server = await startServer({ env });
  const half = await within(5, 'a PING\'s answer',
    new HalfSent(server).arrived());
  const end = server.stop('SIGTERM', DRAIN_SECONDS + 10);
  await test('draining, a connection with a call in flight gets GOAWAY',
    () => within(5, 'GOAWAY', half.goaway));
  await test('draining, new connections are refused', async () =>
    assert.equal(await isServed(server.port), false));
  await test('draining, the call in flight is finished', async () => {
    half.finish();
    assert.equal(await within(5, 'an answer', half.answered), true);
  });
  await test('after the last call it exits with code 0', async () =>
    assert.deepEqual(await end, { code: 0, signal: null }));
  await half.wire.destroy();
}

async function stuckCases() {
  await test('a call that never ends holds it no longer than DRAIN_TIMEOUT',
    async () => {
      const server = await startServer({ env: { ...env, DRAIN_TIMEOUT: '2' } });
      const half = await new HalfSent(server).arrived();
      const began = performance.now();
      assert.deepEqual(await server.stop('SIGTERM', 10),
        { code: 0, signal: null });
      const seconds = (performance.now() - began) / 1000;
      assert.ok(seconds >= 1.5 && seconds < 4, `after ${seconds} s`);
      await half.wire.destroy();
    });
  for (const second of ['SIGTERM', 'SIGINT']) {
    await test(`SIGTERM and then ${second} ends at once`, async () => {
      const server = await startServer({
        env: { ...env, DRAIN_TIMEOUT: '20' } });
      const half = await new HalfSent(server).arrived();
      const end = server.stop('SIGTERM', 10);
      await within(5, 'GOAWAY', half.goaway);
      const began = performance.now();
      server.child.kill(second);
      await end;
      const seconds = (performance.now() - began) / 1000;
      assert.ok(seconds < 1.5, `after ${seconds} s`);
      await half.wire.destroy();
    });
  }
  await test('idle, it exits at once', async () => {
    const server = await startServer({ env: { ...env, DRAIN_TIMEOUT: '20' } });
    const client = new Client(server.address);
    const { code } = await new User(client, new Key()).getLock('n');
    assert.equal(code, OK);
    const began = performance.now();
    assert.deepEqual(await server.stop('SIGTERM', 10),
      { code: 0, signal: null });
    const seconds = (performance.now() - began) / 1000;
    assert.ok(seconds < 3, `after ${seconds} s`);
    client.close();
  });
}

await suite(async () => {
  for (const signal of ['SIGTERM', 'SIGINT']) await underLoad(signal);
  await drainCases();
  await stuckCases();
});
