// SPDX-License-Identifier: Apache-2.0
// logs — a line for each call, in both formats; what clients send cannot forge
// one; and what is secret shows nowhere: log, error texts, metrics, core.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  closeSync, fstatSync, openSync, readFileSync, readdirSync,
} from 'node:fs';
import path from 'node:path';
import { Authority } from './lib/ca.mjs';
import { Client, User, encode } from './lib/client.mjs';
import { linesOf, parseLogfmt } from './lib/logfmt.mjs';
import { Metrics, ON as METRICS_ON } from './lib/metrics.mjs';
import { Session, frame, unframe } from './lib/raw.mjs';
import {
  Server, binaryPath, startServer, temporaryDirectory,
} from './lib/server.mjs';
import { Channel, contract } from './lib/service.mjs';
import { Key, unzbase32 } from './lib/sign.mjs';
import { skip, suite, test, until } from './lib/tap.mjs';

const SECONDS = 5;
const FORMAT = /^[0-9a-f]{12}-[0-9a-f]+$/; // of the ids that we make
const INSTANCE = '11111111-1111-4111-8111-111111111111';
const AGENT = 'wallet/1.2 (phone; "beta")';
const health = contract(
  'grpc/health/v1/health.proto')['grpc.health.v1.Health'];
const { ServerReflectionInfo } = contract('grpc/reflection/v1/reflection.proto')[
  'grpc.reflection.v1.ServerReflection'];

const sha256 = (text) => createHash('sha256').update(text).digest('hex');

/** The lines of calls so far. */
function calls(server, parse = parseLogfmt) {
  return linesOf(server.stderr, parse).filter(({ event }) => event === 'call');
}

/** Waits for a call's line that `matches`, and gives it. */
async function lineOf(server, what, matches, parse) {
  let found;
  await until(SECONDS, `a line of ${what}`, () => {
    found = calls(server, parse).find(matches);
    return found;
  });
  return found;
}

function sameFields(line, expected) {
  assert.deepEqual(Object.fromEntries(
    Object.keys(expected).map((key) => [key, line[key]])), expected);
}

/** Calls of every method: [name, call, fields of its line]. */
function kinds(user) {
  const by = { user: user.key.userId, user_agent: AGENT };
  const at = (method) => `/sync.Syncer/${method}`;
  return [
    ['a record is set', () => user.setRecord({ id: 'a', data: 'x' }),
      { ...by, method: at('SetRecord'), status: 'OK' }],
    ['changes are listed', () => user.listChanges(),
      { ...by, method: at('ListChanges'), status: 'OK' }],
    ['a lock is set', () => user.setLock({ name: 'n', instance: INSTANCE }),
      { ...by, method: at('SetLock'), status: 'OK' }],
    ['a lock is asked for', () => user.getLock('n'),
      { ...by, method: at('GetLock'), status: 'OK' }],
    ['a conflict, which is a reply', () =>
      user.setRecord({ id: 'a', revision: 9 }),
    { ...by, method: at('SetRecord'), status: 'OK' }],
    ['a lock that another holds', () => user.setLock({
      name: 'n', instance: INSTANCE.replaceAll('1', '2'), exclusive: true }),
    { ...by, method: at('SetLock'), status: 'FAILED_PRECONDITION' }],
    ['a signature that is none', () => user.getLock('n', { signature: 'x' }),
      { user: undefined, method: at('GetLock'), status: 'UNAUTHENTICATED' }],
    ['a time long ago', () => user.getLock('n', { request_time: 1 }),
      { user: undefined, method: at('GetLock'), status: 'INVALID_ARGUMENT' }],
    ['a record that is too large', () =>
      user.setRecord({ data: Buffer.alloc(65537) }),
    { user: undefined, method: at('SetRecord'), status: 'INVALID_ARGUMENT' }],
  ];
}

