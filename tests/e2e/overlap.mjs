// SPDX-License-Identifier: Apache-2.0
// overlap — a device that has just written must not skip what another wrote
// just before.
//
// The published SDK sets its cursor to the revision of its own write, so it
// never asks for the other's, whose notice is still on its way. The server
// begins the page below such a write.
//
// The SDK writes a record that it is given again over a change of its own that
// is not pushed yet, so no page holds again what the writer of the revision it
// is asked from has written.

import assert from 'node:assert/strict';
import { Client, User, decodeReply, encode } from './lib/client.mjs';
import { atOnce, below, pause } from './lib/load.mjs';
import {
  FRAME, Wire, frame, h2frame, requestHeaders, unframe } from './lib/raw.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { diag, scaled, suite, test, until } from './lib/tap.mjs';

const DEVICES = 4;
const PUSHES = 16;
const SPREAD_MS = 40;
const LAG_MS = 30;
const RUNS = scaled(10, 2);
const FARTHEST = 256;
const BUSY_ROUNDS = scaled(300, 60);

/** Writes in turn by the named clients; the ids are the revisions' names. */
async function written(user, clients) {
  for (const [index, clientId] of clients.entries()) {
    const revision = await user.write(
      { id: `record ${index + 1}`, data: clientId ?? 'none', clientId });
    assert.equal(revision, index + 1);
  }
}

function revisions(records) {
  return records.map(({ revision }) => revision);
}

const times = (count, what) => Array(count).fill(what);

/** Rows are [name, writers, since, exactly these revisions]. */
const RULE_ON = [
  ['B then A, asked from A\'s', ['b', 'a'], 2, [1]],
  ['B, B, then A, asked from A\'s', ['b', 'b', 'a'], 3, [1, 2]],
  ['B and C, then A twice, asked from A\'s second', ['b', 'c', 'a', 'a'], 4,
    [1, 2]],
  ['B between two of A, asked from A\'s last', ['a', 'b', 'a'], 3, [2]],
  ['B, 20 of A, asked from A\'s last', ['b', ...times(20, 'a')], 21, [1]],
  ['A, B, A, nobody, A, C, A, asked from A\'s third',
    ['a', 'b', 'a', undefined, 'a', 'c', 'a'], 5, [2, 4, 6, 7]],
  ['B, A twice, C, asked from A\'s first', ['b', 'a', 'a', 'c'], 2, [1, 3, 4]],
];

/** Rows are [name, writers, since, exactly these revisions]. */
const NOTHING_CHANGES = [
  ['no client ids', times(3, undefined), 3, []],
  ['only A\'s own writes', times(3, 'a'), 3, []],
  ['only A\'s own writes, asked from the first', times(3, 'a'), 1, [2, 3]],
  ['asked from a revision nobody wrote', ['b', 'a'], 7, []],
  ['asked from 0', ['b', 'a'], 0, [1, 2]],
  ['B\'s write too long before A\'s', ['b', ...times(FARTHEST + 1, 'a')],
    FARTHEST + 2, []],
];

