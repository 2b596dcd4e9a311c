// SPDX-License-Identifier: Apache-2.0
// admin — what an operator does to a store: export, import, backup, stats,
// purge; beside a server where that is allowed, and refused where it is not.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync, readFileSync, readdirSync, statSync, writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { Client, User } from './lib/client.mjs';
import { launch, run, succeed } from './lib/command.mjs';
import {
  byBytes, fileOf, linesOf, makeUser, makeUsers, trailerOf,
} from './lib/exported.mjs';
import { atOnce } from './lib/load.mjs';
import { Pgbouncer, withoutPgbouncer } from './lib/pgbouncer.mjs';
import { Server, temporaryDirectory } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import {
  POSTGRES, PostgresStore, SqliteStore, storeOf, withoutPostgres,
} from './lib/store.mjs';
import { atEnd, diag, scaled, skip, suite, test, until, within } from './lib/tap.mjs';

const THOROUGH = Boolean(process.env.E2E_THOROUGH);
const RECORDS = scaled(THOROUGH ? 100000 : 2000, 1500);
// Where an import is broken off, and by what it goes, more would show no more.
const SOME_RECORDS = scaled(THOROUGH ? 10000 : 2000, 1500);
const SECONDS = 120;

const newStore = () => storeOf(temporaryDirectory());
const exported = async (store) => (
  (await succeed(['export'], await store.env(), { seconds: SECONDS })).bytes);
const imported = async (store, input) => succeed(
  ['import'], await store.env(), { input, seconds: SECONDS });

/** Compared first: a difference of megabytes is of use to nobody. */
function assertSame(one, other) {
  assert.ok(one.equals(other), `${one.length} bytes, ${other.length} bytes`);
}

/** What the database itself says that a record is. */
async function rowOf(store, { user, id }) {
  const hex = Buffer.from(id).toString('hex');
  const [where, data] = POSTGRES
    ? [`convert_to(id, 'UTF8') = '\\x${hex}'`, "encode(data, 'hex')"]
    : [`CAST(id AS BLOB) = X'${hex}'`, 'lower(hex(data))'];
  return store.sql(`SELECT revision, schema_version, ${data} FROM records ` +
    `WHERE user_id = '${user}' AND ${where}`);
}

// ---- export and import ----

async function identityCases(users, file) {
  const store = newStore();
  await test(`${RECORDS} records made elsewhere are imported`, async () => {
    const { err } = await imported(store, file);
    assert.match(err, new RegExp(`done, ${users.length} users`));
  }, { seconds: SECONDS });
  await test('the database has what the file says', async () => {
    const { records } = users.find((user) => user.records.length > 20);
    for (const record of records.slice(0, 20)) {
      assert.equal(await rowOf(store, record), [record.revision,
        record.schema_version,
        Buffer.from(record.data, 'base64').toString('hex')].join('|'));
    }
    assert.deepEqual(
      (await store.sql('SELECT user_id, revision FROM user_revisions'))
        .split('\n').sort(byBytes),
      users.map(({ user, counter }) => `${user}|${counter}`).sort(byBytes));
    assert.equal(await store.faults(), '');
  });
  await test('its export is the same file, byte for byte', async () =>
    assertSame(await exported(store), file), { seconds: SECONDS });
  await test('a second import finds all there and changes nothing',
    async () => {
      await imported(store, file);
      assertSame(await exported(store), file);
    }, { seconds: SECONDS });
  await test('from a file it is read twice', async () => {
    const name = path.join(temporaryDirectory(), 'export');
    writeFileSync(name, file);
    const { err } = await succeed(['import'], await newStore().env(),
      { file: name, seconds: SECONDS });
    assert.match(err, /checked [^]*done, /);
  }, { seconds: SECONDS });
  return store;
}

/** From this store to the other kind and back. */
async function acrossCases(store, file) {
  const name = 'across to PostgreSQL and back nothing changes';
  const missing = POSTGRES || await withoutPostgres();
  if (missing) {
    skip(name, POSTGRES ? 'the run on SQLite does it' : missing);
    return;
  }
  await test(name, async () => {
    const other = new PostgresStore();
    await imported(other, await exported(store));
    assert.equal(await other.faults(), '');
    const there = await exported(other);
    assertSame(there, file);
    const back = new SqliteStore(temporaryDirectory());
    await imported(back, there);
    assertSame(await exported(back), file);
  }, { seconds: 2 * SECONDS });
}

