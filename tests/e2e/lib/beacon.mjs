// SPDX-License-Identifier: Apache-2.0
// beacon — one user's writes, one after another, through any instance; after
// each, listeners on all instances must hear of it before the next.

import { User } from './client.mjs';
import { Ear, Ears, greeted } from './ears.mjs';
import { Pool, below, pause } from './load.mjs';
import { Key } from './sign.mjs';
import { until } from './tap.mjs';

const RETRY_MS = 20;

export class Beacon {
  constructor(servers, listeners = 2) {
    this.key = new Key();
    this.pools = servers.map(({ address }) => new Pool(address, 1));
    this.connections = servers.map(({ port }) => new Ears(port));
    this.ears = this.connections.flatMap((ears) => Array.from(
      { length: listeners }, () => ears.listen(this.key, new Ear('beacon'))));
    this.writes = 0;
    this.longest = 0;
    this.going = true;
  }

  async ready() {
    await greeted(this.ears);
    return this;
  }

  ended() {
    return this.ears.find(({ ended }) => ended)?.ended;
  }

  /** One write; settles when all have heard. Gives whether it was done. */
  async once(seconds = 10, instance = below(this.pools.length)) {
    const name = `beacon ${this.writes}`;
    const at = performance.now();
    const { code, reply } = await this.pools[instance].user(this.key)
      .setRecord({ id: name, data: 'x', clientId: name });
    if (code !== 0 || reply.status !== 'SUCCESS') return false;
    const answered = performance.now();
    this.writes += 1;
    await until(seconds, `${name}: a listener hears`, () => {
      if (this.ended()) throw new Error(`a listener ended: ${this.ended()}`);
      return !this.ears.some((ear) => ear.missed({ name, at }));
    });
    this.longest = Math.max(this.longest, performance.now() - answered);
    for (const ear of this.ears) ear.names.clear();
    return true;
  }

  /** Until stop(); rejects as soon as somebody misses one. */
  async run(seconds) {
    while (this.going) {
      if (!await this.once(seconds)) await pause(RETRY_MS);
    }
  }

  stop() {
    this.going = false;
  }

  /** Asks until a write through this instance is done: milliseconds. */
  async served(instance, seconds) {
    const began = performance.now();
    const user = new User(this.pools[instance].next(), new Key(),
      { quick: true });
    await until(seconds, 'a write that succeeds', async () => {
      const { code, reply } = await user.setRecord({ id: 'served' });
      return code === 0 && reply.status === 'SUCCESS';
    });
    return performance.now() - began;
  }

  async close() {
    await Promise.all(this.connections.map(({ wire }) => wire.destroy()));
    for (const pool of this.pools) pool.close();
  }
}
