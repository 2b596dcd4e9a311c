// SPDX-License-Identifier: Apache-2.0
// load — many things at once.

import { Client, STREAMS, User } from './client.mjs';
import { Key } from './sign.mjs';

/** Resolves to the results of fn(0) … fn(count - 1), all begun at once. */
export function atOnce(count, fn) {
  return Promise.all(Array.from({ length: count }, (_, index) => fn(index)));
}

/** Takes items from a list with `count` workers at a time. */
export async function workers(count, items, fn) {
  const rest = [...items].reverse();
  await atOnce(count, async () => {
    while (rest.length) await fn(rest.pop());
  });
}

export function pause(milliseconds) {
  return new Promise((resolve) => { setTimeout(resolve, milliseconds); });
}

export function below(limit) {
  return Math.floor(Math.random() * limit);
}

/** Clients enough for `streams` long calls, handed out in turn. */
export class Pool {
  constructor(address, count) {
    this.clients = Array.from({ length: count }, () => new Client(address));
    this.turn = 0;
  }

  static forListeners(address, listeners, perClient = STREAMS) {
    return new Pool(address,
      Math.ceil(listeners / Math.min(perClient, STREAMS)));
  }

  next() {
    this.turn += 1;
    return this.clients[this.turn % this.clients.length];
  }

  user(key = new Key()) {
    return new User(this.next(), key, { quick: true });
  }

  close() {
    for (const client of this.clients) client.close();
  }
}

/** Counts answers by what they were. */
export class Tally {
  constructor() {
    this.counts = new Map();
  }

  add(what) {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** Adds a SetRecord's answer and returns its new revision, or undefined. */
  answer({ code, message, reply }) {
    this.add(code === 0 ? reply.status : `${code} ${message}`);
    return code === 0 && reply.status === 'SUCCESS'
      ? Number(reply.new_revision) : undefined;
  }

  /** What was counted beside the named. */
  others(...names) {
    return [...this.counts].filter(([what]) => !names.includes(what));
  }

  toString() {
    return [...this.counts].map(([what, n]) => `${n} × ${what}`).join(', ');
  }
}
