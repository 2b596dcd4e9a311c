// SPDX-License-Identifier: Apache-2.0
// tls — TLS on both ports and its reload, PROXY headers, the cap per peer.

import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { Authority, LOOPBACK } from './lib/ca.mjs';
import {
  Client, User, decodeReply, encode, secure,
} from './lib/client.mjs';
import { atOnce } from './lib/load.mjs';
import { Session, frame, unframe } from './lib/raw.mjs';
import { Server, startServer, temporaryDirectory } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { diag, scaled, suite, test, until, within } from './lib/tap.mjs';

const OK = 0;
const UNAVAILABLE = 14;
const GET_LOCK = '/sync.Syncer/GetLock';
const HALF_OPEN = 200;
const HANDSHAKE_SECONDS = 10;
const RELOAD_SECONDS = 10;
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

/** A directory with the files a server is given, and who signs them. */
class Files {
  constructor() {
    this.authority = new Authority('TLS Root');
    this.dir = temporaryDirectory();
    this.cert = path.join(this.dir, 'cert.pem');
    this.key = path.join(this.dir, 'key.pem');
    this.ca = this.authority.pem;
    this.install(this.issue(100));
  }

  issue(serial, options = { extensions: LOOPBACK }) {
    const { name } = this.authority.issue({ serial, ...options });
    return { serial, ...this.authority.files(name) };
  }

  /** In place, as `cp` does. */
  install({ cert, key }) {
    copyFileSync(cert, this.cert);
    copyFileSync(key, this.key);
  }

  /** By rename, as careful tools do. */
  replace({ cert, key }) {
    for (const [from, to] of [[cert, this.cert], [key, this.key]]) {
      copyFileSync(from, `${to}.new`);
      renameSync(`${to}.new`, to);
    }
  }

  get env() {
    return { TLS_CERT_FILE: this.cert, TLS_KEY_FILE: this.key };
  }
}

let files;

/** Both ports, whatever they are; the web port is told in its first line. */
async function serve(env = {}) {
  const server = await startServer({ env: {
    SHARDS: '2', GRPC_WEB_LISTEN_ADDRESS: '127.0.0.1:0', ...env } });
  server.web = Number(/ web=127\.0\.0\.1:(\d+)/.exec(server.stderr)[1]);
  return server;
}

function lines(server, event) {
  return server.stderr.split('\n').filter(
    (line) => line.includes(` event=${event}`));
}

function logged(server, event, count = 1, seconds = RELOAD_SECONDS) {
  return until(seconds, `${count} × ${event}`,
    () => lines(server, event).length >= count);
}

function connectedClient(server, credentials = {}) {
  return new Client(server.address, {}, secure(
    { ca: files.ca, ...credentials }));
}

/** A TLS connection: {socket}, or {error} of who refused. */
function shakeHands(port, options = {}) {
  return within(10, 'a handshake', new Promise((resolve) => {
    const socket = tls.connect({
      port, host: '127.0.0.1', ca: files.ca, ALPNProtocols: ['h2'],
      ...options });
    socket.once('error', (error) => resolve({ error, socket }));
    socket.once('close', () => resolve(
      { error: new Error('closed'), socket }));
    socket.once('secureConnect', () => resolve({ socket }));
  }));
}

async function serialAt(port) {
  const { socket, error } = await shakeHands(port);
  assert.equal(error, undefined);
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return Number.parseInt(serialNumber, 16);
}

/** Settles when the server has closed the socket. */
function closed(socket) {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', resolve);
    socket.on('error', () => {});
    socket.resume();
  });
}

function lockRequest(name = 'n') {
  return frame(encode('GetLock', new User(undefined, new Key()).signed(
    'GetLock', { lock_name: name })));
}

/** Checks a gRPC-Web reply: one message, then a frame of trailers. */
function isWebReply(body) {
  const [message, trailers] = unframe(body);
  assert.equal(message.flag, 0);
  assert.equal(decodeReply('GetLock', message.bytes).locked, false);
  assert.equal(trailers.flag, 0x80);
  assert.match(trailers.bytes.toString(), /^grpc-status: ?0\r\n/m);
}

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

// ---- the two ports ----

