// SPDX-License-Identifier: Apache-2.0
// attacks — what costs a peer little and a server much. The attacker is
// closed or bounded, and an honest client on the same event loop is served.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import net from 'node:net';
import { gzipSync } from 'node:zlib';
import { Authority, LOOPBACK } from './lib/ca.mjs';
import { Client, User, encode } from './lib/client.mjs';
import { Honest } from './lib/honest.mjs';
import { LOOK_MS, heldOf, serverEnd } from './lib/kernel.mjs';
import { atOnce, pause } from './lib/load.mjs';
import {
  END_HEADERS, END_STREAM, FRAME, LARGEST_WINDOW, PREFACE, Wire, frame,
  h2frame, hpack, padding, requestHeaders,
} from './lib/raw.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { diag, scaled, suite, test, until, within } from './lib/tap.mjs';
import { request } from './lib/web.mjs';

const MIB = 1 << 20;
const GET_LOCK = '/sync.Syncer/GetLock';
const LIST = '/sync.Syncer/ListChanges';
const LISTEN = '/sync.Syncer/ListenChanges';

const STREAM_CLOSED = 5;
const ENHANCE_YOUR_CALM = 11;
const PROTOCOL_ERROR = 1;

/* What the server promises: see h2_session.h, h2_guard.h, h1_session.h and
 * pace.h. */
const STREAMS = 100;
const HANDSHAKE_SECONDS = 10;
const WRITE_SECONDS = 1; // LISTENER_WRITE_TIMEOUT here
const REPLY_BYTES = 16 * MIB;
const PAGES = 4; // of the largest size, in that
const REQUEST_BYTES = 8 * MIB;
const RESETS_BURST = 1000;
const RESETS_PER_S = 50;
const PACE_BYTES_PER_S = 1024;

/* A limit that is not a timer acts within so long; a timer is so late. */
const AT_ONCE_SECONDS = 1;
const LATE_SECONDS = 2;

/* The honest client may wait twice as long as in quiet, or as beside the
 * attack for a server that is not attacked; and while others of the machine's
 * few cores run: attacker, client and server share two. */
const SANITIZED = /san/.test(process.env.TALLYD ?? '');
const SCHEDULING_MS = SANITIZED ? 120 : 60;
const QUIET_CALLS = scaled(1000, 200);
const ATTACKED_CALLS = scaled(150, 100);
/* An attack is repeated for so long, and until there are so many calls. */
const ATTACK_MS = 200;
/* Growth of the server beyond what an attack is allowed to make it hold. */
const GROWTH_BYTES = (SANITIZED ? 128 : 48) * MIB;

const SILENT = scaled(500, 100);
const env = { SHARDS: '1', LISTENER_WRITE_TIMEOUT: String(WRITE_SECONDS) };

let server;
let bystander;
let honest;
let quiet;
let user;
let ca; // of a server with TLS

const good = () => frame(encode('GetLock',
  user.signed('GetLock', { lock_name: 'n' })));
const head = (stream, block, flags = 0) => h2frame(
  FRAME.HEADERS, END_HEADERS | flags, stream, block);
const reset = (stream) => h2frame(FRAME.RST_STREAM, 0, stream,
  Buffer.from([0, 0, 0, 8]));
const repeat = (times, fn) => Buffer.concat(
  Array.from({ length: times }, (_, index) => fn(2 * index + 1)));

/** A connection of HTTP/2 that remembers what it was told. */
class Attacker extends Wire {
  constructor(options) {
    super(server.port,
      { ca, ...options, onFrame: (event) => this.note(event) });
    this.answers = 0;
    this.resets = 0;
    this.pieces = 0; // of replies
    this.over = false;
    this.closed.then(() => { this.over = true; this.wake?.(); });
  }

  note({ type, payload, ends }) {
    if (type === FRAME.GOAWAY) this.goaway = payload.readUInt32BE(4);
    if (type === FRAME.RST_STREAM) this.resets += 1;
    if (type === FRAME.DATA) this.pieces += 1;
    if (ends) this.answers += 1;
    this.wake?.();
  }

