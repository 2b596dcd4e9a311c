// SPDX-License-Identifier: Apache-2.0
// upgrade — a database of data-sync is taken over in place, and can be given
// back; what cannot be served is refused at start with a sentence. What is
// SQLite's alone is left out on PostgreSQL.

import assert from 'node:assert/strict';
import {
  chmodSync, existsSync, mkdirSync, statSync, writeFileSync,
} from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { Client, User } from './lib/client.mjs';
import { DataSync, TABLES } from './lib/datasync.mjs';
import { atOnce } from './lib/load.mjs';
import { Server, freePort, temporaryDirectory } from './lib/server.mjs';
import { Key, now } from './lib/sign.mjs';
import { POSTGRES, storeOf } from './lib/store.mjs';
import { suite, test, skip, within } from './lib/tap.mjs';

const USERS = 100;
const RECORDS = 100;
const FIRST_LOCK = 'old-lock';
const HOLDER = '11111111-1111-4111-8111-111111111111';
const RIVAL = '22222222-2222-4222-8222-222222222222';
const START_SECONDS = 15;

const dataOf = (user, record) => Buffer.from(`user ${user} record ${record}`);

/** One whom data-sync, racing with itself, gave two counters. */
const split = new Key();
const SPLIT_RECORD = 9;

/** What data-sync left of these users, two locks each. */
function oldDatabase(store, keys, more = {}) {
  return new DataSync(store).make({
    records: [
      ...keys.flatMap(({ userId }, user) => Array.from(
        { length: RECORDS }, (_, record) => (
          [userId, `id${record}`, dataOf(user, record), record + 1]))),
      [split.userId, 'a', dataOf(0, 0), SPLIT_RECORD]],
    counters: [...keys.map(({ userId }) => [userId, RECORDS]),
      [split.userId, SPLIT_RECORD - 5], [split.userId, SPLIT_RECORD - 2]],
    locks: keys.flatMap(({ userId }) => [
      [userId, FIRST_LOCK, HOLDER, now() + 200],
      [userId, 'expired', HOLDER, now() - 10]]),
    ...more,
  });
}

async function servedCases(server, keys) {
  const client = new Client(server.address);
  const users = keys.map((key) => new User(client, key, { quick: true }));
  await test(`the records of ${USERS} users are served`, () =>
    atOnce(USERS, async (index) => {
      const records = await users[index].changes();
      assert.deepEqual(
        records.map(({ id, revision, data, schema_version: schema }) => (
          [id, revision, data.toString(), schema])),
        Array.from({ length: RECORDS }, (_, record) => (
          [`id${record}`, record + 1, dataOf(index, record).toString(),
            '0.1'])));
    }));
  await test('since a revision, too', async () =>
    assert.equal((await users[0].changes(RECORDS - 2)).length, 2));
  await test('locks are still held, expired ones not', () =>
    atOnce(USERS, async (index) => {
      const held = await users[index].getLock(FIRST_LOCK);
      assert.equal(held.reply.locked, true);
      const gone = await users[index].getLock('expired');
      assert.equal(gone.reply.locked, false);
    }));
  await test('a held lock keeps others out and lets its holder renew',
    async () => {
      const ask = (instance) => users[0].setLock(
        { name: FIRST_LOCK, instance, exclusive: true });
      assert.equal((await ask(RIVAL)).code, 9);
      assert.equal((await ask(HOLDER)).code, 0);
      assert.equal((await ask(HOLDER.toUpperCase())).code, 0);
    });
  await test('writes go on at the next revision', () =>
    atOnce(USERS, async (index) => {
      assert.equal(await users[index].write(
        { id: 'id0', data: 'new', revision: 1 }), RECORDS + 1);
      assert.equal(await users[index].write(
        { id: 'added', data: 'new' }), RECORDS + 2);
    }));
  await test('two counters of a user become one, not below a record',
    async () => assert.equal(
      await new User(client, split).write({ id: 'b' }), SPLIT_RECORD + 1));
  await test('a stale revision conflicts', async () => {
    const { reply } = await users[0].setRecord({ id: 'id1', revision: 1 });
    assert.equal(reply.status, 'CONFLICT');
  });
  client.close();
}

