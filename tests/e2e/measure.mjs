// SPDX-License-Identifier: Apache-2.0
// measure — prints figures; nothing here can fail but the server.
//
// Requests are signed beforehand and framed by hand, so that the machine's
// time goes to the server. CPU time is the server's own, from the kernel.

import { User, encode } from './lib/client.mjs';
import { atOnce, workers } from './lib/load.mjs';
import { FRAME, Wire, frame, requestHeaders } from './lib/raw.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { scaled, within } from './lib/tap.mjs';

const CALLERS = 64;
const CONNECTIONS = 16;
const REQUESTS = scaled(20000, 2000);
const USERS = 64;
const DATA_BYTES = 200;
const LISTENERS = scaled(Number(process.env.E2E_LISTENERS || 5000), 100);
const LISTENER_USERS = 500;
const AT_ONCE = 50;

/** One connection with callers that ask one thing after another. */
class Caller {
  constructor(port, method) {
    this.headers = requestHeaders(`/sync.Syncer/${method}`);
    this.open = new Map();
    this.stream = 1;
    this.wire = new Wire(port, { onFrame: (event) => this.onFrame(event) });
  }

  onFrame({ type, stream, payload, ends }) {
    const call = this.open.get(stream);
    if (!call) return;
    if (type === FRAME.DATA && payload.length) {
      call.reply = Buffer.from(payload);
    }
    if (ends || type === FRAME.RST_STREAM) {
      this.open.delete(stream);
      call.done(call.reply);
    }
  }

  /** Resolves to the framed reply, or undefined when there was none. */
  call(body) {
    const { stream } = this;
    this.stream += 2;
    return new Promise((done) => {
      this.open.set(stream, { done });
      this.wire.request(stream, this.headers, body);
    });
  }
}

/** Sends all bodies from CALLERS callers; gives rate, errors and CPU. */
async function drive(server, method, bodies, isError) {
  const callers = Array.from({ length: CONNECTIONS },
    () => new Caller(server.port, method));
  await Promise.all(callers.map(({ wire }) => wire.connected));
  let errors = 0;
  const rest = [...bodies];
  const cpu = server.cpu();
  const began = performance.now();
  await atOnce(CALLERS, async (index) => {
    const caller = callers[index % CONNECTIONS];
    while (rest.length) {
      if (isError(await caller.call(rest.pop()))) errors += 1;
    }
  });
  const seconds = (performance.now() - began) / 1000;
  const used = server.cpu() - cpu;
  await Promise.all(callers.map(({ wire }) => wire.destroy()));
  return {
    rate: bodies.length / seconds, errors,
    microseconds: used / bodies.length * 1e6,
  };
}

function show(what, { rate, errors, microseconds }) {
  process.stdout.write(`${what}: ${rate.toFixed(0)}/s with ${CALLERS} ` +
    `callers, ${errors} errors, ${microseconds.toFixed(1)} µs CPU each\n`);
}

function users(count) {
  return Array.from({ length: count },
    () => new User(undefined, new Key(), { quick: true }));
}

async function calls(server) {
  const all = users(USERS);
  const data = Buffer.alloc(DATA_BYTES, 1);
  const sets = Array.from({ length: REQUESTS }, (_, index) => frame(encode(
    'SetRecord', all[index % USERS].record({ id: `r${index}`, data }))));
  // A reply with a first field is a CONFLICT; none at all is an error.
  show('SetRecord', await drive(server, 'SetRecord', sets,
    (reply) => !reply || reply[5] === 8));
  const same = users(1)[0];
  const hot = Array.from({ length: REQUESTS }, (_, index) => frame(encode(
    'SetRecord', same.record({ id: `r${index}`, data }))));
  show('SetRecord of one user', await drive(server, 'SetRecord', hot,
    (reply) => !reply || reply[5] === 8));
  const gets = Array.from({ length: REQUESTS }, (_, index) => frame(encode(
    'GetLock', all[index % USERS].signed(
      'GetLock', { lock_name: `l${index}` }))));
  show('GetLock', await drive(server, 'GetLock', gets, (reply) => !reply));
  const lists = Array.from({ length: REQUESTS / 4 }, (_, index) => frame(
    encode('ListChanges', all[index % USERS].signed('ListChanges',
      { since_revision: String(REQUESTS / USERS - 2) }))));
  show('ListChanges of few records',
    await drive(server, 'ListChanges', lists, (reply) => !reply));
}

async function idleListeners(server) {
  const headers = requestHeaders('/sync.Syncer/ListenChanges');
  const bodies = users(LISTENER_USERS).map((user) => frame(encode(
    'ListenChanges', user.signed('ListenChanges', {}))));
  const wires = [];
  const before = server.rss();
  const cpu = server.cpu();
  const began = performance.now();
  await workers(AT_ONCE, Array.from({ length: LISTENERS }, (_, i) => i),
    async (index) => {
      let wire;
      await within(30, 'a greeting', new Promise((resolve, reject) => {
        wire = new Wire(server.port, { onFrame: ({ type, stream, ends }) => {
          if (ends && stream === 1) reject(new Error('a listener ended'));
          if (type === FRAME.DATA) resolve();
        } });
        wire.connected.catch(reject);
        wire.request(1, headers, bodies[index % LISTENER_USERS]);
      }));
      wires.push(wire);
    });
  const seconds = (performance.now() - began) / 1000;
  const each = (server.rss() - before) / LISTENERS;
  process.stdout.write(`${LISTENERS} listeners: ${(each / 1024).toFixed(1)} ` +
    `KiB RSS each, ${(server.rss() / 1048576).toFixed(1)} MiB in all, ` +
    `subscribed in ${seconds.toFixed(1)} s, ` +
    `${((server.cpu() - cpu) / LISTENERS * 1e6).toFixed(0)} µs CPU each\n`);
  await Promise.all(wires.map((wire) => wire.destroy()));
}

const server = await startServer();
process.stdout.write(`start: ${(server.rss() / 1048576).toFixed(1)} MiB RSS\n`);
await calls(server);
await server.kill();
const fresh = await startServer();
await idleListeners(fresh);
await fresh.kill();
process.exit(0);
