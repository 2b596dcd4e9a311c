// SPDX-License-Identifier: Apache-2.0
// honest — a client in a thread of its own that calls in a loop, one call at
// a time on one connection, and says how long it waited for its answers. Every
// other call goes to a bystander, a server of its own with nothing else to do:
// what it waits for that one, it waits for the machine.

import { Worker, isMainThread, parentPort, workerData } from
  'node:worker_threads';
import { Session } from './raw.mjs';
import { within } from './tap.mjs';

const SECONDS = 15;
const TOO_MANY = 10; // failures: no need to wait for more

/** Of waits in milliseconds: how many, the 99th percentile, the longest. */
function summary(waits) {
  const sorted = waits.sort((a, b) => a - b);
  return {
    calls: sorted.length,
    p99: sorted[Math.ceil(sorted.length * 0.99) - 1],
    worst: sorted.at(-1),
  };
}

/** Calls on connections to `addresses` in turn, and remembers. */
class Caller {
  constructor({ addresses, path, body, options }) {
    Object.assign(this, { path, body: Buffer.from(body) });
    this.sessions = addresses.map(
      (address) => new Session(address, {}, options));
    this.forget();
  }

  forget() {
    this.waits = this.sessions.map(() => []);
    this.failures = [];
  }

  async round() {
    const { waits, failures } = this; // of when it is asked
    for (const [index, session] of this.sessions.entries()) {
      const asked = performance.now();
      const { status, error } = await session.message(this.path, this.body)
        .catch((caught) => ({ error: caught.message }));
      waits[index].push(performance.now() - asked);
      if (status !== 0) failures.push(error ?? `status ${status}`);
    }
  }

  summary() {
    const [attacked, bystander] = this.waits.map(summary);
    return { ...attacked, bystander, failures: this.failures };
  }
}

async function loop() {
  const caller = new Caller(workerData);
  let enough = Infinity;
  parentPort.on('message', (begin) => {
    if (begin === undefined) {
      parentPort.postMessage(caller.summary());
      return;
    }
    caller.forget();
    enough = begin;
  });
  for (;;) {
    await caller.round();
    if (caller.waits[0].length >= enough
      || caller.failures.length > TOO_MANY) {
      enough = Infinity;
      parentPort.postMessage('enough');
    }
  }
}

export class Honest {
  /** `options` are the connections', as http2.connect() takes them. */
  constructor(server, bystander, { path, body, options = {} }) {
    const addresses = [server.address, bystander.address];
    this.worker = new Worker(new URL(import.meta.url),
      { workerData: { addresses, path, body, options } });
  }

  told(seconds, command) {
    const answer = new Promise((resolve) => {
      this.worker.once('message', resolve);
    });
    this.worker.postMessage(command);
    return within(seconds, 'an honest client\'s answers', answer);
  }

  /** Calls from now on count; settles when there are `enough`. */
  begin(enough) {
    return this.told(SECONDS, enough);
  }

  /** What the calls since begin() were like. */
  end() {
    return this.told(SECONDS, undefined);
  }

  stop() {
    return this.worker.terminate();
  }
}

if (!isMainThread && workerData?.path) loop();