// What each store can be asked of itself: its tables, the columns of the
// indexes on records, the types of these.
const TABLE_NAMES = POSTGRES
  ? "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
  : "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE " +
    "'sqlite_%'";
const INDEXES = POSTGRES
  ? 'SELECT (SELECT string_agg(attname, \',\' ORDER BY attnum) FROM ' +
    'pg_attribute WHERE attrelid = indexrelid) FROM pg_index ' +
    "WHERE indrelid = 'records'::regclass"
  : "SELECT group_concat(info.name) FROM pragma_index_list('records') AS " +
    'list, pragma_index_info(list.name) AS info GROUP BY list.name';
const TYPES = POSTGRES
  ? 'SELECT DISTINCT pg_typeof(revision), pg_typeof(data), ' +
    'pg_typeof(schema_version) FROM records'
  : 'SELECT DISTINCT typeof(revision), typeof(data), typeof(schema_version) ' +
    'FROM records';

async function givenBackCases({ store }, keys) {
  const dataSync = new DataSync(store);
  const [{ userId }] = keys;
  await test('schema_migrations still says 2 and clean', async () =>
    assert.equal(await store.sql('SELECT version, dirty FROM ' +
      'schema_migrations'), '2|0'));
  await test('an own version is kept in a table of its own', async () => {
    const tables = (await store.sql(TABLE_NAMES)).split('\n');
    for (const name of TABLES) assert.ok(tables.includes(name));
    assert.ok(tables.some((name) => !TABLES.includes(name)),
      tables.join(', '));
  });
  await test('records have an index on user and revision', async () => {
    const found = (await store.sql(INDEXES)).split('\n');
    assert.ok(found.some((columns) => columns.startsWith('user_id,revision')),
      found.join(' / '));
  });
  if (!POSTGRES) {
    await test('the journal is a write-ahead log', async () =>
      assert.equal(await store.sql('PRAGMA journal_mode'), 'wal'));
  }
  await test('the database is sound', async () =>
    assert.equal(await store.faults(), ''));
  await test('revisions are numbers, data are bytes', async () =>
    assert.equal(await store.sql(TYPES),
      POSTGRES ? 'bigint|bytea|text' : 'integer|blob|text'));
  await test('data-sync\'s SetRecord statements work', async () =>
    assert.deepEqual(
      await dataSync.setRecord(userId, 'id0', Buffer.from('back'),
        RECORDS + 3),
      [[RECORDS + 1], [RECORDS + 2], [RECORDS + 3], [RECORDS + 3]]
        .map((row) => row.map(String))));
  await test('data-sync\'s statements for a new user work', async () =>
    assert.deepEqual(
      await dataSync.firstRecord('new user', 'a', Buffer.from('x')),
      [['1'], ['1']]));
  await test('data-sync\'s ListChanges statement works', async () =>
    assert.deepEqual(await dataSync.listChanges(userId, RECORDS),
      [['added', `${RECORDS + 2}`], ['id0', `${RECORDS + 3}`]]));
  await test('data-sync\'s lock statements work', async () => {
    assert.deepEqual(
      await dataSync.heldByOther(userId, FIRST_LOCK, RIVAL), [['1']]);
    await dataSync.acquire(userId, 'theirs', RIVAL);
    await dataSync.sweep();
    await dataSync.release(userId, FIRST_LOCK, HOLDER);
    assert.deepEqual(
      await dataSync.heldByOther(userId, FIRST_LOCK, RIVAL), []);
  });
}

async function againCases(server, keys) {
  const client = new Client(server.address);
  const user = new User(client, keys[0], { quick: true });
  await test('what data-sync\'s statements wrote is served', async () => {
    const record = (await user.changes(RECORDS)).at(-1);
    assert.deepEqual([record.id, record.revision, record.data.toString()],
      ['id0', RECORDS + 3, 'back']);
    assert.equal((await user.getLock('theirs')).reply.locked, true);
    assert.equal((await user.getLock(FIRST_LOCK)).reply.locked, false);
  });
  await test('and written on', async () => assert.equal(
    await user.write({ id: 'id0', data: 'x', revision: RECORDS + 3 }),
    RECORDS + 4));
  client.close();
}