async function methodCases(server) {
  const client = connectedClient(server);
  const user = new User(client, new Key());
  const instance = '11111111-1111-4111-8111-111111111111';
  let listener;
  await test('ListenChanges greets over TLS', async () => {
    listener = await user.listen().greeting();
  });
  await test('SetRecord over TLS, and its notification', async () => {
    assert.equal(await user.write({ id: 'a', data: 'x', clientId: 'me' }), 1);
    assert.deepEqual(await listener.next(), { client_id: 'me' });
  });
  await test('ListChanges over TLS', async () => {
    const [record] = await user.changes();
    assert.equal(record.data.toString(), 'x');
  });
  await test('SetLock and GetLock over TLS', async () => {
    assert.equal((await user.setLock({ name: 'l', instance })).code, OK);
    assert.equal((await user.getLock('l')).reply.locked, true);
  });
  await test('a ListChanges page of 3 MiB over TLS is unchanged', async () => {
    const data = (i) => Buffer.alloc(60000, `${i}.`);
    for (let i = 0; i < 50; i += 1) {
      await user.write({ id: `big ${i}`, data: data(i) });
    }
    const page = (await user.changes(1)).filter(({ id }) =>
      id.startsWith('big'));
    assert.equal(page.length, 50);
    page.forEach((record, i) => assert.ok(record.data.equals(data(i))));
  });
  listener.cancel();
  client.close();
  await test('a client that does not know the CA is not fooled', async () => {
    const other = connectedClient(server, {
      ca: new Authority().pem });
    const { code } = await new User(other, new Key()).getLock('n');
    assert.equal(code, UNAVAILABLE);
    other.close();
  });
}

async function webCases(server) {
  const headers = {
    'content-type': 'application/grpc-web+proto', 'x-grpc-web': '1' };
  await test('gRPC-Web over HTTPS and HTTP/1.1', async () => {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    for (let i = 0; i < 3; i += 1) {
      const response = await within(10, 'a reply', new Promise(
        (resolve, reject) => {
          const request = https.request({ host: '127.0.0.1',
            port: server.web, path: GET_LOCK, method: 'POST', headers, agent,
            ca: files.ca, ALPNProtocols: ['http/1.1'] }, resolve);
          request.once('error', reject);
          request.end(lockRequest());
        }));
      assert.equal(response.statusCode, 200);
      assert.equal(response.socket.alpnProtocol, 'http/1.1');
      isWebReply(await collect(response));
    }
    agent.destroy();
  });
  await test('gRPC-Web over HTTPS and HTTP/2', async () => {
    const session = http2.connect(`https://127.0.0.1:${server.web}`,
      { ca: files.ca, ALPNProtocols: ['h2', 'http/1.1'] });
    const stream = session.request(
      { ':method': 'POST', ':path': GET_LOCK, ...headers });
    stream.end(lockRequest());
    isWebReply(await within(10, 'a reply', collect(stream)));
    assert.equal(session.alpnProtocol, 'h2');
    session.destroy();
  });
}

