// SPDX-License-Identifier: Apache-2.0
// paging — ListChanges stops in time, nothing is missing, and who has to ask
// again is told so.

import assert from 'node:assert/strict';
import { Client, User, decodeReply, encode } from './lib/client.mjs';
import { atOnce, workers } from './lib/load.mjs';
import { Session, unframe } from './lib/raw.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { diag, scaled, suite, test } from './lib/tap.mjs';

const PAGE = 1000;
const SMALL = 2500;
const LARGE = 150;
const LARGEST_RECORD = 65536;
const MIB = 1 << 20;
const PAGE_BYTES = 3.5 * MIB;
const LARGEST_REPLY = 4 * MIB;
const AT_ONCE = scaled(40, 12); // pages; the server holds four for one peer
const SEAM = [65400, 65460]; // data of one record
const WRITERS = Number(process.env.E2E_WRITERS || 8);
const OVERHEAD = 128; // bytes of a record beside its data

let client;
let session;

const account = () => new User(client, new Key(), { quick: true });

async function fill(user, count, data) {
  await workers(WRITERS, Array.from({ length: count }, (_, index) => index),
    (index) => user.write({ id: `r${index}`, data: data(index) }));
}

/** One page: its bytes on the wire and its records. */
async function page(user, since, over = session) {
  const answer = await over.message('/sync.Syncer/ListChanges',
    encode('ListChanges', user.signed('ListChanges',
      { since_revision: String(since) })), { seconds: 20 });
  assert.equal(answer.status, 0, answer.message);
  const [{ bytes }] = unframe(answer.body);
  const { changes } = decodeReply('ListChanges', bytes);
  return {
    size: bytes.length,
    changes: changes.map((record) => (
      { ...record, revision: Number(record.revision) })),
  };
}

async function pages(user) {
  const all = [];
  for (let since = 0; ;) {
    const next = await page(user, since);
    if (!next.changes.length) return all;
    all.push(next);
    since = next.changes.at(-1).revision;
  }
}

function ascendingFrom1(records) {
  assert.deepEqual(records.map(({ revision }) => revision),
    records.map((_, index) => index + 1));
}

/** The next notifications of all; the fence comes after what is checked. */
async function heard(listeners, user, fence) {
  await user.write({ id: fence, clientId: fence });
  const all = [];
  for (const listener of listeners) {
    const before = [];
    for (;;) {
      const event = await listener.next();
      if (event.end) throw new Error('a listener ended');
      if (event.client_id === fence) break;
      before.push(event.client_id);
    }
    all.push(before);
  }
  return all;
}

async function smallRecords() {
  const user = account();
  const listeners = [];
  await test(`${SMALL} small records are written`, () =>
    fill(user, SMALL, () => 'x'));
  await test('pages of 1,000, then the rest, nothing missing', async () => {
    const all = await pages(user);
    assert.deepEqual(all.map(({ changes }) => changes.length),
      [PAGE, PAGE, SMALL - 2 * PAGE]);
    ascendingFrom1(all.flatMap(({ changes }) => changes));
  });
  await test('listeners of the user hear nothing before', async () => {
    for (let index = 0; index < 3; index += 1) {
      listeners.push(await new User(client, user.key).listen().greeting());
    }
    assert.deepEqual(await heard(listeners, user, 'fence 0'), [[], [], []]);
  });
  const other = await new User(client, new Key()).listen().greeting();
  await test('after a truncated page all listeners of the user hear an ' +
    'empty notification', async () => {
    await user.changes(0);
    for (const listener of listeners) {
      assert.deepEqual(await listener.next(), { client_id: undefined });
    }
  });
  await test('none more than one for each truncated page', async () =>
    assert.deepEqual(await heard(listeners, user, 'fence 1'), [[], [], []]));
  await test('another user\'s listener hears nothing of it', () =>
    assert.equal(other.queue.length, 0));
  await test('after a complete page none hears anything', async () => {
    assert.equal((await user.changes(2 * PAGE)).length, SMALL - 2 * PAGE + 2);
    assert.deepEqual(await heard(listeners, user, 'fence 2'), [[], [], []]);
  });
  await test('a page of exactly 1,000 that is complete tells nothing',
    async () => {
      const since = SMALL + 3 - PAGE;
      assert.equal((await user.changes(since)).length, PAGE);
      assert.deepEqual(await heard(listeners, user, 'fence 3'), [[], [], []]);
    });
  for (const listener of [...listeners, other]) listener.cancel();
}

