// SPDX-License-Identifier: Apache-2.0
// isolation — no byte of one user is ever read by another.
//
// Every record, id, schema version and client id carries its owner's tag; a
// reader that meets another tag has met a foreign byte.

import assert from 'node:assert/strict';
import { Pool, Tally, atOnce, below, workers } from './lib/load.mjs';
import { startServer } from './lib/server.mjs';
import { atEnd, diag, scaled, suite, test, until } from './lib/tap.mjs';

const USERS = scaled(200, 20);
const WRITES = scaled(20, 5);
const WRITERS = 48;
const CONNECTIONS = 10;
const LARGEST = 6000;

function tagOf(index) {
  return `<${String(index).padStart(4, '0')}>`;
}

/** Bytes of `text` that are not the tag, repeated from any point of it. */
function foreignBytes(text, tag) {
  let foreign = 0;
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] !== tag[at % tag.length]) foreign += 1;
  }
  return foreign;
}

class Owner {
  constructor(index, pool) {
    this.tag = tagOf(index);
    this.user = pool.user();
    this.key = this.user.key;
    this.revisions = new Map();
    this.foreign = 0;
    this.read = 0;
    this.heard = 0;
    this.strange = [];
  }

  async write(user, tally) {
    const id = this.tag + below(8);
    const revision = tally.answer(await user.setRecord({
      id, data: this.tag.repeat(1 + below(LARGEST / this.tag.length)),
      revision: this.revisions.get(id) ?? 0, schema: this.tag,
      clientId: this.tag,
    }));
    if (revision !== undefined) this.revisions.set(id, revision);
  }

  check({ id, data, schema_version: schema }) {
    const body = data.toString('latin1');
    this.foreign += foreignBytes(id.slice(0, this.tag.length), this.tag)
      + foreignBytes(schema, this.tag) + foreignBytes(body, this.tag);
    this.read += body.length;
  }

  async readAll(user) {
    for (const record of await user.changes()) this.check(record);
  }

  async listen(pool) {
    const listener = await pool.user(this.key).listen().greeting(20);
    listener.each(({ client_id: clientId, end }) => {
      if (end) return;
      this.heard += 1;
      if (clientId !== undefined && clientId !== this.tag) {
        this.strange.push(clientId);
      }
    });
  }
}

/** The writes and the reads of all users, mixed and spread. */
async function load(owners, pool, tally) {
  const jobs = owners.flatMap((owner) => [
    ...Array.from({ length: WRITES }, () => owner),
  ]);
  jobs.sort(() => Math.random() - 0.5);
  const busy = new Set();
  await workers(WRITERS, jobs, async (owner) => {
    const user = pool.user(owner.key);
    if (below(3) === 0) await owner.readAll(user);
    // One write of a user at a time, or its own revisions would be stale.
    if (busy.has(owner)) return;
    busy.add(owner);
    await owner.write(user, tally);
    busy.delete(owner);
  });
}

await suite(async () => {
  const server = await startServer({ env: { SHARDS: '2' } });
  const pool = new Pool(server.address, CONNECTIONS);
  const ears = Pool.forListeners(server.address, USERS, 25);
  atEnd(() => [pool, ears].forEach((each) => each.close()));
  const owners = Array.from({ length: USERS },
    (_, index) => new Owner(index, pool));
  await atOnce(USERS, (index) => owners[index].listen(ears));
  const tally = new Tally();
  await test(`${USERS} users write, read and listen`, () =>
    load(owners, pool, tally), { seconds: 120 });
  diag(String(tally));
  await test('every write succeeds', () =>
    assert.deepEqual(tally.others('SUCCESS'), []));
  await test('every user reads its own records, all of them', async () => {
    await workers(16, owners, async (owner) => {
      const records = await pool.user(owner.key).changes();
      for (const record of records) owner.check(record);
      assert.deepEqual(
        new Map(records.map(({ id, revision }) => [id, revision])),
        new Map([...owner.revisions].sort(([, a], [, b]) => a - b)));
    });
  });
  await test('no byte read belongs to another user', () => {
    const read = owners.reduce((sum, owner) => sum + owner.read, 0);
    diag(`${read} bytes read`);
    assert.equal(owners.reduce((sum, owner) => sum + owner.foreign, 0), 0);
  });
  await test('every user hears of its changes', () => until(10, 'all heard',
    () => owners.every(({ revisions, heard }) => heard || !revisions.size)));
  await test('no listener hears of another user', () => {
    assert.deepEqual(owners.flatMap(({ strange }) => strange), []);
  });
  await test('a user without records reads none', async () =>
    assert.deepEqual(await pool.user().changes(), []));
});
