// SPDX-License-Identifier: Apache-2.0
// upgrade — a database of data-sync is taken over in place, and can be given
// back; what cannot be served is refused at start with a sentence.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync, existsSync, mkdirSync, statSync, writeFileSync,
} from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { Client, User } from './lib/client.mjs';
import { atOnce } from './lib/load.mjs';
import { Server, freePort, temporaryDirectory } from './lib/server.mjs';
import { Key, now } from './lib/sign.mjs';
import { suite, test, skip, within } from './lib/tap.mjs';

const USERS = 100;
const RECORDS = 7;
const FIRST_LOCK = 'old-lock';
const HOLDER = '11111111-1111-4111-8111-111111111111';
const RIVAL = '22222222-2222-4222-8222-222222222222';
const START_SECONDS = 15;

// As golang-migrate and data-sync's two migrations leave it.
const SCHEMA = `
CREATE TABLE schema_migrations (version uint64,dirty bool);
CREATE UNIQUE INDEX version_unique ON schema_migrations (version);
CREATE TABLE records (user_id TEXT NOT NULL, id TEXT NOT NULL,
  data BLOB NOT NULL, revision INTEGER NOT NULL, schema_version TEXT NOT NULL,
  PRIMARY KEY (user_id, id));
CREATE TABLE user_revisions (user_id TEXT NOT NULL, revision INTEGER NOT NULL,
  PRIMARY KEY (user_id, revision));
CREATE TABLE locks (user_id TEXT NOT NULL, lock_name TEXT NOT NULL,
  instance_id TEXT NOT NULL, expires_at INTEGER NOT NULL,
  exclusive INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (user_id, lock_name, instance_id));
CREATE INDEX idx_locks_expires_at ON locks(expires_at);
CREATE INDEX idx_locks_user_lock ON locks(user_id, lock_name);
`;
const DATA_SYNC_TABLES = ['records', 'user_revisions', 'locks',
  'schema_migrations'];

function sql(file, text) {
  return execFileSync('sqlite3', ['-bail', '-cmd', '.timeout 5000', file],
    { input: text, stdio: ['pipe', 'pipe', 'pipe'] }).toString().trim();
}

const dataOf = (user, record) => Buffer.from(`user ${user} record ${record}`);

function oldDatabase(file, keys, { dirty = 0 } = {}) {
  const rows = keys.flatMap((key, user) => [
    ...Array.from({ length: RECORDS }, (_, record) =>
      `INSERT INTO records VALUES ('${key.userId}', 'id${record}', ` +
      `x'${dataOf(user, record).toString('hex')}', ${record + 1}, '0.1');`),
    `INSERT INTO user_revisions VALUES ('${key.userId}', ${RECORDS});`,
    `INSERT INTO locks VALUES ('${key.userId}', '${FIRST_LOCK}', ` +
      `'${HOLDER}', ${now() + 200}, 1);`,
    `INSERT INTO locks VALUES ('${key.userId}', 'expired', ` +
      `'${HOLDER}', ${now() - 10}, 1);`,
  ]);
  sql(file, `BEGIN; ${SCHEMA}
    INSERT INTO schema_migrations VALUES (2, ${dirty});
    ${rows.join('\n')} COMMIT;`);
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
  await test('a stale revision conflicts', async () => {
    const { reply } = await users[0].setRecord({ id: 'id1', revision: 1 });
    assert.equal(reply.status, 'CONFLICT');
  });
  client.close();
}

/** data-sync's statements, one after another, as its SetRecord does. */
function dataSyncWrites(file, userId) {
  return sql(file, `BEGIN;
    SELECT revision FROM records WHERE user_id = '${userId}' AND id = 'id0';
    SELECT revision FROM user_revisions WHERE user_id = '${userId}';
    UPDATE user_revisions SET revision = revision + 1
      WHERE user_id = '${userId}' RETURNING revision;
    INSERT OR REPLACE INTO records
      (user_id, id, data, revision, schema_version)
      VALUES ('${userId}', 'id0', x'6261636b', ${RECORDS + 3}, '0.1')
      RETURNING revision;
    COMMIT;`).split('\n').map(Number);
}