  /** Sends all of it unless the connection ends before. */
  async flood(bytes) {
    for (let at = 0; at < bytes.length && !this.over; at += 65536) {
      if (this.socket.write(bytes.subarray(at, at + 65536))) continue;
      await Promise.race([once(this.socket, 'drain').catch(() => {}),
        this.closed]);
    }
  }

  /** The server closes within `seconds`; a GOAWAY that came says `code`. */
  async isCut(code, seconds = AT_ONCE_SECONDS) {
    await within(seconds, 'the end of the attacker', this.closed);
    if (this.goaway !== undefined) assert.equal(this.goaway, code);
    return `closed (${this.goaway === undefined
      ? 'no GOAWAY seen' : `GOAWAY ${this.goaway}`})`;
  }

  /** Settles when `enough` of what was noted. */
  async noted(what, enough, seconds = 5) {
    await within(seconds, what, (async () => {
      while (!enough()) {
        if (this.over) throw new Error(`closed, ${this.answers} answers, ` +
          `${this.resets} resets, GOAWAY ${this.goaway}`);
        await new Promise((resolve) => { this.wake = resolve; });
      }
    })());
  }

  /** It was not closed: a call on it is answered, in a window wide enough. */
  async lives(stream, window = 0) {
    const { answers } = this;
    this.request(stream, requestHeaders(GET_LOCK), good());
    if (window) this.widen(stream, window);
    await this.noted('an answer', () => this.answers > answers);
  }
}

/** Runs `fn` with a new attacker, whose floods nothing comes between. */
async function attacking(fn, options) {
  const attacker = new Attacker(options);
  await attacker.connected;
  await within(AT_ONCE_SECONDS, 'SETTINGS', attacker.ready);
  try {
    return await fn(attacker);
  } finally {
    await attacker.destroy();
  }
}

function watchMemory() {
  const before = server.rss();
  let most = before;
  const look = () => { most = Math.max(most, server.rss()); };
  const timer = setInterval(look, 20);
  return () => {
    clearInterval(timer);
    look();
    return most - before;
  };
}

/**
 * One case: `attack`, again and again unless it is one of timers (`once`),
 * beside the honest client. It resolves to what became of the attacker.
 */
function attacked(name, attack, { growth = 0, single = false } = {}) {
  return test(ca ? `over TLS: ${name}` : name, async () => {
    const grown = watchMemory();
    let measured = false;
    const enough = honest.begin(single ? 1 : ATTACKED_CALLS)
      .then(() => { measured = true; });
    const began = performance.now();
    let rounds = 0;
    let fate;
    let bytes;
    try {
      do {
        fate = await attack();
        rounds += 1;
      } while (!single
        && !(measured && performance.now() - began > ATTACK_MS));
      await enough;
    } finally {
      bytes = grown();
    }
    const { calls, p99, worst, failures, bystander: beside } =
      await honest.end();
    diag(`${name}: ${fate}; ${rounds} rounds; honest ${calls} calls, ` +
      `p99 ${p99.toFixed(1)} ms (bystander ${beside.p99.toFixed(1)} ms), ` +
      `worst ${worst.toFixed(1)} ms; +${(bytes / MIB).toFixed(1)} MiB`);
    assert.deepEqual(failures, [], 'the honest client was let down');
    const limit = 2 * Math.max(quiet.p99, beside.p99) + SCHEDULING_MS;
    assert.ok(p99 <= limit, `p99 ${p99} ms, allowed ${limit} ms`);
    assert.ok(bytes <= GROWTH_BYTES + growth, `it grew by ${bytes} bytes`);
  });
}

/** The attack is `bytes`, after which the connection is closed. */
function cut(name, bytes, code, options) {
  return attacked(name, () => attacking(async (attacker) => {
    await attacker.flood(bytes);
    return attacker.isCut(code);
  }), options);
}

// ---- frames that ask for nothing ----

