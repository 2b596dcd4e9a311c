// SPDX-License-Identifier: Apache-2.0
// haproxy — deploy/haproxy.cfg before three instances: it is told whom to send
// clients to, knows who is well, and restarts behind it lose nothing.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Balancer } from './lib/balancer.mjs';
import { Authority, LOOPBACK } from './lib/ca.mjs';
import { Client, User, secure, status } from './lib/client.mjs';
import { Crowd, afterwards } from './lib/crowd.mjs';
import { atOnce } from './lib/load.mjs';
import { Server, endingWithUs, freePort, temporaryDirectory }
  from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { PostgresStore, withoutPostgres } from './lib/store.mjs';
import { atEnd, needs, onFailure, suite, test, until } from './lib/tap.mjs';

const DEPLOY = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)), '../../deploy');
const CONFIG = path.join(DEPLOY, 'haproxy.cfg');
const COMPOSE = path.join(DEPLOY, 'compose.yml');
const OPERATIONS = path.join(DEPLOY, '../docs/OPERATIONS.md');
const PROGRAM = '/usr/sbin/haproxy';
const INSTANCES = 3;
const SECONDS = 15;
const STATUS = 17; // column of "show stat"
const env = { SHARDS: '2', DRAIN_TIMEOUT: '10', PROXY_PROTOCOL: 'on' };

function missing() {
  try {
    execFileSync(PROGRAM, ['-v'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'haproxy is not installed';
  }
}

/** haproxy by the file as it is, but for addresses. */
class Haproxy {
  async start(servers, checks = 'check') {
    [this.port, this.webPort, this.control] = await atOnce(3, freePort);
    let text = readFileSync(CONFIG, 'utf8')
      .replace('bind :8080', `bind 127.0.0.1:${this.port}`)
      .replace('bind :8081', `bind 127.0.0.1:${this.webPort}`)
      .replace('127.0.0.1:9999', `127.0.0.1:${this.control}`)
      // Elsewhere all have the same ports, and names.
      .replace(' check inter', ` ${checks} inter`).replace(' port 8081', '').replace(/ resolvers names \S+ \S+/, '');
    for (const [index, { port, webPort }] of servers.entries()) {
      const name = `tallyd-${index + 1}`;
      text = text
        .replace(`${name}:8080`, `127.0.0.1:${port} port ${webPort}`)
        .replace(`${name}:8081`, `127.0.0.1:${webPort}`);
    }
    const file = path.join(temporaryDirectory(), 'haproxy.cfg');
    writeFileSync(file, text);
    const [program, args] = endingWithUs(PROGRAM, ['-db', '-f', file]);
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.stderr = '';
    child.stderr.on('data', (bytes) => { this.stderr += bytes; });
    onFailure(() => this.stderr.slice(-1500));
    atEnd(() => child.kill('SIGKILL'));
    await this.becomes('UP', 'UP', 'UP');
    return this;
  }

  /** What it answers to a command of its runtime API. */
  tell(command) {
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.control, '127.0.0.1');
      let text = '';
      socket.on('error', reject);
      socket.on('data', (bytes) => { text += bytes; });
      socket.on('end', () => resolve(text.trim()));
      socket.end(`${command}\n`);
    });
  }

  /** What it makes of each instance: UP, DOWN, DRAIN, … */
  async states() {
    const text = await this.tell('show stat').catch(() => '');
    return text.split('\n').filter((line) => /^grpc,tallyd-\d,/.test(line))
      .map((line) => line.split(',')[STATUS]);
  }

  becomes(...states) {
    return until(SECONDS, `${states}`,
      async () => String(await this.states()) === String(states));
  }

  async set(number, state) {
    assert.equal(await this.tell(
      `set server grpc/tallyd-${number} state ${state}`), '');
  }
}

/** The one of deploy/compose.yml, as it is but for the port. */
function healthCheck({ webPort }) {
  const compose = readFileSync(COMPOSE, 'utf8');
  const [, command] = /- bash\n +- -c\n +- >-\n((?: {8}.*\n)+)/.exec(compose);
  execFileSync('bash', ['-c', command.replace(/\n +/g, ' ').trim()
    .replace('/8081', `/${webPort}`)], { timeout: SECONDS * 1000 });
}

/** As docs/OPERATIONS.md has it: after the first restart new connections go to
 * those only that were restarted. */
async function restarts(servers, haproxy, crowd) {
  const states = ['UP', 'DRAIN', 'DRAIN'];
  for (const [index, server] of servers.entries()) {
    assert.equal((await server.stop()).code, 0);
    await server.start();
    if (index === 0) {
      await haproxy.becomes('UP', 'UP', 'UP');
      await haproxy.set(2, 'drain');
      await haproxy.set(3, 'drain');
    } else {
      await haproxy.set(index + 1, 'ready');
      states[index] = 'UP';
    }
    await haproxy.becomes(...states);
    await crowd.busy();
  }
}

/** TLS ends at the instance; haproxy passes it on, and looks through it. */
async function tlsCases() {
  const [, checks] = /^`(check-ssl [^`]*)`/m.exec(
    readFileSync(OPERATIONS, 'utf8'));
  const authority = new Authority();
  const { cert, key } = authority.files(
    authority.issue({ extensions: LOOPBACK }).name);
  const server = await new Server({
    env: { ...env, TLS_CERT_FILE: cert, TLS_KEY_FILE: key },
  }).start();
  const haproxy = new Haproxy();
  await test(`TLS: with \`${checks}\` it finds instances well`, () =>
    haproxy.start(Array(INSTANCES).fill(server), `check ${checks}`));
  await test('TLS: a client sees the instance\'s certificate', async () => {
    const client = new Client(`localhost:${haproxy.port}`, {},
      secure({ ca: authority.pem }));
    const { code, message } = await new User(client, new Key()).getLock('n');
    client.close();
    assert.equal(code, status.OK, message);
  });
  await server.stop();
}

needs(missing);
needs(withoutPostgres);
await suite(async () => {
  const what = 'restarted one by one';
  const store = new PostgresStore();
  const servers = await atOnce(INSTANCES,
    () => new Server({ store, env }).start());
  const haproxy = new Haproxy();
  await test('it finds three instances that are well',
    () => haproxy.start(servers));
  const address = `127.0.0.1:${haproxy.port}`;
  await test('/health is answered through it', async () => {
    const reply = await fetch(`http://127.0.0.1:${haproxy.webPort}/health`);
    assert.equal(reply.status, 200);
  });
  await test('a container\'s own health check says so', () =>
    healthCheck(servers[0]));
  const balancer = new Balancer({ checks: false });
  balancer.add(haproxy);
  const crowd = new Crowd(balancer);
  await crowd.start();
  await test(`${what}: each client connects twice at most`, async () => {
    const began = performance.now();
    await restarts(servers, haproxy, crowd);
    const took = performance.now() - began;
    await crowd.listening(2);
    crowd.connected(2, took);
  }, { seconds: 60 });
  await afterwards(what, crowd, address, store);
  await test('an instance that died is not used', async () => {
    await servers[0].kill();
    await haproxy.becomes('DOWN', 'UP', 'UP');
    const client = new Client(address);
    const { code, message } = await new User(client, new Key()).getLock('n');
    client.close();
    assert.equal(code, status.OK, message);
  });
  await Promise.all(servers.map((server) => server.stop()));
  balancer.close();
  await tlsCases();
});
