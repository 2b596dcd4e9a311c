// SPDX-License-Identifier: Apache-2.0
// fleet — three instances on one PostgreSQL are one server: a write through
// one wakes the listeners on all, once, and nobody gets in another's way.

import assert from 'node:assert/strict';
import { Client, User } from './lib/client.mjs';
import { Ear, Ears, greeted } from './lib/ears.mjs';
import { Pool, Tally, atOnce, below, workers } from './lib/load.mjs';
import { Server } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { PostgresStore, withoutPostgres } from './lib/store.mjs';
import { diag, needs, scaled, suite, test, until } from './lib/tap.mjs';

const INSTANCES = 3;
const LISTENERS = scaled(1000, 120);
const USERS = 10;
const WRITES = scaled(5000, 500);
const BURSTS = 10;
const WRITERS = 32;
const PER_CONNECTION = 20;
const CALM_WRITES = 100;
const NEW_USERS = 16;
const NEW_USER_ROUNDS = scaled(20, 5);
const SHARERS = 8;
const SHARED_WRITES = scaled(60, 15); // of each sharer
const SHARED_IDS = 3;
const WAKE_SECONDS = 10;

/** Clients of every instance, in turn. */
class Clients {
  constructor(servers, each) {
    this.pools = servers.map(({ address }) => new Pool(address, each));
    this.turn = 0;
  }

  user(key, instance = this.turn++) {
    return this.pools[instance % this.pools.length].user(key);
  }

  close() {
    for (const pool of this.pools) pool.close();
  }
}

/** Waits, in milliseconds. */
class Waits {
  constructor() {
    this.all = [];
  }

  at(part) {
    this.all.sort((a, b) => a - b);
    return this.all[Math.ceil(this.all.length * part) - 1] ?? NaN;
  }

  toString() {
    return `p50 ${this.at(0.5).toFixed(1)} ms, ` +
      `p99 ${this.at(0.99).toFixed(1)} ms, ` +
      `worst ${this.at(1).toFixed(1)} ms of ${this.all.length}`;
  }
}

/** One write after another: each listener hears of each once, in order. */
async function calmCases(servers) {
  const key = new Key();
  const clients = new Clients(servers, 1);
  const connections = servers.map(({ port }) => new Ears(port));
  const ears = connections.map((ears, index) =>
    ears.listen(key, Object.assign(new Ear(`${index}`), { keep: true })));
  await greeted(ears);
  const waits = new Waits();
  const names = Array.from({ length: CALM_WRITES }, (_, turn) => `calm ${turn}`);
  await test('listeners on every instance hear of each write', async () => {
    for (const [turn, name] of names.entries()) {
      const instance = turn % INSTANCES;
      const heard = new Map();
      for (const [index, ear] of ears.entries()) {
        ear.onMessage = () => heard.set(index, performance.now());
      }
      await clients.user(key, instance).write(
        { id: name, data: 'x', clientId: name });
      const answered = performance.now();
      await until(WAKE_SECONDS, name, () => heard.size === INSTANCES);
      for (const [index, time] of heard) {
        if (index !== instance) waits.all.push(Math.max(0, time - answered));
      }
    }
  });
  await test('once, in order, and by name', () => {
    for (const ear of ears) assert.deepEqual(ear.heard, names);
  });
  diag(`wake across instances, one write at a time: ${waits}`);
  await test('another instance is told within 250 ms', () =>
    assert.ok(waits.at(0.99) <= 250, String(waits)));
  await Promise.all(connections.map(({ wire }) => wire.destroy()));
  clients.close();
}

/** Writes of all users through all instances: {name, at, answered}. */
async function burst(number, keys, clients) {
  const sent = keys.map(() => []);
  const jobs = Array.from({ length: WRITES / BURSTS }, (_, index) => index);
  await workers(WRITERS, jobs, async (index) => {
    const which = below(USERS);
    const name = `burst ${number}.${index}`;
    const at = performance.now();
    await clients.user(keys[which]).write(
      { id: name, data: 'x', clientId: name });
    sent[which].push({ name, at, answered: performance.now() });
  });
  return sent;
}

/** How long after its answer each write was first heard of elsewhere. */
function measure(ears, sent, waits) {
  for (const ear of ears) {
    for (const { name, answered } of sent[ear.user]) {
      const heard = ear.times.get(name)
        ?? ear.unnamed.find((time) => time >= answered);
      if (heard !== undefined) waits.all.push(Math.max(0, heard - answered));
    }
    ear.times.clear();
    ear.unnamed.length = 0;
  }
}