async function frameFloods() {
  const nothing = (type, length = 0) => h2frame(
    type, 0, 0, Buffer.alloc(length));
  await cut('PINGs', repeat(20000, () => nothing(FRAME.PING, 8)),
    ENHANCE_YOUR_CALM);
  await cut('SETTINGS', repeat(20000, () => nothing(FRAME.SETTINGS)),
    undefined);
  await cut('empty DATA', Buffer.concat([
    head(1, requestHeaders(GET_LOCK)),
    repeat(20000, () => h2frame(FRAME.DATA, 0, 1))]), ENHANCE_YOUR_CALM);
  const harmless = (name, bytes, options) => attacked(name, () => attacking(
    async (attacker) => {
      await attacker.flood(bytes);
      await attacker.lives(1000001);
      return 'bounded, it costs their parsing';
    }, options));
  const priority = Buffer.from([0, 0, 0, 0, 16]);
  await harmless('PRIORITY of one stream', repeat(50000,
    () => h2frame(2, 0, 1, priority)));
  await harmless('PRIORITY of streams that never are', repeat(50000,
    (stream) => h2frame(2, 0, stream, priority)));
  await harmless('frames of unknown types', repeat(50000,
    (stream) => h2frame(0x20 + stream % 200, 0xff, stream)));
  await harmless('RST_STREAM of a stream that is over', Buffer.concat([
    head(1, requestHeaders(GET_LOCK)),
    repeat(50000, () => reset(1))]));
  await harmless('WINDOW_UPDATE', Buffer.concat([
    head(1, requestHeaders(GET_LOCK)),
    repeat(50000, () => h2frame(FRAME.WINDOW_UPDATE, 0, 1,
      Buffer.from([0, 0, 0, 1])))]), { streamWindow: 65535 });
}

// ---- streams that are made to end ----

const RESETS = 1600; // over the burst and what is forgiven a second

const widenedTooFar = (stream) => h2frame(FRAME.WINDOW_UPDATE, 0, stream,
  Buffer.from([0x7f, 0xff, 0xff, 0xff]));

async function resetFloods() {
  const plain = requestHeaders(GET_LOCK);
  await cut('rapid reset: HEADERS and RST_STREAM', repeat(RESETS,
    (stream) => Buffer.concat([head(stream, plain), reset(stream)])),
  ENHANCE_YOUR_CALM);
  const body = good();
  await cut('rapid reset of whole requests', repeat(RESETS,
    (stream) => Buffer.concat([head(stream, plain),
      h2frame(FRAME.DATA, END_STREAM, stream, body), reset(stream)])),
  ENHANCE_YOUR_CALM);

  const provoked = (name, code, block, then = () => Buffer.alloc(0)) => cut(
    `provoked resets: ${name}`, repeat(RESETS, (stream) => Buffer.concat(
      [head(stream, block), then(stream)])), code);
  await provoked('a window beyond its bound', ENHANCE_YOUR_CALM, plain,
    widenedTooFar);
  await provoked('a window widened by nothing', PROTOCOL_ERROR, plain,
    (stream) => h2frame(FRAME.WINDOW_UPDATE, 0, stream, Buffer.alloc(4)));
  await provoked('names in capitals', ENHANCE_YOUR_CALM,
    requestHeaders(GET_LOCK, [['X-Capital', '1']]));
  await provoked('a length that is not the body\'s', ENHANCE_YOUR_CALM,
    requestHeaders(GET_LOCK, [['content-length', '1']]),
    (stream) => h2frame(FRAME.DATA, END_STREAM, stream, body));
  await provoked('DATA behind the end', STREAM_CLOSED, plain,
    (stream) => Buffer.concat([
      h2frame(FRAME.DATA, END_STREAM, stream, body),
      h2frame(FRAME.DATA, 0, stream, body)]));
  await provoked('more streams than may be', ENHANCE_YOUR_CALM, plain);
  await provoked('more fields than may be', ENHANCE_YOUR_CALM,
    requestHeaders(GET_LOCK, Array(130).fill(['x', ''])));
}

/* Most of the burst at once, then some each tick: faster than is forgiven, or
 * not. */
const TICK_MS = 10;
const PREPAID = RESETS_BURST - 100;
const HASTE = 8; // times what is forgiven
const PACED_SECONDS = 2;

