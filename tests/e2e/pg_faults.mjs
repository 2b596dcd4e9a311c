// SPDX-License-Identifier: Apache-2.0
// pg_faults — PostgreSQL's backends are ended, and PostgreSQL itself, under
// load: nobody is told what is not so, nobody misses a change, and the service
// is back soon after the database.

import assert from 'node:assert/strict';
import { Beacon } from './lib/beacon.mjs';
import { faultsOf } from './lib/history.mjs';
import { atOnce, pause } from './lib/load.mjs';
import { Postgres, connect, createDatabase } from './lib/postgres.mjs';
import { Recorder } from './lib/recorder.mjs';
import { Server } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { PostgresStore, withoutPostgres } from './lib/store.mjs';
import { diag, needs, suite, test, until } from './lib/tap.mjs';

const INSTANCES = 2;
const CLIENTS = 4;
const USERS = 3;
const BEACONS = 3;
const END_SECONDS = process.env.E2E_THOROUGH ? 30 : 6;
const END_EVERY_MS = 200;
const RESTARTS = 5;
const LOAD_MS = 500; // between two restarts
const SERVING_SECONDS = 5;
// A lost LISTEN connection is back within so long.
const HEARD_SECONDS = 10;

const END_ONE = `SELECT pid, pg_terminate_backend(pid), query ILIKE 'LISTEN%'
  FROM pg_stat_activity WHERE usename = 'tallyd' ORDER BY random() LIMIT 1`;

/** Clients that write and read, and beacons, until ended(). */
class Load {
  constructor(servers, beacons) {
    this.keys = Array.from({ length: USERS }, () => new Key());
    this.recorder = new Recorder(servers.map(({ address }) => address));
    this.beacons = beacons;
    this.running = Promise.all([
      atOnce(CLIENTS, () => this.recorder.client(this.keys)),
      ...beacons.map((beacon) => beacon.run(HEARD_SECONDS))]);
    this.running.catch(() => {}); // told at the end
  }

  async ended() {
    this.recorder.stop();
    for (const beacon of this.beacons) beacon.stop();
    await this.running;
    await this.recorder.finish(this.keys);
    diag(String(this.recorder));
    const writes = this.beacons.reduce((sum, { writes: n }) => sum + n, 0);
    const longest = Math.max(...this.beacons.map((beacon) => beacon.longest));
    diag(`${writes} beacons, the slowest heard after ` +
      `${longest.toFixed(0)} ms`);
  }
}

async function judge(what, load, store) {
  await test(`${what}: no listener misses a write`, () => load.ended(),
    { seconds: 60 });
  await test(`${what}: every answer was one that the service gives`, () =>
    assert.deepEqual([...load.recorder.strange], []));
  await test(`${what}: what was told is so`, () =>
    assert.deepEqual(faultsOf(load.recorder.history).slice(0, 10), []));
  await test(`${what}: the store is sound`, async () =>
    assert.equal(await store.faults(), ''));
}

function beaconsOf(servers) {
  return atOnce(BEACONS, () => new Beacon(servers).ready());
}

async function endedBackends(postgres, servers, store) {
  const admin = await connect(postgres.admin);
  const load = new Load(servers, await beaconsOf(servers));
  let ended = 0;
  await test(`a backend is ended every ${END_EVERY_MS} ms for ` +
    `${END_SECONDS} s`, async () => {
    const over = performance.now() + END_SECONDS * 1000;
    while (performance.now() < over) {
      ended += (await admin.query(END_ONE)).rowCount;
      await pause(END_EVERY_MS);
    }
    diag(`${ended} backends ended`);
    assert.ok(ended > END_SECONDS);
  }, { seconds: END_SECONDS + 20 });
  await judge('ended backends', load, store);
  await test('ended backends: most was answered all the same', () => {
    const { answered, history } = load.recorder;
    diag(`${(100 * answered / history.length).toFixed(1)} % answered`);
    assert.ok(answered > history.length / 2);
  });
  await admin.end();
  await Promise.all(load.beacons.map((beacon) => beacon.close()));
}

async function health({ webAddress }) {
  const answer = await fetch(`http://${webAddress}/health`);
  await answer.text();
  return answer.status;
}

/** Who listens for a user of whom nothing is written, is told to look. */
async function nudged(quiet, counts) {
  await until(HEARD_SECONDS, 'quiet listeners are told to look', () =>
    quiet.ears.every((ear, index) => ear.count > counts[index]));
}

async function restarts(postgres, servers, store) {
  const quiet = await new Beacon(servers, 5).ready();
  const load = new Load(servers, await beaconsOf(servers));
  for (let turn = 1; turn <= RESTARTS; turn += 1) {
    await test(`restart ${turn}: serving again within ${SERVING_SECONDS} s, ` +
      'and every listener is told to look', async () => {
      await pause(LOAD_MS);
      const counts = quiet.ears.map(({ count }) => count);
      await postgres.stop('immediate');
      await Promise.all(servers.map((server) => until(5, 'health red',
        async () => await health(server) === 503)));
      await postgres.start();
      const waits = await atOnce(INSTANCES,
        (index) => quiet.served(index, SERVING_SECONDS));
      diag(`served after ${waits.map((ms) => ms.toFixed(0)).join(', ')} ms`);
      await Promise.all(servers.map((server) => until(5, 'health green',
        async () => await health(server) === 200)));
      await nudged(quiet, counts);
      assert.equal(quiet.ended(), undefined);
    });
  }
  await judge('restarts', load, store);
  await Promise.all([...load.beacons, quiet].map((beacon) => beacon.close()));
}

needs(withoutPostgres);
await suite(async () => {
  const postgres = await Postgres.start();
  const store = new PostgresStore(createDatabase(postgres.url));
  const servers = await atOnce(INSTANCES, () => new Server({ store, env: {
    SHARDS: '2', DATABASE_POOL_SIZE: '6' } }).start());
  await endedBackends(postgres, servers, store);
  await restarts(postgres, servers, store);
  await test('the instances end in order', async () => {
    for (const end of await Promise.all(
      servers.map((server) => server.stop()))) {
      assert.deepEqual(end, { code: 0, signal: null });
    }
  });
  await postgres.end();
});
