// SPDX-License-Identifier: Apache-2.0
// metrics — every metric moves as it should, by as much as it should, and who
// asks disturbs nobody.

import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { Authority, LOOPBACK, RevocationList } from './lib/ca.mjs';
import { Client, User, encode, status } from './lib/client.mjs';
import { Pool, atOnce, below, workers } from './lib/load.mjs';
import {
  Metrics, ON, difference, families, metricsAddress, parse,
} from './lib/metrics.mjs';
import { connect } from './lib/postgres.mjs';
import { FRAME, Session, Wire, frame, h2frame, requestHeaders }
  from './lib/raw.mjs';
import { Server, binaryPath, startServer, temporaryDirectory }
  from './lib/server.mjs';
import { Channel, contract } from './lib/service.mjs';
import { Key } from './lib/sign.mjs';
import { POSTGRES } from './lib/store.mjs';
import { atEnd, diag, scaled, skip, suite, test, until } from './lib/tap.mjs';
import { Http1, WEB, WEB_TEXT, askOnce, post, readAnswer, request }
  from './lib/web.mjs';

const CODES = Object.fromEntries(
  Object.entries(status).filter(([, code]) => Number.isInteger(code))
    .map(([name, code]) => [code, name]));
const METHODS = [
  'SetRecord', 'ListChanges', 'ListenChanges', 'SetLock', 'GetLock'];
const PROMTOOL = spawnSync('promtool', ['--version']).status === 0;
const SHARDS = 4;
const CALLS = scaled(2000, 400);
const CONNECTIONS_MAX = 32; // at the metrics' own port
// More than STORE_QUEUE_MAX, 16,384, also when some of the first are answered
// before the last have come: SQLite gives up a group every 2 s.
const MANY = '24000';
const INSTANCE = '6f9619ff-8b86-d011-b42d-00c04fc964ff';
const health = contract(
  'grpc/health/v1/health.proto')['grpc.health.v1.Health'];
const reflection = contract('grpc/reflection/v1/reflection.proto')[
  'grpc.reflection.v1.ServerReflection'];

const calls = (method, code) =>
  `tallyd_calls_total{method="${method}",code="${code}"}`;
const timed = (method) =>
  `tallyd_call_duration_seconds_count{method="${method}"}`;
const rejected = (limit) => `tallyd_rejected_total{limit="${limit}"}`;
const stored = (operation, outcome) => 'tallyd_store_operations_total'
  + `{operation="${operation}",outcome="${outcome}"}`;
const SIGNATURES = 'tallyd_signature_duration_seconds_count';

/** What counts calls, and nothing else. */
const OF_CALLS = /^tallyd_(calls_total|call_duration_seconds_count|signature_duration_seconds_count|store_operations_total|rejected_total|calls_stalled_total)/;

async function serve(env = {}) {
  const server = await startServer({ env: { ...ON, ...env } });
  return { server, metrics: new Metrics(server) };
}

/** Once nothing is under way that a case before has left. */
async function atRest(metrics) {
  await until(5, 'no stream', async () => (
    await metrics.value('tallyd_streams') === 0));
}

// ---- the page ----