/** Sends one(stream), `perSecond`, until the end of the attacker or of the
 * time; resolves to how many it were and how long it took. */
async function paced(attacker, one, perSecond) {
  const begun = performance.now();
  const elapsed = () => (performance.now() - begun) / 1000;
  let made = 0;
  const make = (count) => {
    attacker.write(...Array.from({ length: count }, (_, index) => one(
      2 * (made + index) + 1)));
    made += count;
  };
  make(PREPAID);
  const timer = setInterval(() => {
    const due = PREPAID + Math.floor(perSecond * elapsed()) - made;
    if (due > 0 && !attacker.over) make(due);
  }, TICK_MS);
  await Promise.race([attacker.closed, pause(PACED_SECONDS * 1000)]);
  clearInterval(timer);
  return { made, seconds: elapsed() };
}

async function pacedResets() {
  const plain = requestHeaders(GET_LOCK);
  const body = good();
  const cases = {
    'provoked resets': (stream) => Buffer.concat([
      head(stream, plain), widenedTooFar(stream)]),
    'whole requests cancelled': (stream) => Buffer.concat([
      head(stream, plain),
      h2frame(FRAME.DATA, END_STREAM, stream, body), reset(stream)]),
  };
  for (const [name, one] of Object.entries(cases)) {
    await attacked(`${name}, too many a second`, () => attacking(
      async (attacker) => {
        const rate = HASTE * RESETS_PER_S;
        const { made, seconds } = await paced(attacker, one, rate);
        const fate = await attacker.isCut(ENHANCE_YOUR_CALM);
        assert.ok(made >= RESETS_BURST, `after ${made}`);
        /* Until it hears of its end it goes on. */
        const forgiven = RESETS_BURST + RESETS_PER_S * seconds;
        assert.ok(made <= forgiven + rate * AT_ONCE_SECONDS,
          `${made} in ${seconds} s`);
        return `${made} in ${seconds.toFixed(1)} s, ${fate}`;
      }));
    await attacked(`${name}, as many a second as may be`, () => attacking(
      async (attacker) => {
        const { made } = await paced(attacker, one, RESETS_PER_S);
        await attacker.lives(2 * made + 1);
        assert.equal(attacker.goaway, undefined);
        return `${made} in ${PACED_SECONDS} s, the connection lives`;
      }), { single: true });
  }
}

// ---- headers ----

async function headerAttacks() {
  const part = hpack([['x', 'a'.repeat(1000)]]);
  await cut('CONTINUATION without an end', Buffer.concat([
    h2frame(FRAME.HEADERS, 0, 1, requestHeaders(GET_LOCK)),
    repeat(5000, () => h2frame(FRAME.CONTINUATION, 0, 1, part))]), undefined);
  await cut('empty CONTINUATION', Buffer.concat([
    h2frame(FRAME.HEADERS, 0, 1, requestHeaders(GET_LOCK)),
    repeat(20000, () => h2frame(FRAME.CONTINUATION, 0, 1))]), undefined);

  /* One field of 4000 bytes goes into the table, then a byte each names it. */
  const stored = Buffer.concat([
    Buffer.from([0x40, 1, 0x78, 127, 0xa1, 0x1e]), Buffer.alloc(4000, 0x61)]);
  const bombs = (times) => Buffer.concat([
    requestHeaders(GET_LOCK), Buffer.alloc(times, 0x80 | 62)]);
  const refusedEach = (name, first, block) => attacked(name, () => attacking(
    async (attacker) => {
      await attacker.flood(Buffer.concat([first,
        repeat(STREAMS, (stream) => head(stream + 2, block))]));
      await attacker.noted('resets', () => attacker.resets >= STREAMS);
      await attacker.lives(1001);
      return `each of ${STREAMS} streams reset, the connection lives`;
    }));
  await refusedEach('HPACK bombs',
    head(1, Buffer.concat([requestHeaders(GET_LOCK), stored])), bombs(15000));
  await refusedEach('fields without a value', Buffer.alloc(0),
    Buffer.concat([requestHeaders(GET_LOCK),
      ...Array(4000).fill(hpack([['x', '']]))]));
  await attacked('fields without a name', () => attacking(
    async (attacker) => {
      const block = Buffer.concat([requestHeaders(GET_LOCK),
        ...Array(4000).fill(hpack([['', '']]))]);
      const body = good();
      await attacker.flood(repeat(STREAMS, (stream) => Buffer.concat([
        head(stream, block),
        h2frame(FRAME.DATA, END_STREAM, stream, body)])));
      await attacker.noted('an end of each',
        () => attacker.answers + attacker.resets >= STREAMS);
      await attacker.lives(1001);
      return `${attacker.answers - 1} answered without them, ` +
        `${attacker.resets} reset, the connection lives`;
    }));
}

