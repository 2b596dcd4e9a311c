// SPDX-License-Identifier: Apache-2.0
// health — grpc.health.v1.Health, and that /health says the same.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { Client, User } from './lib/client.mjs';
import { query, sharedUrl } from './lib/postgres.mjs';
import { frame, unframe } from './lib/raw.mjs';
import { freePort, startServer } from './lib/server.mjs';
import { Channel, contract } from './lib/service.mjs';
import { Key } from './lib/sign.mjs';
import { POSTGRES } from './lib/store.mjs';
import { atEnd, suite, test, until, within } from './lib/tap.mjs';

const OK = 0;
const NOT_FOUND = 5;
const UNAVAILABLE = 14;
const WATCHERS = 50;
const SERVICES = [
  '', 'sync.Syncer', 'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
];
const health = contract(
  'grpc/health/v1/health.proto')['grpc.health.v1.Health'];

async function checkCases(channel) {
  for (const service of SERVICES) {
    await test(`Check: '${service}' is serving`, async () => {
      const { code, reply } = await channel.unary(health.Check, { service });
      assert.equal(code, OK);
      assert.equal(reply.status, 'SERVING');
    });
  }
  for (const service of ['sync', 'sync.Syncer2', 'sync.syncer', ' ', 'é\0']) {
    await test(`Check: ${JSON.stringify(service)} is not found`, async () => {
      const answer = await channel.unary(health.Check, { service });
      assert.deepEqual(answer,
        { code: NOT_FOUND, message: 'unknown service' });
    });
  }
  await test('List names every service', async () => {
    const { code, reply } = await channel.unary(health.List, {});
    assert.equal(code, OK);
    assert.deepEqual(reply.statuses, Object.fromEntries(
      SERVICES.map((name) => [name, { status: 'SERVING' }])));
  });
}

/** The stream's next status; after it the stream is still open. */
async function openWith(channel, watch, status) {
  assert.deepEqual(await watch.next(), { status });
  await channel.unary(health.Check, {});
  assert.equal(watch.over, undefined);
  assert.deepEqual(watch.replies, []);
}

async function watchCases(channel) {
  await test('Watch: the status at once, and nothing until it changes', () =>
    openWith(channel, channel.stream(health.Watch, {}), 'SERVING'));
  await test('Watch: an unknown service is SERVICE_UNKNOWN and stays so', () =>
    openWith(channel, channel.stream(health.Watch, { service: 'x.Y' }),
      'SERVICE_UNKNOWN'));
  await test('Watch: one that leaves disturbs no other', async () => {
    const stays = channel.stream(health.Watch, {});
    const leaves = channel.stream(health.Watch, {});
    await leaves.next();
    leaves.call.cancel();
    await leaves.end();
    await openWith(channel, stays, 'SERVING');
  });
}

async function webCases(web) {
  await test('the web port says the same to plain HTTP', async () => {
    const answer = await fetch(`http://${web}/health`);
    assert.equal(answer.status, 200);
    assert.equal(await answer.text(), 'OK');
  });
  await test('the web port says the same over gRPC-Web', async () => {
    const answer = await fetch(`http://${web}/grpc.health.v1.Health/Check`, {
      method: 'POST', body: frame(Buffer.alloc(0)),
      headers: { 'content-type': 'application/grpc-web+proto' } });
    const [reply, trailers] = unframe(Buffer.from(await answer.arrayBuffer()));
    assert.equal(reply.bytes.toString('hex'), '0801');
    assert.equal(trailers.flag, 0x80);
    assert.match(trailers.bytes.toString(), /^grpc-status: 0\r\n/);
  });
}

// ---- a store that cannot be used ----

/** Another process begins to write and goes on for as long as we like. */
async function hold(server) {
  const other = spawn('sqlite3', [server.store.file],
    { stdio: ['pipe', 'pipe', 'inherit'] });
  const gone = new Promise((resolve) => { other.once('close', resolve); });
  atEnd(() => other.kill('SIGKILL'));
  const begun = new Promise((resolve) => { other.stdout.once('data', resolve); });
  other.stdin.write('BEGIN IMMEDIATE; SELECT 1;\n');
  await within(5, 'the lock', begun);
  return () => {
    other.stdin.end('ROLLBACK;\n');
    return within(5, 'the end of sqlite3', gone);
  };
}

/** The server may write to no file any more, as when a disk is broken. */
async function forbidToWrite({ pid }) {
  const limit = (...args) => execFileSync(
    'prlimit', ['--pid', String(pid), ...args], { encoding: 'utf8' }).trim();
  const before = limit('--fsize', '--output=SOFT', '--noheadings', '--raw');
  limit('--fsize=1:');
  return () => limit(`--fsize=${before}:`);
}