async function callCases(parse, env) {
  const name = env.LOG_FORMAT;
  const server = await startServer({ env });
  const client = new Client(server.address,
    { 'grpc.primary_user_agent': AGENT });
  const user = new User(client, new Key());
  // The client's library appends itself to the agent.
  const cut = ({ user_agent: agent, ...line }) => (
    { ...line, user_agent: agent.slice(0, AGENT.length) });
  for (const [what, make, fields] of kinds(user)) {
    await test(`${name}: ${what}: one line`, async () => {
      const id = what.replaceAll(' ', '-');
      user.options.metadata['x-request-id'] = id;
      await make();
      const line = cut(await lineOf(
        server, what, ({ request_id: other }) => other === id, parse));
      sameFields(line, fields);
      assert.match(line.peer, /^127\.0\.0\.1$/);
      for (const key of ['duration_us', 'request_bytes', 'reply_bytes']) {
        assert.match(String(line[key]), /^\d+$/, key);
      }
      assert.ok(Number(line.request_bytes) > 5);
      assert.equal(line.level, 'info');
      assert.equal(calls(server, parse)
        .filter(({ request_id: other }) => other === id).length, 1);
    });
  }
  await test(`${name}: a stream has its line at its end`, async () => {
    user.options.metadata['x-request-id'] = 'stream';
    const listener = await user.listen().greeting();
    await user.write({ id: 'b' });
    await listener.next();
    const mine = ({ request_id: id, method }) => id === 'stream' &&
      method.endsWith('ListenChanges');
    assert.equal(calls(server, parse).find(mine), undefined);
    listener.cancel();
    const line = await lineOf(server, 'the stream', mine, parse);
    sameFields(line, { status: 'CANCELLED', user: user.key.userId });
    assert.equal(Number(line.sent), 2);
  });
  await test(`${name}: an unknown method, and none at all`, async () => {
    const session = new Session(server.address);
    for (const target of ['/sync.Syncer/Nope', '/', '/x="y"\\']) {
      await session.message(target, Buffer.alloc(0));
      const line = await lineOf(server, target,
        ({ method }) => method === target, parse);
      assert.equal(line.status, 'UNIMPLEMENTED');
    }
    await session.close();
  });
  client.close();
  await server.stop();
  await test(`${name}: every line of its life can be read`, () =>
    assert.ok(linesOf(server.stderr, parse).every(
      ({ time, level, event }) => time && level && event)));
}

async function quietCases() {
  const ask = async (server) => {
    const channel = new Channel(server.address);
    await channel.unary(health.Check, {});
    const stream = channel.duplex(ServerReflectionInfo);
    await stream.ask({ list_services: '' });
    stream.call.end();
    await stream.end();
    channel.close();
    await fetch(`http://${server.webAddress}/health`);
  };
  await test('health and reflection are told of at debug only', async () => {
    const server = await startServer();
    await ask(server);
    await server.stop();
    assert.deepEqual(calls(server), []);
    await server.restart({ LOG_LEVEL: 'debug' });
    await ask(server);
    await server.stop();
    const lines = calls(server);
    assert.deepEqual(lines.map(({ level }) => level), ['debug', 'debug']);
    const line = lines.find(({ method }) => method.includes('reflection'));
    sameFields(line, { status: 'OK', received: '1', sent: '1' });
    assert.ok(linesOf(server.stderr).some(({ event, path: page }) =>
      event === 'page' && page === '/health'));
  });
}

/** Over gRPC, gRPC-Web with a reply that is only a status, and with one that
 * fails later. */
