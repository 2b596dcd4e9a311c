// SPDX-License-Identifier: Apache-2.0
// pg_pooler — two instances behind pgbouncer in transaction mode are one
// server, with a direct connection to listen on and without.

import assert from 'node:assert/strict';
import { Beacon } from './lib/beacon.mjs';
import { Client, User } from './lib/client.mjs';
import { faultsOf } from './lib/history.mjs';
import { atOnce, pause } from './lib/load.mjs';
import { Pgbouncer, withoutPgbouncer } from './lib/pgbouncer.mjs';
import { createDatabase, sharedUrl } from './lib/postgres.mjs';
import { Recorder } from './lib/recorder.mjs';
import { Server } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { PostgresStore, withoutPostgres } from './lib/store.mjs';
import { diag, needs, scaled, suite, test, until } from './lib/tap.mjs';

const INSTANCES = 2;
const CLIENTS = 4;
const USERS = 3;
const OPERATIONS = scaled(60, 20); // of each client for each user
const CONNECTIONS = 3; // fewer than the instances have to the pooler
const BEACONS = 3;
const HEARD_SECONDS = 5; // also where counters are polled
const BACK_SECONDS = 5;
const HOLDER = '11111111-1111-4111-8111-111111111111';

/** All five methods, from one instance to the other. */
async function methodCases(what, servers) {
  const clients = servers.map(({ address }) => new Client(address));
  const key = new Key();
  const [one, two] = clients.map((client) => new User(client, key));
  await test(`${what}: all five methods`, async () => {
    const listener = await two.listen().greeting();
    assert.equal(await one.write({ id: 'a', data: 'x', clientId: 'me' }), 1);
    assert.equal((await one.setRecord({ id: 'a' })).reply.status, 'CONFLICT');
    const { client_id: heard } = await listener.next(HEARD_SECONDS);
    assert.ok(heard === 'me' || heard === undefined);
    assert.deepEqual((await two.changes()).map(({ id, revision, data }) =>
      [id, revision, data.toString()]), [['a', 1, 'x']]);
    const lock = { name: 'l', instance: HOLDER, exclusive: true };
    assert.equal((await one.setLock(lock)).code, 0);
    assert.equal((await two.getLock('l')).reply.locked, true);
    assert.equal((await two.setLock({ ...lock, acquire: false })).code, 0);
    assert.equal((await one.getLock('l')).reply.locked, false);
    listener.cancel();
  });
  for (const client of clients) client.close();
}

async function beaconCases(what, servers) {
  const beacon = await new Beacon(servers).ready();
  await test(`${what}: a write is heard of on both instances`, async () => {
    for (let turn = 0; turn < BEACONS; turn += 1) {
      for (let instance = 0; instance < INSTANCES; instance += 1) {
        assert.ok(await beacon.once(HEARD_SECONDS, instance));
      }
    }
    diag(`the slowest heard after ${beacon.longest.toFixed(0)} ms`);
  });
  await beacon.close();
}

async function historyCases(what, servers, store) {
  const keys = Array.from({ length: USERS }, () => new Key());
  const recorder = new Recorder(servers.map(({ address }) => address));
  await test(`${what}: the history is that of one store`, async () => {
    await atOnce(CLIENTS, () => recorder.client(keys, OPERATIONS));
    await recorder.finish(keys);
    diag(String(recorder));
    assert.deepEqual([...recorder.strange], []);
    assert.equal(recorder.history.filter(({ known }) => !known).length, 0);
    assert.deepEqual(faultsOf(recorder.history).slice(0, 10), []);
    assert.equal(await store.faults(), '');
  });
}

async function restartCases(what, servers, bouncer) {
  const beacon = await new Beacon(servers).ready();
  await test(`${what}: serving again after the pooler was killed`,
    async () => {
      await bouncer.stop();
      await pause(100);
      await bouncer.launch();
      await atOnce(INSTANCES, (index) => beacon.served(index, BACK_SECONDS));
      await until(BACK_SECONDS, 'a write', () => beacon.once(HEARD_SECONDS));
      assert.equal(beacon.ended(), undefined);
    });
  await beacon.close();
}

async function pooled(what, bouncer, direct) {
  const url = await createDatabase();
  const env = { SHARDS: '2', DATABASE_URL: bouncer.through(url),
    ...(direct && { DATABASE_DIRECT_URL: url }) };
  const store = new PostgresStore(url);
  const servers = await atOnce(INSTANCES,
    () => new Server({ store, env }).start());
  await test(`${what}: the log says what it found`, async () => {
    const polled = () => servers.every(({ stderr }) =>
      stderr.includes('event=database.polled'));
    if (!direct) await until(5, 'database.polled', polled);
    else assert.ok(!polled());
  });
  await methodCases(what, servers);
  await beaconCases(what, servers);
  await historyCases(what, servers, store);
  await restartCases(what, servers, bouncer);
  await Promise.all(servers.map((server) => server.stop()));
}

/** What it listens to is another database: it finds out that it hears nothing
 * of its own. */
async function misdirected() {
  const url = await createDatabase();
  const store = new PostgresStore(url);
  const env = { SHARDS: '2', DATABASE_DIRECT_URL: await createDatabase() };
  await (await new Server({ store }).start()).stop(); // migrates it
  const servers = await atOnce(INSTANCES,
    () => new Server({ store, env }).start());
  await test('a direct connection to elsewhere: found out', () =>
    until(15, 'it in the log', () => servers.every(({ stderr }) =>
      stderr.includes('it does not hear what the pool says'))));
  await beaconCases('a direct connection to elsewhere', servers);
  await Promise.all(servers.map((server) => server.stop()));
}

needs(withoutPostgres);
needs(withoutPgbouncer);
await suite(async () => {
  const bouncer = await Pgbouncer.start(await sharedUrl(),
    { connections: CONNECTIONS });
  await pooled('with a direct connection', bouncer, true);
  await pooled('pooler alone', bouncer, false);
  await bouncer.stop();
  await misdirected();
});