async function pageCases({ server, metrics }) {
  const address = metricsAddress(server);
  const port = Number(address.split(':')[1]);
  const ask = (method, target, options) =>
    askOnce(port, request(method, target, options),
      { bodiless: method === 'HEAD' });
  const text = await metrics.text();

  if (PROMTOOL) {
    await test('promtool finds nothing to complain of', () => {
      const { stdout, stderr, status: code } = spawnSync(
        'promtool', ['check', 'metrics'], { input: text });
      assert.equal(`${stdout}${stderr}`, '');
      assert.equal(code, 0);
    });
  } else {
    skip('promtool finds nothing to complain of', 'promtool is not installed');
  }
  await test('nothing of a client, and no path, is told', () => {
    for (const secret of ['of metrics', INSTANCE, 'no signature', server.dir,
      'Unknown', 'x'.repeat(20), 'node', '127.0.0.1']) {
      assert.ok(!text.includes(secret), secret);
    }
  });
  await test('no series is told twice', () => {
    const names = text.split('\n').filter((line) => line && line[0] !== '#')
      .map((line) => line.slice(0, line.lastIndexOf(' ')));
    assert.equal(new Set(names).size, names.length);
  });
  await test('every metric is in docs/OPERATIONS.md, and none besides', () => {
    const page = read('docs/OPERATIONS.md');
    const told = new Set([...page.matchAll(/^\| `(tallyd_\w+)` \|/gm)]
      .map(([, name]) => name));
    const served = [...families(text).keys()]
      .filter((name) => name.startsWith('tallyd_'));
    assert.deepEqual([...told].sort(), served.sort());
    const limits = [...page.matchAll(/^\| `(\w+)` \| (a|an) \w+, /gm)]
      .map(([, name]) => name);
    assert.deepEqual(limits.sort(),
      [...text.matchAll(/limit="(\w+)"/g)].map(([, name]) => name).sort());
  });
  await test('GET and HEAD are answered in Prometheus\' text format',
    async () => {
      const type = 'text/plain; version=0.0.4; charset=utf-8';
      for (const [method, target, version] of [['GET', '/metrics', '1.1'],
        ['HEAD', '/metrics', '1.1'], ['GET', '/metrics?name=x', '1.1'],
        ['GET', '/metrics', '1.0']]) {
        const answer = await ask(method, target, { version });
        assert.equal(answer.http, 200);
        assert.equal(answer.headers['content-type'], type);
        assert.equal(answer.body.length > 10000, method === 'GET');
      }
    });
  for (const target of ['/', '/metrics/', '/metric', '/metricsx', '/health',
    '/sync.Syncer/GetLock', '/%6detrics']) {
    await test(`${target} is not there`, async () => {
      assert.equal((await ask('GET', target)).http, 404);
    });
  }
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    await test(`${method} is not allowed`, async () => {
      const answer = await ask(method, '/metrics', { body: Buffer.from('x') });
      assert.equal(answer.http, 405);
      assert.equal(answer.headers.allow, 'GET, HEAD');
    });
  }
  await test('the ports for clients do not have it', async () => {
    const web = await fetch(`http://${server.webAddress}/metrics`);
    assert.equal(web.status, 404);
    const session = new Session(server.address);
    const answer = await session.call('/metrics', null,
      { headers: { ':method': 'GET', 'content-type': undefined } });
    assert.notEqual(answer.http, 200);
    await session.close();
  });
  await test('it speaks no HTTP/2', async () => {
    const wire = new Wire(port);
    await wire.closed;
  });
  await test('connections are bounded, and come free again', async () => {
    await until(5, 'none but ours', async () => (
      await metrics.value('tallyd_connections{port="metrics"}') <= 2));
    const idle = [];
    let refused = 0;
    for (let number = 0; number < CONNECTIONS_MAX + 8; number += 1) {
      const one = new Http1(port);
      await one.connected;
      const answer = await one.ask(request('GET', '/metrics'))
        .catch(() => undefined);
      if (answer) idle.push(one);
      else refused += 1;
    }
    assert.ok(refused >= 8, `${refused} refused`);
    assert.ok(idle.length >= CONNECTIONS_MAX - 2, `${idle.length} served`);
    for (const one of idle) one.destroy();
    await until(5, 'room', () => metrics.text().then(() => true, () => false));
  });
  await test('what the process takes is what the kernel says', async () => {
    const proc = `/proc/${server.pid}`;
    const all = await metrics.read();
    const within = (name, value, off) => assert.ok(
      Math.abs(all.get(name) - value) <= off,
      `${name} is ${all.get(name)}, not ${value}`);
    within('process_open_fds', readdirSync(`${proc}/fd`).length, 8);
    within('process_resident_memory_bytes', server.rss(),
      server.rss() / 4);
    within('process_cpu_seconds_total', server.cpu(), 1);
    const lines = readFileSync(`${proc}/status`, 'utf8');
    within('process_threads', Number(/Threads:\s+(\d+)/.exec(lines)[1]), 0);
    within('process_max_fds', Number(/^Max open files +(\d+)/m.exec(
      readFileSync(`${proc}/limits`, 'utf8'))[1]), 0);
    const started = execFileSync('ps', ['-o', 'etimes=', '-p', server.pid]);
    within('process_start_time_seconds',
      Date.now() / 1000 - Number(started), 3);
    within('tallyd_shards', SHARDS, 0);
    const [info] = [...all.keys()].filter((name) => /build_info/.test(name));
    assert.match(info, /^tallyd_build_info\{version="\d+\.\d+\.\d+"\}$/);
  });
}

async function addressCases() {
  await test('off: there is no listener', async () => {
    const server = await startServer({
      env: { METRICS_LISTEN_ADDRESS: 'off' } });
    assert.equal(metricsAddress(server), 'off');
    await server.stop();
  });
  /** Somebody else may have it, which is as good. */
  const hold = (port) => new Promise((resolve) => {
    const holder = net.createServer();
    holder.once('error', () => resolve(undefined));
    holder.listen(port, '127.0.0.1', () => resolve(holder));
    atEnd(() => holder.close());
  });
  await hold(9091);
  await test('the default address is taken: it serves without', async () => {
    const server = await startServer({ env: { METRICS_LISTEN_ADDRESS: '' } });
    assert.equal(metricsAddress(server), 'off');
    assert.match(server.stderr, /level=warn event=metrics\.not_served reason=/);
    await server.stop();
  });
  await test('an address that was set is taken: it does not start',
    async () => {
      const address = `127.0.0.1:${(await hold(0)).address().port}`;
      const server = new Server({ env: { METRICS_LISTEN_ADDRESS: address } });
      await server.launch();
      const { code } = await server.exited;
      assert.equal(code, 1);
      assert.match(server.stderr, new RegExp(
        `event=start\\.failed reason="cannot listen at ${address}: `));
    });
}

// ---- calls ----

/** Each way to make a call answers a status code. */
function nativeWay(session) {
  return async (method, message) => (
    await session.message(`/sync.Syncer/${method}`, encode(method, message)))
    .status;
}

function webWay(server, type) {
  return async (method, message) => readAnswer(await askOnce(server.webPort,
    post(`/sync.Syncer/${method}`, encode(method, message),
      { headers: { 'content-type': type } }))).status;
}