// ---- bodies ----

async function bodyAttacks() {
  const zipped = requestHeaders(GET_LOCK, [['grpc-encoding', 'gzip']]);
  const bomb = frame(gzipSync(Buffer.alloc(64 * MIB)), 1);
  const frames = (stream, body, size) => {
    const pieces = [];
    for (let at = 0; at < body.length; at += size) {
      pieces.push(h2frame(FRAME.DATA, at + size >= body.length ? END_STREAM
        : 0, stream, body.subarray(at, at + size)));
    }
    return Buffer.concat(pieces);
  };
  const bombs = repeat(50, (stream) => Buffer.concat([
    head(stream, zipped), frames(stream, bomb, 16384)]));
  await attacked('gzip of 64 MiB each', () => attacking(async (attacker) => {
    await attacker.flood(bombs);
    await attacker.noted('answers', () => attacker.answers >= 50);
    return 'each of 50 refused, the connection lives';
  }));
  const slices = Buffer.concat([head(1, requestHeaders(GET_LOCK)),
    frames(1, frame(padding(200000)), 1)]);
  await attacked('DATA of one byte each', () => attacking(async (attacker) => {
    await attacker.flood(slices);
    await attacker.noted('the answer', () => attacker.answers === 1);
    return 'answered';
  }));

  const CONNECTIONS = 4;
  const half = Buffer.concat([Buffer.from([0, 0, 4, 0, 0]),
    Buffer.alloc(100000)]);
  const part = (stream) => Buffer.concat([
    head(stream, requestHeaders(GET_LOCK)),
    ...Array.from({ length: 6 }, (_, at) => h2frame(FRAME.DATA, 0, stream,
      half.subarray(at * 16384, (at + 1) * 16384)))]);
  const halves = repeat(STREAMS, part);
  const PREFIX_BYTES = 5;
  const fit = Math.floor(REQUEST_BYTES / (6 * 16384 - PREFIX_BYTES));
  await attacked('requests sent by half', async () => {
    await atOnce(CONNECTIONS, () => attacking(async (attacker) => {
      await attacker.flood(halves);
      await attacker.noted('resets',
        () => attacker.resets >= STREAMS - fit);
      await attacker.lives(2 * STREAMS + 1);
      assert.equal(attacker.resets, STREAMS - fit);
      assert.equal(attacker.goaway, undefined);
    }));
    return `bounded at ${REQUEST_BYTES / MIB} MiB a connection: ` +
      `${STREAMS - fit} of ${STREAMS} streams reset, the connections live`;
  }, { growth: 2 * CONNECTIONS * REQUEST_BYTES });
}

// ---- who does not read ----

const DRIP_MS = 400;

function connections() {
  return readdirSync(`/proc/${server.pid}/fd`).length;
}

/** Settles when none of `sockets`, which read nothing, is held any more. */
async function areCut(sockets) {
  const began = performance.now();
  await until(WRITE_SECONDS + LATE_SECONDS, 'the attackers are cut',
    () => heldOf(sockets).length === 0, { everyMs: LOOK_MS });
  for (const socket of sockets) socket.destroy();
  const seconds = (performance.now() - began) / 1000;
  return `closed after ${seconds.toFixed(1)} s`;
}