/** The end of a server that must not start, and what it said. */
async function refusal(options) {
  const server = await new Server(options).launch();
  const end = await within(START_SECONDS, 'its end', Promise.race([
    server.exited, server.listening.then(() => ({ served: true }))]));
  if (end.served) {
    await server.kill();
    throw new Error('it serves');
  }
  assert.notEqual(end.code, 0);
  assert.equal(end.signal, null, `ended by ${end.signal}`);
  return server.stderr;
}

async function refusedDatabases(server) {
  await test('a dirty database is refused', async () => {
    const dir = temporaryDirectory();
    await oldDatabase(storeOf(dir), [new Key()], { dirty: true });
    assert.match(await refusal({ dir }), /dirty/i);
  });
  await test('a database of a later migration is refused', async () => {
    const dir = temporaryDirectory();
    await oldDatabase(storeOf(dir), [new Key()], { version: 999 });
    assert.match(await refusal({ dir }), /999/);
  });
  if (!POSTGRES) await refusedFiles(server);
}

async function refusedFiles(server) {
  await test('a file that is no database is refused', async () => {
    const dir = temporaryDirectory();
    writeFileSync(storeOf(dir).file, 'no database '.repeat(1000));
    assert.match(await refusal({ dir }), /not a database|db\.sqlite/);
  });
  await test('a second process on the same directory is refused', async () => {
    const said = await refusal({ dir: server.dir });
    assert.ok(said.trim().length > 0, 'without a word');
  });
  await test('the first process serves on', async () => {
    const client = new Client(server.address);
    await new User(client, new Key()).write({ id: 'x' });
    client.close();
  });
}

/** `tallyd migrate` brings the database up to date and serves nobody. */
async function migrateCases(keys) {
  const dir = temporaryDirectory();
  const store = storeOf(dir);
  const migrate = async () => {
    const process = await new Server({ dir, args: ['migrate'] }).launch();
    const { code } = await within(START_SECONDS, 'its end', process.exited);
    return { code, said: process.stderr };
  };
  await oldDatabase(store, keys);
  await test('tallyd migrate: brings the database up to date and ends',
    async () => {
      const { code, said } = await migrate();
      assert.equal(code, 0, said);
      assert.doesNotMatch(said, /Server listening/);
      assert.ok(await store.sql('SELECT version FROM tallyd_schema') >= 1);
      assert.equal(await store.sql('SELECT version, dirty FROM ' +
        'schema_migrations'), '2|0');
    });
  await test('tallyd migrate: a second time there is nothing to do',
    async () => assert.equal((await migrate()).code, 0));
  await test('tallyd migrate: what was migrated is served', async () => {
    const server = await new Server({ dir }).start();
    const client = new Client(server.address);
    const user = new User(client, keys[0]);
    assert.equal((await user.changes()).length, RECORDS);
    assert.equal(await user.write({ id: 'added' }), RECORDS + 1);
    client.close();
    await server.stop();
  });
  await test('tallyd migrate: what cannot be is refused', async () => {
    await store.sql('UPDATE schema_migrations SET version = 999');
    const { code, said } = await migrate();
    assert.notEqual(code, 0);
    assert.match(said, /999/);
  });
}

