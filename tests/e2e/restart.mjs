// SPDX-License-Identifier: Apache-2.0
// restart — restarts under load lose nothing, refuse nobody, and have clients
// connect anew as seldom as can be: one instance on SQLite, whose sockets are
// held; three on PostgreSQL behind a load balancer, one after the other.

import assert from 'node:assert/strict';
import { Balancer } from './lib/balancer.mjs';
import { Crowd, afterwards } from './lib/crowd.mjs';
import { atOnce } from './lib/load.mjs';
import { Managed } from './lib/manager.mjs';
import { Server } from './lib/server.mjs';
import { POSTGRES, PostgresStore } from './lib/store.mjs';
import { suite, test, until } from './lib/tap.mjs';

const RESTARTS = process.env.E2E_THOROUGH ? 25 : 5;
const INSTANCES = 3;
const SECONDS = 15;
const env = { SHARDS: '2', DRAIN_TIMEOUT: '10' };

/** One instance, which cannot run twice on its file. */
async function alone() {
  const what = 'one on SQLite';
  const managed = await Managed.start({ env });
  const balancer = new Balancer({ checks: false });
  balancer.add(managed);
  const crowd = new Crowd(balancer);
  await crowd.start();
  for (let turn = 1; turn <= RESTARTS; turn += 1) {
    await test(`${what}: restart ${turn}, each client connects once`,
      async () => {
        const began = performance.now();
        assert.deepEqual(await managed.restart(), { code: 0 });
        const took = performance.now() - began;
        await crowd.listening(turn + 1);
        await crowd.busy();
        crowd.connected(1, took);
      });
  }
  await afterwards(what, crowd, managed.address, managed.store);
  await managed.stop();
  await managed.end();
  balancer.close();
}

async function started(options) {
  return new Server(options).start();
}

async function stopped(server) {
  const { code } = await server.stop();
  assert.equal(code, 0);
}

const ROLLING = [
  {
    what: 'replaced one by one',
    most: 1,
    balancer: () => new Balancer(),
    start: started,
    async step(instance, balancer) {
      const { server, place } = instance;
      instance.server = await started({ store: server.store, env });
      instance.place = balancer.add(instance.server, 1);
      await until(SECONDS, 'its health', () => instance.place.well);
      await stopped(server);
      balancer.remove(place);
    },
  },
  {
    what: 'restarted one by one on held sockets',
    most: 1,
    balancer: () => new Balancer({ checks: false, sticky: true }),
    start: (options) => Managed.start(options),
    step: async ({ server }) =>
      assert.deepEqual(await server.restart(), { code: 0 }),
  },
  {
    // Who left the first for the second has to leave that, too, and then finds
    // the first again.
    what: 'restarted one by one',
    most: 2,
    balancer: () => new Balancer(),
    start: started,
    async step({ server, place }) {
      await stopped(server);
      await server.start();
      place.generation = 1;
      await until(SECONDS, 'its health', () => place.well);
    },
  },
];

async function rolling({ what, most, balancer: makeBalancer, start, step }) {
  const store = new PostgresStore();
  const balancer = makeBalancer();
  const instances = await atOnce(INSTANCES, async () => {
    const server = await start({ store, env });
    return { server, place: balancer.add(server) };
  });
  await until(SECONDS, 'their health',
    () => instances.every(({ place }) => place.well));
  const crowd = new Crowd(balancer);
  await crowd.start();
  await test(`${what}: each client connects ${most} time(s) at most`,
    async () => {
      const began = performance.now();
      for (const instance of instances) {
        await step(instance, balancer);
        await crowd.busy();
      }
      const took = performance.now() - began;
      await crowd.listening(2);
      crowd.connected(most, took);
    }, { seconds: 60 });
  await afterwards(what, crowd, instances[0].server.address, store);
  await Promise.all(instances.map(async ({ server }) => {
    await server.stop();
    await server.end?.();
  }));
  balancer.close();
}

await suite(async () => {
  if (!POSTGRES) await alone();
  else for (const scene of ROLLING) await rolling(scene);
});
