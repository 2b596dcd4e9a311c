// SPDX-License-Identifier: Apache-2.0
// history — whatever dies, what clients were told is what one store that does
// one thing after another could have told them.

import assert from 'node:assert/strict';
import { faultsOf } from './lib/history.mjs';
import { atOnce } from './lib/load.mjs';
import { PLANTS, makeHistory, randomOf } from './lib/planted.mjs';
import { Recorder } from './lib/recorder.mjs';
import { Server, temporaryDirectory } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { POSTGRES } from './lib/store.mjs';
import { diag, scaled, suite, test } from './lib/tap.mjs';

const SEEDS = scaled(40, 20);
const INSTANCES = POSTGRES ? 3 : 1;
const CLIENTS = 8;
const USERS = 4;
// Of each client for each user.
const OPERATIONS = process.env.E2E_THOROUGH ? 2000 : scaled(400, 60);
const KILLS = process.env.E2E_THOROUGH ? 24 : 6;

async function checkerCases() {
  await test(`${SEEDS} histories of a right store pass`, () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      assert.deepEqual(faultsOf(makeHistory(seed)), [], `seed ${seed}`);
    }
  });
  for (const [what, rule, plant] of PLANTS) {
    await test(`found: ${what}`, () => {
      let planted = 0;
      for (let seed = 1; seed <= SEEDS; seed += 1) {
        const history = makeHistory(seed);
        if (plant(history, randomOf(seed)) === false) continue;
        planted += 1;
        const faults = faultsOf(history);
        assert.ok(faults.some((fault) =>
          new RegExp(`^user\\d: (${rule}):`).test(fault)),
        `seed ${seed}: ${faults.slice(0, 3).join('; ') || 'no fault'}`);
      }
      assert.ok(planted >= SEEDS / 4, `planted ${planted} times only`);
    });
  }
}

/** Kills one instance after the other, and starts it again. */
async function killer(servers, recorder) {
  const whole = CLIENTS * USERS * OPERATIONS;
  const times = Array.from({ length: KILLS },
    (_, turn) => recorder.reached(whole * (turn + 1) / (KILLS + 1)));
  for (const [turn, time] of times.entries()) {
    await time;
    const server = servers[turn % servers.length];
    await server.kill();
    await server.start();
  }
}

async function serverCases() {
  const dir = temporaryDirectory();
  const servers = await atOnce(INSTANCES,
    () => new Server({ dir, env: { SHARDS: '2' } }).start());
  const keys = Array.from({ length: USERS }, () => new Key());
  const recorder = new Recorder(servers.map(({ address }) => address));
  await test(`${CLIENTS} clients, ${USERS} users, ${INSTANCES} instances, ` +
    `${KILLS} killed`, async () => {
    const began = performance.now();
    const killing = killer(servers, recorder);
    await atOnce(CLIENTS, () => recorder.client(keys, OPERATIONS));
    await killing;
    const seconds = (performance.now() - began) / 1000;
    await recorder.finish(keys);
    diag(`${recorder} in ${seconds.toFixed(1)} s`);
  }, { seconds: 200 });
  await test('every answer was one that the service gives', () =>
    assert.deepEqual([...recorder.strange], []));
  await test('the history is that of one store', () => {
    const began = performance.now();
    const faults = faultsOf(recorder.history);
    diag(`checked in ${((performance.now() - began) / 1000).toFixed(1)} s`);
    assert.deepEqual(faults.slice(0, 10), []);
  });
  await test('writes went wrong by conflict and by death, too', () => {
    const { history } = recorder;
    for (const fits of [({ outcome }) => outcome === 'conflict',
      ({ outcome }) => outcome === 'held',
      ({ kind, known }) => kind === 'set' && !known]) {
      assert.ok(history.some(fits));
    }
  });
  await test('the store is sound', async () => {
    await Promise.all(servers.map((server) => server.stop()));
    assert.equal(await servers[0].store.faults(), '');
  });
}

await suite(async () => {
  await checkerCases();
  await serverCases();
});
