// SPDX-License-Identifier: Apache-2.0
// concurrency — many writers: only SUCCESS and CONFLICT, revisions dense.

import assert from 'node:assert/strict';
import { Pool, Tally, atOnce, below } from './lib/load.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { diag, scaled, suite, test } from './lib/tap.mjs';

const WRITERS = 64;
const SHARED_IDS = 4;
const WRITES = scaled(30, 6);
const CONNECTIONS = 16;
const MAX_TRIES = 2000;

/** One account's acknowledged writes. */
class Account {
  constructor(key = new Key()) {
    this.key = key;
    this.tally = new Tally();
    this.revisions = [];
    this.latest = new Map();
  }

  async set(user, fields) {
    const revision = this.tally.answer(await user.setRecord(fields));
    if (revision === undefined) return undefined;
    this.revisions.push(revision);
    const known = this.latest.get(fields.id);
    if (!known || known.revision < revision) {
      this.latest.set(fields.id, { revision, data: fields.data });
    }
    return revision;
  }
}

/** Writes an id of the writer's own, each time at its last revision. */
async function ownWrites(account, user, name) {
  let revision = 0;
  for (let turn = 0; turn < WRITES; turn += 1) {
    const next = await account.set(user,
      { id: name, data: `${name}.${turn}`, revision });
    if (next === undefined) return;
    revision = next;
  }
}

/** Writes a shared id until it succeeds, after each CONFLICT reading anew. */
async function sharedWrite(account, user, name) {
  const id = `shared${below(SHARED_IDS)}`;
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    const current = (await user.changes()).find((record) => record.id === id);
    const revision = await account.set(user, {
      id, data: `${name}.${tries}`, revision: current?.revision ?? 0,
    });
    if (revision !== undefined) return true;
  }
  return false;
}

function onlySuccessAndConflict({ tally }) {
  diag(String(tally));
  assert.deepEqual(tally.others('SUCCESS', 'CONFLICT'), []);
}

function dense({ revisions }) {
  const sorted = [...revisions].sort((a, b) => a - b);
  assert.deepEqual(sorted, sorted.map((_, index) => index + 1));
}

async function agrees(account, user) {
  const list = await user.everything();
  assert.deepEqual(
    list.map(({ id, revision, data }) => [id, revision, data.toString()]),
    [...account.latest]
      .map(([id, { revision, data }]) => [id, revision, data])
      .sort(([, a], [, b]) => a - b));
}

async function oneUser(pool) {
  const account = new Account();
  const reader = pool.user(account.key);
  await test(`${WRITERS} writers of one user, own ids`, () =>
    atOnce(WRITERS, (index) => ownWrites(
      account, pool.user(account.key), `writer${index}`)), { seconds: 60 });
  await test('own ids: only SUCCESS', () => {
    diag(String(account.tally));
    assert.deepEqual(account.tally.others('SUCCESS'), []);
  });
  await test('own ids: revisions are 1 to n, each once', () => dense(account));
  await test('own ids: the list agrees', () => agrees(account, reader));
  await test(`${WRITERS} writers of one user, shared ids`, async () => {
    const done = await atOnce(WRITERS, (index) => sharedWrite(
      account, pool.user(account.key), `writer${index}`));
    assert.ok(done.every(Boolean), 'a writer gave up');
  }, { seconds: 60 });
  await test('shared ids: only SUCCESS and CONFLICT', () =>
    onlySuccessAndConflict(account));
  await test('shared ids: revisions are 1 to n, each once', () =>
    dense(account));
  await test('shared ids: the list agrees', () => agrees(account, reader));
}

/** All write the same revision of one record; one may win. */
async function duel(pool) {
  const account = new Account();
  const first = await account.set(
    pool.user(account.key), { id: 'one', data: 'first' });
  await test(`${WRITERS} writers of one revision: one wins`, async () => {
    const won = await atOnce(WRITERS, (index) => account.set(
      pool.user(account.key),
      { id: 'one', data: `writer${index}`, revision: first }));
    assert.equal(won.filter((revision) => revision !== undefined).length, 1);
    onlySuccessAndConflict(account);
  });
  await test('the winner\'s data is what is read', () =>
    agrees(account, pool.user(account.key)));
  await test(`${WRITERS} creators of one id: one wins`, async () => {
    const won = await atOnce(WRITERS, (index) => account.set(
      pool.user(account.key), { id: 'two', data: `creator${index}` }));
    assert.equal(won.filter((revision) => revision !== undefined).length, 1);
    dense(account);
  });
}

async function manyUsers(pool) {
  const accounts = Array.from({ length: WRITERS }, () => new Account());
  await test(`${WRITERS} users, a writer each`, () =>
    atOnce(WRITERS, (index) => ownWrites(
      accounts[index], pool.user(accounts[index].key), `user${index}`)),
  { seconds: 60 });
  await test('users: only SUCCESS', () => {
    for (const { tally } of accounts) {
      assert.deepEqual(tally.others('SUCCESS'), []);
    }
  });
  await test('users: revisions are 1 to n, each once', () =>
    accounts.forEach(dense));
  await test('users: the lists agree', () => atOnce(WRITERS, (index) =>
    agrees(accounts[index], pool.user(accounts[index].key))));
}

/** While writers commit, no revision may appear below one already seen. */
async function tail(pool) {
  const account = new Account();
  let writing = true;
  const seen = new Set();
  let highest = 0;
  const late = [];
  const follow = async () => {
    const user = pool.user(account.key);
    while (writing) {
      const records = await user.changes(Math.max(0, highest - 500));
      const before = highest;
      for (const { revision } of records) {
        if (revision <= before && !seen.has(revision)) late.push(revision);
        seen.add(revision);
        highest = Math.max(highest, revision);
      }
    }
  };
  await test('no revision appears below one already seen', async () => {
    const followed = follow();
    await atOnce(8, async (writer) => {
      const user = pool.user(account.key);
      for (let turn = 0; turn < WRITES * 4; turn += 1) {
        await account.set(user, { id: `${writer}.${turn}`, data: 'x' });
      }
    });
    writing = false;
    await followed;
    assert.deepEqual(late, []);
  }, { seconds: 60 });
}

await suite(async () => {
  const server = await startServer({ env: { SHARDS: '2' } });
  const pool = new Pool(server.address, CONNECTIONS);
  await oneUser(pool);
  await duel(pool);
  await manyUsers(pool);
  await tail(pool);
  pool.close();
});
