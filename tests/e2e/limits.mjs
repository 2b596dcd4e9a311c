// SPDX-License-Identifier: Apache-2.0
// limits — what a user, a connection and an application may ask: each limit
// hit has its status, its metric and its word in the log; who stays below is
// not held up, nor anybody else.

import assert from 'node:assert/strict';
import { Authority } from './lib/ca.mjs';
import { Client, User, encode } from './lib/client.mjs';
import { DataSync } from './lib/datasync.mjs';
import { atOnce } from './lib/load.mjs';
import { linesOf } from './lib/logfmt.mjs';
import { Metrics, ON } from './lib/metrics.mjs';
import { Session } from './lib/raw.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { suite, test, until } from './lib/tap.mjs';
import { WEB, askOnce, post, readAnswer } from './lib/web.mjs';

const OK = 0;
const EXHAUSTED = 8;
const UNAUTHENTICATED = 16;
const MIB = 1 << 20;
const RECORD_MAX = 65536;
const BURST_SECONDS = 10; // that a bucket holds
const LOG_SECONDS = 5;
const NONE = Object.fromEntries(['MAX_RATE_PER_CONNECTION',
  'MAX_RATE_PER_API_KEY', 'MAX_RATE_PER_USER', 'MAX_RECORDS_PER_USER',
  'MAX_MIB_PER_USER', 'MAX_LISTENERS_PER_USER', 'MAX_NEW_USERS_PER_HOUR']
  .map((name) => [name, '0']));
const TEXTS = {
  rate_per_connection: 'too many requests on this connection, try again later',
  rate_per_api_key: 'too many requests with this API key, try again later',
  rate_per_user: 'too many requests of this user, try again later',
  records_per_user: 'this user has as many records as are allowed',
  mib_per_user: 'this user has as much data as is allowed',
  listeners_per_user: 'this user has as many listeners as are allowed',
  new_users_per_hour: 'too many new users, try again later',
};

/** A server of two loops with these limits and no others. */
async function serve(limits) {
  const server = await startServer({
    env: { SHARDS: '2', ...NONE, ...ON, ...limits } });
  server.metrics = new Metrics(server);
  return server;
}

/** Where the log is when all that was answered is in it. */
async function logged(server) {
  const mark = `mark-${server.marks = (server.marks ?? 0) + 1}`;
  await askOnce(server.webPort,
    post('/none', Buffer.alloc(0), { headers: { 'x-request-id': mark } }));
  const line = () => server.stderr.indexOf(`request_id=${mark} `);
  await until(LOG_SECONDS, 'the mark', () => line() >= 0);
  return server.stderr.indexOf('\n', line()) + 1;
}

/** Has `fn` hit a limit `times`, and looks for that in metrics and log. */
async function hits(server, limit, times, fn) {
  const before = await logged(server);
  assert.deepEqual(await server.metrics.change(/^tallyd_rejected/, fn),
    { [`tallyd_rejected_total{limit="${limit}"}`]: times });
  const told = () => linesOf(server.stderr.slice(before))
    .filter((line) => line.limit === limit);
  await until(LOG_SECONDS, `${times} lines`, () => told().length >= times);
  await logged(server);
  assert.equal(told().length, times);
  assert.ok(told().every(({ event, status }) =>
    event === 'call' && status === 'RESOURCE_EXHAUSTED'));
  assert.ok(linesOf(server.stderr.slice(before))
    .every(({ level }) => level === 'info'), 'it is no fault of ours');
}

function refused(answer, limit) {
  assert.deepEqual({ code: answer.code, message: answer.message },
    { code: EXHAUSTED, message: TEXTS[limit] });
}

/** Gives how many of `answers` passed; the others were refused for `limit`. */
function passed(answers, limit) {
  const others = answers.filter(({ code }) => code !== OK);
  for (const answer of others) refused(answer, limit);
  return answers.length - others.length;
}

/** Calls until one is refused; gives how many were not, for the bucket fills
 * up meanwhile. */
async function untilRefused(limit, call) {
  for (let n = 0; ; n += 1) {
    const answer = await call();
    if (answer.code === EXHAUSTED) {
      refused(answer, limit);
      return n;
    }
  }
}

// ---- rates ----

