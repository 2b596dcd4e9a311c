// SPDX-License-Identifier: Apache-2.0
// restart — restarts under load lose nothing, refuse nobody, and have clients
// connect anew as seldom as can be: one instance on SQLite, whose sockets are
// held; three on PostgreSQL behind a load balancer, one after the other.

import assert from 'node:assert/strict';
import { Balancer } from './lib/balancer.mjs';
import { Client, User, status } from './lib/client.mjs';
import { faultsOf } from './lib/history.mjs';
import { atOnce } from './lib/load.mjs';
import { Managed } from './lib/manager.mjs';
import { Recorder } from './lib/recorder.mjs';
import { Server } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { POSTGRES, PostgresStore } from './lib/store.mjs';
import { diag, suite, test, until } from './lib/tap.mjs';

const RESTARTS = 5;
const INSTANCES = 3;
const WORKERS = 6;
const LISTENERS = 6;
const USERS = 3;
const NEWCOMERS = 2;
// Of the load, before the first restart and between any two.
const ANSWERS = 100;
const SECONDS = 15;
// What was sent to a connection that had just been told to end was never
// processed; gRPC clients send such a call again by themselves, unless told
// otherwise.
const RETRIES = { 'grpc.enable_retries': 1 };
const env = { SHARDS: '2', DRAIN_TIMEOUT: '10' };

/** A listener that comes back whenever it is told to go. */
class Faithful {
  constructor(address, key) {
    this.client = new Client(address, RETRIES);
    this.user = new User(this.client, key, { quick: true });
    this.greetings = 0;
    this.ends = new Map();
    this.going = true;
    this.running = this.run();
  }

  async run() {
    while (this.going) {
      const listener = this.user.listen();
      const first = await listener.next(SECONDS);
      if (!first.end) this.greetings += 1;
      this.cancel = () => listener.cancel();
      const { code, message } = await listener.ended;
      if (this.going) {
        const what = `${code} ${message}`;
        this.ends.set(what, (this.ends.get(what) ?? 0) + 1);
      }
    }
  }

  async stop() {
    this.going = false;
    this.cancel?.();
    await this.running;
    this.client.close();
  }
}

/** Clients of all kinds, each at a door of its own. */
class Crowd {
  constructor(balancer) {
    this.balancer = balancer;
    this.keys = Array.from({ length: USERS }, () => new Key());
    this.recorder = new Recorder([], RETRIES);
    this.going = true;
    this.came = 0;
    this.turnedAway = new Map();
  }

  async start() {
    this.doors = await atOnce(WORKERS + LISTENERS, () => this.balancer.door());
    this.last = await this.balancer.door();
    this.working = this.doors.slice(0, WORKERS).map(({ address }) =>
      this.recorder.client(this.keys, Infinity, [address]));
    this.listeners = this.doors.slice(WORKERS).map(({ address }, index) =>
      new Faithful(address, this.keys[index % USERS]));
    this.coming = atOnce(NEWCOMERS, () => this.newcomers());
    await this.listening(1);
    await this.busy();
    this.told = this.doors.map(({ connects }) => connects);
  }

  /** One client after the other that has never been there. */
  async newcomers() {
    while (this.going) {
      const client = new Client(this.last.address, RETRIES);
      const { code, message } = await new User(client, new Key()).getLock('n');
      client.close();
      this.came += 1;
      if (code !== status.OK) {
        const what = `${code} ${message}`;
        this.turnedAway.set(what, (this.turnedAway.get(what) ?? 0) + 1);
      }
    }
  }

  /** Until each listener was greeted so often. */
  listening(times) {
    return until(SECONDS, `greeting ${times} of all`, () =>
      this.listeners.every(({ greetings }) => greetings >= times));
  }

  /** Until so much more was answered. */
  busy() {
    return this.recorder.reached(this.recorder.answered + ANSWERS);
  }

  /** Checks how often each client has connected since this was last asked. */
  connected(most, took) {
    const counts = this.doors.map(({ connects }, at) => (
      connects - this.told[at])).sort();
    this.told = this.doors.map(({ connects }) => connects);
    diag(`${took.toFixed(0)} ms; connections of each client: ${counts}`);
    assert.ok(counts.at(-1) <= most, `${counts}`);
  }

  async stop() {
    this.going = false;
    this.recorder.stop();
    await Promise.all([...this.working, this.coming,
      ...this.listeners.map((listener) => listener.stop())]);
  }
}

