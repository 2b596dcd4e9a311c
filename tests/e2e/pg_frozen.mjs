// SPDX-License-Identifier: Apache-2.0
// pg_frozen — PostgreSQL stands still, its connections open: the loops go on,
// deadlines are kept, memory is bounded, and all is well when it goes on.

import assert from 'node:assert/strict';
import { Beacon } from './lib/beacon.mjs';
import { Client, User, encode, status } from './lib/client.mjs';
import { faultsOf } from './lib/history.mjs';
import { Pool, Tally, atOnce, pause } from './lib/load.mjs';
import { Pinger } from './lib/pinger.mjs';
import { Postgres, createDatabase } from './lib/postgres.mjs';
import { Session } from './lib/raw.mjs';
import { Recorder } from './lib/recorder.mjs';
import { Server, temporaryDirectory } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import {
  PostgresStore, SqliteStore, withoutPostgres,
} from './lib/store.mjs';
import { diag, needs, suite, test, until } from './lib/tap.mjs';

const INSTANCES = 2;
const FROZEN_SECONDS = process.env.E2E_THOROUGH ? 30 : 12;
const PRESSED_SECONDS = FROZEN_SECONDS / 4; // the last of these
const LAG_MS = 50;
const MIB = 1 << 20;
const WRITERS = 200; // each with a write under way all the time
const WRITE_BYTES = 32 << 10;
const MEMORY_BOUND = 64 * MIB;
const DEADLINE_MS = 700;
// An idle connection is tried every five seconds, then waited for.
const RED_SECONDS = 10;
const BACK_SECONDS = 5;
const ANSWER_SECONDS = 15; // everybody is answered by then, with or without

/** Writers that never pause, whatever they are told. */
class Press {
  constructor(server) {
    this.pool = new Pool(server.address, 8);
    this.tally = new Tally();
    this.going = true;
    this.longest = 0;
    const data = Buffer.alloc(WRITE_BYTES, 7);
    this.running = atOnce(WRITERS, async (index) => {
      const user = this.pool.user(new Key());
      for (let turn = 0; this.going; turn += 1) {
        const began = performance.now();
        this.tally.answer(await user.setRecord({ id: `${index}.${turn}`,
          data }, { seconds: 60 }));
        this.longest = Math.max(this.longest, performance.now() - began);
      }
    });
  }

  async stop() {
    this.going = false;
    await this.running;
    this.pool.close();
  }
}

async function health({ webAddress }) {
  const answer = await fetch(`http://${webAddress}/health`);
  await answer.text();
  return answer.status;
}

function healthIs(servers, wanted, seconds) {
  return Promise.all(servers.map((server) => until(seconds,
    `/health says ${wanted}`, async () => await health(server) === wanted)));
}

/** The server itself ends calls at their deadline: {status, ms}. */
async function expiring(server, method, request) {
  const session = new Session(server.address);
  const began = performance.now();
  const answer = await session.message(`/sync.Syncer/${method}`,
    encode(method, request), { headers: { 'grpc-timeout': `${DEADLINE_MS}m` } });
  const ms = performance.now() - began;
  await session.close();
  return { status: answer.status, ms };
}

async function deadlineCases(server) {
  const user = new User(undefined, new Key());
  const requests = {
    SetRecord: user.record({ id: 'late' }),
    ListChanges: user.signed('ListChanges', { since_revision: '0' }),
    GetLock: user.signed('GetLock', { lock_name: 'l' }),
  };
  for (const [method, request] of Object.entries(requests)) {
    await test(`frozen: ${method} ends at its deadline`, async () => {
      const { status: code, ms } = await expiring(server, method, request);
      assert.equal(code, status.DEADLINE_EXCEEDED);
      assert.ok(ms >= DEADLINE_MS - 50 && ms < DEADLINE_MS + 300, `${ms} ms`);
    });
  }
}

/** PINGs since this was last asked: what one in a thousand takes. */
async function lag(what, pingers) {
  const waits = (await Promise.all(pingers.map((pinger) => pinger.waits())))
    .flat().sort((a, b) => a - b);
  const at = (part) => waits[Math.ceil(waits.length * part) - 1];
  diag(`${what}: ${waits.length} PINGs, p50 ${at(0.5).toFixed(1)} ms, ` +
    `p99 ${at(0.99).toFixed(1)} ms, worst ${at(1).toFixed(1)} ms`);
  return at(0.999);
}

