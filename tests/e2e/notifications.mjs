// SPDX-License-Identifier: Apache-2.0
// notifications — no listener misses a change, and none disturbs another.

import assert from 'node:assert/strict';
import { Client, STREAMS, User } from './lib/client.mjs';
import { Ear, Ears, greeted } from './lib/ears.mjs';
import { LOOK_MS, heldOf } from './lib/kernel.mjs';
import { Pool, Tally, below, workers } from './lib/load.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { atEnd, diag, scaled, suite, test, until } from './lib/tap.mjs';

const WRITE_TIMEOUT = 2;
const GREETING = 5; // bytes: one empty message
const MIB = 1 << 20;
// Kept for two stalled listeners, these would be four times the bound.
const SHOUTS = 6000;
const SHOUT_BYTES = 16 << 10;
const MEMORY_BOUND = 48 * MIB;

const USERS = 10;
const LISTENERS = scaled(1000, 100);
const COMMITS = scaled(10000, 1000);
const WAVES = 10;
const WRITERS = 32;
const CYCLES = scaled(1000, 200);

async function basicCases(server) {
  const client = new Client(server.address);
  const key = new Key();
  const user = new User(client, key);
  const one = await new User(client, key).listen().greeting();
  const two = await new User(client, key).listen().greeting();
  await test('a second listener hears nothing but its greeting', () => {
    assert.equal(one.queue.length + two.queue.length, 0);
  });
  const carried = (name, clientId) => test(name, async () => {
    await user.write({ id: `id ${name}`, data: 'x', clientId });
    const heard = [await one.next(), await two.next()];
    assert.deepEqual(heard, Array(2).fill({ client_id: clientId }));
  });
  await carried('a change carries its client id', 'phone');
  await carried('a change without a client id carries none', undefined);
  await carried('an empty client id is carried, too', '');
  await carried('a client id beyond ASCII is carried', 'Käthes Gerät 📱');
  await carried('a client id of 1 KiB is carried', 'c'.repeat(1024));
  await test('a CONFLICT is not told', async () => {
    const { reply } = await user.setRecord(
      { id: 'id a change carries its client id', revision: 99 });
    assert.equal(reply.status, 'CONFLICT');
    await user.write({ id: 'fence 1', clientId: 'fence' });
    assert.deepEqual(await one.next(), { client_id: 'fence' });
    assert.deepEqual(await two.next(), { client_id: 'fence' });
  });
  await test('another user\'s change is not told', async () => {
    await new User(client, new Key()).write({ id: 'x', clientId: 'stranger' });
    await user.write({ id: 'fence 2', clientId: 'fence' });
    assert.deepEqual(await one.next(), { client_id: 'fence' });
    assert.deepEqual(await two.next(), { client_id: 'fence' });
  });
  await test('a cancelled listener leaves, the other stays', async () => {
    one.cancel();
    await user.write({ id: 'fence 3', clientId: 'fence' });
    assert.deepEqual(await two.next(), { client_id: 'fence' });
  });
  await test('the changes of one client come in their order', async () => {
    for (let turn = 0; turn < 8; turn += 1) {
      await user.write({ id: `order ${turn}`, clientId: `${turn}` });
      assert.deepEqual(await two.next(), { client_id: `${turn}` });
    }
  });
  two.cancel();
  client.close();
}

/**
 * Commits of all users, most under a name of their own, some under that of a
 * listener. Resolves to the named ones of each user: {name, at}.
 */
async function wave(number, keys, ears, pool) {
  const sent = keys.map(() => []);
  const jobs = Array.from({ length: COMMITS / WAVES }, (_, index) => index);
  const each = LISTENERS / USERS;
  await workers(WRITERS, jobs, async (index) => {
    const which = index % USERS;
    const own = index % 4 === 3 && ears[which * each + below(each)].name;
    const name = `commit ${number}.${index}`;
    const user = pool.user(keys[which]);
    for (;;) {
      const at = performance.now();
      const { code } = await user.setRecord(
        { id: name, data: 'x', clientId: own || name });
      if (code !== 0) continue;
      if (!own) sent[which].push({ name, at });
      return;
    }
  });
  return sent;
}