async function handshakeCases(server) {
  const ports = { native: server.port, web: server.web };
  const chooses = (name, port, offer, choice) => test(
    `the ${name} port: of ${offer.join(', ') || 'no ALPN'} ` +
    `it takes ${choice || 'none'}`, async () => {
      const { socket, error } = await shakeHands(port,
        { ALPNProtocols: offer.length ? offer : undefined });
      assert.equal(error, undefined);
      assert.equal(socket.alpnProtocol || '', choice);
      socket.destroy();
    });
  const refuses = (name, port, what, options, expected) => test(
    `the ${name} port refuses ${what}`, async () => {
      const { socket, error } = await shakeHands(port, options);
      socket.destroy();
      assert.match(String(error?.code), expected);
    });
  await chooses('native', ports.native, ['http/1.1', 'h2'], 'h2');
  await chooses('native', ports.native, [], '');
  await refuses('native', ports.native, 'http/1.1',
    { ALPNProtocols: ['http/1.1'] }, /ALERT_NO_APPLICATION_PROTOCOL/);
  await chooses('web', ports.web, ['http/1.1', 'h2'], 'h2');
  await chooses('web', ports.web, ['http/1.1'], 'http/1.1');
  await refuses('web', ports.web, 'h3', { ALPNProtocols: ['h3'] },
    /ALERT_NO_APPLICATION_PROTOCOL/);
  for (const [name, port] of Object.entries(ports)) {
    for (const version of ['TLSv1.2', 'TLSv1.3']) {
      await test(`the ${name} port speaks ${version}`, async () => {
        const { socket, error } = await shakeHands(port,
          { minVersion: version, maxVersion: version });
        assert.equal(error, undefined);
        assert.equal(socket.getProtocol(), version);
        socket.destroy();
      });
    }
    await refuses(name, port, 'TLS 1.1', { minVersion: 'TLSv1.1',
      maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' },
    /ALERT_PROTOCOL_VERSION/);
    await test(`the ${name} port closes on who speaks in clear`, async () => {
      const socket = net.connect(port, '127.0.0.1');
      socket.write(PREFACE);
      await within(5, 'its end', closed(socket));
    });
  }
}

/** Connects once for a ticket, then says whether that is taken. */
async function isResumed(port, between = () => {}) {
  const first = await shakeHands(port);
  const session = await within(5, 'a ticket', new Promise((resolve) => {
    first.socket.on('session', resolve);
    first.socket.resume();
  }));
  first.socket.destroy();
  await between();
  const { socket, error } = await shakeHands(port, { session });
  assert.equal(error, undefined);
  const resumed = socket.isSessionReused();
  socket.destroy();
  return resumed;
}

// ---- reload ----

async function reloadCases(server) {
  const client = connectedClient(server);
  const user = new User(client, new Key());
  const listener = await user.listen().greeting();
  let written = 0;
  const survives = async () => {
    await user.write({ id: `after ${written}`, clientId: `c${written}` });
    assert.deepEqual(await listener.next(), { client_id: `c${written}` });
    written += 1;
  };
  const reloads = () => lines(server, 'tls.loaded').length;
  const becomes = (serial) => until(RELOAD_SECONDS, `certificate ${serial}`,
    async () => await serialAt(server.port) === serial
      && await serialAt(server.web) === serial);

  await test('a ticket saves a handshake', async () =>
    assert.equal(await isResumed(server.port), true));
  await test('SIGHUP loads a new certificate; what is open lives on',
    async () => {
      assert.equal(await serialAt(server.port), 100);
      files.replace(files.issue(101));
      server.child.kill('SIGHUP');
      await becomes(101);
      await survives();
    });
  await test('SIGHUP loads the same files again', async () => {
    const before = reloads();
    server.child.kill('SIGHUP');
    await logged(server, 'tls.loaded', before + 1);
    await becomes(101);
  });
  await test('files renamed into place are found by themselves', async () => {
    files.replace(files.issue(102));
    await becomes(102);
    await survives();
  });
  await test('files written in place are found by themselves', async () => {
    files.install(files.issue(103));
    await becomes(103);
    await survives();
  });
  await test('a ticket of before a reload costs a handshake, no more',
    async () => assert.equal(await isResumed(server.port, async () => {
      files.replace(files.issue(104));
      await becomes(104);
    }), false));
  await badFileCases(server, becomes, survives);
  await test('all this while one stream of notifications stayed open', () =>
    assert.ok(written >= 5, `only ${written} notifications`));
  listener.cancel();
  client.close();
}

async function badFileCases(server, becomes, survives) {
  const refused = () => lines(server, 'tls.not_loaded').length;
  const keeps = async (serial) => {
    assert.equal(await serialAt(server.port), serial);
    assert.equal(await serialAt(server.web), serial);
    await survives();
  };
  await test('a file that is no certificate changes nothing, and is told',
    async () => {
      const before = refused();
      writeFileSync(files.cert, 'this is no certificate\n');
      await logged(server, 'tls.not_loaded', before + 1);
      assert.match(lines(server, 'tls.not_loaded').at(-1),
        /level=error .*reason="TLS_CERT_FILE cannot be used/);
      await keeps(104);
    });
  await test('SIGHUP then changes nothing either', async () => {
    const before = refused();
    server.child.kill('SIGHUP');
    await logged(server, 'tls.not_loaded', before + 1);
    await keeps(104);
  });
  await test('the key of another certificate changes nothing', async () => {
    const before = refused();
    const { cert } = files.issue(105);
    copyFileSync(cert, `${files.cert}.new`);
    renameSync(`${files.cert}.new`, files.cert);
    await logged(server, 'tls.not_loaded', before + 1);
    assert.match(lines(server, 'tls.not_loaded').at(-1),
      /TLS_KEY_FILE cannot be used: key values mismatch/);
    await keeps(104);
  });
  await test('good files are found again', async () => {
    files.replace(files.issue(106));
    await becomes(106);
    await survives();
  });
}

async function loadCases(server) {
  await test('clients that come and go while it reloads are all served',
    async () => {
      const rounds = scaled(20, 8);
      let going = true;
      const reloading = (async () => {
        while (going) {
          const before = lines(server, 'tls.loaded').length;
          server.child.kill('SIGHUP');
          await logged(server, 'tls.loaded', before + 1);
        }
      })();
      await atOnce(4, async () => {
        for (let i = 0; i < rounds; i += 1) {
          const client = connectedClient(server);
          const user = new User(client, new Key(), { quick: true });
          assert.equal(await user.write({ id: 'r', data: 'd' }), 1);
          client.close();
        }
      });
      going = false;
      await reloading;
    });
}

// ---- who may connect ----

async function clientCertificateCases() {
  const strangers = new Authority('Strangers');
  const server = await serve({ ...files.env,
    TLS_CLIENT_CA_FILE: path.join(files.authority.dir, 'ca.pem') });
  const pair = ({ cert, key }) => (
    { cert: readFileSync(cert), key: readFileSync(key) });
  const mine = pair(files.issue(200, {}));
  const { name } = strangers.issue();
  const theirs = pair(strangers.files(name));
  const ask = async (credentials) => {
    const client = connectedClient(server, credentials);
    const answer = await new User(client, new Key()).getLock('n');
    client.close();
    return answer.code;
  };
  await test('a client with a certificate of the CA is served', async () =>
    assert.equal(await ask(mine), OK));
  await test('a client without one is not', async () =>
    assert.equal(await ask({}), UNAVAILABLE));
  await test('a client with another CA\'s is not', async () =>
    assert.equal(await ask(theirs), UNAVAILABLE));
  await test('nor is it on the web port', async () => {
    const get = (credentials) => new Promise((resolve) => {
      https.get({ host: '127.0.0.1', port: server.web, path: '/health',
        ca: files.ca, agent: false, ...credentials },
      (response) => resolve(response.resume().statusCode))
        .once('error', () => resolve('refused'));
    });
    assert.equal(await within(5, 'an answer', get(mine)), 200);
    assert.equal(await within(5, 'an answer', get(theirs)), 'refused');
    assert.equal(await within(5, 'an answer', get({})), 'refused');
  });
  await server.stop();
}

async function startCases() {
  const broken = path.join(files.dir, 'broken.pem');
  writeFileSync(broken, 'nothing\n');
  const rows = [
    ['TLS_CERT_FILE alone', { TLS_CERT_FILE: files.cert },
      /TLS_CERT_FILE and TLS_KEY_FILE must be set both or neither/],
    ['TLS_KEY_FILE alone', { TLS_KEY_FILE: files.key },
      /TLS_CERT_FILE and TLS_KEY_FILE must be set both or neither/],
    ['TLS_CLIENT_CA_FILE alone', { TLS_CLIENT_CA_FILE: files.cert },
      /TLS_CLIENT_CA_FILE must not be set without TLS_CERT_FILE/],
    ['a certificate that is none',
      { TLS_CERT_FILE: broken, TLS_KEY_FILE: files.key },
      /TLS_CERT_FILE cannot be used/],
    ['a key that is not there',
      { TLS_CERT_FILE: files.cert, TLS_KEY_FILE: '/nowhere' },
      /TLS_KEY_FILE cannot be used: No such file or directory/],
    ['PROXY_PROTOCOL=maybe', { PROXY_PROTOCOL: 'maybe' },
      /PROXY_PROTOCOL must be on or off/],
  ];
  for (const [name, env, reason] of rows) {
    await test(`${name} ends the start`, async () => {
      const server = await new Server({ env }).launch();
      const { code } = await within(20, 'its end', server.exited);
      assert.equal(code, 1);
      assert.match(server.stderr, reason);
    });
  }
}

async function drainCases() {
  await test('SIGTERM over TLS: listeners are told, idle ones let go',
    async () => {
      const server = await serve({ ...files.env, DRAIN_TIMEOUT: '10' });
      const client = connectedClient(server);
      const listener = await new User(client, new Key()).listen().greeting();
      const half = new HalfOpen(server.port, 1);
      await within(5, 'a connection', half.connected);
      const began = performance.now();
      const end = server.stop('SIGTERM', 15);
      assert.equal((await within(5, 'its end', listener.ended)).code,
        UNAVAILABLE);
      assert.deepEqual(await end, { code: 0, signal: null });
      const seconds = (performance.now() - began) / 1000;
      assert.ok(seconds < 5, `a half-open handshake held it ${seconds} s`);
      await within(5, 'its end', half.allClosed);
      client.close();
    });
  await test('SIGHUP without TLS is ignored, and told', async () => {
    const server = await serve();
    server.child.kill('SIGHUP');
    await logged(server, 'signal.ignored');
    const client = new Client(server.address);
    assert.equal((await new User(client, new Key()).getLock('n')).code, OK);
    client.close();
    await server.stop();
  });
}

/** Sockets that begin a handshake and say no more. */
class HalfOpen {
  constructor(port, count = HALF_OPEN) {
    const hello = Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);
    this.began = performance.now();
    this.sockets = Array.from({ length: count }, () => {
      const socket = net.connect(port, '127.0.0.1');
      socket.on('error', () => {});
      socket.write(hello);
      return socket;
    });
    this.connected = Promise.all(this.sockets.map((socket) => new Promise(
      (resolve) => { socket.once('connect', resolve); })));
    this.left = count;
    this.allClosed = Promise.all(this.sockets.map(
      (socket) => closed(socket).then(() => { this.left -= 1; })));
  }
}

async function halfOpenCases(server, halfOpen) {
  await test(`${HALF_OPEN} half-open handshakes do not disturb a client`,
    async () => {
      await within(5, 'connections', halfOpen.connected);
      const client = connectedClient(server);
      const user = new User(client, new Key());
      const began = performance.now();
      assert.equal((await user.getLock('n')).code, OK);
      const ms = performance.now() - began;
      assert.equal(halfOpen.left, HALF_OPEN, 'they are closed already');
      assert.ok(ms < 2000, `it took ${ms} ms`);
      diag(`beside ${HALF_OPEN} half-open: connected and answered in ` +
        `${ms.toFixed(1)} ms`);
      client.close();
    });
}

function halfOpenEnd(halfOpen) {
  return test('half-open handshakes are closed after their patience',
    async () => {
      await within(HANDSHAKE_SECONDS + 10, 'their end', halfOpen.allClosed);
      const seconds = (performance.now() - halfOpen.began) / 1000;
      assert.ok(seconds > HANDSHAKE_SECONDS - 1, `after ${seconds} s`);
    }, { seconds: HANDSHAKE_SECONDS + 15 });
}

// ---- PROXY headers ----

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

function v1(family, source) {
  const to = family === 'TCP6' ? '::1' : '127.0.0.1';
  return Buffer.from(`PROXY ${family} ${source} ${to} 40000 443\r\n`);
}

function v2(command, family, addresses, tlvs = Buffer.alloc(0)) {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(addresses.length + tlvs.length);
  return Buffer.concat([
    SIGNATURE, Buffer.from([command, family]), length, addresses, tlvs]);
}

const V2_V4 = v2(0x21, 0x11, Buffer.from(
  [203, 0, 113, 2, 127, 0, 0, 1, 0x9c, 0x40, 1, 0xbb]));
const V2_V6 = v2(0x21, 0x21, Buffer.concat([
  Buffer.from('20010db8000000000000000000000002', 'hex'),
  Buffer.from('00000000000000000000000000000001', 'hex'),
  Buffer.from([0x9c, 0x40, 1, 0xbb])]), Buffer.from([4, 0, 3, 0, 0, 0]));
const V2_LOCAL = v2(0x20, 0, Buffer.alloc(0));

/** HTTP/2 on a connection that begins with `header`. */
class Proxied extends Session {
  constructor(server, header, { secured = false, pieces = false } = {}) {
    const wire = net.connect({
      port: server.port, host: '127.0.0.1', noDelay: true });
    wire.on('error', () => {});
    if (pieces) for (const byte of header) wire.write(Buffer.from([byte]));
    else wire.write(header);
    super('unused', {}, { createConnection: () => (secured
      ? tls.connect({ socket: wire, ca: files.ca, ALPNProtocols: ['h2'] })
      : wire) });
    this.wire = wire;
  }

  async isServed() {
    const answer = await Promise.race([
      this.call(GET_LOCK, lockRequest(), { seconds: 5 })
        .catch((error) => ({ error })),
      this.closed.then(() => ({ error: new Error('closed') }))]);
    return answer.status === OK;
  }
}

async function proxyCases(server, secured) {
  const over = secured ? 'TLS' : 'clear';
  const named = (name, header, peer, options = {}) => test(
    `${name}, over ${over}: served as ${peer}`, async () => {
      const before = lines(server, 'call ').length;
      const session = new Proxied(server, header, { secured, ...options });
      assert.equal(await session.isServed(), true);
      await logged(server, 'call ', before + 1);
      const line = lines(server, 'call ').at(-1);
      assert.ok(line.includes(` peer=${peer} `), line);
      await session.close();
    });
  const refused = (name, header) => test(
    `${name}, over ${over}: closed`, async () => {
      const session = new Proxied(server, header, { secured });
      assert.equal(await session.isServed(), false);
      await within(5, 'its end', closed(session.wire));
    });
  await named('version 1, IPv4', v1('TCP4', '203.0.113.1'), '203.0.113.1');
  await named('version 1, IPv6', v1('TCP6', '2001:db8::1'), '2001:db8::1');
  await named('version 1, byte by byte', v1('TCP4', '203.0.113.3'),
    '203.0.113.3', { pieces: true });
  await named('version 1, UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'),
    '127.0.0.1');
  await named('version 2, IPv4', V2_V4, '203.0.113.2');
  await named('version 2, IPv6 and TLVs', V2_V6, '2001:db8::2');
  await named('version 2, byte by byte', V2_V4, '203.0.113.2',
    { pieces: true });
  await named('version 2, LOCAL', V2_LOCAL, '127.0.0.1');
  await refused('no header', Buffer.alloc(0));
  await refused('a header that is none',
    Buffer.from('PROXY TCP4 203.0.113.1\r\n'));
  await refused('version 2 with an unknown command',
    v2(0x2f, 0x11, Buffer.alloc(12)));
  await refused('version 2 longer than its bound',
    v2(0x20, 0, Buffer.alloc(600)));
}