/** [name, method, request, code, operation and outcome, was it signed] */
function callRows(user) {
  const signed = (method, rest) => user.signed(method, rest);
  const set = (rest) => user.record({ id: 'of metrics', ...rest });
  const lock = (rest) => ({
    lock_name: 'n', instance_id: INSTANCE, acquire: true, exclusive: true,
    ttl_seconds: 30, ...rest });
  const bad = (method, rest) => ({
    ...signed(method, rest), signature: 'no signature' });
  const old = { request_time: 1000 };
  return [
    ['a record', 'SetRecord', () => set({}), 'OK', ['set_record', 'ok']],
    ['a conflict', 'SetRecord', () => set({ revision: 99 }), 'OK',
      ['set_record', 'conflict']],
    ['a list', 'ListChanges', () => signed('ListChanges',
      { since_revision: '0' }), 'OK', ['list_changes', 'ok']],
    ['a lock', 'SetLock', () => signed('SetLock', lock()), 'OK',
      ['set_lock', 'ok']],
    ['a lock that another has', 'SetLock', () => signed('SetLock',
      lock({ instance_id: INSTANCE.replace('6', '7') })),
    'FAILED_PRECONDITION', ['set_lock', 'lock_held']],
    ['a look at a lock', 'GetLock', () => signed('GetLock',
      { lock_name: 'n' }), 'OK', ['get_lock', 'ok']],
    ['a bad signature', 'SetRecord', () => ({
      ...set({}), signature: 'no signature' }), 'UNAUTHENTICATED'],
    ['a bad signature of a list', 'ListChanges', () => bad('ListChanges',
      { since_revision: '0' }), 'UNAUTHENTICATED'],
    ['an old request', 'GetLock', () => signed('GetLock',
      { lock_name: 'n', ...old }), 'INVALID_ARGUMENT', undefined, false],
    ['an empty record', 'SetRecord', () => ({}), 'INVALID_ARGUMENT',
      undefined, false],
    ['a listener that is too old', 'ListenChanges', () => signed(
      'ListenChanges', old), 'INVALID_ARGUMENT', undefined, false],
  ];
}

async function callCases({ server, metrics }) {
  const session = new Session(server.address);
  const ways = [['native', nativeWay(session)], ['web', webWay(server, WEB)],
    ['web text', webWay(server, WEB_TEXT)]];
  for (const [way, send] of ways) {
    const user = new User(undefined, new Key());
    for (const [name, method, build, code, store, signed = true]
      of callRows(user)) {
      await test(`${way}: ${name} is counted once, where it belongs`,
        async () => {
          const full = `sync.Syncer/${method}`;
          assert.deepEqual(await metrics.change(OF_CALLS, async () => {
            assert.equal(CODES[await send(method, build())], code);
          }), {
            [calls(full, code)]: 1,
            [timed(full)]: 1,
            ...(signed && { [SIGNATURES]: 1 }),
            ...(store && { [stored(...store)]: 1 }),
          });
        });
    }
  }
  await session.close();
}

async function otherCallCases({ server, metrics }) {
  const session = new Session(server.address);
  const user = new User(undefined, new Key());
  const getLock = () => encode('GetLock',
    user.signed('GetLock', { lock_name: 'n' }));
  await test('whatever is not served is one series', async () => {
    const paths = ['/sync.Syncer/Unknown', '/x.Y/GetLock', '/nothing', '/',
      `/sync.Syncer/${'x'.repeat(2000)}`, '/sync.Syncer/"x"'];
    const before = await metrics.text();
    const change = await metrics.change(OF_CALLS, async () => {
      for (const path of paths) {
        const answer = await session.message(path, getLock());
        assert.equal(CODES[answer.status], 'UNIMPLEMENTED', path);
      }
    });
    assert.deepEqual(change, {
      [calls('other', 'UNIMPLEMENTED')]: paths.length,
      [timed('other')]: paths.length,
    });
    assert.deepEqual([...parse(before).keys()],
      [...(await metrics.read()).keys()]);
  });
  const row = (name, path, headers, body, expected) => test(name, async () => {
    assert.deepEqual(await metrics.change(OF_CALLS, () =>
      session.call(path, body, { headers })), expected);
  });
  const GET_LOCK = '/sync.Syncer/GetLock';
  const known = 'sync.Syncer/GetLock';
  await row('no gRPC', GET_LOCK, { 'content-type': 'text/html' }, null,
    { [calls('other', 'INVALID_ARGUMENT')]: 1, [timed('other')]: 1 });
  await row('a deadline that is over', GET_LOCK, { 'grpc-timeout': '0n' },
    frame(getLock()),
    { [calls('other', 'DEADLINE_EXCEEDED')]: 1, [timed('other')]: 1 });
  await row('an encoding that is not known', GET_LOCK,
    { 'grpc-encoding': 'br' }, frame(getLock()),
    { [calls(known, 'UNIMPLEMENTED')]: 1, [timed(known)]: 1 });
  await row('no message', GET_LOCK, {}, null,
    { [calls(known, 'UNIMPLEMENTED')]: 1, [timed(known)]: 1 });
  await row('a message that is too large', GET_LOCK, {},
    Buffer.concat([Buffer.from([0, 0, 16, 0, 0]), Buffer.alloc(1000)]), {
      [calls(known, 'RESOURCE_EXHAUSTED')]: 1, [timed(known)]: 1,
      [rejected('message')]: 1,
    });
  await row('headers that are too long', GET_LOCK,
    { 'x-long': 'x'.repeat(20000) }, frame(getLock()),
    { [rejected('headers')]: 1 });
  await session.close();
  await test('health and reflection are counted by their names', async () => {
    const channel = new Channel(server.address);
    const name = 'grpc.health.v1.Health';
    assert.deepEqual(await metrics.change(OF_CALLS, async () => {
      await channel.unary(health.Check, {});
      await channel.unary(health.Check, { service: 'x' });
      await channel.unary(health.List, {});
      const asked = channel.duplex(reflection.ServerReflectionInfo, 5);
      await asked.ask({ list_services: '' });
      asked.call.end();
      await asked.end();
    }), {
      [calls(`${name}/Check`, 'OK')]: 1,
      [calls(`${name}/Check`, 'NOT_FOUND')]: 1,
      [timed(`${name}/Check`)]: 2,
      [calls(`${name}/List`, 'OK')]: 1, [timed(`${name}/List`)]: 1,
      [calls('grpc.reflection/ServerReflectionInfo', 'OK')]: 1,
      [timed('grpc.reflection/ServerReflectionInfo')]: 1,
    });
    channel.close();
  });
}

