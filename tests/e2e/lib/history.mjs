// SPDX-License-Identifier: Apache-2.0
// history — what clients asked and were told, and whether one store that does
// one thing after another could have told them so.
//
// An event is {user, kind, start, end, known, …}; times are the clients', on
// one clock, in milliseconds. `known` is false where no answer came: then the
// operation may have been done at any time after its start, or never.
//
//   set      {id, data, given, outcome: 'ok' | 'conflict', revision}
//   list     {since, records: [{id, revision, data}]}      whole, not a page
//   lock     {name, instance, acquire, exclusive, ttl, outcome: 'ok' | 'held'}
//   getlock  {name, locked}
//
// Of any kind, the outcome 'refused' says that nothing was done.
//
// Every write has data of its own, so that what is read tells who wrote it.
// No search is needed: a write that succeeds is given its place in the user's
// order by its revision, and a list's place is that of its last record, since
// the latest write of all has been replaced by none.
//
// A history ends with a list of every user since 0, and a lock's instance does
// nothing more once one of its requests was not answered.

const LOCK_SLACK_MS = 50; // our clock against the store's
const LOCK_ROUNDING_MS = 1000; // a lock may last so much longer than its ttl
const LINGER_MS = 10000; // an unanswered lock is taken by then, or never

function groupBy(items, key) {
  const groups = new Map();
  for (const item of items) {
    const name = key(item);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(item);
  }
  return groups;
}

