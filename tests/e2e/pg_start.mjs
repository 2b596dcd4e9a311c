// SPDX-License-Identifier: Apache-2.0
// pg_start — what a URL may ask for, TLS above all, and the PostgreSQL that is
// not served from: one that does not flush, or is not who it should be.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chownSync, copyFileSync } from 'node:fs';
import path from 'node:path';
import { Beacon } from './lib/beacon.mjs';
import { Authority } from './lib/ca.mjs';
import { Client, User, status } from './lib/client.mjs';
import { Postgres, createDatabase, query } from './lib/postgres.mjs';
import { Server, freePort, temporaryDirectory } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { PostgresStore, withoutPostgres } from './lib/store.mjs';
import { needs, suite, test, until, within } from './lib/tap.mjs';

const START_SECONDS = 15;
const BACK_SECONDS = 10;

/** A certificate for 127.0.0.1, where PostgreSQL may read its key. */
function certificate(authority) {
  const { name } = authority.issue({
    extensions: 'subjectAltName=IP:127.0.0.1,DNS:localhost\n' });
  const dir = temporaryDirectory();
  const files = {};
  for (const [what, suffix] of [['cert', '.pem'], ['key', '.key']]) {
    files[what] = path.join(dir, `server${suffix}`);
    copyFileSync(path.join(authority.dir, name + suffix), files[what]);
  }
  if (process.getuid() === 0) {
    const id = (option) => Number(execFileSync('id', [option, 'postgres']));
    for (const file of [dir, files.cert, files.key]) {
      chownSync(file, id('-u'), id('-g'));
    }
  }
  return files;
}

/** The URL with other parts: {search, host, port, password}. */
function but(url, parts) {
  const whole = new URL(url);
  for (const [name, value] of Object.entries(parts)) whole[name] = value;
  return whole.href;
}

async function works(server) {
  const client = new Client(server.address);
  const user = new User(client, new Key());
  assert.equal(await user.write({ id: 'a' }), 1);
  assert.equal((await user.changes()).length, 1);
  client.close();
}

/** What a server says that must not start. */
async function refusal(url) {
  const server = await new Server({ store: new PostgresStore(url) }).launch();
  const end = await within(START_SECONDS, 'its end', Promise.race([
    server.exited, server.listening.then(() => ({ served: true }))]));
  if (end.served) await server.kill();
  assert.ok(!end.served, 'it serves');
  assert.notEqual(end.code, 0);
  assert.ok(!server.stderr.includes(new URL(url).password), 'a secret');
  return server.stderr;
}

async function servedCases(url, authority) {
  const ca = path.join(authority.dir, 'ca.pem');
  const port = await freePort();
  const { host, username, password } = new URL(url);
  const rows = [
    ['TLS', but(url, { search: '?sslmode=require' })],
    ['TLS, and the server\'s certificate is checked', but(url,
      { search: `?sslmode=verify-full&sslrootcert=${ca}` })],
    ['no TLS', but(url, { search: '?sslmode=disable' })],
    ['a name that is looked up', but(url, { hostname: 'localhost' })],
    ['a second host, since the first is not there',
      `postgresql://${username}:${password}@127.0.0.1:${port},${host}` +
      new URL(url).pathname],
    ['parameters that only data-sync\'s driver knows', but(url,
      { search: '?pool_max_conns=10&pool_max_conn_lifetime=1h' })],
  ];
  for (const [what, given] of rows) {
    await test(`a URL may ask for: ${what}`, async () => {
      const server = await new Server({
        store: new PostgresStore(given), env: { SHARDS: '1' } }).start();
      await works(server);
      const [[all, encrypted]] = await query(url, 'SELECT count(*), count(*) ' +
        'FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING ' +
        '(pid) WHERE datname = current_database() AND pid <> ' +
        'pg_backend_pid()');
      assert.ok(all > 1);
      if (what.startsWith('TLS')) assert.equal(encrypted, all);
      if (what.startsWith('no TLS')) assert.equal(encrypted, 0);
      await server.stop();
    });
  }
}

async function refusedCases(url) {
  const stranger = path.join(new Authority('Stranger').dir, 'ca.pem');
  const rows = [
    ['a server that another authority vouches for', but(url,
      { search: `?sslmode=verify-full&sslrootcert=${stranger}` }),
    /certificate/],
    ['a wrong password', but(url, { password: 'hunter2' }), /password/],
    ['a database that does not exist', but(url, { pathname: '/nowhere' }),
      /does not exist/],
  ];
  for (const [what, given, reason] of rows) {
    await test(`refused: ${what}`, async () =>
      assert.match(await refusal(given), reason));
  }
}

async function flushCases(postgres, url) {
  const fsync = async (value) => {
    await query(postgres.admin, `ALTER SYSTEM SET fsync = ${value}`);
    await query(postgres.admin, 'SELECT pg_reload_conf()');
    await until(5, `fsync ${value}`, async () =>
      (await query(url, 'SHOW fsync'))[0][0] === value);
  };
  const server = await new Server({ store: new PostgresStore(url),
    env: { SHARDS: '1' } }).start();
  const beacon = await new Beacon([server]).ready();
  assert.ok(await beacon.once());
  await fsync('off');
  await test('refused: a server that does not flush', async () =>
    assert.match(await refusal(url), /fsync/));
  await test('one that flushes no more is not written to again', async () => {
    await query(postgres.admin, 'SELECT pg_terminate_backend(pid) FROM ' +
      "pg_stat_activity WHERE usename = 'tallyd'");
    const client = new Client(server.address);
    const user = new User(client, new Key());
    await until(BACK_SECONDS, 'a write is refused', async () =>
      (await user.setRecord({ id: 'x' })).code === status.UNAVAILABLE);
    assert.match(server.stderr, /fsync/);
    client.close();
  });
  await fsync('on');
  await test('and is, when it flushes', async () => {
    await beacon.served(0, BACK_SECONDS);
    assert.ok(await beacon.once());
  });
  await beacon.close();
  await server.stop();
}

needs(withoutPostgres);
await suite(async () => {
  const authority = new Authority();
  const { cert, key } = certificate(authority);
  const postgres = await Postgres.start(
    { ssl: 'on', ssl_cert_file: cert, ssl_key_file: key });
  const url = await createDatabase(postgres.url);
  await servedCases(url, authority);
  await refusedCases(url);
  await flushCases(postgres, url);
  await postgres.end();
});