/** Every call is counted, also of several loops at once and while somebody
 * reads all the time. */
async function exactCase({ server, metrics }) {
  await atRest(metrics);
  const pool = new Pool(server.address, 2 * SHARDS);
  const users = Array.from({ length: 16 }, () => pool.user());
  const made = {};
  const note = (method, code, by = 1) => {
    for (const series of [calls(method, CODES[code]), timed(method)]) {
      made[series] = (made[series] ?? 0) + by;
    }
  };
  const kinds = [
    ['SetRecord', (user, n) => user.setRecord({ id: `r${n}` })],
    ['ListChanges', (user) => user.listChanges(0)],
    ['GetLock', (user) => user.getLock('n')],
    ['SetRecord', (user) => user.setRecord({ id: 'x'.repeat(99) })],
  ];
  let reading = true, reads = 0, slowest = 0, last = await metrics.read();
  const reader = (async () => {
    while (reading) {
      const began = performance.now();
      const next = await metrics.read();
      slowest = Math.max(slowest, performance.now() - began);
      for (const [series, by] of Object.entries(difference(last, next))) {
        assert.ok(by > 0 || !/_(total|count|bucket)\b/.test(series),
          `${series} went back by ${-by}`);
      }
      last = next;
      reads += 1;
    }
  })();
  let failed = 0;
  const change = await metrics.change(
    /^tallyd_(calls_total|call_duration_seconds_count)/, async () => {
      const jobs = Array.from({ length: CALLS }, (_, index) => index);
      await workers(64, jobs, async (index) => {
        const [method, call] = kinds[index % kinds.length];
        const { code } = await call(users[below(users.length)], index);
        if (code !== 0 && code !== status.INVALID_ARGUMENT) failed += 1;
        note(`sync.Syncer/${method}`, code);
      });
    });
  reading = false;
  await reader;
  pool.close();
  diag(`${reads} times asked, ${slowest.toFixed(0)} ms at most`);
  await test(`${CALLS} calls over ${SHARDS} loops are counted one by one`,
    () => assert.deepEqual(change, made));
  await test('asking all the time disturbs no call, and no count goes back',
    () => {
      assert.equal(failed, 0);
      assert.ok(reads >= 5, `asked ${reads} times`);
    });
  await test('a turn of a loop was counted, none is stuck', async () => {
    const all = await metrics.read();
    assert.ok(all.get('tallyd_loop_turn_duration_seconds_count') > 0);
    assert.ok(all.get('tallyd_loop_stuck_seconds') < 5);
  });
}

// ---- connections and bytes ----

async function connectionCases({ server, metrics }) {
  for (const [port, number] of [['grpc', server.port],
    ['web', server.webPort]]) {
    await test(`${port}: connections and bytes are counted`, async () => {
      const open = `tallyd_connections{port="${port}"}`;
      const accepted = `tallyd_connections_accepted_total{port="${port}"}`;
      const before = await metrics.read();
      const wire = new Http1(number);
      await until(5, 'it is accepted', async () => (
        await metrics.value(accepted) > before.get(accepted)));
      const bytes = request('GET', '/nothing');
      const sent = `tallyd_sent_bytes_total{port="${port}"}`;
      const change = await metrics.change(/^tallyd_.*port="(grpc|web)"/,
        async () => {
          const already = await metrics.value(sent);
          const second = new Http1(number);
          await second.connected;
          second.write(bytes);
          await (port === 'web' ? second.answer() : second.rest());
          await second.destroy();
          // Counted once they have left: we may have them before.
          await until(5, 'what was sent is counted', async () => (
            await metrics.value(sent) > already));
        });
      assert.ok(change[sent] > 0);
      delete change[sent];
      delete change[open];
      assert.deepEqual(change, {
        [accepted]: 1,
        [`tallyd_received_bytes_total{port="${port}"}`]: bytes.length,
      });
      wire.destroy();
      await until(5, 'both are gone', async () => (
        await metrics.value(open) <= before.get(open)));
    });
  }
}

// ---- listeners ----

const LISTEN = 'sync.Syncer/ListenChanges';
const OF_NOTICES = /^tallyd_(listeners|notices|nudges|pages|lists|calls_stalled)/;