/** A server that does nothing shows how late this machine makes everybody. */
function lagCase(what, pingers, idle) {
  return test(`${what}: the loops answer PINGs within ${LAG_MS} ms`,
    async () => {
      const noise = await lag(`${what}, an idle server`, [idle]);
      const ms = await lag(what, pingers);
      assert.ok(ms < LAG_MS + noise, `one in a thousand takes ` +
        `${ms.toFixed(1)} ms, of an idle server ${noise.toFixed(1)} ms`);
    });
}

/** The highest resident set while `fn` runs. */
async function peak(server, fn) {
  let highest = 0;
  let over = false;
  const watching = (async () => {
    while (!over) {
      highest = Math.max(highest, server.rss());
      await pause(50);
    }
  })();
  await fn();
  over = true;
  await watching;
  return highest;
}

async function frozenCases(postgres, servers, pingers, idle) {
  await postgres.freeze();
  const since = performance.now();
  const seconds = () => (performance.now() - since) / 1000;
  await test('frozen: /health says so', async () => {
    await healthIs(servers, 503, RED_SECONDS);
    diag(`after ${seconds().toFixed(1)} s`);
  });
  await deadlineCases(servers[0]);
  await pause((FROZEN_SECONDS - PRESSED_SECONDS - seconds()) * 1000);
  await lagCase('frozen', pingers, idle);
  const before = servers[0].rss();
  const press = new Press(servers[0]);
  await test(`frozen: memory stays bounded, with ${WRITERS} writers`,
    async () => {
      const highest = await peak(servers[0],
        () => pause(PRESSED_SECONDS * 1000));
      diag(`${(before / MIB).toFixed(1)} MiB before, at most ` +
        `${(highest / MIB).toFixed(1)} MiB`);
      assert.ok(highest - before < MEMORY_BOUND);
    });
  await lag(`frozen, with ${WRITERS} writers`, pingers);
  await postgres.thaw();
  return press;
}

async function backCases(servers, press, beacon) {
  await test(`back: serving within ${BACK_SECONDS} s`, async () => {
    const waits = await atOnce(INSTANCES,
      (index) => beacon.served(index, BACK_SECONDS));
    diag(`served after ${waits.map((ms) => ms.toFixed(0)).join(', ')} ms`);
  });
  await test('back: /health says so', () => healthIs(servers, 200, 5));
  await test('who wrote all the time was answered, one way or the other',
    async () => {
      await press.stop();
      diag(`${press.tally}; the slowest after ${press.longest.toFixed(0)} ms`);
      assert.deepEqual(press.tally.others('SUCCESS',
        `${status.UNAVAILABLE} storage is unavailable, try again later`,
        `${status.UNAVAILABLE} storage was lost while it answered: the ` +
        'change may or may not be stored'), []);
      assert.ok(press.longest < ANSWER_SECONDS * 1000);
    });
}

needs(withoutPostgres);
await suite(async () => {
  const postgres = await Postgres.start();
  const store = new PostgresStore(createDatabase(postgres.url));
  const servers = await atOnce(INSTANCES, () => new Server({ store, env: {
    SHARDS: '2', DATABASE_POOL_SIZE: '4', KEEPALIVE_MIN_TIME: '0' } }).start());
  const pingers = await atOnce(INSTANCES,
    (index) => Pinger.start(servers[index].address));
  const bystander = await new Server({ env: { KEEPALIVE_MIN_TIME: '0' },
    store: new SqliteStore(temporaryDirectory()) }).start();
  const idle = await Pinger.start(bystander.address);
  const keys = Array.from({ length: 2 }, () => new Key());
  const recorder = new Recorder(servers.map(({ address }) => address));
  const recording = atOnce(2, () => recorder.client(keys));
  const beacon = await new Beacon(servers).ready();
  const beating = beacon.run(FROZEN_SECONDS + 10);
  await pause(1000);
  await lagCase('before', pingers, idle);
  const press = await frozenCases(postgres, servers, pingers, idle);
  await backCases(servers, press, beacon);
  await test('no listener missed a write or was ended', async () => {
    beacon.stop();
    await beating;
    diag(`${beacon.writes} beacons`);
    assert.ok(beacon.writes > 0);
    assert.equal(beacon.ended(), undefined);
  });
  await test('what was told is so', async () => {
    recorder.stop();
    await recording;
    await recorder.finish(keys);
    diag(String(recorder));
    assert.deepEqual([...recorder.strange], []);
    assert.deepEqual(faultsOf(recorder.history,
      { lingerMs: (FROZEN_SECONDS + 10) * 1000 }).slice(0, 10), []);
  });
  await test('the store is sound', async () =>
    assert.equal(await store.faults(), ''));
  await Promise.all([idle, ...pingers].map((pinger) => pinger.stop()));
  await postgres.end();
});