/** Calls at once until some are refused: no fewer pass than a bucket holds, no
 * more than it holds and gets while they run. */
async function burst(limit, rate, count, call) {
  const began = performance.now();
  const answers = await atOnce(count, call);
  const seconds = (performance.now() - began) / 1000;
  const n = passed(answers, limit);
  assert.ok(n >= rate * BURST_SECONDS, `${n} passed`);
  assert.ok(n <= rate * (BURST_SECONDS + seconds) + 1, `${n} passed`);
  return count - n;
}

async function userRateCases() {
  const rate = 4;
  const server = await serve({ MAX_RATE_PER_USER: String(rate) });
  // On connections of both loops.
  const clients = Array.from({ length: 4 }, () => new Client(server.address));
  const key = new Key();
  const users = clients.map((client) => new User(client, key));
  const other = new User(clients[0], new Key());
  await test('a user: over all connections, by rate and burst', async () => {
    const series = 'tallyd_rejected_total{limit="rate_per_user"}';
    const n = await burst('rate_per_user', rate, 100,
      (i) => users[i % users.length].getLock('n'));
    assert.equal(await server.metrics.value(series), n);
  });
  await test('a user: metric and log', async () => {
    await hits(server, 'rate_per_user', 1, () =>
      untilRefused('rate_per_user', () => users[0].listChanges()));
  });
  await test('a user: nobody else is held up', async () => {
    assert.equal((await other.getLock('n')).code, OK);
    assert.equal((await other.setRecord({ id: 'a' })).code, OK);
  });
  await test('a user: later there is more', async () => {
    await until(5, 'a call that passes', async () =>
      (await users[0].getLock('n')).code === OK);
  });
  await test('a user: over gRPC-Web, too', async () => {
    const target = '/sync.Syncer/GetLock';
    const ask = async () => readAnswer(await askOnce(server.webPort, post(
      target, encode('GetLock',
        users[0].signed('GetLock', { lock_name: 'n' })),
      { headers: { 'content-type': WEB } })));
    await until(5, 'a refusal', async () => {
      const { status, message } = await ask();
      if (status === OK) return false;
      refused({ code: status, message }, 'rate_per_user');
      return true;
    });
  });
  for (const client of clients) client.close();
  await server.stop();
}

async function connectionRateCases() {
  const rate = 3;
  const server = await serve({ MAX_RATE_PER_CONNECTION: String(rate) });
  const client = new Client(server.address);
  const others = new Client(server.address);
  // Every call another user: their rates are not what counts.
  const call = (on) => () => new User(on, new Key()).getLock('n');
  await test('a connection: by rate and burst, whoever asks', async () => {
    assert.ok(await burst('rate_per_connection', rate, 60, call(client)) > 0);
  });
  await test('a connection: metric and log', () =>
    hits(server, 'rate_per_connection', 1, () =>
      untilRefused('rate_per_connection', call(client))));
  await test('a connection: refused before the signature is looked at',
    async () => {
      const series = 'tallyd_signature_duration_seconds_count';
      const before = await server.metrics.value(series);
      const n = await untilRefused('rate_per_connection', () =>
        new User(client, new Key()).getLock('n', { signature: 'none' }));
      assert.equal(await server.metrics.value(series) - before, n);
    });
  await test('a connection: another is not held up', async () =>
    assert.equal((await call(others)()).code, OK));
  client.close();
  others.close();
  await server.stop();
}