async function crowdCases(servers) {
  const keys = Array.from({ length: USERS }, () => new Key());
  const clients = new Clients(servers, 4);
  const connections = [];
  const ears = Array.from({ length: LISTENERS }, (_, index) => {
    if (index % PER_CONNECTION === 0) {
      const { port } = servers[connections.length % INSTANCES];
      connections.push(new Ears(port));
    }
    const ear = new Ear(`${index}`);
    ear.user = index % USERS;
    ear.times = new Map();
    ear.unnamed = [];
    ear.onMessage = (name) => {
      if (name === undefined) ear.unnamed.push(performance.now());
      else ear.times.set(name, performance.now());
    };
    return connections.at(-1).listen(keys[ear.user], ear);
  });
  await test(`${LISTENERS} listeners on ${INSTANCES} instances are greeted`,
    () => greeted(ears).then(() => assert.ok(
      ears.every((ear) => ear.greeted && !ear.ended))));
  const waits = new Waits();
  const began = performance.now();
  for (let number = 1; number <= BURSTS; number += 1) {
    await test(`burst ${number}: every listener hears of every write`,
      async () => {
        const sent = await burst(number, keys, clients);
        const deaf = () => ears.filter((ear) =>
          sent[ear.user].some((write) => ear.missed(write)));
        await until(WAKE_SECONDS, 'all notices', () => !deaf().length)
          .catch(({ message }) => {
            throw new Error(`${message}: ${deaf().length} missed some`);
          });
        measure(ears, sent, waits);
        for (const ear of ears) ear.names.clear();
      }, { seconds: 60 });
  }
  const seconds = (performance.now() - began) / 1000;
  diag(`${WRITES} writes in ${seconds.toFixed(1)} s; ` +
    `${ears.reduce((sum, ear) => sum + ear.count, 0)} notices; ` +
    `wake in a burst: ${waits}`);
  await test('no listener was ended', () =>
    assert.equal(ears.filter(({ ended }) => ended).length, 0));
  await Promise.all(connections.map(({ wire }) => wire.destroy()));
  clients.close();
}

/** Users that nobody has seen write at once, each through every instance. */
async function newUserCases(servers) {
  const clients = new Clients(servers, NEW_USERS);
  await test(`${NEW_USERS} clients on ${NEW_USERS} new users: only SUCCESS`,
    async () => {
      const tally = new Tally();
      for (let round = 0; round < NEW_USER_ROUNDS; round += 1) {
        const keys = Array.from({ length: NEW_USERS }, () => new Key());
        const revisions = await atOnce(NEW_USERS, async (index) => tally.answer(
          await clients.user(keys[index]).setRecord({ id: 'first' })));
        assert.deepEqual(new Set(revisions), new Set([1]));
      }
      assert.deepEqual(tally.others('SUCCESS'), []);
    });
  await test('one new user through every instance at once: dense from 1',
    async () => {
      for (let round = 0; round < NEW_USER_ROUNDS; round += 1) {
        const key = new Key();
        const revisions = await atOnce(NEW_USERS, (index) =>
          clients.user(key).write({ id: `first ${index}` }));
        assert.deepEqual(revisions.sort((a, b) => a - b),
          Array.from({ length: NEW_USERS }, (_, index) => index + 1));
      }
    });
  clients.close();
}

async function sharedUserCases(servers) {
  const clients = new Clients(servers, SHARERS);
  const key = new Key();
  const tally = new Tally();
  const revisions = [];
  await test(`${SHARERS} clients on one user: only SUCCESS and CONFLICT`,
    async () => {
      await atOnce(SHARERS, async (index) => {
        let known = new Map();
        for (let turn = 0; turn < SHARED_WRITES; turn += 1) {
          const user = clients.user(key);
          const id = below(2) ? `own ${index}` : `shared ${below(SHARED_IDS)}`;
          const revision = tally.answer(await user.setRecord(
            { id, data: `${index}.${turn}`, revision: known.get(id) ?? 0 }));
          if (revision === undefined) {
            known = new Map((await clients.user(key).changes())
              .map((record) => [record.id, record.revision]));
          } else {
            revisions.push(revision);
            known.set(id, revision);
          }
        }
      });
      diag(String(tally));
      assert.deepEqual(tally.others('SUCCESS', 'CONFLICT'), []);
    }, { seconds: 60 });
  await test('its revisions are 1 to n, each once', () => {
    revisions.sort((a, b) => a - b);
    assert.deepEqual(revisions, revisions.map((_, index) => index + 1));
  });
  clients.close();
}

/** A lock taken through one instance is held on all. */
async function lockCases(servers) {
  const clients = servers.map(({ address }) => new Client(address));
  const key = new Key();
  const users = clients.map((client) => new User(client, key));
  const one = '11111111-1111-4111-8111-111111111111';
  const two = '22222222-2222-4222-8222-222222222222';
  const take = (user, instance, acquire = true) => user.setLock(
    { name: 'l', instance, acquire, exclusive: true });
  await test('a lock taken through one instance is held on all', async () => {
    assert.equal((await take(users[0], one)).code, 0);
    for (const user of users) {
      assert.equal((await take(user, two)).code, 9);
      assert.equal((await user.getLock('l')).reply.locked, true);
    }
  });
  await test('released through another, it is free on all', async () => {
    assert.equal((await take(users[1], one, false)).code, 0);
    for (const user of users) {
      assert.equal((await user.getLock('l')).reply.locked, false);
    }
    assert.equal((await take(users[2], two)).code, 0);
  });
  for (const client of clients) client.close();
}

needs(withoutPostgres);
await suite(async () => {
  const store = new PostgresStore();
  const servers = await atOnce(INSTANCES,
    () => new Server({ store, env: { SHARDS: '2' } }).start());
  await calmCases(servers);
  await lockCases(servers);
  await crowdCases(servers);
  await newUserCases(servers);
  await sharedUserCases(servers);
  await test('the store is sound', async () =>
    assert.equal(await store.faults(), ''));
  await Promise.all(servers.map((server) => server.stop()));
});