async function idCases() {
  const server = await startServer();
  const session = new Session(server.address);
  const user = new User(undefined, new Key());
  const bad = encode('GetLock', user.signed('GetLock', {
    lock_name: 'n', signature: 'x' }));
  const ask = (headers) => session.message('/sync.Syncer/GetLock', bad,
    { headers });
  const told = ({ headers, trailers }) => (
    { ...headers, ...trailers })['x-request-id'];
  await test('an id that the client gave is told with the failure', async () => {
    assert.equal(told(await ask({ 'x-request-id': 'mine-1' })), 'mine-1');
    await lineOf(server, 'it', ({ request_id: id }) => id === 'mine-1');
  });
  await test('else one is made', async () => {
    const [one, two] = [told(await ask()), told(await ask())];
    assert.match(one, FORMAT);
    assert.match(two, FORMAT);
    assert.notEqual(one, two);
    await lineOf(server, 'the other', ({ request_id: id }) => id === two);
  });
  await test('so it is for one that is too long', async () => {
    const longest = 'x'.repeat(128);
    assert.equal(told(await ask({ 'x-request-id': longest })), longest);
    assert.match(told(await ask({ 'x-request-id': `${longest}x` })), FORMAT);
  });
  await test('a success says none', async () => {
    const answer = await session.message('/sync.Syncer/GetLock', encode(
      'GetLock', user.signed('GetLock', { lock_name: 'n' })),
    { headers: { 'x-request-id': 'mine-2' } });
    assert.equal(answer.status, 0);
    assert.equal(told(answer), undefined);
    await lineOf(server, 'it', ({ request_id: id }) => id === 'mine-2');
  });
  await test('a page of another origin may read it', async () => {
    const answer = await fetch(
      `http://${server.webAddress}/sync.Syncer/GetLock`, {
        method: 'POST', body: frame(bad), headers: {
          'content-type': 'application/grpc-web+proto',
          origin: 'https://elsewhere.example', 'x-request-id': 'web-1' } });
    assert.equal(answer.headers.get('grpc-status'), '16');
    assert.equal(answer.headers.get('x-request-id'), 'web-1');
    assert.match(answer.headers.get('access-control-expose-headers'),
      /\bx-request-id\b/);
  });
  await test('a trailer frame has it, too', async () => {
    const watch = fetch(
      `http://${server.webAddress}/sync.Syncer/ListenChanges`, {
        method: 'POST', headers: {
          'content-type': 'application/grpc-web+proto',
          'grpc-timeout': '300m', 'x-request-id': 'web-2' },
        body: frame(encode('ListenChanges', user.signed('ListenChanges', {}))),
      });
    const frames = unframe(Buffer.from(await (await watch).arrayBuffer()));
    assert.match(frames.at(-1).bytes.toString(),
      /^grpc-status: 4\r\n.*x-request-id: web-2\r\n/s);
  });
  await session.close();
  await server.stop();
}

// What HTTP/2 lets through in a header, and what it must not become in a log.
const HOSTILE = [
  '" status=OK user="', '\\', '\\"', 'a\tb', '\u0080\u009b31m', 'é',
  '"}\\n{"event":"call', '%0alevel=error', 'x'.repeat(5000), '"'.repeat(5000),
];

async function hostileCases(parse, env) {
  const server = await startServer({ env: { ...env, LOG_LEVEL: 'debug' } });
  const session = new Session(server.address);
  for (const [index, agent] of HOSTILE.entries()) {
    await test(`${env.LOG_FORMAT}: user agent ${
      JSON.stringify(agent.slice(0, 24))} is one value`, async () => {
      const id = `hostile-${index}`;
      const answer = await session.message('/sync.Syncer/GetLock',
        Buffer.alloc(0), { headers: {
          'user-agent': agent, 'x-request-id': id } });
      assert.notEqual(answer.status, undefined);
      const line = await lineOf(server, id,
        ({ request_id: other }) => other === id, parse);
      assert.equal(line.status, 'INVALID_ARGUMENT');
      if (agent.length > 256) {
        assert.ok(line.user_agent.length <= 259);
        assert.ok(agent.startsWith(line.user_agent.slice(0, -3)));
        assert.ok(line.user_agent.endsWith('...'));
      } else {
        assert.equal(line.user_agent, agent);
      }
    });
    await test(`${env.LOG_FORMAT}: request id ${
      JSON.stringify(agent.slice(0, 24))} is kept or replaced`, async () => {
      const method = `/id/${index}`;
      await session.message(method, Buffer.alloc(0),
        { headers: { 'x-request-id': agent } });
      const line = await lineOf(server, method,
        (one) => one.method === method, parse);
      if (/^[!-~]{1,128}$/.test(agent)) assert.equal(line.request_id, agent);
      else assert.match(line.request_id, FORMAT);
    });
  }
  await session.close();
  await server.stop();
  await test(`${env.LOG_FORMAT}: no control character, no byte beyond ASCII`,
    () => assert.doesNotMatch(server.stderr, /[^\n -~]/));
  await test(`${env.LOG_FORMAT}: every line of debug can be read`, () =>
    assert.ok(linesOf(server.stderr, parse).every(({ event }) => event)));
}