/** The database lets nobody in, and whoever is in is thrown out. */
async function shut({ store }) {
  const url = await store.url();
  const [, name] = new URL(url).pathname.split('/');
  const admit = async (yes) => query(await sharedUrl(),
    `ALTER DATABASE ${name} ALLOW_CONNECTIONS ${yes}`);
  await admit(false);
  await query(await sharedUrl(), 'SELECT pg_terminate_backend(pid) FROM ' +
    'pg_stat_activity WHERE datname = $1', [name]);
  return () => admit(true);
}

// What can be read meanwhile: a file, all the same; a server, nothing.
const SPOILED = POSTGRES ? [['a database that lets nobody in', shut, false]] : [
  ['a store held by another', hold, true],
  ['nothing to write to', forbidToWrite, true]];

async function storeCases(server, web, channel, [what, spoil, readable]) {
  const client = new Client(server.address);
  const user = new User(client, new Key());
  const page = async () => {
    const answer = await fetch(`http://${web}/health`);
    return `${answer.status} ${await answer.text()}`;
  };
  const unary = async (method, request) =>
    (await channel.unary(method, request)).reply;
  const watches = SERVICES.map(
    (service) => channel.stream(health.Watch, { service }));
  for (const watch of watches) await watch.next();
  const told = async (status) => {
    for (const watch of watches) {
      assert.deepEqual(await watch.next(10), { status });
    }
    assert.deepEqual(await unary(health.Check, {}), { status });
    assert.deepEqual((await unary(health.List, {})).statuses,
      Object.fromEntries(SERVICES.map((name) => [name, { status }])));
  };
  await user.write({ id: 'before' });
  const mend = await spoil(server);
  const reading = user.listChanges();
  await test(`${what}: a write is UNAVAILABLE`, async () => {
    const { code } = await user.setRecord({ id: 'meanwhile' });
    assert.equal(code, UNAVAILABLE);
  });
  await test(`${what}: NOT_SERVING, and who watches is told`, () =>
    told('NOT_SERVING'));
  await test(`${what}: /health is 503`, () =>
    until(5, '503', async () => (await page()).startsWith('503 ')));
  if (readable) {
    await test(`${what}: what is there can be read`, async () => assert
      .deepEqual((await user.changes()).map(({ id }) => id), ['before']));
  } else {
    await test(`${what}: a read is UNAVAILABLE`, async () =>
      assert.equal((await reading).code, UNAVAILABLE));
  }
  await test(`${what}, no more: SERVING, without a restart`, async () => {
    await mend();
    await told('SERVING');
    await until(5, '200', async () => await page() === '200 OK');
  });
  await test(`${what}, no more: a write is stored`, async () => {
    assert.equal(await user.write({ id: 'after' }), 2);
    assert.deepEqual((await user.changes()).map(({ id }) => id),
      ['before', 'after']);
  });
  for (const watch of watches) watch.call.cancel();
  client.close();
}

async function drainCases(server, channel) {
  const watches = Array.from({ length: WATCHERS }, (_, index) =>
    channel.stream(health.Watch, { service: SERVICES[index % SERVICES.length] }));
  const strange = channel.stream(health.Watch, { service: 'x.Y' });
  for (const watch of [...watches, strange]) await watch.next();
  const end = server.stop('SIGTERM', 15);
  await test('SIGTERM: who watches is told NOT_SERVING', async () => {
    for (const watch of watches) {
      assert.deepEqual(await watch.next(), { status: 'NOT_SERVING' });
    }
  });
  await test('SIGTERM: then every watch ends with UNAVAILABLE', async () => {
    for (const watch of [...watches, strange]) {
      assert.deepEqual(await watch.end(),
        { code: UNAVAILABLE, message: 'server is shutting down' });
      assert.deepEqual(watch.replies, []);
    }
  });
  await test('SIGTERM: watches do not keep the server', async () =>
    assert.deepEqual(await within(10, 'its end', end),
      { code: 0, signal: null }));
}

await suite(async () => {
  const web = `127.0.0.1:${await freePort()}`;
  const server = await startServer({ env: { GRPC_WEB_LISTEN_ADDRESS: web } });
  const channel = new Channel(server.address);
  await checkCases(channel);
  await watchCases(channel);
  await webCases(web);
  for (const spoiled of SPOILED) {
    await storeCases(server, web, channel, spoiled);
  }
  await drainCases(server, channel);
  channel.close();
});