async function peerCapCases(server, max, secured) {
  const from = (source) => new Proxied(server,
    v1(source.includes(':') ? 'TCP6' : 'TCP4', source), { secured });
  const over = secured ? 'TLS' : 'clear';
  const told = (peer) => lines(server, 'accept.too_many_of_peer').filter(
    (line) => line.includes(` peer=${peer}`)).length;
  const fills = (name, sources, oneMore, another) => test(
    `${max} connections for ${name}, over ${over}`, async () => {
      const sessions = sources.map(from);
      for (const session of sessions) {
        assert.equal(await session.isServed(), true);
      }
      for (let i = 0; i < 5; i += 1) {
        const extra = from(oneMore);
        assert.equal(await extra.isServed(), false);
        await within(5, 'its end', closed(extra.wire));
      }
      const other = from(another);
      assert.equal(await other.isServed(), true);
      await until(5, 'a line in the log', () => told(oneMore) > 0);
      // One goes, one may come; when is the server's to say.
      await sessions.pop().close();
      await until(5, 'room for one', async () => {
        const next = from(oneMore);
        sessions.push(next);
        return next.isServed();
      });
      assert.equal(told(oneMore), 1);
      await Promise.all([other, ...sessions].map((one) => one.close()));
    });
  const repeat = (source) => Array.from({ length: max }, () => source);
  await fills('an IPv4 address', repeat('198.51.100.1'), '198.51.100.1',
    '198.51.100.2');
  await fills('a /64 of IPv6',
    repeat(0).map((_, i) => `2001:db8:0:1::${i + 1}`), '2001:db8:0:1::ffff',
    '2001:db8:0:2::1');
}