async function rules(client) {
  for (const [name, clients, since, exactly] of RULE_ON) {
    await test(`${name}: the page begins with the other's`, async () => {
      const user = new User(client, new Key());
      await written(user, clients);
      assert.deepEqual(revisions(await user.changes(since)), exactly);
    });
  }
  for (const [name, clients, since, exactly] of NOTHING_CHANGES) {
    await test(`${name}: nothing changes`, async () => {
      const user = new User(client, new Key());
      await written(user, clients);
      assert.deepEqual(revisions(await user.changes(since)), exactly);
    });
  }
  await test(`a write within ${FARTHEST} revisions is given though an older ` +
    'one is beyond', async () => {
    const user = new User(client, new Key());
    await written(user, ['b', ...times(FARTHEST + 3, 'a'), 'b', 'a']);
    assert.deepEqual(revisions(await user.changes(FARTHEST + 6)),
      [FARTHEST + 5]);
  });
  await test('a record that A changed after B is not given again', async () => {
    // What the SDK asks: A adds ann, B renames her and adds bob; A asks from
    // B's first when it has that, and from B's last.
    const user = new User(client, new Key());
    const ann = { id: 'ann', data: 'ann', clientId: 'a' };
    await user.write(ann);
    await user.write({ ...ann, data: 'anna', clientId: 'b', revision: 1 });
    await user.write({ id: 'bob', data: 'bob', clientId: 'b' });
    assert.deepEqual(revisions(await user.changes(1)), [2, 3]);
    assert.deepEqual(revisions(await user.changes(2)), [3]);
    assert.deepEqual(revisions(await user.changes(3)), []);
  });
  await test('a page of the asker\'s own writes alone holds what follows',
    async () => {
      const user = new User(client, new Key());
      const data = Buffer.alloc(60 << 10);
      await user.write({ id: 'shared', data, clientId: 'b' });
      await user.write({ id: 'shared', data, clientId: 'a', revision: 1 });
      for (let count = 0; count < 62; count += 1) {
        await user.write({ id: `own ${count}`, data, clientId: 'a' });
      }
      await user.write({ id: 'next', data, clientId: 'b' });
      assert.deepEqual(revisions(await user.changes(64)), [65]);
    });
  await test('the page gives records as they are, with their revisions',
    async () => {
      const user = new User(client, new Key());
      await written(user, ['b', 'a']);
      const [first] = await user.changes(2);
      assert.equal(first.id, 'record 1');
      assert.equal(first.data.toString(), 'b');
      assert.equal(first.schema_version, '0.1');
    });
  await test('another user\'s writes are no part of it', async () => {
    const [one, two] = [new User(client, new Key()),
      new User(client, new Key())];
    await written(one, ['b', 'b', 'b']);
    await written(two, ['a', 'a']);
    assert.deepEqual(await two.changes(2), []);
  });
}

/** One device with the SDK's cursor: what it has, and up to where. */
class Device {
  constructor(name, address, key) {
    this.name = name;
    this.client = new Client(address);
    this.user = new User(this.client, key, { quick: true });
    this.cursor = 0;
    this.has = new Set();
    this.pulls = Promise.resolve();
    this.failed = [];
  }

  async start() {
    this.listener = await this.user.listen().greeting();
    this.listener.each(({ client_id: clientId, end }) => {
      if (end || clientId === this.name) return;
      this.pulls = this.pulls.then(() => this.pull())
        .catch((error) => { this.failed.push(error.message); });
    });
  }

  /** One ListChanges for one notification, as the SDK does, a bit later. */
  async pull() {
    await pause(below(LAG_MS));
    const records = await this.user.changes(this.cursor);
    for (const { id, revision } of records) {
      this.has.add(id);
      this.cursor = Math.max(this.cursor, revision);
    }
  }

  /** Until it succeeds: refused writes are not what is tried here. */
  async push(id) {
    for (;;) {
      const { code, reply } = await this.user.setRecord(
        { id, data: this.name, clientId: this.name });
      if (code !== 0) continue;
      this.has.add(id);
      this.cursor = Math.max(this.cursor, Number(reply.new_revision));
      return;
    }
  }

  stop() {
    this.listener.cancel();
    this.client.close();
  }
}

async function pushAtRandom(devices) {
  const ids = [];
  await atOnce(devices.length * PUSHES, async (index) => {
    const device = devices[index % devices.length];
    const id = `${device.name}.${index}`;
    ids.push(id);
    const round = Math.floor(index / devices.length);
    await pause(round * SPREAD_MS + below(SPREAD_MS));
    await device.push(id);
  });
  return ids;
}

/** A last change by nobody: once all pulled for it, what lacks is lost. */
async function settle(devices) {
  const [{ user }] = devices;
  await user.write({ id: 'last', data: 'x' });
  await until(10, 'the last change on all devices',
    () => devices.every(({ has }) => has.has('last')));
  await Promise.all(devices.map(({ pulls }) => pulls));
}

function lacking(devices, ids) {
  return devices.flatMap(({ name, has }) =>
    ids.filter((id) => !has.has(id)).map((id) => `${name} lacks ${id}`));
}

async function randomRun(address, complete) {
  const key = new Key();
  const devices = Array.from({ length: DEVICES },
    (_, index) => new Device(`device${index}`, address, key));
  await Promise.all(devices.map((device) => device.start()));
  const ids = await pushAtRandom(devices);
  if (complete) {
    await until(5, 'all records on all devices',
      () => lacking(devices, ids).length === 0).catch(() => {});
  } else {
    await settle(devices);
  }
  const missing = lacking(devices, ids);
  assert.deepEqual(devices.flatMap(({ failed }) => failed), []);
  devices.forEach((device) => device.stop());
  return { missing, records: ids.length };
}

