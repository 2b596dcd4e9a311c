// SPDX-License-Identifier: Apache-2.0
// pinger — how long an event loop takes to answer: HTTP/2 PINGs from a thread
// of its own, so that a busy test does not count as a busy server.

import http2 from 'node:http2';
import { Worker, isMainThread, parentPort, workerData } from
  'node:worker_threads';
import { within } from './tap.mjs';

const EVERY_MS = 5;
const SECONDS = 10;

function ping(session) {
  return new Promise((resolve, reject) => {
    session.ping((error, ms) => (error ? reject(error) : resolve(ms)));
  });
}

/** Pings on every connection, until it is asked what it saw. */
async function loop({ address, connections }) {
  const sessions = Array.from({ length: connections },
    () => http2.connect(`http://${address}`));
  await Promise.all(sessions.map((session) => new Promise(
    (resolve, reject) => {
      session.once('connect', resolve);
      session.once('error', reject);
    })));
  let waits = [];
  parentPort.on('message', () => {
    parentPort.postMessage(waits.sort((a, b) => a - b));
    waits = [];
  });
  parentPort.postMessage('ready');
  await Promise.all(sessions.map(async (session) => {
    for (;;) {
      waits.push(await ping(session));
      await new Promise((resolve) => { setTimeout(resolve, EVERY_MS); });
    }
  }));
}

export class Pinger {
  /** Connections enough that every shard has one. */
  static async start(address, connections = 4) {
    const pinger = new Pinger();
    pinger.worker = new Worker(new URL(import.meta.url),
      { workerData: { address, connections } });
    await within(SECONDS, 'pings', pinger.next());
    return pinger;
  }

  next() {
    return new Promise((resolve, reject) => {
      this.worker.once('message', resolve);
      this.worker.once('error', reject);
    });
  }

  /** Milliseconds of the pings since this was last asked, ascending. */
  waits() {
    const answer = this.next();
    this.worker.postMessage('tell');
    return within(SECONDS, 'pings', answer);
  }

  stop() {
    return this.worker.terminate();
  }
}

if (!isMainThread && workerData?.connections) loop(workerData);