/** `tallyd export | tallyd import`, with a client that lives through it. */
async function moveCases() {
  const missing = POSTGRES ? undefined : await withoutPostgres();
  const key = new Key();
  const old = await new Server().start();
  const target = missing ? newStore() : new PostgresStore();
  const client = new Client(old.address);
  const user = new User(client, key);
  for (let at = 0; at < 20; at += 1) await user.write({ id: `id${at}` });
  await user.write({ id: 'id3', data: 'new', revision: 4 });
  const before = (await user.listChanges(7)).reply.changes;
  client.close();
  await old.stop();
  let server;
  await test('a store moves by export | import', async () => {
    const [here, there] = [await old.store.env(), await target.env()];
    const to = launch(['import'], there, { pipe: true });
    const from = launch(['export'], here);
    from.stdout.pipe(to.stdin);
    assert.equal((await within(SECONDS, 'export', from.ended)).code, 0);
    const end = await within(SECONDS, 'import', to.ended);
    assert.equal(end.code, 0, end.err);
    server = await new Server({ dir: temporaryDirectory(), store: target })
      .start();
  }, { seconds: SECONDS });
  const moved = new Client(server.address);
  const again = new User(moved, key);
  await test('the client\'s list since its revision is the same', async () =>
    assert.deepEqual((await again.listChanges(7)).reply.changes, before));
  await test('it has missed nothing', async () =>
    assert.deepEqual(await again.changes(21), []));
  await test('its overwrite at the revision it knows succeeds', async () =>
    assert.equal(await again.write({ id: 'id5', revision: 6 }), 22));
  await test('one at a revision that is over conflicts', async () =>
    assert.equal((await again.setRecord({ id: 'id3', revision: 4 }))
      .reply.status, 'CONFLICT'));
  await test('a listener hears of the next change', async () => {
    const listener = await again.listen().greeting();
    await again.write({ id: 'later', clientId: 'me' });
    assert.equal((await listener.next()).client_id, 'me');
    listener.cancel();
  });
  await test('what it has is counted, as limits want it', async () =>
    assert.equal(await target.sql(
      'SELECT count(*) FROM user_revisions c WHERE counted = revision AND ' +
      '(records, bytes) = (SELECT count(*), sum(length(data)) ' +
      'FROM records r WHERE r.user_id = c.user_id)'), '1'));
  moved.close();
  await server.stop();
}

// ---- what is refused ----