/** One connection, answers by stream: the fastest client we can write. */
class Quick {
  constructor(port) {
    this.next = 1;
    this.waiting = new Map();
    this.wire = new Wire(port, { onFrame: (got) => this.take(got) });
  }

  take({ stream, type, payload, ends }) {
    const call = this.waiting.get(stream);
    if (!call) return;
    if (type === FRAME.DATA) call.parts.push(Buffer.from(payload));
    if (!ends && type !== FRAME.RST_STREAM) return;
    this.waiting.delete(stream);
    call.resolve(Buffer.concat(call.parts));
  }

  async ask(method, request) {
    const id = this.next;
    this.next += 2;
    const body = await new Promise((resolve) => {
      this.waiting.set(id, { parts: [], resolve });
      this.wire.request(id, requestHeaders(`/sync.Syncer/${method}`),
        frame(encode(method, request)));
    });
    return decodeReply(method, unframe(body)[0].bytes);
  }
}

/**
 * Written on one shard and, as soon as that is acknowledged, asked for on the
 * other, which is kept busy: what it was told before it read the request must
 * count.
 */
async function busyShard() {
  const server = await startServer({
    env: { SHARDS: '2', MAX_RATE_PER_USER: '0' } });
  const quick = [];
  for (let index = 0; index < 4; index += 1) {
    const one = new Quick(server.port);
    await one.wire.connected;
    await one.ask('GetLock', new User(null, new Key()).signed('GetLock',
      { lock_name: 'n' }));
    quick.push(one);
  }
  // Connections go to the shards in turn.
  const [writer, reader, , noise] = quick;
  const user = new User(null, new Key(), { quick: true });
  const lock = new User(null, new Key()).signed('GetLock', { lock_name: 'n' });
  let busy = true;
  const keepBusy = async () => {
    while (busy) await noise.ask('GetLock', lock);
  };
  // Frames of an unknown type, which HTTP/2 ignores: what the reader sends
  // then is always behind something.
  const keepReadable = async () => {
    while (busy) {
      reader.wire.write(h2frame(0x42, 0, 0, Buffer.alloc(4)));
      await new Promise(setImmediate);
    }
  };
  const load = [...Array.from({ length: 90 }, keepBusy), keepReadable()];
  const missed = [];
  for (let round = 0; round < BUSY_ROUNDS; round += 1) {
    const top = 2 * round + 2;
    const write = (id, clientId) => user.record({ id, data: '1', clientId });
    await writer.ask('SetRecord', write(`b ${round}`, 'b'));
    const list = user.signed('ListChanges', { since_revision: String(top) });
    const { new_revision: revision } =
      await writer.ask('SetRecord', write(`a ${round}`, 'a'));
    assert.equal(Number(revision), top);
    const { changes } = await reader.ask('ListChanges', list);
    if (!changes.some(({ id }) => id === `b ${round}`)) missed.push(round);
  }
  busy = false;
  await Promise.all(load);
  for (const one of quick) one.wire.destroy();
  await server.stop();
  assert.deepEqual(missed, []);
}

await suite(async () => {
  await test('a shard that is busy knows what was written before it was asked',
    busyShard, { seconds: 60 });
  const server = await startServer({ env: { SHARDS: '2' } });
  const client = new Client(server.address);
  await rules(client);
  for (let run = 1; run <= RUNS; run += 1) {
    await test(`run ${run}: ${DEVICES} devices push at random, none misses ` +
      'a record', async () => {
      const { missing } = await randomRun(server.address, true);
      assert.deepEqual(missing, []);
    });
  }
  client.close();
  await server.restart({ LIST_OVERLAP: 'off' });
  const off = new Client(server.address);
  for (const [name, clients, since, exactly] of RULE_ON) {
    await test(`${name}, LIST_OVERLAP=off: nothing from below`, async () => {
      const user = new User(off, new Key());
      await written(user, clients);
      assert.deepEqual(revisions(await user.changes(since)),
        exactly.filter((revision) => revision > since));
    });
  }
  let lost = 0;
  let records = 0;
  for (let run = 1; run <= RUNS; run += 1) {
    const result = await randomRun(server.address, false);
    lost += result.missing.length;
    records += result.records * (DEVICES - 1);
  }
  diag(`without the rule ${lost} of ${records} were missing`);
  off.close();
});
