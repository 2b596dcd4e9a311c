// SPDX-License-Identifier: Apache-2.0
// pg_cut — the connection to PostgreSQL is cut at every byte of the exchange
// that stores a record: what the server was sent, and what it answered. Each
// write is done once, and its client is told so.

import assert from 'node:assert/strict';
import { Client, User } from './lib/client.mjs';
import { Cutter } from './lib/cutter.mjs';
import { Ear, Ears, greeted } from './lib/ears.mjs';
import { atOnce } from './lib/load.mjs';
import { Postgres, createDatabase } from './lib/postgres.mjs';
import { Server } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { PostgresStore, withoutPostgres } from './lib/store.mjs';
import { diag, needs, suite, test, until } from './lib/tap.mjs';

const LANES = 4; // each an instance with one connection
const IDS = 5;
const HEARD_SECONDS = 10;
const WARM_WRITES = 3;
// A byte in so many is tried, and all of the end, where the COMMIT is; with
// --thorough all.
const STEPS = process.env.E2E_THOROUGH ? { asked: 1, told: 1 }
  : { asked: 23, told: 5 };
const COMMIT_BYTES = { asked: 40, told: 30 };
// More than sizes differ by from one write to the next.
const MARGIN = 8;

/** One instance behind a cutter, one user, and what it must have. */
class Lane {
  static async start(index, postgres, url) {
    const lane = new Lane();
    lane.cutter = await new Cutter(postgres.port).start();
    const through = new URL(url);
    through.port = lane.cutter.port;
    through.search = '?sslmode=disable&gssencmode=disable';
    lane.store = new PostgresStore(through.href);
    lane.server = await new Server({ store: lane.store, env: {
      SHARDS: '1', DATABASE_POOL_SIZE: '1' } }).start();
    lane.client = new Client(lane.server.address);
    lane.key = new Key();
    lane.user = new User(lane.client, lane.key, { quick: true });
    lane.records = new Map();
    lane.revision = 0;
    lane.writes = 0;
    return lane;
  }

  /** Listeners of this lane's user, here and on another instance. */
  async listen(other) {
    this.connections = [this, other].map(({ server }) => new Ears(server.port));
    this.ears = this.connections.map((ears) =>
      ears.listen(this.key, new Ear('lane')));
    await greeted(this.ears);
  }

  /** One write; it must be done, once, and heard of by all. */
  async write() {
    const id = `r${this.writes % IDS}`;
    const data = `write ${this.writes}`;
    const name = `lane ${this.writes}`;
    this.writes += 1;
    const at = performance.now();
    const { code, message, reply } = await this.user.setRecord({ id, data,
      revision: this.records.get(id)?.revision ?? 0, clientId: name });
    assert.deepEqual([code, message, reply?.status], [0, '', 'SUCCESS']);
    this.revision += 1;
    assert.equal(Number(reply.new_revision), this.revision);
    this.records.set(id, { revision: this.revision, data });
    await until(HEARD_SECONDS, 'listeners hear', () =>
      !this.ears.some((ear) => ear.missed({ name, at })));
    for (const ear of this.ears) ear.names.clear();
  }

  /** Whether the cut came to pass. */
  async cutAt({ side, at }) {
    this.cutter.arm(side, at);
    await this.write();
    const cut = this.cutter.plan === undefined;
    this.cutter.done();
    return cut;
  }

  async agrees() {
    assert.deepEqual(
      (await this.user.changes()).map(({ id, revision, data }) =>
        [id, revision, data.toString()]),
      [...this.records].map(([id, { revision, data }]) =>
        [id, revision, data]).sort(([, a], [, b]) => a - b));
  }

  async end() {
    this.client.close();
    await Promise.all(this.connections.map(({ wire }) => wire.destroy()));
    const end = await this.server.stop();
    this.cutter.stop();
    return end;
  }
}

/** Places of one side, in order. */
function places(side, size) {
  const whole = size + MARGIN;
  return Array.from({ length: whole + 1 }, (_, at) => ({ side, at }))
    .filter(({ at }) => at % STEPS[side] === 0
      || at >= size - COMMIT_BYTES[side]);
}

async function cutCases(lanes, side, sizes) {
  const rest = places(side, sizes[side]);
  const all = rest.length;
  await test(`cut at ${STEPS[side] === 1 ? 'each' : 'some'} of ` +
    `${sizes[side]} bytes of what is ${side}`, async () => {
    let cuts = 0;
    const began = performance.now();
    await Promise.all(lanes.map(async (lane) => {
      while (rest.length) {
        const place = rest.shift();
        try {
          if (await lane.cutAt(place)) cuts += 1;
        } catch (error) {
          throw new Error(`${side} at ${place.at}: ${error.message}`);
        }
      }
    }));
    const ms = (performance.now() - began) * lanes.length / all;
    diag(`${cuts} cuts, ${ms.toFixed(0)} ms each until all was well`);
    assert.ok(cuts >= all - 2 * MARGIN);
  }, { seconds: 150 });
}

needs(withoutPostgres);
await suite(async () => {
  const postgres = await Postgres.start();
  const url = await createDatabase(postgres.url);
  const lanes = await atOnce(LANES,
    (index) => Lane.start(index, postgres, url));
  await atOnce(LANES, (index) =>
    lanes[index].listen(lanes[(index + 1) % LANES]));
  await test('uncut, every write is done and heard of', () =>
    atOnce(LANES, async (index) => {
      for (let n = 0; n < WARM_WRITES; n += 1) await lanes[index].write();
    }));
  const { sizes } = lanes[0].cutter;
  await cutCases(lanes, 'told', { ...sizes });
  await cutCases(lanes, 'asked', { ...sizes });
  await test('every instance has what was acknowledged', () =>
    atOnce(LANES, (index) => lanes[index].agrees()));
  await test('the store is sound', async () =>
    assert.equal(await new PostgresStore(url).faults(), ''));
  await test('the instances end in order', async () => {
    for (const end of await Promise.all(lanes.map((lane) => lane.end()))) {
      assert.deepEqual(end, { code: 0, signal: null });
    }
  });
  await postgres.end();
});
