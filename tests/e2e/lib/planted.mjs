// SPDX-License-Identifier: Apache-2.0
// planted — histories of a store that is right, made up from a seed, and what
// a store that is wrong would have done to them. With these the checker of
// histories is checked.

const CLIENTS = 6;
const USERS = 3;
const OPERATIONS = 80; // of each client
const IDS = 5;
const LOCKS = 2;
const UNANSWERED = 0.06;
const LATER_MS = 60000; // when every lock has ended

/** Numbers from 0 to 1, the same for the same seed. */
export function randomOf(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** One user's records and locks, changed by one thing after another. */
class Model {
  constructor() {
    this.records = new Map();
    this.counter = 0;
    this.locks = new Map();
  }

  set({ id, given, data }) {
    const current = this.records.get(id);
    if (current && current.revision !== given) return { outcome: 'conflict' };
    this.counter += 1;
    this.records.set(id, { id, revision: this.counter, data });
    return { outcome: 'ok', revision: this.counter };
  }

  list({ since }) {
    return { records: [...this.records.values()]
      .filter(({ revision }) => revision > since)
      .sort((a, b) => a.revision - b.revision)
      .map((record) => ({ ...record })) };
  }

  holders(name, now) {
    return [...this.locks.get(name) ?? []].filter(
      ([, { expires }]) => expires > Math.floor(now / 1000));
  }

  lock({ name, instance, acquire, exclusive, ttl }, now) {
    if (!this.locks.has(name)) this.locks.set(name, new Map());
    const all = this.locks.get(name);
    if (!acquire) {
      all.delete(instance);
      return { outcome: 'ok' };
    }
    if (this.holders(name, now).some(([other, held]) => other !== instance
      && (exclusive || held.exclusive))) return { outcome: 'held' };
    all.set(instance, { exclusive, expires: Math.ceil(now / 1000) + ttl });
    return { outcome: 'ok' };
  }

  getlock({ name }, now) {
    return { locked: this.holders(name, now).length > 0 };
  }
}

/** What happens at which time; things may be added while it runs. */
class Timeline {
  constructor() {
    this.due = [];
  }

  at(time, fn) {
    let index = this.due.length;
    while (index && this.due[index - 1].time > time) index -= 1;
    this.due.splice(index, 0, { time, fn });
  }

  run() {
    while (this.due.length) {
      const { time, fn } = this.due.shift();
      fn(time);
    }
  }
}

/** A client that knows what it wrote and read, and sometimes forgets. */
class FakeClient {
  constructor(number, random, models, timeline, history) {
    Object.assign(this, { number, random, models, timeline, history });
    this.known = new Map();
    this.tokens = 0;
  }

  below(limit) {
    return Math.floor(this.random() * limit);
  }

  choose(user) {
    const dice = this.random();
    this.tokens += 1;
    if (dice < 0.55) {
      const id = `id${this.below(IDS)}`;
      const known = this.known.get(`${user} ${id}`) ?? 0;
      return { kind: 'set', id, data: `${this.number}.${this.tokens}`,
        given: this.random() < 0.1 ? this.below(20) : known };
    }
    if (dice < 0.75) {
      return { kind: 'list', since: this.random() < 0.5 ? 0
        : this.below(this.highest ?? 1) };
    }
    const name = `lock${this.below(LOCKS)}`;
    if (dice > 0.92) return { kind: 'getlock', name };
    this.instance ??= `instance ${this.number}.${this.tokens}`;
    return { kind: 'lock', name, instance: this.instance,
      acquire: this.random() < 0.7, exclusive: this.random() < 0.6,
      ttl: 1 + this.below(2) };
  }

  step(start, left) {
    const user = `user${this.below(USERS)}`;
    const event = { user, start, known: true, ...this.choose(user) };
    this.history.push(event);
    const model = this.models.get(user);
    const answered = this.random() >= UNANSWERED;
    const done = start + this.random() * (answered ? 20 : 2000);
    const end = done + this.random() * 20;
    let result = {};
    if (answered || this.random() < 0.5) {
      this.timeline.at(done, (now) => {
        result = model[event.kind](event, now);
      });
    }
    this.timeline.at(answered ? end : start + 10, (now) => {
      if (answered) this.learn(Object.assign(event, result, { end: now }));
      else this.forget(event);
      if (left) this.step(now + this.random() * 30, left - 1);
    });
  }

  learn({ user, kind, id, outcome, revision, records }) {
    if (kind === 'set' && outcome === 'ok') {
      this.known.set(`${user} ${id}`, revision);
    }
    for (const record of records ?? []) {
      this.known.set(`${user} ${record.id}`, record.revision);
      this.highest = record.revision;
    }
  }

  /** What was never answered is not known, whatever became of it. */
  forget(event) {
    event.known = false;
    this.instance = undefined;
  }
}

/** A history that is right. */
export function makeHistory(seed) {
  const random = randomOf(seed);
  const models = new Map(Array.from({ length: USERS },
    (_, index) => [`user${index}`, new Model()]));
  const timeline = new Timeline();
  const history = [];
  for (let number = 0; number < CLIENTS; number += 1) {
    const client = new FakeClient(number, random, models, timeline, history);
    timeline.at(random() * 10, (now) => client.step(now, OPERATIONS));
  }
  timeline.run();
  const end = Math.max(...history.map((event) => event.end ?? event.start))
    + LATER_MS;
  for (const [user, model] of models) {
    history.push({ user, kind: 'list', since: 0, start: end, end: end + 1,
      known: true, ...model.list({ since: 0 }) });
  }
  return history;
}

// ---- what a wrong store would do ----

const good = ({ kind, known, outcome }) => kind === 'set' && known
  && outcome === 'ok';
const filled = ({ kind, records }) => kind === 'list' && records?.length > 3;

function pick(random, items) {
  return items[Math.floor(random() * items.length)];
}

/** Renames the revisions of one user wherever they occur. */
function renumber(history, user, fn) {
  for (const event of history.filter((other) => other.user === user)) {
    for (const name of ['revision', 'given', 'since']) {
      if (event[name]) event[name] = fn(event[name]);
    }
    for (const record of event.records ?? []) {
      record.revision = fn(record.revision);
    }
    event.records?.sort((a, b) => a.revision - b.revision);
  }
}

function lastList(history, user) {
  return history.findLast((event) => event.kind === 'list'
    && event.user === user);
}

/** Where each record was last overwritten: two versions of one id. */
function versions(history) {
  return history.filter(good).flatMap((older) => history
    .filter((newer) => good(newer) && newer.user === older.user
      && newer.id === older.id && newer.given === older.revision)
    .map((newer) => [older, newer]));
}

/** A span in which somebody holds a lock exclusively for certain. */
function holding(history) {
  return history.filter((op) => op.kind === 'lock' && op.known && op.acquire
    && op.exclusive && op.outcome === 'ok' && op.ttl > 1
    && !history.some((next) => next.kind === 'lock'
      && next.instance === op.instance && next.user === op.user
      && next.name === op.name && next.start > op.start
      && next.start < op.end + 200));
}

const soon = ({ end }) => ({ start: end + 20, end: end + 30 });
const late = (history) => ({ start: history.at(-1).end + LATER_MS,
  end: history.at(-1).end + LATER_MS + 10 });

/**
 * What is wrong, which rule is to find it, and how it comes to be: each
 * changes a history of its own and returns it, or nothing where it cannot.
 */
export const PLANTS = [
  ['two writes are given one revision', 'unique', (history, random) => {
    const write = pick(random, history.filter(good));
    const other = history.find((event) => good(event) && event !== write
      && event.user === write.user);
    other.revision = write.revision;
  }],
  ['a counter starts anew', 'unique', (history, random) => {
    const { user } = pick(random, history.filter(good));
    const writes = history.filter((event) => good(event)
      && event.user === user);
    const base = writes[10].revision;
    for (const write of writes) {
      if (write.revision > base) write.revision -= base;
    }
  }],
  ['a revision is skipped', 'dense', (history, random) => {
    const { user, revision } = pick(random, history.filter(good));
    renumber(history, user, (other) => (other > revision ? other + 1 : other));
    return history.some((event) => event.user === user
      && event.kind === 'set' && event.revision > revision);
  }],
  ['an acknowledged write is not in any list', 'prefix|visible',
    (history, random) => {
      const { user, records } = pick(random, history.slice(-USERS));
      const record = pick(random, records.filter(({ revision }) =>
        history.some((event) => event.user === user && good(event)
          && event.revision === revision)));
      for (const event of history.filter((other) => other.user === user)) {
        event.records = event.records?.filter(
          ({ revision }) => revision !== record.revision);
      }
    }],
  ['a list is answered from the past', 'visible', (history, random) => {
    const [older, newer] = [pick(random, history.filter(filled))]
      .flatMap((list) => [list, lastList(history, list.user)]);
    if (older.records.at(-1).revision >= newer.records.at(-1).revision) {
      return false;
    }
    newer.records = older.records;
    return true;
  }],
  ['writes change places', 'real time', (history, random) => {
    const write = pick(random, history.filter(good));
    const later = history.find((event) => good(event)
      && event.user === write.user && event.start > write.end);
    if (!later) return false;
    const swap = new Map([[write.revision, later.revision],
      [later.revision, write.revision]]);
    renumber(history, write.user, (other) => swap.get(other) ?? other);
    return true;
  }],
  ['a write replaces what its client never saw', 'cas', (history, random) => {
    const [, newer] = pick(random, versions(history));
    newer.given = 0;
  }],
  ['a write is refused for nothing', 'conflict', (history, random) => {
    const { user, records } = pick(random, history.slice(-USERS));
    const { id, revision } = pick(random, records);
    history.push({ user, kind: 'set', known: true, id, given: revision,
      data: 'planted', outcome: 'conflict', ...late(history) });
  }],
  ['a new record is refused', 'conflict', (history, random) => {
    history.push({ ...pick(random, history.filter(good)), id: 'planted',
      given: 0, data: 'planted', outcome: 'conflict', revision: undefined,
      ...late(history) });
  }],
  ['a revision appears below one already seen', 'prefix',
    (history, random) => {
      const { records } = pick(random, history.filter(filled));
      records.splice(Math.floor(random() * (records.length - 1)), 1);
    }],
  ['a list holds what is somebody else\'s', 'origin', (history, random) => {
    const list = pick(random, history.filter(filled));
    const other = pick(random, history.filter((event) => filled(event)
      && event.user !== list.user));
    if (!other) return false;
    list.records[0] = { ...list.records[0], data: other.records[0].data };
    return true;
  }],
  ['data are torn', 'origin', (history, random) => {
    const list = pick(random, history.filter(filled));
    pick(random, list.records).data += 'x';
  }],
  ['data are another write\'s', 'origin', (history, random) => {
    const [older, newer] = pick(random, versions(history));
    const records = history.filter(({ user }) => user === newer.user)
      .flatMap((event) => event.records ?? [])
      .filter(({ revision }) => revision === newer.revision);
    for (const record of records) record.data = older.data;
    return records.length > 0;
  }],
  ['a refused write is stored', 'origin', (history, random) => {
    const list = pick(random, history.slice(-USERS));
    const refused = history.find((event) => event.user === list.user
      && event.outcome === 'conflict');
    list.records.push({ id: refused.id, data: refused.data,
      revision: list.records.at(-1).revision + 1 });
  }],
  ['an unanswered write is done twice', 'origin', (history, random) => {
    const list = pick(random, history.slice(-USERS));
    const write = history.find((event) => event.user === list.user
      && event.kind === 'set' && !event.known && history.some((other) =>
      other.user === list.user && other.records?.some(
        ({ data }) => data === event.data)));
    if (!write) return false;
    list.records.push({ id: write.id, data: write.data,
      revision: list.records.at(-1).revision + 1 });
    return true;
  }],
  ['an unanswered write costs a revision and is gone', 'dense',
    (history, random) => {
      const { user } = pick(random, history.filter(good));
      const lists = history.filter((event) => event.user === user
        && event.kind === 'list');
      const last = lists.at(-1).records.at(-1).revision;
      history.push({ user, kind: 'set', known: false, id: 'id0', given: 1,
        data: 'planted', start: 0 });
      renumber(history, user, (other) => (other === last ? last + 1 : other));
    }],
  ['what was replaced is still listed', 'prefix', (history, random) => {
    const [older] = pick(random, versions(history));
    const list = lastList(history, older.user);
    list.records.unshift({ id: older.id, revision: older.revision,
      data: older.data });
    list.records.sort((a, b) => a.revision - b.revision);
  }],
  ['a list is out of order', 'list', (history, random) => {
    const { records } = pick(random, history.filter(filled));
    records.splice(0, 2, records[1], records[0]);
  }],
  ['a list begins below what was asked', 'list', (history, random) => {
    const list = pick(random, history.filter(filled));
    [, { revision: list.since }] = list.records;
  }],
  ['a list knows the future', 'visible', (history, random) => {
    const list = pick(random, history.slice(0, 200).filter(filled));
    const { id, revision, data } = history.findLast((event) => good(event)
      && event.user === list.user);
    list.records.push({ id, revision, data });
  }],
  ['two hold a lock exclusively', 'lock', (history, random) => {
    const op = pick(random, holding(history));
    if (!op) return false;
    history.push({ ...op, instance: 'planted', ...soon(op) });
    return true;
  }],
  ['one shares what another holds exclusively', 'lock', (history, random) => {
    const op = pick(random, holding(history));
    if (!op) return false;
    history.push({ ...op, instance: 'planted', exclusive: false,
      ...soon(op) });
    return true;
  }],
  ['a lock is refused though nobody holds it', 'lock', (history, random) => {
    history.push({ ...pick(random, history.filter((op) => op.outcome
      === 'held')), ...late(history) });
  }],
  ['a lock ends before its time', 'lock', (history, random) => {
    const op = pick(random, holding(history));
    if (!op) return false;
    history.push({ user: op.user, kind: 'getlock', name: op.name,
      locked: false, known: true, ...soon(op) });
    return true;
  }],
  ['a lock outlasts its time', 'lock', (history, random) => {
    const op = pick(random, history.filter(({ kind }) => kind === 'lock'));
    history.push({ user: op.user, kind: 'getlock', name: op.name,
      locked: true, known: true, ...late(history) });
  }],
  ['a released lock is still refused', 'lock', (history, random) => {
    const name = 'planted';
    const { user } = pick(random, history);
    const at = history.at(-1).end;
    const op = (start, more) => ({ user, kind: 'lock', name, known: true,
      instance: 'one', acquire: true, exclusive: true, ttl: 30, outcome: 'ok',
      start: at + start, end: at + start + 10, ...more });
    history.push(op(100), op(200, { acquire: false }),
      op(400, { instance: 'two', outcome: 'held' }));
  }],
];