async function afterwards(what, crowd, address, store) {
  await crowd.stop();
  crowd.recorder.addresses = [address];
  await crowd.recorder.finish(crowd.keys);
  diag(`${what}: ${crowd.recorder}; ${crowd.came} newcomers`);
  await test(`${what}: every call was answered`, () => {
    assert.deepEqual([...crowd.recorder.strange], []);
    assert.deepEqual(crowd.recorder.history.filter(({ known }) => !known)
      .map(({ kind, why }) => `${kind} ${why}`).slice(0, 5), []);
  });
  await test(`${what}: no acknowledgement is lost`, () =>
    assert.deepEqual(faultsOf(crowd.recorder.history).slice(0, 5), []));
  await test(`${what}: no connection was refused`, () => {
    const doors = [...crowd.doors, crowd.last];
    assert.equal(doors.reduce((sum, door) => sum + door.refused, 0), 0);
    assert.deepEqual([...crowd.turnedAway], []);
  });
  await test(`${what}: listeners were told to come back`, () => {
    const ends = new Set(crowd.listeners.flatMap(
      (listener) => [...listener.ends.keys()]));
    assert.deepEqual([...ends].filter((end) => !end.startsWith('14 ')), []);
  });
  await test(`${what}: the store is sound`, async () =>
    assert.equal(await store.faults(), ''));
}

/** One instance, which cannot run twice on its file. */
async function alone() {
  const what = 'one on SQLite';
  const managed = await Managed.start({ env });
  const balancer = new Balancer({ checks: false });
  balancer.add(managed);
  const crowd = new Crowd(balancer);
  await crowd.start();
  for (let turn = 1; turn <= RESTARTS; turn += 1) {
    await test(`${what}: restart ${turn}, each client connects once`,
      async () => {
        const began = performance.now();
        assert.deepEqual(await managed.restart(), { code: 0 });
        const took = performance.now() - began;
        await crowd.listening(turn + 1);
        await crowd.busy();
        crowd.connected(1, took);
      });
  }
  await afterwards(what, crowd, managed.address, managed.store);
  await managed.stop();
  await managed.end();
  balancer.close();
}

async function started(options) {
  return new Server(options).start();
}

async function stopped(server) {
  const { code } = await server.stop();
  assert.equal(code, 0);
}

const ROLLING = [
  {
    what: 'replaced one by one',
    most: 1,
    balancer: () => new Balancer(),
    start: started,
    async step(instance, balancer) {
      const { server, place } = instance;
      instance.server = await started({ store: server.store, env });
      instance.place = balancer.add(instance.server, 1);
      await until(SECONDS, 'its health', () => instance.place.well);
      await stopped(server);
      balancer.remove(place);
    },
  },
  {
    what: 'restarted one by one on held sockets',
    most: 1,
    balancer: () => new Balancer({ checks: false, sticky: true }),
    start: (options) => Managed.start(options),
    step: async ({ server }) =>
      assert.deepEqual(await server.restart(), { code: 0 }),
  },
  {
    // Who left the first for the second has to leave that, too, and then finds
    // the first again.
    what: 'restarted one by one',
    most: 2,
    balancer: () => new Balancer(),
    start: started,
    async step({ server, place }) {
      await stopped(server);
      await server.start();
      place.generation = 1;
      await until(SECONDS, 'its health', () => place.well);
    },
  },
];

async function rolling({ what, most, balancer: makeBalancer, start, step }) {
  const store = new PostgresStore();
  const balancer = makeBalancer();
  const instances = await atOnce(INSTANCES, async () => {
    const server = await start({ store, env });
    return { server, place: balancer.add(server) };
  });
  await until(SECONDS, 'their health',
    () => instances.every(({ place }) => place.well));
  const crowd = new Crowd(balancer);
  await crowd.start();
  await test(`${what}: each client connects ${most} time(s) at most`,
    async () => {
      const began = performance.now();
      for (const instance of instances) {
        await step(instance, balancer);
        await crowd.busy();
      }
      const took = performance.now() - began;
      await crowd.listening(2);
      crowd.connected(most, took);
    }, { seconds: 60 });
  await afterwards(what, crowd, instances[0].server.address, store);
  await Promise.all(instances.map(async ({ server }) => {
    await server.stop();
    await server.end?.();
  }));
  balancer.close();
}

await suite(async () => {
  if (!POSTGRES) await alone();
  else for (const scene of ROLLING) await rolling(scene);
});
