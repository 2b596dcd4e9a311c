// SPDX-License-Identifier: Apache-2.0
// recorder — clients that do things at random and write down what they asked
// and were told, for the checker of histories.

import { randomUUID } from 'node:crypto';
import { Client, User, status } from './client.mjs';
import { below, pause } from './load.mjs';

const IDS = 12;
const LOCKS = 3;
const MAX_TTL = 2;
const RETRY_MS = 25;

/** What a lost connection looks like; anything else is a fault. */
const NO_ANSWER = new Set([status.UNAVAILABLE, status.CANCELLED,
  status.DEADLINE_EXCEEDED]);
/** The server's word that nothing was done. */
const NOT_DONE = ['storage is unavailable, try again later',
  'server is overloaded, try again later'];

/** What the clients of one run share. */
export class Recorder {
  constructor(addresses, options = {}) {
    this.addresses = addresses;
    this.options = options; // of its clients
    this.history = [];
    this.answered = 0;
    this.refused = 0;
    this.strange = new Map();
    this.waiting = [];
    this.going = true;
  }

  count() {
    this.answered += 1;
    while (this.waiting.length && this.waiting[0].at <= this.answered) {
      this.waiting.shift().resolve();
    }
  }

  /** Settles when so many operations have been answered; ask in order. */
  reached(at) {
    return new Promise((resolve) => { this.waiting.push({ at, resolve }); });
  }

  /** A client that goes on until `operations` of its were answered. */
  async client(keys, operations = Infinity, addresses = this.addresses) {
    const clients = addresses.map(
      (address) => new Client(address, this.options));
    await Promise.all(keys.map((key) =>
      new Actor(this, clients, key).run(operations)));
    for (const client of clients) client.close();
  }

  /** Has the clients end. */
  stop() {
    this.going = false;
  }

  toString() {
    const counts = new Map();
    for (const { kind, known, outcome } of this.history) {
      const what = known ? [kind, outcome].filter(Boolean).join(' ')
        : `${kind} unanswered`;
      counts.set(what, (counts.get(what) ?? 0) + 1);
    }
    return [...counts].sort().map(([what, count]) => `${count} ${what}`)
      .join(', ');
  }

  /** What every user has in the end, asked of every instance. */
  async finish(keys) {
    for (const address of this.addresses) {
      const client = new Client(address);
      for (const key of keys) {
        const actor = new Actor(this, [client], key);
        while (!await actor.list(0)) await pause(RETRY_MS);
      }
      client.close();
    }
  }
}

/** One client's part that acts for one user, one thing after another. */
class Actor {
  constructor(recorder, clients, key) {
    this.recorder = recorder;
    this.users = clients.map(
      (client) => new User(client, key, { quick: true }));
    this.user = key.userId.slice(0, 10);
    this.known = new Map();
    this.seen = 0;
    this.stale = false;
    this.instance = randomUUID();
  }

  async run(operations) {
    for (let done = 0; done < operations && this.recorder.going;) {
      if (await this.act()) done += 1;
      else await pause(RETRY_MS);
    }
  }

  act() {
    const dice = Math.random();
    if (this.stale || dice < 0.25) {
      return this.list(dice < 0.05 ? 0 : this.seen);
    }
    if (dice < 0.85) return this.set(`id${below(IDS)}`);
    const name = `lock${below(LOCKS)}`;
    return dice < 0.95 ? this.lock(name) : this.getLock(name);
  }

  /** Any instance will do; whether it answered. */
  async ask(event, call, understand) {
    const start = performance.now();
    Object.assign(event, { user: this.user, start, known: false });
    this.recorder.history.push(event);
    const answer = await call(this.users[below(this.users.length)]);
    const told = understand(answer);
    if (NOT_DONE.includes(answer.message)) {
      Object.assign(event, { known: true, outcome: 'refused',
        end: performance.now() });
      this.recorder.refused += 1;
      return false;
    }
    if (!told) {
      event.why = `${answer.code} ${answer.message}`;
      if (!NO_ANSWER.has(answer.code)) {
        const what = `${event.kind}: ${answer.code} ${answer.message}`;
        this.recorder.strange.set(what,
          (this.recorder.strange.get(what) ?? 0) + 1);
      }
      return false;
    }
    Object.assign(event, told, { known: true, end: performance.now() });
    this.recorder.count();
    return true;
  }

  async set(id) {
    const given = this.known.get(id) ?? 0;
    const data = `${randomUUID()} of ${this.user}`;
    const event = { kind: 'set', id, data, given };
    const answered = await this.ask(event,
      (user) => user.setRecord({ id, data, revision: given }),
      ({ code, reply }) => code === status.OK && (reply.status === 'SUCCESS'
        ? { outcome: 'ok', revision: Number(reply.new_revision) }
        : { outcome: 'conflict' }));
    if (event.outcome === 'ok') this.known.set(id, event.revision);
    this.stale = !answered || event.outcome === 'conflict';
    return answered;
  }

  async list(since) {
    const event = { kind: 'list', since };
    const answered = await this.ask(event,
      (user) => user.listChanges(since),
      ({ code, reply }) => code === status.OK && {
        records: reply.changes.map(({ id, revision, data }) => (
          { id, revision: Number(revision), data: data.toString() })) });
    for (const { id, revision } of event.records ?? []) {
      this.known.set(id, revision);
      this.seen = Math.max(this.seen, revision);
    }
    if (answered) this.stale = false;
    return answered;
  }

  async lock(name) {
    const event = { kind: 'lock', name, instance: this.instance,
      acquire: below(3) > 0, exclusive: below(3) > 0,
      ttl: 1 + below(MAX_TTL) };
    const answered = await this.ask(event, (user) => user.setLock(event),
      ({ code }) => (code === status.OK ? { outcome: 'ok' }
        : code === status.FAILED_PRECONDITION && { outcome: 'held' }));
    // What was asked without an answer may still come: it is not to meet what
    // is asked next.
    if (!event.known) this.instance = randomUUID();
    return answered;
  }

  getLock(name) {
    return this.ask({ kind: 'getlock', name }, (user) => user.getLock(name),
      ({ code, reply }) => code === status.OK && { locked: reply.locked });
  }
}