async function apiKeyCases() {
  const rate = 3;
  const authority = new Authority();
  const [one, two, three] = Array.from({ length: 3 },
    () => authority.issue().key);
  const server = await serve({ MAX_RATE_PER_API_KEY: String(rate),
    MAX_NEW_USERS_PER_HOUR: '2', CA_CERT: authority.certificate });
  const clients = Array.from({ length: 4 }, () => new Client(server.address));
  const bearing = (apiKey, i = 0) => new User(clients[i % 4], new Key(),
    { metadata: { authorization: `Bearer ${apiKey}` } });
  const old = bearing(two);
  await test('new users: as many as may be, over all connections', async () => {
    assert.equal((await old.setRecord({ id: 'a' })).code, OK);
    assert.equal((await bearing(two, 1).setRecord({ id: 'a' })).code, OK);
    await hits(server, 'new_users_per_hour', 1, async () =>
      refused(await bearing(two, 2).setRecord({ id: 'a' }),
        'new_users_per_hour'));
    assert.equal(await server.store.sql(
      'SELECT count(*) FROM user_revisions'), '2');
  });
  await test('new users: those there are write on, and all may read',
    async () => {
      assert.equal((await old.setRecord({ id: 'b' })).code, OK);
      assert.equal((await old.setRecord({ id: 'a', revision: 9 })).code, OK);
      assert.equal((await bearing(two, 3).listChanges()).code, OK);
    });
  await test('new users: of another API key', async () => {
    assert.equal((await bearing(one).setRecord({ id: 'a' })).code, OK);
  });
  await test('an API key: by rate and burst, over all connections', async () => {
    assert.ok(await burst('rate_per_api_key', rate, 80,
      (i) => bearing(three, i).getLock('n')) > 0);
  });
  await test('an API key: metric and log', async () => {
    await hits(server, 'rate_per_api_key', 1, () =>
      untilRefused('rate_per_api_key', () => bearing(three).getLock('n')));
  });
  await test('an API key: another is not held up, none is none', async () => {
    assert.equal((await bearing(one).getLock('n')).code, OK);
    assert.equal((await bearing('AAAA').getLock('n')).code, UNAUTHENTICATED);
  });
  for (const client of clients) client.close();
  await server.stop();
}

/** Without API keys all applications are one. */
async function newUserCases() {
  const most = 20;
  const server = await serve({ MAX_NEW_USERS_PER_HOUR: String(most) });
  const clients = Array.from({ length: 4 }, () => new Client(server.address));
  await test('new users: at once, never more than may be', async () => {
    const answers = await atOnce(100, (i) =>
      new User(clients[i % 4], new Key()).setRecord({ id: 'a' }));
    assert.ok(passed(answers, 'new_users_per_hour') <= most);
    // Near the limit some were refused early; the rest of it is still there.
    for (let i = 0; i < most; i += 1) {
      await new User(clients[0], new Key()).setRecord({ id: 'a' });
    }
    assert.equal(await server.store.sql(
      'SELECT count(*) FROM user_revisions'), String(most));
  });
  for (const client of clients) client.close();
  await server.stop();
}

// ---- what a user has ----

async function recordCases() {
  const server = await serve({ MAX_RECORDS_PER_USER: '5' });
  const client = new Client(server.address);
  const user = new User(client, new Key());
  await test('records: up to the limit, however they come', async () => {
    const answers = await atOnce(12, (i) => user.setRecord({ id: `${i}` }));
    assert.equal(passed(answers, 'records_per_user'), 5);
    assert.equal((await user.changes()).length, 5);
  });
  await test('records: metric and log', () =>
    hits(server, 'records_per_user', 1, async () =>
      refused(await user.setRecord({ id: 'more' }), 'records_per_user')));
  await test('records: those there are can be replaced', async () => {
    const [{ id, revision }] = await user.changes();
    assert.equal((await user.setRecord({ id, revision })).reply.status,
      'SUCCESS');
  });
  await test('records: another user has a limit of his own', async () =>
    assert.equal((await new User(client, new Key())
      .setRecord({ id: 'a' })).code, OK));
  await test('records: after a restart it is the same', async () => {
    await server.restart({ MAX_RECORDS_PER_USER: '6' });
    server.metrics = new Metrics(server);
    assert.equal((await user.setRecord({ id: 'more' })).code, OK);
    refused(await user.setRecord({ id: 'another' }), 'records_per_user');
  });
  await test('records: what data-sync wrote in between counts', async () => {
    const other = new Key();
    await server.stop();
    const dataSync = new DataSync(server.store);
    await dataSync.firstRecord(other.userId, 'a', Buffer.from('x'));
    for (let revision = 2; revision <= 6; revision += 1) {
      await dataSync.setRecord(
        other.userId, `${revision}`, Buffer.from('x'), revision);
    }
    await server.start();
    server.metrics = new Metrics(server);
    const his = new User(client, other);
    await hits(server, 'records_per_user', 1, async () =>
      refused(await his.setRecord({ id: 'more' }), 'records_per_user'));
    await server.restart({ MAX_RECORDS_PER_USER: '7' });
    assert.equal((await his.setRecord({ id: 'more' })).code, OK);
    refused(await his.setRecord({ id: 'another' }), 'records_per_user');
  });
  await test('records: the store has counted right', async () =>
    assert.equal(await server.store.faults(), ''));
  client.close();
  await server.stop();
}