/** Rows of [name, lines, what is said]. `good` are lines without a trailer. */
function hostileFiles() {
  const users = [makeUser(3), makeUser(4)]
    .sort((one, other) => byBytes(one.user, other.user));
  const good = linesOf(users);
  const whole = (lines) => [...lines, trailerOf(lines)];
  const changed = (at, change) => whole(good.map((line, index) => (
    index === at ? JSON.stringify(change(JSON.parse(line))) : line)));
  const replaced = (at, text) => good.map((line, index) => (
    index === at ? text : line)).concat(trailerOf(good));
  const record = 3;
  const second = good.findLastIndex((line) => line.includes('"counter"'));
  const set = (name, value) => changed(record,
    (line) => ({ ...line, [name]: value }));
  const trailer = (change) => [...good,
    JSON.stringify({ ...JSON.parse(trailerOf(good)), ...change })];
  const without = (line, name) => {
    const { [name]: dropped, ...rest } = line;
    return rest;
  };
  return [
    ['nothing', [], /ends before its trailer/],
    ['no header', whole(good).slice(1), /begins with its header/],
    ['another format', changed(0, () => ({ format: 'x', version: 1 })),
      /not the header/],
    ['a later version',
      changed(0, () => ({ format: 'tallyd-export', version: 2 })),
      /version/],
    ['a header with more in it',
      changed(0, (line) => ({ ...line, more: 1 })), /not the header/],
    ['a second header', whole([good[0], ...good]), /header in the middle/],
    ['no trailer', good, /ends before its trailer/],
    ['a line cut off', [...good.slice(0, 5), good[5].slice(0, 40)],
      /not a JSON object/],
    ['no JSON', replaced(record, 'record'), /not a JSON object/],
    ['an empty line', replaced(record, ''), /not a JSON object/],
    ['an array', replaced(record, '[1]'), /not a JSON object/],
    ['a number', replaced(record, '1'), /not a JSON object/],
    ['arrays without end', replaced(record, '['.repeat(100000)),
      /not a JSON object/],
    ['two objects', replaced(record, '{}{}'), /not a JSON object/],
    ['an empty object', replaced(record, '{}'), /neither/],
    ['a line without end', replaced(record, 'x'.repeat(1000000)),
      /too long/],
    ['UTF-8 that is none', [Buffer.concat([
      Buffer.from(`${good.slice(0, 3).join('\n')}\n{"user":"`),
      Buffer.from([0xff, 0xfe]), Buffer.from('"}')])], /not a JSON object/],
    ['a lone surrogate', replaced(record,
      good[record].replace('"id":"', '"id":"\\ud800')), /not a JSON object/],
    ['a member twice', replaced(record,
      good[record].replace('{', '{"id":"x",')), /not a JSON object/],
    ['a member too many', set('more', 1), /not a record/],
    ['no data', changed(record, (line) => without(line, 'data')),
      /not a record/],
    ['no user', changed(record, (line) => without(line, 'user')),
      /not a record/],
    ['data that are a number', set('data', 1), /not a record/],
    ['data that are null', set('data', null), /not a record/],
    ['data that are not base64', set('data', '*'), /not base64/],
    ['base64 without its padding', set('data', 'QQ'), /not base64/],
    ['base64 with a line break', set('data', 'QU\nJD'), /not base64/],
    ['data too long', set('data', Buffer.alloc(65537).toString('base64')),
      /65536/],
    ['an id too long', set('id', 'x'.repeat(65)), /64/],
    ['an id with NUL', set('id', 'a\0b'), /NUL/],
    ['a schema version too long', set('schema_version', 'x'.repeat(16)),
      /15/],
    ['a schema version with NUL', set('schema_version', '\0'), /NUL/],
    ['a revision of 0', set('revision', 0), /revision/],
    ['a negative revision', set('revision', -1), /negative/],
    ['a revision with a fraction', set('revision', 1.5), /not a record/],
    ['a revision as text', set('revision', '2'), /not a record/],
    ['a revision above 63 bits', replaced(record,
      good[record].replace(/"revision":\d+/, '"revision":9223372036854775808')),
      /not a JSON object/],
    ['a revision above the counter', set('revision', 1000), /counter/],
    ['a user in capitals', changed(1, ({ user, counter }) => (
      { user: user.toUpperCase().replace(/^0[23]../, '02aA'), counter })),
      /66 hexadecimal/],
    ['a user too short', changed(1,
      ({ user, counter }) => ({ user: user.slice(2), counter })),
      /66 hexadecimal/],
    ['a user that is SQL', changed(1, ({ counter }) => (
      { user: "'; DROP TABLE records; --".padEnd(66), counter })),
      /66 hexadecimal/],
    ['a negative counter', changed(1, ({ user }) => ({ user, counter: -1 })),
      /negative/],
    ['a counter that leaves no room', replaced(1,
      good[1].replace(/"counter":\d+/, '"counter":9007199254740992')),
    /above 2\^53/],
    ['a record of another user', set('user', users[1].user),
      /not its user's/],
    ['a record before any user', whole([good[0], good[3]]),
      /not its user's/],
    ['users in another order', whole(linesOf([...users].reverse())),
      /order of their ids/],
    ['a user twice', whole([...good, good[second]]), /order of their ids/],
    ['records in another order',
      whole([good[0], good[1], good[3], good[2]]), /order of their revisions/],
    ['a record twice', whole([...good.slice(0, 4), good[3]]),
      /order of their revisions/],
    ['an id twice', changed(record, (line) => (
      { ...line, id: JSON.parse(good[2]).id })), /something else/],
    ['a line left out',
      [...good.slice(0, 3), ...good.slice(4), trailerOf(good)], /missing/],
    ['a byte changed',
      replaced(record, good[record].replace('"id":"', '"id":"x')),
      /checksum/],
    ['a trailer with other users', trailer({ users: 3 }), /missing/],
    ['a trailer with other records', trailer({ records: 8 }), /missing/],
    ['a trailer with other bytes', trailer({ bytes: 0 }), /missing/],
    ['a trailer with another checksum', trailer({ sha256: '0'.repeat(64) }),
      /checksum/],
    ['a trailer with half a checksum', trailer({ sha256: '00' }),
      /not the trailer/],
    ['something after the trailer', [...whole(good), good[1]],
      /after the trailer/],
    ['a space after the trailer', [...whole(good), ' '],
      /not a JSON object/],
  ].map(([name, lines, said]) => [name,
    Buffer.concat(lines.flatMap((line) => [Buffer.from(line),
      Buffer.from('\n')])), said]);
}

async function hostileCases() {
  const name = path.join(temporaryDirectory(), 'hostile');
  const store = newStore();
  await succeed(['migrate'], await store.env());
  const empty = await exported(store);
  // Lines are the same business on either store.
  const asked = ['an id twice', 'no trailer', 'a byte changed'];
  for (const [what, bytes, said] of hostileFiles().filter(
    ([name_]) => !POSTGRES || asked.includes(name_))) {
    await test(`refused: ${what}`, async () => {
      const dry = await run(['import', '--dry-run'], {}, { input: bytes });
      writeFileSync(name, bytes);
      const { code, err } = await run(
        ['import'], await store.env(), { file: name });
      assert.equal(code, 1, err);
      assert.match(err, /^tallyd import: .*line \d+: /m);
      assert.match(err, said);
      assert.doesNotMatch(err, /DROP TABLE|SELECT|INSERT/);
      // Whether an id came twice only the store can tell.
      if (what !== 'an id twice') assert.equal(dry.code, 1);
    });
  }
  await test('nothing of what was refused is stored', async () =>
    assertSame(await exported(store), empty));
}

async function conflictCases() {
  const [user] = [makeUser(5)];
  const { records } = user;
  const store = newStore();
  await imported(store, fileOf([user]));
  const kept = await exported(store);
  const last = records.at(-1);
  const rows = [
    ['other data', { ...user, records: [...records.slice(0, -1),
      { ...last, data: 'AAAA' }] }, /something else/],
    ['another schema version', { ...user, records: [...records.slice(0, -1),
      { ...last, schema_version: 'x' }] }, /something else/],
    ['a record that is not there', { ...user, records: [
      ...records.slice(0, -1), { ...last, id: 'another' }] },
    /something else/],
    ['a record less', { ...user, records: records.slice(1) },
      /other records, too/],
    ['no records', { ...user, records: [] }, /other records, too/],
    ['a lower counter', { user: user.user, counter: user.counter - 1 - (
      user.counter - last.revision), records: records.slice(0, -1) },
    /later changes/],
  ];
  for (const [name, given, said] of rows) {
    await test(`the store is not overwritten: ${name}`, async () => {
      const { code, err } = await run(
        ['import'], await store.env(), { input: fileOf([given]) });
      assert.equal(code, 1, err);
      assert.match(err, said);
      assertSame(await exported(store), kept);
    });
  }
  await test('users that the file does not have are left alone', async () => {
    const other = makeUser(2);
    const { err } = await imported(store, fileOf([other]));
    assert.match(err, /1 more users/);
    assertSame(await exported(store), fileOf([user, other].sort(
      (one, another) => byBytes(one.user, another.user))));
  });
}

// ---- what data-sync may have left, and what is in between ----

async function oddCases() {
  const [one, two] = [`02${'aa'.repeat(32)}`, `03${'bb'.repeat(32)}`];
  const data = POSTGRES ? "'\\x01'" : "x'01'";
  const store = newStore();
  await succeed(['migrate'], await store.env());
  await store.sql('INSERT INTO records (user_id, id, data, revision, ' +
    `schema_version) VALUES ('${one}', 'x', ${data}, 5, '1'), ` +
    `('${two}', 'q', ${data}, 2, '1'), ('${two}', 'p', ${data}, 2, '1')`);
  await store.sql('INSERT INTO user_revisions (user_id, revision) VALUES ' +
    (POSTGRES ? '' : `('${two}', 3), `) + `('${two}', 7)`);
  await test('a user without a counter, or with two, has one in an export',
    async () => {
      const { counters, records } = parseExport(await exported(store));
      assert.deepEqual([...counters], [[one, 5], [two, 7]]);
      assert.deepEqual(records.map(([, id]) => id), ['x', 'p', 'q']);
    });
  await test('records of one revision are imported', async () => {
    const other = newStore();
    const bytes = await exported(store);
    await imported(other, bytes);
    await imported(other, bytes);
    assertSame(await exported(other), bytes);
  });
  await test('a user id that is none is told, not left out', async () => {
    await store.sql('INSERT INTO user_revisions (user_id, revision) ' +
      "VALUES ('nobody', 1)");
    const { code, err } = await run(['export'], await store.env());
    assert.equal(code, 1);
    assert.match(err, /66 lower-case hexadecimal/);
  });
}

async function pipeCases() {
  const store = newStore();
  await imported(store, fileOf(makeUsers(SOME_RECORDS)));
  await test('an export into a pipe that is closed fails', async () => {
    const child = launch(['export'], await store.env());
    child.stdout.destroy();
    const { code, err } = await within(SECONDS, 'its end', child.ended);
    assert.equal(code, 1);
    assert.match(err, /standard output: Broken pipe/);
  });
  if (!POSTGRES) return;
  const name = 'a pooler in between changes nothing';
  if (withoutPgbouncer()) {
    skip(name, withoutPgbouncer());
    return;
  }
  const target = new PostgresStore();
  const bouncer = await Pgbouncer.start(await target.url(),
    { connections: 1 });
  atEnd(() => bouncer.stop());
  const env = { DATABASE_URL: bouncer.url.href };
  await test(name, async () => {
    const bytes = await exported(store);
    await succeed(['import'], env, { input: bytes, seconds: SECONDS });
    assertSame((await succeed(['export'], env, { seconds: SECONDS })).bytes,
      bytes);
  }, { seconds: SECONDS });
  await test('nor is a setting left on its connection', async () => {
    const names = ['statement_timeout', 'synchronous_commit',
      'enable_seqscan', 'jit'];
    const ask = (store_) => Promise.all(
      names.map((setting) => store_.sql(`SHOW ${setting}`)));
    assert.deepEqual(await ask(new PostgresStore(bouncer.url.href)),
      await ask(target));
  });
}

// ---- an import that is killed ----

async function killCases() {
  const file = fileOf(makeUsers(SOME_RECORDS));
  for (const part of [0.1, 0.5, 0.9, 1]) {
    await test(`killed after ${part * 100} % an import goes on where it was`,
      async () => {
        const store = newStore();
        await succeed(['migrate'], await store.env());
        const count = async () => Number(
          await store.sql('SELECT count(*) FROM records'));
        const child = launch(['import'], await store.env(), { pipe: true });
        // Without the last byte, so that the trailer is never whole.
        const end = Math.min(Math.floor(file.length * part), file.length - 1);
        child.stdin.write(file.subarray(0, end));
        // A batch is some thousand records.
        if (part >= 0.9) {
          await until(SECONDS, 'a batch', async () => await count() > 0);
        }
        child.kill('SIGKILL');
        await child.ended;
        assert.equal(await store.faults(), '');
        await imported(store, file);
        assertSame(await exported(store), file);
      }, { seconds: SECONDS });
  }
  await test('half a file is not taken for a whole one', async () => {
    const store = newStore();
    const { code, err } = await run(['import'], await store.env(),
      { input: file.subarray(0, Math.floor(file.length / 2)) });
    assert.equal(code, 1);
    assert.match(err, /JSON|trailer/);
    assert.equal(await store.faults(), '');
    await imported(store, file);
    assertSame(await exported(store), file);
  }, { seconds: SECONDS });
}

// ---- beside a server ----

/** Writers that count what was acknowledged, until they are told to stop. */
function writers(server, count) {
  let going = true;
  const users = Array.from({ length: count }, () => ({ key: new Key(),
    acknowledged: 0 }));
  const done = Promise.all(users.map(async (each) => {
    const client = new Client(server.address);
    const user = new User(client, each.key, { quick: true });
    // Every revision is that of a record of its own: none is replaced.
    for (let at = 0; going; at += 1) {
      const revision = await user.write({ id: `id${at}`, data: `data ${at}` });
      assert.equal(revision, at + 1);
      each.acknowledged = revision;
    }
    client.close();
  }));
  return { users, stop: () => { going = false; return done; } };
}

/** A copy must be a prefix of each user's history, and reach as far as was
 * acknowledged when it was begun. `records` are [user, id, revision, data]. */
function assertPrefix(users, begun, records, counters) {
  users.forEach(({ key, acknowledged }, at) => {
    const own = records.filter(([user]) => user === key.userId);
    assert.deepEqual(own.map(([, id, revision, data]) => (
      `${id} ${revision} ${data}`)), own.map((_, index) => (
      `id${index} ${index + 1} data ${index}`)), 'a gapless prefix');
    assert.ok(own.length >= begun[at], `${begun[at]} were acknowledged, ` +
      `${own.length} are there`);
    assert.ok(own.length <= acknowledged + 1, 'more than was written');
    assert.equal(counters.get(key.userId), own.length);
  });
}

function parseExport(bytes) {
  const lines = bytes.toString().trim().split('\n')
    .map((line) => JSON.parse(line));
  return {
    counters: new Map(lines.filter((line) => 'counter' in line)
      .map(({ user, counter }) => [user, counter])),
    records: lines.filter((line) => 'id' in line).map((line) => [line.user,
      line.id, line.revision, Buffer.from(line.data, 'base64').toString()]),
  };
}

async function loadCases() {
  const server = await new Server().start();
  const env = await server.store.env();
  const load = writers(server, 8);
  const { users } = load;
  const enough = (more) => {
    const goal = users.map(({ acknowledged }) => acknowledged + more);
    return until(30, 'writes', () => users.every(
      ({ acknowledged }, at) => acknowledged >= goal[at]));
  };
  const begun = () => users.map(({ acknowledged }) => acknowledged);
  const exports = [];
  const copies = [];
  await test('a served store is exported and backed up under load',
    async () => {
      for (let turn = 0; turn < 3; turn += 1) {
        await enough(scaled(30));
        let since = begun();
        exports.push([since, await exported(server.store)]);
        if (POSTGRES) continue;
        const copy = path.join(temporaryDirectory(), 'copy.sqlite');
        since = begun();
        await succeed(['backup', copy], env);
        copies.push([since, copy]);
      }
      await enough(1);
    }, { seconds: SECONDS });
  await test('no write failed meanwhile', () => load.stop());
  await test('each export is a prefix of what was acknowledged', () => {
    for (const [since, bytes] of exports) {
      const { records, counters } = parseExport(bytes);
      assertPrefix(users, since, records, counters);
    }
  });
  if (!POSTGRES) await copyCases(server, users, copies);
  await besideCases(server, env);
  await server.stop();
}

async function copyCases(server, users, copies) {
  await test('each backup is a prefix of what was acknowledged', async () => {
    for (const [since, copy] of copies) {
      const store = new SqliteStore(path.dirname(copy));
      store.file = copy;
      assert.equal(await store.faults(), '');
      const records = (await store.sql(
        'SELECT user_id, id, revision, CAST(data AS TEXT) FROM records ' +
        'ORDER BY user_id, revision')).split('\n')
        .map((line) => line.split('|'));
      const counters = new Map((await store.sql(
        'SELECT user_id, revision FROM user_revisions')).split('\n')
        .map((line) => line.split('|'))
        .map(([user, revision]) => [user, Number(revision)]));
      assertPrefix(users, since, records, counters);
    }
  });
  await test('a backup is served as it is, and written on', async () => {
    const [, copy] = copies.at(-1);
    const dir = path.dirname(copy);
    const restored = path.join(dir, 'db');
    mkdirSync(restored);
    await succeed(['backup', path.join(restored, 'db.sqlite')],
      await server.store.env());
    const second = await new Server(
      { dir: restored, store: new SqliteStore(restored) }).start();
    const client = new Client(second.address);
    const user = new User(client, users[0].key);
    const records = await user.everything();
    assert.equal(records.length, users[0].acknowledged);
    assert.equal(await user.write({ id: 'new' }), records.length + 1);
    client.close();
    await second.stop();
  });
  await test('a backup replaces nothing unless it is told to', async () => {
    const [, copy] = copies[0];
    const env = await server.store.env();
    const { ino } = statSync(copy);
    const { code, err } = await run(['backup', copy], env);
    assert.equal(code, 1);
    assert.match(err, /--force/);
    assert.equal(statSync(copy).ino, ino);
    await succeed(['backup', '--force', copy], env);
    assert.notEqual(statSync(copy).ino, ino);
    assert.equal(statSync(copy).mode & 0o077, 0, 'others may read it');
    assert.deepEqual(readdirSync(path.dirname(copy))
      .filter((name) => name.startsWith('copy')), ['copy.sqlite']);
  });
  for (const name of ['db.sqlite', 'db.sqlite-wal', 'tallyd.lock']) {
    await test(`a backup does not replace the store's ${name}`, async () => {
      const env = await server.store.env();
      const file = path.join(env.SQLITE_DIR_PATH, name);
      const { ino } = statSync(file);
      const { code, err } = await run(['backup', '--force', file], env);
      assert.equal(code, 1);
      assert.match(err, /database's own/);
      assert.equal(statSync(file).ino, ino);
    });
  }
  await test('a backup that cannot be written leaves nothing', async () => {
    const { code, err } = await run(
      ['backup', '/proc/nowhere/copy'], await server.store.env());
    assert.equal(code, 1);
    assert.match(err, /FILE cannot be written/);
  });
}

async function interruptCases() {
  const user = makeUser(300);
  for (const record of user.records) record.data = 'A'.repeat(60000);
  const store = newStore();
  await imported(store, fileOf([user]));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    await test(`a backup that ${signal} ends leaves nothing`, async () => {
      const dir = temporaryDirectory();
      const child = launch(
        ['backup', path.join(dir, 'copy')], await store.env());
      await until(SECONDS, 'a copy', () => readdirSync(dir).length > 0);
      child.kill(signal);
      const end = await within(SECONDS, 'its end', child.ended);
      // On a machine that was busy it may have been done before.
      assert.deepEqual([end.signal, readdirSync(dir)],
        end.code === 0 ? [null, ['copy']] : [signal, []]);
    });
  }
}

/** What may be done while the store is served, and what may not. */
async function besideCases(server, env) {
  await test('an import beside a server is refused', async () => {
    const { code, err } = await run(
      ['import'], env, { input: fileOf([makeUser(1)]) });
    assert.equal(code, 1);
    assert.match(err, /in use by another tallyd/);
  });
  await test('stats beside a server', async () => {
    const { out } = await succeed(['stats', '--json'], env);
    assert.equal(JSON.parse(out).users,
      Number(await server.store.sql('SELECT count(*) FROM user_revisions')));
  });
  await test('check beside a server', async () => {
    const { out } = await succeed(['check'], env);
    assert.match(out, /^ok +database: .*, being served$/m);
  });
  if (POSTGRES) {
    await test('backup on PostgreSQL names the tool', async () => {
      const { code, err } = await run(['backup', 'copy'], env);
      assert.equal(code, 1);
      assert.match(err, /pg_dump/);
    });
    return;
  }
  await test('purge-user beside a server on SQLite is refused', async () => {
    const user = `02${'00'.repeat(32)}`;
    const { code, err } = await run(['purge-user', '--yes', user], env);
    assert.equal(code, 1);
    assert.match(err, /in use by another tallyd/);
  });
}

// ---- purge and stats ----

async function purgeCases() {
  // As many as there are, so that what is deleted must make room again.
  const server = await new Server(
    { env: { MAX_RECORDS_PER_USER: '5' } }).start();
  const client = new Client(server.address);
  const user = new User(client, new Key());
  const other = new User(client, new Key());
  const lock = { name: 'lock',
    instance: '11111111-1111-4111-8111-111111111111', exclusive: true };
  for (const each of [user, other]) {
    for (let at = 0; at < 5; at += 1) await each.write({ id: `id${at}` });
    await each.setLock(lock);
  }
  const env = await server.store.env();
  const ask = ['purge-user', user.key.userId];
  // A device that knows all, and will ask from there.
  const known = (await user.changes()).at(-1).revision;
  await test('purge-user says what it would delete and asks for --yes',
    async () => {
      const { code, out, err } = await run(ask, env);
      assert.equal(code, 1);
      assert.match(out, /would delete 5 records, 5 bytes/);
      assert.match(err, /--yes/);
      assert.equal((await user.changes()).length, 5);
    });
  // PostgreSQL locks what it changes; SQLite wants the file to itself.
  if (!POSTGRES) await server.stop();
  await test('purge-user deletes records and locks', async () => {
    const { out } = await succeed([...ask, '--yes'], env);
    assert.match(out, /deleted 5 records.*revision stays at 5/);
    const mine = `WHERE user_id = '${user.key.userId}'`;
    assert.equal(await server.store.sql(
      `SELECT (SELECT count(*) FROM records ${mine}), ` +
      `(SELECT count(*) FROM locks ${mine}), ` +
      `(SELECT max(revision) FROM user_revisions ${mine})`), '0|0|5');
    assert.equal(await server.store.sql('SELECT records, bytes, ' +
      `counted - revision FROM user_revisions ${mine}`), '0|0|0',
    'what limits go by');
    assert.equal(await server.store.faults(), '');
  });
  if (!POSTGRES) await server.start();
  await test('others keep theirs', async () => {
    assert.equal((await other.changes()).length, 5);
    assert.equal((await other.getLock('lock')).reply.locked, true);
    assert.equal((await user.getLock('lock')).reply.locked, false);
  });
  await test('a device that knew all misses nothing that comes later',
    async () => {
      assert.deepEqual(await user.changes(known), []);
      assert.equal(await user.write({ id: 'id2', revision: 3 }), known + 1);
      assert.deepEqual((await user.changes(known)).map(({ id }) => id),
        ['id2']);
    });
  await test('purge-user: a user that is not there', async () => {
    const { code, err } = await run(
      ['purge-user', `03${'00'.repeat(32)}`], env);
    assert.equal(code, 1);
    assert.match(err, /no such user/);
  });
  for (const id of ['', '02', 'x'.repeat(66), "' OR 1=1 --".padEnd(66)]) {
    await test(`purge-user: ${JSON.stringify(id)} is no id`, async () => {
      const { code, err } = await run(['purge-user', '--yes', id], env);
      assert.equal(code, 1);
      assert.match(err, /66 hexadecimal/);
    });
  }
  client.close();
  await server.stop();
}

/** What was deleted can be nowhere in the store's files. */
async function overwriteCases() {
  const marker = `deleted ${'for good '.repeat(100)}`;
  const user = makeUser(1);
  user.records[0].data = Buffer.from(marker).toString('base64');
  const store = newStore();
  await imported(store, fileOf([user]));
  const ask = [['purge-user', '--yes', user.user], await store.env()];
  const traces = () => readdirSync(store.dir).filter((name) => (
    readFileSync(path.join(store.dir, name)).includes(marker)));
  const reader = spawn('sqlite3', ['-readonly', store.file]);
  const closed = once(reader, 'close');
  const reads = once(reader.stdout, 'data');
  reader.stdin.write('BEGIN; SELECT count(*) FROM records;\n');
  await within(SECONDS, 'the reader', reads);
  await test('purge-user tells of a reader that keeps it from overwriting',
    async () => {
      const { code, err } = await run(...ask);
      assert.equal(code, 1);
      assert.match(err, /not yet overwritten .*do it again/);
    });
  reader.stdin.end();
  await within(SECONDS, 'the reader\'s end', closed);
  await test('once more, and nothing of it is left in the files', async () => {
    assert.notDeepEqual(traces(), []);
    await succeed(...ask);
    assert.deepEqual(traces(), []);
  });
}

async function statsCases(store, users) {
  const env = await store.env();
  const sizes = users.map(({ user, counter, records }) => ({
    user, records: records.length, revision: counter,
    bytes: records.reduce((sum, { data }) => (
      sum + Buffer.from(data, 'base64').length), 0),
  })).filter(({ records }) => records)
    .sort((one, other) => other.bytes - one.bytes
      || byBytes(one.user, other.user));
  const sum = (name) => sizes.reduce((all, size) => all + size[name], 0);
  await test('stats --json has the figures', async () => {
    const { out } = await succeed(['stats', '--json', '--top', '3'], env);
    const stats = JSON.parse(out);
    assert.deepEqual(
      [stats.users, stats.records, stats.bytes, stats.locks],
      [users.length, sum('records'), sum('bytes'), 0]);
    assert.ok(stats.database_bytes > stats.bytes);
    assert.deepEqual(stats.biggest, sizes.slice(0, 3));
  });
  await test('stats without options has them, too', async () => {
    const { out } = await succeed(['stats'], env);
    assert.match(out, new RegExp(`^records +${sum('records')}$`, 'm'));
    assert.equal(out.match(/^0[23][0-9a-f]{64} /gm).length,
      Math.min(10, sizes.length));
  });
}

await suite(async () => {
  const users = makeUsers(RECORDS);
  const file = fileOf(users);
  diag(`${RECORDS} records, ${file.length} bytes`);
  const store = await identityCases(users, file);
  await acrossCases(store, file);
  await statsCases(store, users);
  await pipeCases();
  await oddCases();
  await killCases();
  await moveCases();
  await conflictCases();
  await loadCases();
  await purgeCases();
  if (!POSTGRES) await overwriteCases();
  if (!POSTGRES) await interruptCases();
  await hostileCases();
}, { seconds: 600 });
