// SPDX-License-Identifier: Apache-2.0
// crowd — clients of all kinds at work while servers are restarted below them:
// some that read and write, some that listen, and some that have just come.

import assert from 'node:assert/strict';
import { Client, User, status } from './client.mjs';
import { faultsOf } from './history.mjs';
import { Tally, atOnce } from './load.mjs';
import { Recorder } from './recorder.mjs';
import { Key } from './sign.mjs';
import { diag, test, until } from './tap.mjs';

const MANY = process.env.E2E_THOROUGH ? 5 : 1;
const WORKERS = 6 * MANY;
const LISTENERS = 6 * MANY * MANY;
const USERS = 3;
const NEWCOMERS = 2;
// Of the load, before the first restart and between any two.
const ANSWERS = 100 * MANY * MANY;
const SECONDS = 15;
// What was sent to a connection that had just been told to end was never
// processed; gRPC clients send such a call again by themselves, unless told
// otherwise.
const RETRIES = { 'grpc.enable_retries': 1 };

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
export class Crowd {
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
      connects - this.told[at]));
    this.told = this.doors.map(({ connects }) => connects);
    const tally = new Tally();
    for (const count of counts) tally.add(`${count}`);
    diag(`${took.toFixed(0)} ms; clients × connections: ${tally}`);
    assert.ok(Math.max(...counts) <= most, String(tally));
  }

  async stop() {
    this.going = false;
    this.recorder.stop();
    await Promise.all([...this.working, this.coming,
      ...this.listeners.map((listener) => listener.stop())]);
  }
}

/** Ends the crowd; the cases of what it was told. */
export async function afterwards(what, crowd, address, store) {
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