async function dataCases() {
  const server = await serve({ MAX_MIB_PER_USER: '1' });
  const client = new Client(server.address);
  const user = new User(client, new Key());
  const full = MIB / RECORD_MAX;
  await test('data: up to the limit, to the byte', async () => {
    for (let i = 0; i < full; i += 1) {
      await user.write({ id: `${i}`, data: Buffer.alloc(RECORD_MAX) });
    }
    await hits(server, 'mib_per_user', 1, async () =>
      refused(await user.setRecord({ id: 'more', data: 'x' }),
        'mib_per_user'));
    assert.equal((await user.setRecord({ id: 'none', data: '' })).code, OK);
  });
  await test('data: what a record gave up another may take', async () => {
    assert.equal((await user.setRecord({ id: '0', revision: 1,
      data: Buffer.alloc(RECORD_MAX - 10) })).code, OK);
    assert.equal((await user.setRecord({ id: 'ten', data: '0123456789' }))
      .code, OK);
    refused(await user.setRecord({ id: 'more', data: 'x' }), 'mib_per_user');
  });
  await test('data: the store has counted right', async () =>
    assert.equal(await server.store.faults(), ''));
  client.close();
  await server.stop();
}

async function listenerCases() {
  const server = await serve({ MAX_LISTENERS_PER_USER: '3' });
  const clients = Array.from({ length: 4 }, () => new Client(server.address));
  const key = new Key();
  const users = clients.map((client) => new User(client, key));
  const listeners = [];
  await test('listeners: up to the limit, over all connections', async () => {
    for (const user of users.slice(0, 3)) {
      listeners.push(await user.listen().greeting());
    }
    await hits(server, 'listeners_per_user', 1, async () =>
      refused(await users[3].listen().ended, 'listeners_per_user'));
  });
  await test('listeners: another user has his own', async () => {
    const other = await new User(clients[3], new Key()).listen().greeting();
    other.cancel();
  });
  await test('listeners: those there are hear of changes', async () => {
    await users[3].write({ id: 'a', clientId: 'me' });
    for (const listener of listeners) {
      assert.deepEqual(await listener.next(), { client_id: 'me' });
    }
  });
  await test('listeners: who leaves makes room', async () => {
    listeners[0].cancel();
    await until(LOG_SECONDS, 'room', async () => {
      const listener = users[3].listen();
      const first = await listener.next();
      if (first.end) refused(first.end, 'listeners_per_user');
      return !first.end;
    });
  });
  await test('listeners: a connection that is cut makes room', async () => {
    const other = new User(clients[0], new Key());
    const before = await server.metrics.value('tallyd_listeners');
    await other.listen().greeting();
    await other.listen().greeting();
    const session = new Session(server.address);
    session.message('/sync.Syncer/ListenChanges', encode('ListenChanges',
      other.signed('ListenChanges', {}))).catch(() => {});
    await until(LOG_SECONDS, 'the third', async () =>
      await server.metrics.value('tallyd_listeners') === before + 3);
    refused(await other.listen().ended, 'listeners_per_user');
    await session.close();
    await until(LOG_SECONDS, 'room', async () =>
      !(await other.listen().next()).end);
  });
  for (const client of clients) client.close();
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
}

/** As they are by default: nobody in these tests comes near. */
async function defaultCases() {
  const server = await startServer({ env: ON });
  const client = new Client(server.address);
  await test('by default a device that comes back is not held up', async () => {
    const user = new User(client, new Key(), { quick: true });
    const answers = await atOnce(500, (i) =>
      user.setRecord({ id: `${i}` }));
    assert.ok(answers.every(({ code }) => code === OK));
  });
  client.close();
  await server.stop();
}

await suite(async () => {
  await userRateCases();
  await connectionRateCases();
  await apiKeyCases();
  await newUserCases();
  await recordCases();
  await dataCases();
  await listenerCases();
  await defaultCases();
});