async function crowdCases(server) {
  const perConnection = Math.min(STREAMS, 20);
  const keys = Array.from({ length: USERS }, () => new Key());
  const pool = new Pool(server.address, 8);
  const connections = [];
  const ears = Array.from({ length: LISTENERS }, (_, index) => {
    if (index % perConnection === 0) connections.push(new Ears(server.port));
    const which = Math.floor(index / (LISTENERS / USERS));
    return connections.at(-1).listen(keys[which], new Ear(`ear ${index}`));
  });
  await test(`${LISTENERS} listeners of ${USERS} users are greeted`,
    () => greeted(ears).then(() => assert.ok(
      ears.every((ear) => ear.greeted && !ear.ended))));
  for (let number = 1; number <= WAVES; number += 1) {
    await test(`wave ${number}: every listener hears of every change, by ` +
      'name or by one without', async () => {
      const sent = await wave(number, keys, ears, pool);
      const misses = (ear, index) =>
        sent[Math.floor(index / (LISTENERS / USERS))]
          .some((commit) => ear.missed(commit));
      await until(10, 'all notifications', () => !ears.some(misses))
        .catch(({ message }) => {
          const deaf = ears.filter(misses).length;
          throw new Error(`${message}: ${deaf} listeners missed some`);
        });
      for (const ear of ears) ear.names.clear();
    }, { seconds: 60 });
  }
  await test('no listener was ended', () =>
    assert.equal(ears.filter(({ ended }) => ended).length, 0));
  diag(`${ears.reduce((sum, ear) => sum + ear.count, 0)} notifications of ` +
    `${COMMITS} commits`);
  await Promise.all(connections.map(({ wire }) => wire.destroy()));
  pool.close();
}

/** Commits with large client ids, far more than a socket's buffers hold. */
async function shout(user, count, size) {
  const tally = new Tally();
  await workers(8, Array.from({ length: count }, (_, index) => index),
    async (index) => tally.answer(await user.setRecord({
      id: `shout.${index}`, data: 'x',
      clientId: `shout ${index} `.padEnd(size, '.'),
    })));
  return tally;
}

async function stalledCases(server) {
  const client = new Client(server.address);
  const key = new Key();
  const user = new User(client, key, { quick: true });
  const stranger = new Key();
  const calm = new Ears(server.port);
  const sibling = calm.listen(key, new Ear('calm'));
  const other = calm.listen(stranger, new Ear('other'));
  const narrow = new Ears(server.port, { streamWindow: GREETING });
  const shut = narrow.listen(key, new Ear('shut'));
  const deaf = new Ears(server.port);
  const paused = deaf.listen(key, new Ear('paused'));
  await greeted([sibling, other, shut, paused]);
  await test('stalled listeners are greeted before they stall', () =>
    assert.ok(shut.greeted && paused.greeted));
  deaf.wire.socket.pause();
  const remote = deaf.wire.socket;
  const before = server.rss();
  let highest = before;
  const stalledSince = performance.now();
  const shouted = shout(user, SHOUTS, SHOUT_BYTES);

  await test('a listener whose window stays shut is closed in time',
    async () => {
      await until(WRITE_TIMEOUT + 6, 'its end', () => {
        highest = Math.max(highest, server.rss());
        return shut.ended !== undefined;
      });
      const seconds = (performance.now() - stalledSince) / 1000;
      assert.ok(seconds >= WRITE_TIMEOUT * 0.75,
        `closed after ${seconds.toFixed(1)} s already`);
    });
  await test('a listener whose socket is not read is closed in time',
    () => until(30, 'its end', () => {
      highest = Math.max(highest, server.rss());
      return heldOf([remote]).length === 0;
    }, { everyMs: LOOK_MS }), { seconds: 40 });
  await test('the writer is not held up by them', async () =>
    assert.deepEqual((await shouted).others('SUCCESS'), []));
  await test('the server\'s memory stays bounded', () => {
    diag(`${(before / MIB).toFixed(1)} MiB before, at most ` +
      `${(highest / MIB).toFixed(1)} MiB`);
    assert.ok(highest - before < MEMORY_BOUND);
  });
  await test('a listener of the same user on another connection hears on',
    async () => {
      const at = performance.now();
      await user.write({ id: 'after', clientId: 'after' });
      await until(5, 'a notification',
        () => !sibling.missed({ name: 'after', at }));
      assert.equal(sibling.ended, undefined);
    });
  await test('another user\'s listener heard nothing and hears on',
    async () => {
      assert.equal(other.count, 0);
      await new User(client, stranger).write({ id: 'x', clientId: 'x' });
      await until(5, 'a notification', () => other.count === 1);
      assert.equal(other.ended, undefined);
    });
  await Promise.all([calm, narrow, deaf].map(({ wire }) => wire.destroy()));
  client.close();
}