/** Replies whose end falls around the server's 64-KiB output buffer. */
async function seams(address) {
  const wide = new Session(address, { initialWindowSize: 4 * MIB });
  const [first, last] = SEAM;
  await test('replies of every length around 64 KiB arrive', async () => {
    for (let size = first; size <= last; size += 2) {
      const user = account();
      await user.write({ id: 'r', data: Buffer.alloc(size, 7) });
      for (const over of [session, wide]) {
        const { changes } = await page(user, 0, over);
        assert.equal(changes[0].data.length, size);
      }
    }
  });
  await wide.close();
}

async function largeRecords() {
  const user = account();
  await test(`${LARGE} records of 64 KiB are written`, () =>
    fill(user, LARGE, (index) => Buffer.alloc(LARGEST_RECORD, index)),
  { seconds: 60 });
  let all;
  await test('they are read in pages', async () => { all = await pages(user); },
    { seconds: 60 });
  diag(`pages of ${all.map(({ size }) => size).join(', ')} bytes`);
  await test(`${AT_ONCE} pages asked for at once all come`, async () => {
    const [{ size }] = all;
    await atOnce(AT_ONCE, async () => {
      assert.equal((await page(user, 0)).size, size);
    });
  });
  await test('every page is below 4 MiB', () => {
    for (const { size } of all) assert.ok(size <= LARGEST_REPLY, `${size}`);
  });
  await test('a page that is not the last is filled to about 3.5 MiB', () => {
    for (const { size } of all.slice(0, -1)) {
      assert.ok(size >= PAGE_BYTES - 4 * (LARGEST_RECORD + OVERHEAD)
        && size <= PAGE_BYTES + LARGEST_RECORD + OVERHEAD, `${size}`);
    }
  });
  await test('nothing is missing and all is as written', () => {
    const records = all.flatMap(({ changes }) => changes);
    ascendingFrom1(records);
    assert.equal(records.length, LARGE);
    for (const { id, data } of records) {
      assert.deepEqual(data,
        Buffer.alloc(LARGEST_RECORD, Number(id.slice(1))));
    }
  });
  const listener = await new User(client, user.key).listen().greeting();
  await test('a page cut for its bytes is told to listeners', async () => {
    await page(user, 0);
    assert.deepEqual(await listener.next(), { client_id: undefined });
    assert.deepEqual(await heard([listener], user, 'fence'), [[]]);
  });
  await test('a client with a limit of 4 MiB can read all', async () => {
    const limited = new Client(`127.0.0.1:${port}`,
      { 'grpc.max_receive_message_length': LARGEST_REPLY });
    const reader = new User(limited, user.key);
    assert.equal((await reader.everything()).length, LARGE + 1);
    limited.close();
  });
  listener.cancel();
}

async function mixedRecords() {
  const user = account();
  await test('small and large records mixed: nothing is missing', async () => {
    await fill(user, 400, (index) => Buffer.alloc(
      index % 5 ? 10 : LARGEST_RECORD, 1));
    const all = await pages(user);
    ascendingFrom1(all.flatMap(({ changes }) => changes));
    for (const { size } of all) assert.ok(size <= LARGEST_REPLY);
  }, { seconds: 60 });
  await test('a record replaced is read once, at its new revision',
    async () => {
      const fresh = account();
      await fill(fresh, 3, () => 'old');
      const [{ id, revision }] = await fresh.changes();
      await fresh.write({ id, revision, data: 'new' });
      const records = await fresh.changes();
      assert.deepEqual(records.map((record) => record.revision), [2, 3, 4]);
      assert.equal(records[2].data.toString(), 'new');
    });
}

let port;

await suite(async () => {
  const server = await startServer({ env: { SHARDS: '2' } });
  ({ port } = server);
  client = new Client(server.address);
  session = new Session(server.address);
  await smallRecords();
  await largeRecords();
  await mixedRecords();
  await seams(server.address);
  await session.close();
  client.close();
});