/** A user whose list is a page of the largest size. */
async function rich() {
  const client = new Client(server.address);
  const owner = new User(client, new Key(), { quick: true });
  await atOnce(56, (index) => owner.write(
    { id: `r${index}`, data: Buffer.alloc(65000, index) }));
  client.close();
  return frame(encode('ListChanges',
    owner.signed('ListChanges', { since_revision: '0' })));
}

/** Has requests of HTTP/1.1 answered, piece after piece, until the answers
 * have filled both ends' buffers; resolves when the connection is cut. */
async function unreadAnswers() {
  const one = request('GET', '/health');
  const piece = Buffer.concat(Array(Math.floor(16384 / one.length)).fill(one));
  const socket = net.connect(server.webPort, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.pause();
  let pieces = 0;
  let end;
  let read; // when it last had read all
  await until(10, 'the attacker is cut', () => {
    const now = serverEnd(socket);
    if (!now) return true;
    end = now;
    if (now.unread === 0 && socket.writableLength === 0) {
      read = performance.now();
      socket.write(piece);
      pieces += 1;
    }
    return false;
  });
  const seconds = (performance.now() - read) / 1000;
  socket.destroy();
  /* It answered as long as there was room, then read no more and held none
   * of it, and at last its patience was over. */
  assert.ok(end.unsent > 0 && end.unread > 0, JSON.stringify(end));
  assert.ok(pieces > 8, `${pieces} pieces`);
  assert.ok(seconds > 0.9 * WRITE_SECONDS
    && seconds < WRITE_SECONDS + LATE_SECONDS, `after ${seconds} s`);
  return `${pieces} times ${piece.length} B read, ${end.unread} B left ` +
    `unread with ${end.unsent} B unsent, closed after ${seconds.toFixed(1)} s`;
}

async function slowReaders() {
  const list = await rich();
  const CONNECTIONS = 2;
  const LISTS = scaled(STREAMS, 20);
  const lists = repeat(LISTS, (stream) => Buffer.concat([
    head(stream, requestHeaders(LIST)),
    h2frame(FRAME.DATA, END_STREAM, stream, list)]));
  const bounds = { growth: 2 * CONNECTIONS * REPLY_BYTES, single: true };
  /* Those for which there was room; the others waited for it in vain, but for
   * some that began to wait just before it came. */
  const isReset = async (attacker) => {
    await attacker.noted('an end of each stream',
      () => attacker.answers + attacker.resets >= LISTS,
      2 * WRITE_SECONDS + LATE_SECONDS);
    const { answers, resets } = attacker;
    assert.ok(resets >= PAGES && resets <= 2 * PAGES, `${resets} reset`);
    await attacker.lives(2 * LISTS + 1, MIB);
    return `${answers} refused, ${resets} reset`;
  };
  const pages = (name, attack) => attacked(name, async () => {
    const began = performance.now();
    const fates = await atOnce(CONNECTIONS, () => attacking(
      async (attacker) => {
        await attacker.flood(lists);
        return attack(attacker);
      }, { streamWindow: 1 }));
    return `${fates.join('; ')} after ${Math.round(
      performance.now() - began)} ms, the connection lives`;
  }, bounds);
  await pages('large replies into a window of one byte', isReset);
  await pages('large replies into windows widened byte by byte', (attacker) => {
    const timer = setInterval(() => {
      if (attacker.over) return;
      for (let at = 0; at < LISTS; at += 1) attacker.widen(2 * at + 1, 1);
    }, DRIP_MS / 10);
    return isReset(attacker).finally(() => clearInterval(timer));
  });
  await attacked('large lists from one connection after the other', () =>
    attacking(async (attacker) => {
      await attacker.flood(lists);
      await attacker.noted('a byte of each page there is room for',
        () => attacker.pieces >= PAGES);
      assert.equal(attacker.answers, 0);
      return `${PAGES} of ${LISTS} made`;
    }, { streamWindow: 1 }), { growth: 2 * REPLY_BYTES });
  await attacked('a large reply taken slowly, but with pace', () => attacking(
    async (attacker) => {
      const TIMES = 4;
      const twice = Math.ceil(2 * PACE_BYTES_PER_S * DRIP_MS / 1000);
      await attacker.flood(Buffer.concat([head(1, requestHeaders(LIST)),
        h2frame(FRAME.DATA, END_STREAM, 1, list)]));
      const timer = setInterval(() => attacker.widen(1, twice), DRIP_MS);
      await Promise.race([
        attacker.closed, pause(TIMES * WRITE_SECONDS * 1000)]);
      clearInterval(timer);
      assert.equal(attacker.answers + attacker.resets, 0);
      attacker.widen(1, LARGEST_WINDOW >> 1);
      await attacker.noted('the rest', () => attacker.answers === 1);
      return `all of it, after ${TIMES * WRITE_SECONDS} s of that`;
    }, { streamWindow: PACE_BYTES_PER_S }), { single: true });
  await attacked('large replies that are not read', async () => {
    const attackers = await atOnce(CONNECTIONS, async () => {
      const attacker = new Attacker();
      await attacker.connected;
      attacker.socket.pause();
      attacker.socket.write(lists);
      return attacker;
    });
    const sockets = attackers.map(({ socket }) => socket);
    assert.equal(heldOf(sockets).length, sockets.length);
    return areCut(sockets);
  }, bounds);
  const many = Buffer.concat(Array(20000).fill(request('GET', '/health')));
  await attacked('HTTP/1.1 requests whose answers are not read',
    unreadAnswers, { single: true });
  await attacked('HTTP/1.1 requests ahead, behind a listener', async () => {
    const socket = net.connect(server.webPort, '127.0.0.1');
    const closed = new Promise((resolve) => {
      socket.once('close', resolve);
    });
    socket.on('error', () => {});
    socket.resume();
    const body = frame(encode('ListenChanges',
      user.signed('ListenChanges', {})));
    socket.write(request('POST', LISTEN, {
      body, headers: { 'content-type': 'application/grpc-web+proto' } }));
    socket.write(many);
    await within(AT_ONCE_SECONDS, 'the end of the attacker', closed);
    return 'closed at 64 KiB ahead';
  });
}

// ---- who says little or nothing ----

/** Silent or slow connections, made at once; `ages` fill as they end. */
class Slow {
  constructor(name, port, count, first, drip) {
    Object.assign(this, { name, count, ages: [], sockets: [] });
    this.connected = atOnce(count, async () => {
      const socket = net.connect(port, '127.0.0.1');
      const began = performance.now();
      socket.on('error', () => {});
      socket.resume();
      socket.once('close', () => this.ages.push(
        (performance.now() - began) / 1000));
      await once(socket, 'connect');
      if (first.length) socket.write(first);
      this.sockets.push(socket);
    });
    if (drip) this.timer = setInterval(() => this.drip(drip), DRIP_MS);
    this.timer?.unref();
  }

  drip(bytes) {
    for (const socket of this.sockets) {
      if (!socket.destroyed) socket.write(bytes);
    }
  }

  end() {
    clearInterval(this.timer);
    for (const socket of this.sockets) socket.destroy();
  }
}

function slowOnes() {
  const few = scaled(50, 10);
  const { port, webPort } = server;
  const web = 'POST /sync.Syncer/GetLock HTTP/1.1\r\nHost: a\r\n';
  return [
    new Slow('silent, gRPC', port, SILENT / 2, ''),
    new Slow('silent, web', webPort, SILENT / 2, ''),
    new Slow('a part of the preface, gRPC', port, few,
      PREFACE.subarray(0, 10)),
    new Slow('a part of the preface, web', webPort, few, 'PR'),
    new Slow('a preface and no SETTINGS, gRPC', port, few, PREFACE),
    new Slow('a preface and no SETTINGS, web', webPort, few, PREFACE),
    new Slow('headers in drops', webPort, few, web, 'a'),
    new Slow('a frame in drops', port, few, Buffer.concat([PREFACE,
      Buffer.from([0, 0, 60, 4, 0, 0, 0, 0, 0])]), Buffer.alloc(1)),
  ];
}

async function slowEnds(slow) {
  for (const one of slow) {
    await test(`slow: ${one.name}: closed after ${HANDSHAKE_SECONDS} s`,
      async () => {
        await until(HANDSHAKE_SECONDS + LATE_SECONDS, 'all are closed',
          () => one.ages.length === one.count);
        const [first, last] = [Math.min(...one.ages), Math.max(...one.ages)];
        diag(`${one.name}: ${one.count} closed after ${first.toFixed(1)} ` +
          `to ${last.toFixed(1)} s`);
        assert.ok(first >= HANDSHAKE_SECONDS - 1, `the first at ${first} s`);
        assert.ok(last <= HANDSHAKE_SECONDS + LATE_SECONDS,
          `the last at ${last} s`);
      });
    one.end();
  }
}

// ---- who is no attacker ----

async function cancels() {
  const CONNECTIONS = 2;
  const EACH = scaled(1500, 1100); // over what is forgiven before an answer
  const AT_ONCE = 50;
  const listen = frame(encode('ListenChanges',
    user.signed('ListenChanges', {})));
  await attacked(`${CONNECTIONS * EACH} cancels of ${CONNECTIONS} clients ` +
    'close no connection', async () => {
    await atOnce(CONNECTIONS, async () => {
      let greeted = 0;
      const wire = new Attacker();
      const note = wire.onFrame;
      wire.onFrame = (event) => {
        if (event.type === FRAME.DATA) {
          greeted += 1;
          wire.reset(event.stream);
        }
        note(event);
      };
      for (let made = 0; made < EACH; made += AT_ONCE) {
        for (let at = made; at < made + AT_ONCE; at += 1) {
          wire.request(2 * at + 1, requestHeaders(LISTEN), listen);
        }
        await wire.noted('greetings', () => greeted >= made + AT_ONCE);
      }
      await wire.lives(2 * EACH + 1);
      assert.equal(wire.goaway, undefined);
      await wire.destroy();
    });
    return 'all connections live';
  }, { single: true });
}

async function begin(more = {}) {
  // One user does it all; what is cut off here is not cut off for its rate.
  const options = { env: { ...env, MAX_RATE_PER_USER: '0', ...more } };
  server = await startServer(options);
  bystander = await startServer(options);
  user = new User(undefined, new Key(), { quick: true });
  honest = new Honest(server, bystander, {
    path: GET_LOCK, body: good().subarray(5),
    options: ca && { ca, servername: 'localhost' } });
  const name = 'the honest client is served in quiet';
  await test(ca ? `over TLS: ${name}` : name, async () => {
    await honest.begin(QUIET_CALLS); // warms both up
    await honest.begin(QUIET_CALLS);
    quiet = await honest.end();
    assert.deepEqual(quiet.failures, []);
    diag(`quiet: ${quiet.calls} calls, p99 ${quiet.p99.toFixed(1)} ms, ` +
      `worst ${quiet.worst.toFixed(1)} ms`);
  });
}

async function end() {
  await honest.stop();
  await server.stop();
  await bystander.stop();
}

async function beginTls() {
  const authority = new Authority('TLS Root');
  const { name } = authority.issue({ extensions: LOOPBACK });
  const { cert, key } = authority.files(name);
  ca = authority.pem.toString();
  await begin({ TLS_CERT_FILE: cert, TLS_KEY_FILE: key });
}

await suite(async () => {
  await begin();
  const idle = connections();
  let slow;
  await attacked(`${SILENT} connections that say nothing`, async () => {
    slow = slowOnes();
    await Promise.all(slow.map((one) => one.connected));
    return 'held until their time is up';
  }, { single: true });
  await frameFloods();
  await resetFloods();
  await pacedResets();
  await headerAttacks();
  await bodyAttacks();
  await slowReaders();
  await cancels();
  await slowEnds(slow);
  await test('at the end every connection but the honest one is gone',
    () => until(AT_ONCE_SECONDS, 'it is',
      () => connections() === idle));
  await end();
  await beginTls();
  await frameFloods();
  await resetFloods();
  await end();
}, { seconds: 150 });