/** How many of the ascending `items` are not above `limit`. */
function countUpTo(items, limit) {
  let [low, high] = [0, items.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (items[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

class Faults {
  constructor() {
    this.list = [];
  }

  add(rule, what) {
    this.list.push(`${rule}: ${what}`);
  }
}

const show = (write) => `${write.id}@${write.revision}` +
  `${write.known ? '' : ' (unanswered)'}`;

/** One user's writes in their order, from answers and from what was read. */
class Order {
  constructor(events, faults) {
    this.faults = faults;
    this.sets = events.filter(({ kind }) => kind === 'set');
    this.lists = events.filter(({ kind, records }) => kind === 'list'
      && records);
    this.byData = new Map(this.sets.map((set) => [set.data, set]));
    this.at = new Map(); // revision → write
    this.ofId = new Map(); // id → its writes, ascending
    this.place();
  }

  place() {
    for (const set of this.sets) {
      if (set.known && set.outcome === 'ok') this.put(set.revision, set);
    }
    for (const list of this.lists) {
      for (const record of list.records) this.witness(record);
    }
    this.revisions = [...this.at.keys()].sort((a, b) => a - b);
    this.highest = this.revisions.at(-1) ?? 0;
    for (const revision of this.revisions) {
      const { id } = this.at.get(revision);
      if (!this.ofId.has(id)) this.ofId.set(id, []);
      this.ofId.get(id).push(revision);
    }
  }

  put(revision, write) {
    const other = this.at.get(revision);
    if (other && other !== write) {
      this.faults.add('unique', `revision ${revision} was given to ` +
        `${show(other)} and ${show(write)}`);
    }
    this.at.set(revision, write);
  }

  /** A record that was read names its write, which must have been asked. */
  witness({ id, revision, data }) {
    const write = this.byData.get(data);
    const what = `${id}@${revision} was read`;
    if (!write || write.id !== id) {
      this.faults.add('origin', `${what}, which nobody wrote`);
    } else if (write.known && write.outcome !== 'ok') {
      this.faults.add('origin', `${what}, which was refused`);
    } else if (write.known && write.revision !== revision) {
      this.faults.add('origin',
        `${what}, which was acknowledged as ${show(write)}`);
    } else if (!write.known && write.revision !== undefined
      && write.revision !== revision) {
      this.faults.add('origin', `${what}, also at ${write.revision}`);
    } else if (!write.known) {
      write.revision = revision;
      this.put(revision, write);
    }
  }

  /** The revision of an id when `n` writes had been done; undefined: none. */
  latest(id, n) {
    const own = this.ofId.get(id) ?? [];
    return own[countUpTo(own, n) - 1];
  }

  /** Unanswered writes of which nothing was ever read. */
  lost() {
    return this.sets.filter(({ known, revision }) => !known
      && revision === undefined);
  }
}

/** What was certainly done, and what may have been, by some moment. */
class Progress {
  constructor(order) {
    const proofs = [
      ...order.sets.filter(({ known, outcome }) => known && outcome === 'ok')
        .map(({ end, revision }) => ({ end, revision })),
      // An empty list proves that nothing was reached.
      ...order.lists.filter(({ records }) => records.length)
        .map(({ end, reached }) => ({ end, revision: reached })),
    ].sort((a, b) => a.end - b.end);
    let highest = 0;
    this.ends = proofs.map(({ end }) => end);
    this.reached = proofs.map(({ revision }) => {
      highest = Math.max(highest, revision);
      return highest;
    });
    // When the first of the writes from a place on in the order was asked for.
    this.revisions = order.revisions;
    let earliest = Infinity;
    this.begun = order.revisions.slice().reverse().map((revision) => {
      earliest = Math.min(earliest, order.at.get(revision).start);
      return earliest;
    }).reverse();
  }

  /** The highest revision that somebody knew of before `time`. */
  before(time) {
    let count = countUpTo(this.ends, time);
    while (count && this.ends[count - 1] === time) count -= 1;
    return count ? this.reached[count - 1] : 0;
  }

  /** The highest revision that may have been there by `time`. */
  by(time) {
    return this.revisions[countUpTo(this.begun, time) - 1] ?? 0;
  }

  /** When somebody first knew that a revision had been passed. */
  passed(revision) {
    return this.ends[countUpTo(this.reached, revision)] ?? Infinity;
  }
}

/** A list stands at its last record; without any, not above where it began. */
function reachedBy({ since, records }) {
  return records.length ? records.at(-1).revision : since;
}

/**
 * Every revision from 1 on belongs to a write. One that was never answered and
 * never read may have been replaced, but only by somebody who named its
 * revision. Gives the ids of such writes.
 */
function checkDense(order, progress, faults) {
  const free = new Set(order.lost());
  const hidden = new Map(); // revision → id
  for (let gap = 1; gap <= order.highest; gap += 1) {
    if (order.at.has(gap)) continue;
    const heirs = new Set(order.sets.filter(({ given }) => given === gap)
      .map(({ id }) => id));
    const owner = [...free].find(({ id, start }) => heirs.has(id)
      && start < progress.passed(gap));
    if (owner) {
      free.delete(owner);
      hidden.set(gap, owner.id);
    } else {
      faults.add('dense', `revision ${gap} is nobody's`);
    }
  }
  return hidden;
}

/** What was done before another thing began comes before it in the order. */
function checkRealTime(order, progress, faults) {
  for (const write of order.at.values()) {
    const before = progress.before(write.start);
    if (before >= write.revision) {
      faults.add('real time', `${show(write)} was asked for when ` +
        `${before} had been seen`);
    }
  }
}

/** A write succeeds on the revision that it names, or on nothing. */
function checkCas(order, progress, hidden, faults) {
  for (const write of order.at.values()) {
    const previous = order.latest(write.id, write.revision - 1);
    if (previous !== undefined && previous !== write.given
      && hidden.get(write.given) !== write.id) {
      faults.add('cas', `${show(write)} was written on ${write.given}, but ` +
        `the record was at ${previous}`);
    }
  }
  const hiddenIds = new Set(hidden.values());
  for (const refused of order.sets) {
    if (refused.known && refused.outcome === 'conflict'
      && !hiddenIds.has(refused.id)
      && !conflictIsFair(order, progress, refused)) {
      faults.add('conflict', `${refused.id} on ${refused.given} was refused ` +
        'though nothing stood against it');
    }
  }
}

/** Whether the record may have been at another revision at some moment. */
function conflictIsFair(order, progress, { id, given, start, end }) {
  const first = order.latest(id, progress.before(start));
  if (first !== undefined && first !== given) return true;
  const own = order.ofId.get(id) ?? [];
  const last = progress.by(end);
  return own.slice(countUpTo(own, first ?? 0), countUpTo(own, last))
    .some((revision) => revision !== given);
}

/** A list is all that there was at one moment, above its `since`. */
function checkList(order, progress, list, faults) {
  const { since, records, reached, start, end } = list;
  const what = `a list since ${since} up to ${reached}`;
  const revisions = records.map(({ revision }) => revision);
  if (revisions.some((revision, index) => revision <= since
    || revision <= revisions[index - 1])) {
    faults.add('list', `${what} is out of order: ${revisions}`);
  }
  // Without records it may stand anywhere up to `since`.
  const before = progress.before(start);
  if (before > reached) {
    faults.add('visible', `${what} was asked for when ${before} had been seen`);
  }
  const latest = records.at(-1);
  if (latest && (order.at.get(latest.revision)?.start ?? 0) > end) {
    faults.add('visible', `${what} holds what was asked for only later`);
  }
  const expected = records.length ? [...order.ofId.keys()]
    .map((id) => order.latest(id, reached))
    .filter((revision) => revision > since).sort((a, b) => a - b) : [];
  const missing = expected.filter((revision) => !revisions.includes(revision));
  const extra = revisions.filter((revision) => !expected.includes(revision));
  if (missing.length) faults.add('prefix', `${what} lacks ${missing}`);
  if (extra.length) {
    faults.add('prefix', `${what} holds ${extra}, which were replaced`);
  }
}

function checkRecords(events, faults) {
  const order = new Order(events, faults);
  for (const list of order.lists) list.reached = reachedBy(list);
  const progress = new Progress(order);
  const hidden = checkDense(order, progress, faults);
  checkRealTime(order, progress, faults);
  checkCas(order, progress, hidden, faults);
  for (const list of order.lists) checkList(order, progress, list, faults);
}

/**
 * What each holder of one lock holds for certain, and may hold: spans
 * {holder, exclusive, from, to}. Each holder does one thing after another.
 */
function spansOf(operations, lingerMs) {
  const spans = { certain: [], possible: [] };
  for (const mine of groupBy(operations, (op) => op.instance).values()) {
    mine.sort((a, b) => a.start - b.start);
    for (const [index, op] of mine.entries()) {
      if (op.acquire && !nothingDone(op)) {
        addSpans(spans, op, mine.slice(index + 1), lingerMs);
      }
    }
  }
  return spans;
}

const nothingDone = ({ known, outcome }) => known
  && (outcome === 'held' || outcome === 'refused');

/** `rest` is what the same holder did afterwards. */
function addSpans({ certain, possible }, op, rest, lingerMs) {
  const { instance: holder, exclusive, start, end, known } = op;
  const ttl = op.ttl * 1000;
  const next = rest.find((other) => !nothingDone(other));
  if (known) {
    certain.push({ holder, exclusive, from: end,
      to: Math.min(start + ttl, next?.start ?? Infinity) - LOCK_SLACK_MS });
  }
  const replaced = next?.known ? next.end : Infinity;
  const granted = known ? end : start + lingerMs;
  possible.push({ holder, exclusive, from: start,
    to: Math.min(granted + ttl + LOCK_ROUNDING_MS, replaced)
      + LOCK_SLACK_MS });
}

const during = ({ from, to }, { start, end }) => from <= start && end <= to;
const touches = ({ from, to }, { start, end }) => from <= end && start <= to;

function checkLock(name, events, lingerMs, faults) {
  const operations = events.filter(({ kind }) => kind === 'lock');
  const { certain, possible } = spansOf(operations, lingerMs);
  const against = (op) => (span) => span.holder !== op.instance
    && (span.exclusive || op.exclusive);
  for (const op of operations.filter(({ acquire, known }) => acquire && known)) {
    const what = `${name} ${op.exclusive ? 'exclusively' : 'shared'} ` +
      `by ${op.instance} at ${op.start.toFixed(1)}`;
    const others = certain.filter(against(op));
    if (op.outcome === 'ok' && others.some((span) => during(span, op))) {
      faults.add('lock', `${what} was granted while another held it`);
    }
    if (op.outcome === 'held' && !possible.filter(against(op))
      .some((span) => touches(span, op))) {
      faults.add('lock', `${what} was refused while nobody held it`);
    }
  }
  for (const op of events.filter(({ kind, locked }) => kind === 'getlock'
    && locked !== undefined)) {
    const what = `${name} was said to be`;
    if (!op.locked && certain.some((span) => during(span, op))) {
      faults.add('lock', `${what} free while it was held`);
    }
    if (op.locked && !possible.some((span) => touches(span, op))) {
      faults.add('lock', `${what} held while it was free`);
    }
  }
}

/** Everything that is wrong with a history; an empty list for nothing. */
export function faultsOf(history, { lingerMs = LINGER_MS } = {}) {
  const faults = new Faults();
  for (const [user, events] of groupBy(history, (event) => event.user)) {
    const own = new Faults();
    // Copies: places are noted in them.
    checkRecords(events.map((event) => ({ ...event })), own);
    for (const [name, mine] of groupBy(
      events.filter((event) => event.name !== undefined),
      (event) => event.name)) checkLock(name, mine, lingerMs, own);
    for (const fault of own.list) faults.list.push(`${user}: ${fault}`);
  }
  return faults.list;
}