async function directCapCase() {
  await test('without PROXY headers the cap is by the socket\'s address',
    async () => {
      const server = await serve({ MAX_CONNECTIONS_PER_PEER: '2' });
      const direct = () => new Proxied(server, Buffer.alloc(0));
      // start() itself has connected once: that one must be gone.
      const sessions = [];
      while (sessions.length < 2) {
        await until(5, 'room for one', async () => {
          const next = direct();
          if (!await next.isServed()) return false;
          sessions.push(next);
          return true;
        });
      }
      assert.equal(await direct().isServed(), false);
      await logged(server, 'accept.too_many_of_peer');
      await Promise.all(sessions.map((session) => session.close()));
      await server.stop();
    });
}

await suite(async () => {
  files = new Files();
  const server = await serve({ ...files.env, LOG_LEVEL: 'debug' });
  const halfOpen = new HalfOpen(server.port);
  await halfOpenCases(server, halfOpen);
  await methodCases(server);
  await webCases(server);
  await handshakeCases(server);
  await reloadCases(server);
  await loadCases(server);
  await halfOpenEnd(halfOpen);
  await server.stop();
  await clientCertificateCases();
  await startCases();
  await drainCases();
  for (const secured of [false, true]) {
    const behind = await serve({ ...(secured ? files.env : {}),
      PROXY_PROTOCOL: 'on', MAX_CONNECTIONS_PER_PEER: '3',
      LOG_LEVEL: 'debug' });
    await proxyCases(behind, secured);
    await peerCapCases(behind, 3, secured);
    await behind.stop();
  }
  await directCapCase();
});