async function listenCases({ server, metrics }) {
  const client = new Client(server.address);
  const user = new User(client, new Key());
  await test('listeners are counted, and what they are told', async () => {
    const change = await metrics.change(OF_NOTICES, async () => {
      const one = await user.listen().greeting();
      const two = await user.listen().greeting();
      for (let number = 0; number < 3; number += 1) {
        await user.write({ id: `n${number}`, clientId: `${number}` });
        await Promise.all([one.next(), two.next()]);
      }
      assert.equal(await metrics.value('tallyd_listeners'), 2);
      one.cancel();
      await until(5, 'it left', async () => (
        await metrics.value('tallyd_listeners') === 1));
      two.cancel();
      await until(5, 'it left', async () => (
        await metrics.value('tallyd_listeners') === 0));
    });
    assert.deepEqual(change, { tallyd_notices_sent_total: 6 });
  });
  await test('a listener that leaves is counted as cancelled', async () => {
    const change = await metrics.change(OF_CALLS, async () => {
      const one = await user.listen().greeting();
      assert.equal(await metrics.value(timed(LISTEN)) > 0, true);
      one.cancel();
      await atRest(metrics);
    });
    assert.equal(change[calls(LISTEN, 'CANCELLED')], 1);
    assert.equal(change[timed(LISTEN)], 1);
  });
  await test('a truncated page nudges', async () => {
    const other = new User(client, new Key(), { quick: true });
    const data = 'x'.repeat(65000);
    const jobs = Array.from({ length: 60 }, (_, index) => index);
    await workers(8, jobs, (index) => other.write({ id: `r${index}`, data }));
    const listener = await other.listen().greeting();
    const change = await metrics.change(OF_NOTICES, async () => {
      await other.changes(0);
      await listener.next();
    });
    assert.deepEqual(change, {
      tallyd_pages_truncated_total: 1,
      'tallyd_nudges_total{reason="truncated_page"}': 1,
      tallyd_notices_sent_total: 1,
    });
    listener.cancel();
  });
  await test('a list that the overlap rule lowers is counted', async () => {
    const other = new User(client, new Key());
    await other.write({ id: 'theirs', clientId: 'theirs' });
    const own = await other.write({ id: 'own', clientId: 'own' });
    const change = await metrics.change(OF_NOTICES, async () => {
      assert.equal((await other.changes(own)).length, 1);
    });
    assert.deepEqual(change, { tallyd_lists_lowered_total: 1 });
  });
  client.close();
}

/** What waits for a peer that takes nothing merges, and then it goes. */
async function slowCases() {
  const { server, metrics } = await serve({ LISTENER_WRITE_TIMEOUT: '1' });
  const client = new Client(server.address);
  const user = new User(client, new Key());
  await test('a listener that reads nothing: merged, then closed',
    async () => {
      const wire = new Wire(server.port, { streamWindow: 0 });
      await wire.ready;
      const before = await metrics.read();
      wire.request(1, requestHeaders(`/${LISTEN}`), frame(
        encode('ListenChanges', user.signed('ListenChanges', {}))));
      await until(5, 'it listens', async () => (
        await metrics.value('tallyd_listeners') === 1));
      for (let number = 0; number < 3; number += 1) {
        await user.write({ id: `n${number}` });
      }
      await until(10, 'it is closed', async () => (
        await metrics.value('tallyd_listeners') === 0));
      const change = difference(before, await metrics.read());
      assert.equal(change.tallyd_notices_merged_total, 2);
      assert.equal(change.tallyd_notices_sent_total, undefined);
      assert.equal(
        change[`tallyd_calls_stalled_total{method="${LISTEN}"}`], 1);
      assert.equal(change[calls(LISTEN, 'CANCELLED')], 1);
      wire.destroy();
    });
  client.close();
  await server.stop();
}

// ---- limits ----

async function limitCases() {
  const { server, metrics } = await serve({
    SHARDS: '1', MAX_CONNECTIONS: '3', MAX_CONNECTIONS_PER_PEER: '2',
    MAX_STREAMS_PER_CONNECTION: '1', KEEPALIVE_MIN_TIME: '3600' });
  const gone = () => until(5, 'nobody is there', async () => (
    await metrics.value('tallyd_connections{port="grpc"}') === 0));
  const row = (limit, fn) => test(`${limit}: who is turned away is counted`,
    async () => {
      await gone();
      assert.deepEqual(await metrics.change(/^tallyd_rejected/, fn),
        { [rejected(limit)]: 1 });
      await gone();
    });
  await row('connections_per_peer', async () => {
    const wires = [new Wire(server.port), new Wire(server.port)];
    await Promise.all(wires.map((wire) => wire.ready));
    await new Wire(server.port).closed;
    for (const wire of wires) wire.destroy();
  });
  await row('streams', async () => {
    const wire = new Wire(server.port);
    await wire.ready;
    const reset = new Promise((resolve) => {
      wire.onFrame = ({ type }) => {
        if (type === FRAME.RST_STREAM) resolve();
      };
    });
    const headers = requestHeaders('/sync.Syncer/GetLock');
    wire.openRequest(1, headers, Buffer.alloc(0));
    wire.openRequest(3, headers, Buffer.alloc(0));
    await reset;
    wire.destroy();
  });
  await row('calm', async () => {
    const wire = new Wire(server.port);
    await wire.ready;
    for (let number = 0; number < 5; number += 1) {
      wire.write(h2frame(FRAME.PING, 0, 0, Buffer.alloc(8)));
    }
    await wire.closed;
  });
  await server.stop();

  const few = await serve({ MAX_CONNECTIONS: '2' });
  await test('connections: who is turned away is counted', async () => {
    await until(5, 'nobody is there', async () => (
      await few.metrics.value('tallyd_connections{port="grpc"}') === 0));
    const change = await few.metrics.change(/^tallyd_rejected/, async () => {
      const wires = [new Wire(few.server.port), new Wire(few.server.port)];
      await Promise.all(wires.map((wire) => wire.ready));
      await new Wire(few.server.port).closed;
      for (const wire of wires) wire.destroy();
    });
    assert.deepEqual(change, { [rejected('connections')]: 1 });
  });
  await few.server.stop();
}

