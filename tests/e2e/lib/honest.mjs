// SPDX-License-Identifier: Apache-2.0
// honest — a client in a thread of its own that calls in a loop, one call at
// a time on one connection, and says how long it waited for its answers.

import { Worker, isMainThread, parentPort, workerData } from
  'node:worker_threads';
import { Session } from './raw.mjs';
import { within } from './tap.mjs';

const SECONDS = 15;
const TOO_MANY = 10; // failures: no need to wait for more

/** `calls` answers, their 99th percentile and longest in milliseconds. */
function summary(waits, failures) {
  const sorted = waits.sort((a, b) => a - b);
  return {
    calls: sorted.length,
    p99: sorted[Math.ceil(sorted.length * 0.99) - 1],
    worst: sorted.at(-1),
    failures,
  };
}

async function loop({ address, path, body, options }) {
  const session = new Session(address, {}, options);
  let waits = [];
  let failures = [];
  let enough = Infinity;
  parentPort.on('message', (begin) => {
    if (begin === undefined) {
      parentPort.postMessage(summary(waits, failures));
      return;
    }
    waits = [];
    failures = [];
    enough = begin;
  });
  for (;;) {
    const asked = performance.now();
    const { status, error } = await session.message(path, Buffer.from(body))
      .catch((caught) => ({ error: caught.message }));
    waits.push(performance.now() - asked);
    if (status !== 0) failures.push(error ?? `status ${status}`);
    if (waits.length >= enough || failures.length > TOO_MANY) {
      enough = Infinity;
      parentPort.postMessage('enough');
    }
  }
}

export class Honest {
  /** `options` are the connection's, as http2.connect() takes them. */
  constructor(address, path, body, options = {}) {
    this.worker = new Worker(new URL(import.meta.url),
      { workerData: { address, path, body, options } });
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

if (!isMainThread && workerData?.path) loop(workerData);