/** Every way in which a text of bytes might be written. */
function spellings(secret) {
  const bytes = Buffer.from(secret);
  return [secret.toString('latin1'), bytes.toString('hex'),
    bytes.toString('hex').toUpperCase(), bytes.toString('base64'),
    bytes.toString('base64url')];
}

/** Calls that carry every secret there is; returns them, by name, and all that
 * the clients were told. */
async function tellSecrets(server, apiKey) {
  const client = new Client(server.address);
  const key = new Key();
  const signatures = [];
  const told = [];
  const tell = async (promise) => told.push(JSON.stringify(await promise));
  const user = new User(client, key,
    { metadata: { authorization: `Bearer ${apiKey}` } });
  user.signText = (text) => {
    signatures.push(key.sign(text));
    return signatures.at(-1);
  };
  const data = Buffer.from('canary-of-record-data-5Yw0Qe');
  const listener = await user.listen().greeting();
  await user.write({ id: 'a', data, clientId: 'me' });
  await tell(user.setRecord({ id: 'a', data, revision: 9 }));
  await tell(user.setRecord({ id: 'x'.repeat(65), data }));
  await tell(user.setRecord({ id: 'a', data, schema: 's'.repeat(16) }));
  await tell(user.setLock({ name: 'bad\nname="x" level=error \x1b[31m',
    instance: INSTANCE }));
  await tell(user.getLock('n'));
  const broken = `${key.sign('broken').slice(0, 60)}!`;
  await tell(user.getLock('n', { signature: broken }));
  const half = apiKey.slice(0, 80);
  for (const authorization of [`Bearer ${half}`, `bearer ${apiKey}`,
    `Basic ${apiKey}`, apiKey]) {
    await tell(new User(client, key, { metadata: { authorization } })
      .getLock('n'));
  }
  listener.cancel();
  client.close();
  const scalar = Buffer.from(
    key.secret.toString(16).padStart(64, '0'), 'hex');
  return { told, secrets: {
    'record data': spellings(data),
    'a signature': signatures.flatMap(
      (text) => [text, ...spellings(unzbase32(text).subarray(0, 65))]),
    'a broken signature': [broken, broken.slice(0, 40)],
    'an API key': [apiKey, half, Buffer.from(apiKey, 'base64')
      .toString('hex')],
    'a private key': spellings(scalar),
  } };
}

async function secretCases() {
  const authority = new Authority();
  const { key: apiKey } = authority.issue();
  const server = await startServer({ env: {
    CA_CERT: authority.certificate, LOG_LEVEL: 'debug', ...METRICS_ON } });
  const { told, secrets } = await tellSecrets(server, apiKey);
  await lineOf(server, 'the API key', ({ api_key_sha256: hash, status }) =>
    hash === sha256(apiKey) && status === 'OK');
  await lineOf(server, 'a refused one', ({ api_key_sha256: hash, status }) =>
    hash === sha256(apiKey.slice(0, 80)) && status === 'UNAUTHENTICATED');
  const metrics = await new Metrics(server).text();
  assert.match(metrics, /^tallyd_calls_total/m);
  await server.stop();
  for (const [what, texts] of Object.entries(secrets)) {
    await test(`log, metrics, errors do not hold ${what}`, () => {
      assert.ok(texts.length > 0);
      for (const text of texts) {
        assert.ok(!server.stderr.includes(text), `log: ${text}`);
        assert.ok(!metrics.includes(text), `metrics: ${text}`);
        assert.ok(!told.some((answer) => answer.includes(text)), text);
      }
    });
  }
  await test('a lock name cannot begin a line of the log', () =>
    assert.doesNotMatch(server.stderr, /^name="x"/m));
}

/** URLs that do not lead to a database, each with the password. */
const PASSWORD = 'canary-of-password-8Jk2';
const URLS = [
  `postgres://user:${PASSWORD}@127.0.0.1:1/db`,
  `postgres://user:${PASSWORD}@no-such-host.invalid/db`,
  `postgres://user:${PASSWORD}@127.0.0.1:1/db?no_such_option=1`,
  `postgres://user:${PASSWORD}@[::1/db`,
  `host=127.0.0.1 port=1 password=${PASSWORD} connect_timeout=x`,
  `hots=127.0.0.1 password=${PASSWORD}`,
];