// ---- the store ----

/** Holds up every write until it is let go. */
async function holdSqlite(server) {
  const shell = spawn('sqlite3', [server.store.file],
    { stdio: ['pipe', 'pipe', 'inherit'] });
  const held = new Promise((resolve) => { shell.stdout.once('data', resolve); });
  shell.stdin.write('.timeout 5000\nBEGIN IMMEDIATE; SELECT \'held\';\n');
  await held;
  return () => new Promise((resolve) => {
    shell.once('close', resolve);
    shell.stdin.end('ROLLBACK;\n');
  });
}

async function holdPostgres(server) {
  const client = await connect(await server.store.url());
  await client.query('BEGIN');
  await client.query('LOCK TABLE user_revisions IN ACCESS EXCLUSIVE MODE');
  return async () => {
    await client.query('ROLLBACK');
    await client.end();
  };
}

const hold = POSTGRES ? holdPostgres : holdSqlite;

/** More writes at once than the store lets wait. */
async function queueCase() {
  const title = 'a full queue of the store: who is turned away is counted';
  const load = path.join(path.dirname(binaryPath()), 'bench/load');
  if (!existsSync(load)) {
    skip(title, 'needs a build with -Dbench=true');
    return;
  }
  await test(title, async () => {
    const { server, metrics } = await serve({
      SHARDS: '1', MAX_RATE_PER_USER: '0', LOG_LEVEL: 'warn' });
    const turnedAway = () => metrics.value(rejected('store_queue'));
    const release = await hold(server);
    const writers = promisify(execFile)(load, ['set-new', '--callers', MANY,
      '--requests', MANY, '--connections', '200', '--users', '64',
      '--data-bytes', '16', '--address', server.address]);
    try {
      await until(30, 'some are', async () => await turnedAway() > 0);
    } finally {
      await release();
    }
    const { good, bad } = JSON.parse((await writers).stdout);
    const away = await turnedAway();
    diag(`${good} written, ${away} turned away, ${bad - away} given up`);
    assert.equal(await metrics.value(
      calls('sync.Syncer/SetRecord', 'RESOURCE_EXHAUSTED')), away);
    assert.ok(away <= bad);
    await server.stop();
  }, { seconds: 60 });
}

const QUEUED = 'tallyd_store_queue_length{queue="writes"}';

async function storeCases({ server, metrics }) {
  const client = new Client(server.address);
  const user = new User(client, new Key());
  const backend = POSTGRES ? 'postgresql' : 'sqlite';
  await test('the store in use is told, and that it can be used', async () => {
    const all = await metrics.read();
    const told = [...all.keys()].filter((name) => /store_info/.test(name));
    assert.deepEqual(told, [`tallyd_store_info{backend="${backend}"}`]);
    assert.equal(all.get('tallyd_store_usable'), 1);
    assert.equal(all.get(QUEUED), 0);
  });
  await test('writes are counted by transaction', async () => {
    const change = await metrics.change(/^tallyd_store_(batch|commit)/,
      async () => {
        for (let number = 0; number < 5; number += 1) {
          await user.write({ id: `s${number}` });
        }
      });
    assert.equal(change.tallyd_store_batch_operations_sum, 5);
    assert.equal(change.tallyd_store_batch_operations_count, 5);
    assert.equal(change.tallyd_store_commit_duration_seconds_count, 5);
    assert.ok(change.tallyd_store_commit_duration_seconds_sum > 0);
  });
  await test('while writes stand still it is told, and how many wait',
    async () => {
      const release = await hold(server);
      const writes = [];
      try {
        await until(5, 'they wait', async () => {
          writes.push(new User(client, new Key()).setRecord({ id: 'w' }));
          return await metrics.value(QUEUED) > 0;
        });
        if (!POSTGRES) {
          await until(10, 'it cannot be used', async () => (
            await metrics.value('tallyd_store_usable') === 0));
        }
      } finally {
        await release();
      }
      await Promise.all(writes);
      await until(10, 'none waits', async () => {
        const all = await metrics.read();
        return all.get(QUEUED) === 0 && all.get('tallyd_store_usable') === 1;
      });
    });
  await (POSTGRES ? postgresCases : sqliteCases)(server, metrics, user);
  client.close();
}

