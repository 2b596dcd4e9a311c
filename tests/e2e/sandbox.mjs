// SPDX-License-Identifier: Apache-2.0
// sandbox — the server does nothing that its systemd unit forbids. systemd is
// not asked to run it, which takes a machine of its own: strace tells what the
// server asks of the kernel, systemd-analyze what the unit allows.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Authority, LOOPBACK, RevocationList } from './lib/ca.mjs';
import { Client, User, secure } from './lib/client.mjs';
import { Server, binaryPath, temporaryDirectory } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { diag, needs, suite, test, until } from './lib/tap.mjs';

const UNIT = path.resolve(path.dirname(fileURLToPath(import.meta.url)),
  '../../deploy/systemd/tallyd.service');
const SECONDS = 10;

/** Every value of a setting of the unit, in order. */
function settings(name) {
  return [...readFileSync(UNIT, 'utf8').matchAll(
    new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value);
}

/** The system calls of a group, and of those in it. */
function callsOf(group) {
  const text = execFileSync('systemd-analyze', ['syscall-filter', group],
    { encoding: 'utf8' });
  return text.split('\n').slice(1).map((line) => line.trim())
    .filter((line) => line && !line.startsWith('#'))
    .flatMap((name) => (name.startsWith('@') ? callsOf(name) : [name]));
}

function allowedCalls() {
  const allowed = new Set();
  for (const value of settings('SystemCallFilter')) {
    const forbids = value.startsWith('~');
    for (const group of value.replace('~', '').split(' ')) {
      for (const name of callsOf(group)) {
        if (forbids) allowed.delete(name);
        else allowed.add(name);
      }
    }
  }
  return allowed;
}

function missing() {
  for (const [program, option] of [['strace', '-V'],
    ['systemd-analyze', '--version']]) {
    try {
      execFileSync(program, [option], { stdio: 'ignore' });
    } catch {
      return `${program} is not installed`;
    }
  }
  try {
    execFileSync('strace', ['-o', '/dev/null', 'true'], { stdio: 'ignore' });
  } catch {
    return 'processes cannot be traced here';
  }
  return undefined;
}

async function askForMetrics({ stderr }) {
  const [, address] = / metrics=(\S+)/.exec(stderr);
  const text = await (await fetch(`http://${address}/metrics`)).text();
  const [, started] = /^process_start_time_seconds (\S+)$/m.exec(text);
  const age = Date.now() / 1000 - started;
  assert.ok(age > -1 && age < SECONDS, `started ${age} s ago`);
}

/** All that a server does in its life, in small. */
async function live(log) {
  const list = await new RevocationList().start();
  const authority = new Authority();
  const { key: apiKey } = authority.issue();
  const { cert, key } = authority.files(
    authority.issue({ extensions: LOOPBACK }).name);
  const server = new Server({
    binary: 'strace',
    args: ['-D', '-f', '-s', '200', '-o', log, binaryPath()],
    env: { TLS_CERT_FILE: cert, TLS_KEY_FILE: key, SHARDS: '2',
      CA_CERT: authority.certificate, METRICS_LISTEN_ADDRESS: '127.0.0.1:0',
      CRL_URL: list.url.replace('127.0.0.1', 'localhost') },
  });
  await server.start();
  const client = new Client(
    `localhost:${server.port}`, {}, secure({ ca: authority.pem }));
  const user = new User(client, new Key(),
    { metadata: { authorization: `Bearer ${apiKey}` } });
  const listener = await user.listen().greeting();
  await user.write({ id: 'a', data: 'x', clientId: 'me' });
  await listener.next();
  await user.changes();
  await user.setLock({ name: 'l', acquire: true,
    instance: '11111111-1111-4111-8111-111111111111' });
  assert.equal((await user.getLock('l')).reply.locked, true);
  await askForMetrics(server);
  server.child.kill('SIGHUP');
  await until(SECONDS, 'its files', () => (
    server.stderr.split('event=tls.loaded').length > 2));
  await until(SECONDS, 'the list', () => list.asked > 0);
  assert.equal((await server.stop()).code, 0);
  client.close();
  list.stop();
  return server;
}

const CALL = /^\d+ +(\w+)\((.*)/;

function linesOf(log) {
  return readFileSync(log, 'utf8').split('\n').map((line) => CALL.exec(line))
    .filter(Boolean).map(([, name, rest]) => ({ name, rest }));
}

needs(missing);
await suite(async () => {
  const log = path.join(temporaryDirectory(), 'strace');
  const server = await live(log);
  await until(SECONDS, 'the tracer\'s end', () => (
    readFileSync(log, 'utf8').includes('+++ exited with 0 +++')));
  const lines = linesOf(log);
  const names = new Set(lines.map(({ name }) => name));
  diag(`${lines.length} system calls of ${names.size} kinds`);
  await test('what it calls is allowed', () => {
    const allowed = allowedCalls();
    assert.ok(allowed.size > 100);
    // SQLite gives its files to their directory's owner, if it is root.
    if (process.getuid() === 0) allowed.add('fchown');
    assert.deepEqual([...names].filter((name) => !allowed.has(name)), []);
  });
  await test('its sockets are of families that are allowed', () => {
    const families = settings('RestrictAddressFamilies')[0].split(' ');
    const opened = new Set(lines.filter(({ name }) => name === 'socket')
      .map(({ rest }) => rest.split(',')[0]));
    diag([...opened].join(' '));
    assert.deepEqual([...opened].filter(
      (family) => !families.includes(family)), []);
  });
  await test('it looks at no process but itself, and nothing else in /proc',
    () => {
      assert.deepEqual(settings('ProcSubset'), ['pid']);
      const seen = lines.map(({ rest }) => /"(\/proc\/[^"]*)"/.exec(rest)?.[1])
        .filter(Boolean);
      assert.deepEqual(seen.filter(
        (file) => !file.startsWith('/proc/self/')), []);
    });
  await test('it writes no files but its own', () => {
    const opened = lines.filter(({ name, rest }) => (
      name === 'openat' && /O_WRONLY|O_RDWR|O_CREAT/.test(rest)))
      .map(({ rest }) => rest.split('"')[1]);
    assert.deepEqual(opened.filter((file) => (
      !file.startsWith(server.dir) && !file.startsWith('/proc/self/') &&
      file !== '/dev/null')), []);
  });
  await test('no memory of its is both written and executed', () =>
    assert.deepEqual(lines.filter(({ name, rest }) => (
      name === 'mmap' && rest.includes('PROT_WRITE|PROT_EXEC')) || (
      name === 'mprotect' && rest.includes('PROT_EXEC'))), []));
});