async function passwordCases() {
  for (const url of URLS) {
    await test(`no password in the log: ${url.replaceAll(PASSWORD, '…')}`,
      async () => {
        const server = new Server({ env: {
          LOG_LEVEL: 'debug', DATABASE_URL: url,
          DATABASE_DIRECT_URL: url } });
        await server.launch();
        await until(SECONDS * 3, 'a word about it', () =>
          /event=(database|start)\./.test(server.stderr));
        await server.kill();
        assert.ok(!server.stderr.includes(PASSWORD), server.stderr);
      });
  }
}

/* ---- the core ---- */

/** Has a server that may write a core take a record and abort. Gives the cores
 * that it left. */
async function aborted(env) {
  const dir = temporaryDirectory();
  const server = new Server({ env });
  // The shell becomes the server, which inherits limit and directory.
  server.binary = '/bin/sh';
  server.args = ['-c',
    `ulimit -c unlimited; cd ${dir}; exec ${binaryPath()}`];
  await server.start();
  const client = new Client(server.address);
  await new User(client, new Key()).write({ id: 'a', data: PASSWORD });
  client.close();
  await server.stop('SIGABRT');
  return readdirSync(dir).filter((name) => name.startsWith('core'))
    .map((name) => path.join(dir, name));
}

async function coreCases() {
  const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim();
  const [core] = /^core[^/]*$/.test(pattern)
    ? await aborted({ CORE_DUMPS: 'on' }) : [];
  if (!core) {
    skip('a core is not written',
      `this system writes cores to ${pattern}, or none`);
    return;
  }
  await test('with CORE_DUMPS=on a core is written, and holds a record', () => {
    assert.ok(readFileSync(core).includes(PASSWORD));
  });
  await test('a core is not written unless asked for', async () =>
    assert.deepEqual(await aborted({ CORE_DUMPS: 'off' }), []));
  await test('nor when nothing is said', async () =>
    assert.deepEqual(await aborted({ CORE_DUMPS: '' }), []));
}

/* ---- the journal ---- */

async function journalCases() {
  for (const format of ['logfmt', 'json']) {
    await test(`to the journal each line has its priority, ${format}`,
      async () => {
        const file = path.join(temporaryDirectory(), 'journal');
        const fd = openSync(file, 'w');
        const { dev, ino } = fstatSync(fd);
        const read = () => readFileSync(file, 'utf8');
        const server = new Server({ env: { LOG_FORMAT: format,
          JOURNAL_STREAM: `${dev}:${ino}`, LOG_LEVEL: 'debug' } });
        // Standard error is what the variable names.
        server.binary = '/bin/sh';
        server.args = ['-c', `exec "$TALLYD_BINARY" 2>"$JOURNAL_FILE"`];
        server.extra.TALLYD_BINARY = binaryPath();
        server.extra.JOURNAL_FILE = file;
        closeSync(fd);
        await server.launch();
        await until(SECONDS, 'its start', () =>
          read().includes('Server listening'));
        const channel = new Channel(server.address);
        await channel.unary(health.Check, {});
        channel.close();
        await server.stop();
        const lines = read().split('\n').slice(0, -1);
        assert.ok(lines.length > 3);
        for (const line of lines) {
          const [, priority, rest] = /^<(\d)>(.*)$/.exec(line);
          const { level } = (format === 'json' ? JSON.parse : parseLogfmt)(
            rest);
          assert.equal(priority,
            { error: '3', warn: '4', info: '6', debug: '7' }[level]);
        }
      });
  }
}

await suite(async () => {
  for (const [parse, format] of [[parseLogfmt, 'logfmt'],
    [JSON.parse, 'json']]) {
    await callCases(parse, { LOG_FORMAT: format });
    await hostileCases(parse, { LOG_FORMAT: format });
  }
  await quietCases();
  await idCases();
  await secretCases();
  await passwordCases();
  await coreCases();
  await journalCases();
});
