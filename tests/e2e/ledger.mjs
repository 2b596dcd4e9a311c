// SPDX-License-Identifier: Apache-2.0
// ledger — an acknowledged write survives SIGKILL.
//
// Each round loads the server, kills it at a random moment, starts it again
// on the same directory and compares its store with what was acknowledged.
// A write that was in flight may be absent or present, but only whole.

import assert from 'node:assert/strict';
import { Client, User } from './lib/client.mjs';
import { atOnce, below, pause } from './lib/load.mjs';
import { Server } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { diag, scaled, suite, test } from './lib/tap.mjs';

const ROUNDS = scaled(30, 5);
const PRIVATE_ACCOUNTS = 6;
const SHARED_WRITERS = 6;
const IDS = 12;
const MIN_LOAD_MS = 60;
const MAX_LOAD_MS = 500;
const LARGEST = 3000;

const totals = { acknowledged: 0, unknown: 0, unknownPresent: 0 };

/** What one account was told, and what it asked without an answer. */
class Ledger {
  constructor(name) {
    this.name = name;
    this.key = new Key();
    this.records = new Map();
    this.inFlight = new Set();
    this.revisions = new Set();
    this.twice = [];
    this.refused = [];
  }

  async write(user, id) {
    const known = this.records.get(id)?.revision ?? 0;
    const data = `${id}|${known}|`.padEnd(below(LARGEST), id) + '|end';
    const asked = { id, data };
    this.inFlight.add(asked);
    const { code, message, reply } = await user.setRecord(
      { id, data, revision: known });
    if (code === 0 && reply.status === 'SUCCESS') {
      this.inFlight.delete(asked);
      this.acknowledge(id, data, Number(reply.new_revision));
      return true;
    }
    if (code === 0) {
      this.inFlight.delete(asked);
      this.refused.push(`${id}@${known}: CONFLICT`);
    } else if (user.client.alive) {
      this.refused.push(`${id}@${known}: ${code} ${message}`);
    }
    return false;
  }

  acknowledge(id, data, revision) {
    if (this.revisions.has(revision)) this.twice.push(revision);
    this.revisions.add(revision);
    this.records.set(id, { data, revision });
    totals.acknowledged += 1;
  }

  /** Compares with the store; returns what contradicts the ledger. */
  compare(stored) {
    const faults = [];
    const found = new Map(stored.map((record) => [record.id, record]));
    for (const [id, { revision }] of this.records) {
      const record = found.get(id);
      if (!record) faults.push(`${id}@${revision} lost`);
      else if (record.revision < revision) {
        faults.push(`${id}@${revision} is back at ${record.revision}`);
      }
    }
    for (const record of stored) faults.push(...this.judge(record));
    const numbers = stored.map(({ revision }) => revision);
    if (new Set(numbers).size !== numbers.length) {
      faults.push('two records of one revision');
    }
    this.inFlight.clear();
    return faults.map((fault) => `${this.name}: ${fault}`);
  }

  /** One stored record: as acknowledged, or an unanswered write, whole. */
  judge({ id, revision, data }) {
    const text = data.toString();
    const known = this.records.get(id);
    if (known?.revision === revision) {
      return known.data === text ? [] : [`${id}@${revision} has other data`];
    }
    const asked = [...this.inFlight].find(
      (write) => write.id === id && write.data === text);
    if (!asked) return [`${id}@${revision} was never asked for`];
    if (this.revisions.has(revision)) {
      return [`${id}@${revision}: that revision was acknowledged before`];
    }
    totals.unknownPresent += 1;
    this.revisions.add(revision);
    this.records.set(id, { data: text, revision });
    return [];
  }
}

/** Writers that go on until the server is gone. */
function load(address, ledgers, shared) {
  const clients = [];
  const writer = async (ledger, prefix) => {
    const client = new Client(address);
    client.alive = true;
    clients.push(client);
    const user = new User(client, ledger.key, { quick: true });
    while (client.alive && await ledger.write(user, prefix + below(IDS)));
  };
  const running = Promise.all([
    ...ledgers.map((ledger) => writer(ledger, 'r')),
    ...Array.from({ length: SHARED_WRITERS },
      (_, index) => writer(shared, `w${index}.`)),
  ]);
  return {
    /** To be called before the server dies: what fails then is no fault. */
    dying: () => clients.forEach((client) => { client.alive = false; }),
    ended: async () => {
      await running;
      clients.forEach((client) => client.close());
    },
  };
}

async function verify(address, ledgers) {
  const client = new Client(address);
  const faults = await atOnce(ledgers.length, async (index) => {
    const user = new User(client, ledgers[index].key, { quick: true });
    return ledgers[index].compare(await user.everything());
  });
  client.close();
  return faults.flat();
}

async function round(server, privates, shared) {
  const all = [...privates, shared];
  const work = load(server.address, privates, shared);
  await pause(MIN_LOAD_MS + below(MAX_LOAD_MS - MIN_LOAD_MS));
  work.dying();
  await server.kill();
  await work.ended();
  totals.unknown += all.reduce((sum, { inFlight }) => sum + inFlight.size, 0);
  await server.start();
  assert.deepEqual(await verify(server.address, all), []);
}

await suite(async () => {
  const server = await new Server().start();
  const privates = Array.from({ length: PRIVATE_ACCOUNTS },
    (_, index) => new Ledger(`account ${index}`));
  const shared = new Ledger('shared account');
  for (let turn = 1; turn <= ROUNDS; turn += 1) {
    await test(`round ${turn}: nothing acknowledged is lost`, () =>
      round(server, privates, shared));
  }
  const all = [...privates, shared];
  await test('no revision was acknowledged twice', () =>
    assert.deepEqual(all.flatMap(({ twice }) => twice), []));
  await test('no write was refused while the server lived', () =>
    assert.deepEqual(all.flatMap(({ refused }) => refused).slice(0, 5), []));
  await test('writes were acknowledged in every round', () =>
    assert.ok(totals.acknowledged >= ROUNDS * PRIVATE_ACCOUNTS));
  await test('after all rounds the store is sound', async () => {
    await server.kill();
    assert.equal(await server.store.faults(), '');
  });
  diag(`${totals.acknowledged} acknowledged, ${totals.unknown} unanswered, ` +
    `${totals.unknownPresent} of these present`);
});