async function sqliteCases(server, metrics, user) {
  await test('the WAL grows by what is written', async () => {
    const before = await metrics.value('tallyd_sqlite_wal_bytes');
    await user.write({ id: 'wal', data: 'x'.repeat(60000) });
    const after = await metrics.value('tallyd_sqlite_wal_bytes');
    assert.ok(after - before > 60000, `${before} to ${after}`);
  });
  await test('what is a checkpoint is counted as one', async () => {
    assert.equal(await metrics.value(
      'tallyd_sqlite_checkpoints_total{result="failed"}'), 0);
  });
}

/** Lines of the log, which tell the same. */
function logged(server, pattern) {
  return server.stderr.split('\n').filter((line) => pattern.test(line)).length;
}

async function postgresCases(server, metrics, user) {
  const states = async () => [...await metrics.read()]
    .filter(([series]) => /^tallyd_postgresql_connections/.test(series));
  const idle = () => metrics.value(
    'tallyd_postgresql_connections{state="idle"}');
  const size = (await states()).reduce((sum, [, value]) => sum + value, 0);
  await test('places of the pool are counted by what they do', async () => {
    assert.equal(size, 4 * SHARDS);
    await until(5, 'all are idle', async () => await idle() === size);
    const all = await metrics.read();
    assert.equal(all.get('tallyd_postgresql_listening'), 1);
    assert.equal(all.get('tallyd_postgresql_listen_connects_total'), 1);
  });
  await test('connections that are lost: told, settled, back', async () => {
    const client = await connect(await server.store.url());
    let writing = true;
    const writer = (async () => {
      for (let n = 0; writing; n += 1) await user.setRecord({ id: `l${n}` });
    })();
    for (let turn = 0; turn < 10; turn += 1) {
      await client.query('SELECT pg_terminate_backend(pid) ' +
        'FROM pg_stat_activity WHERE datname = current_database() ' +
        'AND pid <> pg_backend_pid()');
      await until(10, 'all are back', async () => await idle() >= size - 1);
    }
    writing = false;
    await writer;
    await client.end();
    await until(10, 'it listens', async () => (
      await metrics.value('tallyd_postgresql_listening') === 1));
    const all = await metrics.read();
    assert.ok(all.get('tallyd_postgresql_listen_connects_total') > 1);
    assert.ok(all.get('tallyd_nudges_total{reason="lost_notices"}') > 0);
    for (const outcome of ['committed', 'undone', 'unknown']) {
      const line = new RegExp(`store\\.settled outcome=${outcome}`);
      const counted = all.get(
        `tallyd_postgresql_settled_total{outcome="${outcome}"}`);
      // Lines are written a moment later.
      await until(5, `${counted} lines of ${outcome}`, () =>
        logged(server, line) >= counted);
      assert.equal(logged(server, line), counted);
    }
    const retried = all.get('tallyd_postgresql_retries_total');
    assert.ok(retried >= all.get(
      'tallyd_postgresql_settled_total{outcome="undone"}'), `${retried}`);
    assert.equal((await states()).reduce((sum, [, value]) => sum + value, 0),
      size);
  });
}

// ---- what is made of them: deploy/ ----

const ROOT = new URL('../../', import.meta.url);
const ALERTS = 'deploy/prometheus/alerts.yml';
const ALERT_TESTS = 'tests/prometheus/alerts.yml';
const DASHBOARD = 'deploy/grafana/tallyd.json';
const STAMPS = /^tallyd_(crl_fetched|tls_certificate_expiry)_timestamp/;

function read(file) {
  return readFileSync(new URL(file, ROOT), 'utf8');
}

function alertNames() {
  return [...read(ALERTS).matchAll(/- alert: (\w+)/g)].map(([, name]) => name);
}

function dashboardExpressions() {
  return JSON.parse(read(DASHBOARD)).panels
    .flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
}

/** Every metric in PromQL: [name, [[label, operator, value] …]]. */
function selectors(text) {
  const own = /\b((?:tallyd|process)_\w+)(?:\{([^}]*)\})?/g;
  return [...text.matchAll(own)].map(([, name, inside = '']) => [
    name, [...inside.matchAll(/(\w+)(=~|!~|!=|=)"([^"]*)"/g)]
      .map(([, ...parts]) => parts)
      .filter(([label]) => !['job', 'instance', 'le'].includes(label))]);
}

function matches(series, matchers) {
  const labels = Object.fromEntries(
    [...series.matchAll(/(\w+)="([^"]*)"/g)].map(([, ...pair]) => pair));
  return matchers.every(([label, operator, text]) => {
    const value = labels[label] ?? '';
    const same = operator.includes('~')
      ? new RegExp(`^(?:${text})$`).test(value) : value === text;
    return same !== operator.startsWith('!');
  });
}

async function promtoolCases() {
  const promtool = (...args) => {
    const { status: code, stdout, stderr } = spawnSync(
      'promtool', args, { cwd: ROOT });
    assert.equal(code, 0, `${stdout}${stderr}`);
  };
  const rows = [
    ['the example configuration and the alerts are valid', () =>
      promtool('check', 'config', 'deploy/prometheus/prometheus.yml')],
    [`each of ${alertNames().length} alerts fires when it should, and else not`,
      () => promtool('test', 'rules', ALERT_TESTS)],
    ['what the dashboard asks is PromQL', () => {
      const file = path.join(temporaryDirectory(), 'dashboard.yml');
      const asked = dashboardExpressions().map((text) => text
        .replaceAll('$__rate_interval', '5m').replaceAll(/\$\w+/g, '.*'));
      assert.ok(asked.length > 40);
      writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard',
        rules: asked.map((expr, number) => (
          { record: `panel:${number}`, expr })) }] }));
      promtool('check', 'rules', file);
    }],
  ];
  for (const [name, fn] of rows) {
    if (PROMTOOL) await test(name, fn);
    else skip(name, 'promtool is not installed');
  }
}