async function givenBackCases(server, keys) {
  const { database } = server;
  const [{ userId }] = keys;
  await test('schema_migrations still says 2 and clean', () =>
    assert.equal(sql(database, 'SELECT version, dirty FROM ' +
      'schema_migrations'), '2|0'));
  await test('an own version is kept in a table of its own', () => {
    const tables = sql(database, "SELECT name FROM sqlite_master WHERE " +
      "type = 'table' AND name NOT LIKE 'sqlite_%'").split('\n');
    for (const name of DATA_SYNC_TABLES) assert.ok(tables.includes(name));
    assert.ok(tables.some((name) => !DATA_SYNC_TABLES.includes(name)),
      tables.join(', '));
  });
  await test('records have an index on user and revision', () => {
    const found = sql(database, "SELECT group_concat(info.name) FROM " +
      "pragma_index_list('records') AS list, " +
      'pragma_index_info(list.name) AS info GROUP BY list.name').split('\n');
    assert.ok(found.some((columns) => columns.startsWith('user_id,revision')),
      found.join(' / '));
  });
  await test('the journal is a write-ahead log', () =>
    assert.equal(sql(database, 'PRAGMA journal_mode'), 'wal'));
  await test('the file is sound', () =>
    assert.equal(sql(database, 'PRAGMA integrity_check'), 'ok'));
  await test('revisions are numbers, data are blobs', () =>
    assert.equal(sql(database, 'SELECT DISTINCT typeof(revision), ' +
      'typeof(data), typeof(schema_version) FROM records'),
    'integer|blob|text'));
  await test('data-sync\'s SetRecord statements work', () =>
    assert.deepEqual(dataSyncWrites(database, userId),
      [RECORDS + 1, RECORDS + 2, RECORDS + 3, RECORDS + 3]));
  await test('data-sync\'s statements for a new user work', () =>
    assert.equal(sql(database, `INSERT INTO user_revisions
      (user_id, revision) VALUES ('new user', 1) RETURNING revision;
      INSERT OR REPLACE INTO records VALUES
      ('new user', 'a', x'00', 1, '') RETURNING revision;`), '1\n1'));
  await test('data-sync\'s ListChanges statement works', () =>
    assert.equal(sql(database, `SELECT id, revision FROM records
      WHERE user_id = '${userId}' AND revision > ${RECORDS} ORDER BY revision
      ASC LIMIT 1000`), `added|${RECORDS + 2}\nid0|${RECORDS + 3}`));
  await test('data-sync\'s lock statements work', () =>
    assert.equal(sql(database, `
      SELECT 1 FROM locks WHERE user_id = '${userId}' AND lock_name =
        '${FIRST_LOCK}' AND instance_id != '${RIVAL}' AND expires_at >
        ${now()} LIMIT 1;
      INSERT OR REPLACE INTO locks (user_id, lock_name, instance_id,
        expires_at, exclusive) VALUES ('${userId}', 'theirs', '${RIVAL}',
        ${now() + 100}, 0);
      DELETE FROM locks WHERE expires_at <= ${now()};
      DELETE FROM locks WHERE user_id = '${userId}' AND lock_name =
        '${FIRST_LOCK}' AND instance_id = '${HOLDER}';`), '1'));
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
    oldDatabase(path.join(dir, 'db.sqlite'), [new Key()], { dirty: 1 });
    assert.match(await refusal({ dir }), /dirty/i);
  });
  await test('a database of a later migration is refused', async () => {
    const dir = temporaryDirectory();
    const file = path.join(dir, 'db.sqlite');
    oldDatabase(file, [new Key()]);
    sql(file, 'UPDATE schema_migrations SET version = 999');
    assert.match(await refusal({ dir }), /999/);
  });
  await test('a file that is no database is refused', async () => {
    const dir = temporaryDirectory();
    writeFileSync(path.join(dir, 'db.sqlite'), 'no database '.repeat(1000));
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
  ];
  for (const [name, value] of rows) {
    await test(`${name}=${value} is refused by name`, async () =>
      assert.match(await refusal({ env: { [name]: value } }),
        new RegExp(name)));
  }
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
  await test('a directory that does not exist is made', async () => {
    await server.start();
    assert.ok(existsSync(server.database));
    assert.equal(statSync(dir).mode & 0o077, 0, 'others may read it');
  });
  await test('a new database has data-sync\'s tables at version 2',
    async () => {
      await server.stop();
      assert.equal(sql(server.database,
        'SELECT version, dirty FROM schema_migrations'), '2|0');
      for (const name of DATA_SYNC_TABLES) sql(server.database,
        `SELECT count(*) FROM ${name}`);
    });
  const locked = path.join(temporaryDirectory(), 'locked');
  if (process.getuid() === 0) {
    skip('a directory that may not be written is refused', 'run as root');
    return;
  }
  await test('a directory that may not be written is refused', async () => {
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
  oldDatabase(server.database, keys);
  await server.start();
  await servedCases(server, keys);
  await server.stop();
  await givenBackCases(server, keys);
  await server.start();
  await againCases(server, keys);
  await refusedDatabases(server);
  await server.stop();
  await refusedConfigurations();
  await freshCases();
  await dataSyncCase(server.dir, keys);
});