async function refusedConfigurations() {
  const rows = [
    ['GRPC_LISTEN_ADDRESS', 'nowhere'],
    ['GRPC_LISTEN_ADDRESS', '127.0.0.1:99999'],
    ['LOG_LEVEL', 'loud'],
    ['CA_CERT', '!!!!'],
    ['CA_CERT', 'aGVsbG8='],
    ['SHARDS', 'many'],
    ['LIST_OVERLAP', 'perhaps'],
    ['LISTENER_WRITE_TIMEOUT', '-1'],
    ['DRAIN_TIMEOUT', 'soon'],
    ['CRL_START_POLICY', 'ajar'],
    ['CRL_URL', 'nowhere'],
    ['GRPC_WEB_LISTEN_ADDRESS', '[]:80'],
    ['METRICS_LISTEN_ADDRESS', 'on'],
    ['KEEPALIVE_TIME', '0'],
    ['PROXY_PROTOCOL', 'v2'],
    ['DATABASE_URL', 'nowhere'],
    ['DATABASE_DIRECT_URL', 'nowhere'],
    ['DATABASE_POOL_SIZE', '0'],
    ['DATABASE_POOLER', 'perhaps'],
  ];
  for (const [name, value] of rows) {
    await test(`${name}=${value} is refused by name`, async () => {
      const said = await refusal({ env: { [name]: value } });
      assert.match(said, new RegExp(name));
      assert.doesNotMatch(said, /event=stopped/, 'it never ran');
    });
  }
  await test('a database that is not there is refused without its secret',
    async () => {
      const port = await freePort();
      const said = await refusal({ env: {
        DATABASE_URL: `postgres://user:secret@127.0.0.1:${port}/db` } });
      assert.match(said, /event=start\.failed reason="database: /);
      assert.doesNotMatch(said, /secret/);
    });
  await test('an address in use is refused', async () => {
    const port = await freePort();
    const holder = net.createServer().listen(port, '127.0.0.1');
    await new Promise((resolve) => { holder.once('listening', resolve); });
    const said = await refusal({ port });
    assert.match(said, new RegExp(`${port}`));
    holder.close();
  });
}

async function freshCases() {
  const dir = path.join(temporaryDirectory(), 'made', 'anew');
  const server = new Server({ dir });
  await server.start();
  if (!POSTGRES) {
    await test('a directory that does not exist is made', () => {
      assert.ok(existsSync(server.store.file));
      assert.equal(statSync(dir).mode & 0o077, 0, 'others may read it');
    });
  }
  await test('a new database has data-sync\'s tables at version 2',
    async () => {
      await server.stop();
      assert.equal(await server.store.sql(
        'SELECT version, dirty FROM schema_migrations'), '2|0');
      for (const name of TABLES) {
        await server.store.sql(`SELECT count(*) FROM ${name}`);
      }
    });
  if (!POSTGRES) await forbiddenCases();
}

async function forbiddenCases() {
  const locked = path.join(temporaryDirectory(), 'locked');
  const name = 'a directory that may not be written is refused';
  if (process.getuid() === 0) {
    skip(name, 'run as root');
    return;
  }
  await test(name, async () => {
    mkdirSync(locked);
    chmodSync(locked, 0o500);
    assert.match(await refusal({ dir: locked }), /locked/);
  });
}

/** With data-sync itself at hand, it must start on what tallyd leaves. */
async function dataSyncCase(dir, keys) {
  const name = 'data-sync itself serves the database afterwards';
  if (!process.env.DATA_SYNC) {
    skip(name, 'DATA_SYNC names no binary');
    return;
  }
  await test(name, async () => {
    const server = await new Server(
      { dir, binary: process.env.DATA_SYNC }).start();
    const client = new Client(server.address);
    const user = new User(client, keys[1]);
    const records = await user.changes();
    assert.equal(records.at(-1).revision, RECORDS + 2);
    await user.write({ id: 'id0', revision: RECORDS + 1, data: 'go' });
    client.close();
    await server.kill();
  });
}

await suite(async () => {
  const keys = Array.from({ length: USERS }, () => new Key());
  const server = new Server();
  await oldDatabase(server.store, keys);
  await server.start();
  await servedCases(server, keys);
  await server.stop();
  await givenBackCases(server, keys);
  await server.start();
  await againCases(server, keys);
  await refusedDatabases(server);
  await server.stop();
  await migrateCases(keys);
  await refusedConfigurations();
  await freshCases();
  await dataSyncCase(server.dir, keys);
});