async function deployCases({ metrics }) {
  await promtoolCases();
  const text = await metrics.text();
  const types = families(text);
  const series = [...parse(text).keys()];
  /** With its labels' values; of what is not there now its name. */
  const isTold = (name, matchers) => (
    STAMPS.test(name) || name === 'tallyd_store_info' ? types.has(name)
      : series.some((one) => one.split('{')[0] === name
        && matches(one, matchers)));
  for (const [file, content] of [[ALERTS, read(ALERTS)],
    [ALERT_TESTS, read(ALERT_TESTS)],
    [DASHBOARD, dashboardExpressions().join('\n')]]) {
    await test(`what ${file} names is told`, () => {
      const named = selectors(content);
      assert.ok(named.length > 20);
      assert.deepEqual(
        named.filter(([name, matchers]) => !isTold(name, matchers)), []);
    });
  }
  await test('the dashboard shows every metric', () => {
    const shown = new Set(selectors(dashboardExpressions().join('\n'))
      .map(([name]) => name.replace(/_bucket$/, '')));
    assert.deepEqual([...types.keys()].filter((name) => !shown.has(name)),
      ['process_virtual_memory_bytes']);
  });
  await test('every alert has its test, and a line in docs/OPERATIONS.md',
    () => {
      for (const name of alertNames()) {
        assert.match(read(ALERT_TESTS), new RegExp(`alertname="${name}"`));
      }
      assert.deepEqual(
        [...read('docs/OPERATIONS.md').matchAll(/^\| `(Tallyd\w+)` \|/gm)]
          .map(([, name]) => name).sort(), alertNames().sort());
    });
}

// ---- what is fetched and loaded ----

async function certificateCases() {
  const authority = new Authority();
  const list = await new RevocationList('1,2,3').start();
  atEnd(() => list.stop());
  const { name } = authority.issue({ extensions: LOOPBACK });
  const files = authority.files(name);
  const { server, metrics } = await serve({
    CA_CERT: authority.certificate, CRL_URL: list.url,
    CRL_REFRESH_SECONDS: '1', TLS_CERT_FILE: files.cert,
    TLS_KEY_FILE: files.key,
  });
  const fetched = 'tallyd_crl_fetched_timestamp_seconds';
  await test('the revocation list: when, how many, how often', async () => {
    await until(5, 'it came', async () => (
      await metrics.value(fetched)) !== undefined);
    const all = await metrics.read();
    assert.equal(all.get('tallyd_crl_serials'), 3);
    assert.ok(all.get('tallyd_crl_fetches_total{result="ok"}') > 0);
    assert.ok(Math.abs(all.get(fetched) - Date.now() / 1000) < 30);
  });
  await test('a fetch that fails is counted, the time stays', async () => {
    list.answer = { status: 500, body: 'broken' };
    await until(10, 'it failed', async () => await metrics.value(
      'tallyd_crl_fetches_total{result="failed"}') > 0);
    assert.equal(await metrics.value('tallyd_crl_serials'), 3);
    assert.notEqual(await metrics.value(fetched), undefined);
  });
  await test('the certificate: until when, and that it was loaded',
    async () => {
      const end = execFileSync('openssl', ['x509', '-enddate', '-noout', '-in',
        files.cert]).toString().trim().split('=')[1];
      const all = await metrics.read();
      assert.equal(all.get('tallyd_tls_certificate_expiry_timestamp_seconds'),
        Date.parse(end) / 1000);
      assert.equal(all.get('tallyd_tls_loads_total{result="ok"}'), 1);
    });
  await test('a certificate that cannot be loaded is counted', async () => {
    writeFileSync(files.cert, 'no certificate\n');
    server.child.kill('SIGHUP');
    await until(5, 'it failed', async () => await metrics.value(
      'tallyd_tls_loads_total{result="failed"}') > 0);
  });
  await server.stop();
}

async function absentCases({ metrics }) {
  await test('without TLS and a list there is no time of them', async () => {
    const all = await metrics.read();
    assert.equal(all.get('tallyd_crl_fetched_timestamp_seconds'), undefined);
    assert.equal(
      all.get('tallyd_tls_certificate_expiry_timestamp_seconds'), undefined);
    assert.equal(all.get('tallyd_log_lines_dropped_total'), 0);
  });
}

suite(async () => {
  const served = await serve({ SHARDS: String(SHARDS) });
  await storeCases(served);
  await callCases(served);
  await otherCallCases(served);
  await listenCases(served);
  await connectionCases(served);
  await exactCase(served);
  await slowCases();
  await queueCase();
  await absentCases(served);
  await pageCases(served);
  if (!POSTGRES) {
    await deployCases(served);
    await addressCases();
    await limitCases();
    await certificateCases();
  }
  await served.server.stop();
});