/** A listener shut for a while: then it hears of all, or of one unnamed. */
async function mergeCases(server) {
  const client = new Client(server.address);
  const merged = (name, ids, satisfied) => test(name, async () => {
    const key = new Key();
    const user = new User(client, key, { quick: true });
    const ears = new Ears(server.port, { streamWindow: GREETING });
    const ear = ears.listen(key, new Ear('self'));
    ear.keep = true;
    await greeted([ear]);
    // Many at a time: all must be done before the listener counts as stalled.
    const write = ([index, clientId]) => user.write(
      { id: `r${index}`, clientId });
    const [first, ...rest] = ids.entries();
    await write(first);
    await workers(rest.length < 20 ? 1 : 16, rest, write);
    assert.equal(ear.count, 0);
    ears.wire.widen(ear.stream, MIB);
    await until(5, 'what it missed', () => satisfied(ear.heard));
    await user.write({ id: 'fence', clientId: 'fence' });
    await until(5, 'the fence', () => ear.heard.includes('fence')
      || ear.heard.at(-1) === undefined);
    await ears.wire.destroy();
  });
  const named = (count, prefix) =>
    Array.from({ length: count }, (_, index) => `${prefix}${index}`);
  const allOrUnnamed = (ids) => (heard) => heard.includes(undefined)
    || ids.every((id) => heard.includes(id));
  const few = named(3, 'other');
  await merged('a short stall: all changes, or one unnamed', few,
    allOrUnnamed(few));
  const many = named(300, 'other');
  await merged('a long stall: all changes, or one unnamed', many,
    allOrUnnamed(many));
  await merged('ten own changes do not hide a foreign one',
    [...Array(10).fill('self'), 'other'],
    (heard) => heard.some((id) => id !== 'self'));
  await merged('a foreign change is not hidden by two hundred own ones',
    ['other', ...Array(200).fill('self')],
    (heard) => heard.some((id) => id !== 'self'));
  client.close();
}

async function cancelCases(server) {
  const key = new Key();
  const pool = new Pool(server.address, 2);
  const user = pool.user(key);
  await test(`${CYCLES} subscriptions are made and cancelled`, async () => {
    await workers(4, Array.from({ length: CYCLES }, (_, i) => i), async () => {
      const listener = pool.user(key).listen();
      await listener.greeting();
      listener.cancel();
      await listener.ended;
    });
    await user.write({ id: 'after' });
  }, { seconds: 60 });
  for (const [name, code] of [['CANCEL', 8], ['INTERNAL_ERROR', 2]]) {
    await test(`${STREAMS} listeners cancelled with ${name} free their ` +
      'places', async () => {
      const ears = new Ears(server.port);
      for (let turn = 0; turn < 3; turn += 1) {
        const batch = Array.from({ length: STREAMS }, (_, index) =>
          ears.listen(key, new Ear(`${index}`)));
        await greeted(batch);
        assert.ok(batch.every((ear) => ear.greeted && !ear.ended));
        for (const { stream } of batch) ears.wire.reset(stream, code);
      }
      await ears.wire.destroy();
    });
  }
  await test(`a listener beyond ${STREAMS} on a connection is refused, the ` +
    'others stay', async () => {
    const ears = new Ears(server.port);
    const batch = Array.from({ length: STREAMS }, (_, index) =>
      ears.listen(key, new Ear(`${index}`)));
    await greeted(batch);
    const extra = ears.listen(key, new Ear('extra'));
    await until(5, 'its end', () => extra.ended);
    assert.equal(extra.ended, 'reset');
    const at = performance.now();
    await user.write({ id: 'beyond', clientId: 'beyond' });
    await until(5, 'the others hear', () =>
      !batch.some((ear) => ear.missed({ name: 'beyond', at })));
    ears.wire.reset(batch[0].stream);
    const next = ears.listen(key, new Ear('next'));
    await greeted([next]);
    assert.ok(next.greeted && batch.slice(1).every((ear) => !ear.ended));
    await ears.wire.destroy();
  });
  await test('a connection cut off takes its listeners along', async () => {
    for (let turn = 0; turn < 20; turn += 1) {
      const ears = new Ears(server.port);
      const batch = Array.from({ length: Math.min(STREAMS, 20) }, (_, index) =>
        ears.listen(key, new Ear(`${index}`)));
      await greeted(batch);
      await ears.wire.destroy();
    }
    await user.write({ id: 'after all' });
  });
  pool.close();
}

await suite(async () => {
  const server = await startServer({ env: {
    SHARDS: '2', LISTENER_WRITE_TIMEOUT: String(WRITE_TIMEOUT),
  } });
  atEnd(() => server.kill());
  await basicCases(server);
  await crowdCases(server);
  await mergeCases(server);
  await cancelCases(server);
  await stalledCases(server);
});
