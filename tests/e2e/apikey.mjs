// SPDX-License-Identifier: Apache-2.0
// apikey — certificates as API keys, and their revocation.

import assert from 'node:assert/strict';
import { Authority, RevocationList } from './lib/ca.mjs';
import { Client, User } from './lib/client.mjs';
import { answerTable } from './lib/expect.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { atEnd, suite, test, until, within } from './lib/tap.mjs';

const OK = 0;
const INVALID_ARGUMENT = 3;
const UNAUTHENTICATED = 16;
const NO_HEADER = 'invalid auth header';
const VERIFICATION = 'certificate verification error';
const REVOKED = 77;

let key;

/** A user whose calls carry this authorization header. */
function bearing(client, authorization) {
  return new User(client, key,
    { metadata: authorization === undefined ? {} : { authorization } });
}

function certificates(authority) {
  const intermediate = authority.issue({
    extensions: 'basicConstraints=critical,CA:TRUE\n' +
      'keyUsage=critical,keyCertSign\n',
  });
  return {
    good: authority.issue().key,
    second: authority.issue({ serial: 78 }).key,
    revoked: authority.issue({ serial: REVOKED }).key,
    root: authority.certificate,
    byIntermediate: authority.issue({ by: intermediate.name }).key,
    intermediate: intermediate.key,
    expired: authority.issueExpired().key,
    clientOnly: authority.issue({
      extensions: 'extendedKeyUsage=clientAuth\n' }).key,
    serverOnly: authority.issue({
      extensions: 'extendedKeyUsage=serverAuth\n' }).key,
  };
}

/** Texts: data-sync's, or its beginning where the rest is a parser's. */
function rows(client, keys, foreign) {
  const having = (authorization) => () =>
    bearing(client, authorization).getLock('n');
  const bearer = (certificate) => having(`Bearer ${certificate}`);
  const trailing = Buffer.concat([
    Buffer.from(keys.good, 'base64'), Buffer.from([0])]).toString('base64');
  const undecoded = (at) => ['could not decode auth header',
    `could not decode auth header: illegal base64 data at input byte ${at}`];
  const unparsed = /^could not parse certificate/;
  const unknown = [VERIFICATION, `${VERIFICATION}: x509: certificate signed ` +
    'by unknown authority'];
  const chain = [VERIFICATION, `${VERIFICATION}: invalid chain of trust`];
  const bad = (name, ask, text) => [`API key: ${name}`, ask, UNAUTHENTICATED,
    text];
  const fine = (name, ask) => [`API key: ${name}`, ask, OK, { locked: false }];
  return [
    bad('no header', having(undefined), NO_HEADER),
    bad('Basic abc', having('Basic abc'), NO_HEADER),
    bad('bearer in lower case', having(`bearer ${keys.good}`), NO_HEADER),
    bad('Bearer and nothing', having('Bearer '), NO_HEADER),
    bad('Bearer without a space', having(`Bearer${keys.good}`), NO_HEADER),
    bad('bad base64', bearer('!!!!'), undecoded(0)),
    bad('base64 without its padding', bearer('YWI'),
      /^could not decode auth header/),
    bad('base64 but no certificate', bearer('aGVsbG8='), unparsed),
    bad('a certificate cut short', bearer(Buffer.from(keys.good, 'base64')
      .subarray(0, -10).toString('base64')), unparsed),
    bad('bytes after the certificate', bearer(trailing), unparsed),
    fine('valid', bearer(keys.good)),
    fine('another valid one', bearer(keys.second)),
    bad('of another root', bearer(foreign), unknown),
    bad('the root itself', bearer(keys.root), chain),
    bad('issued by an intermediate', bearer(keys.byIntermediate), unknown),
    bad('expired', bearer(keys.expired), new RegExp(`^${VERIFICATION}`)),
    bad('for clients only', bearer(keys.clientOnly),
      new RegExp(`^${VERIFICATION}`)),
    fine('for servers only', bearer(keys.serverOnly)),
    bad('revoked', bearer(keys.revoked), VERIFICATION),
    ['missing API key before a bad signature', () => bearing(client)
      .getLock('n', { signature: '!!!!' }), UNAUTHENTICATED, NO_HEADER],
    ['good API key and a bad signature', () => bearing(client,
      `Bearer ${keys.good}`).getLock('n', { signature: '' }),
    UNAUTHENTICATED, 'invalid signature'],
    ['empty lock name before a missing API key', () => bearing(client)
      .getLock(''), INVALID_ARGUMENT, 'lock_name must not be empty'],
    ['old time before a missing API key', () => bearing(client)
      .getLock('n', { request_time: 1 }), INVALID_ARGUMENT,
    'request time too far from server time'],
    ['SetRecord needs the API key', () => bearing(client).setRecord({}),
      UNAUTHENTICATED, NO_HEADER],
    ['ListChanges needs the API key', () => bearing(client).listChanges(),
      UNAUTHENTICATED, NO_HEADER],
    ['SetLock needs the API key', () => bearing(client).setLock({
      name: 'n', instance: '11111111-1111-4111-8111-111111111111' }),
    UNAUTHENTICATED, NO_HEADER],
  ];
}

async function listenCases(client, keys) {
  await test('ListenChanges needs the API key', async () => {
    const { end } = await bearing(client).listen().next();
    assert.deepEqual(end, { code: UNAUTHENTICATED, message: NO_HEADER });
  });
  await test('ListenChanges with the API key', async () => {
    const listener = bearing(client, `Bearer ${keys.good}`).listen();
    await listener.greeting();
    listener.cancel();
  });
}

/** Asks until the answer's status is `code`. */
function answered(user, code) {
  return until(10, `status ${code}`,
    async () => (await user.getLock('n')).code === code);
}

async function withServer(env, body) {
  const server = await startServer({ env });
  const client = new Client(server.address);
  try {
    await body(client, server);
  } finally {
    client.close();
    await server.kill();
  }
}

async function refreshCases(authority, keys) {
  const list = await new RevocationList('1,2').start();
  atEnd(() => list.stop());
  const env = {
    CA_CERT: authority.certificate, CRL_URL: list.url,
    CRL_REFRESH_SECONDS: '1', CRL_START_POLICY: 'closed',
  };
  await withServer(env, async (client) => {
    const user = bearing(client, `Bearer ${keys.revoked}`);
    const other = bearing(client, `Bearer ${keys.good}`);
    await test('a list without the serial lets it in, once it has come', () =>
      answered(user, OK));
    await test('a serial added to the list is refused soon', async () => {
      list.answer.body = `1, ${REVOKED} ,3\n`;
      await answered(user, UNAUTHENTICATED);
      assert.equal((await other.getLock('n')).code, OK);
    });
    const kept = (name, answer) => test(name, async () => {
      list.answer = answer;
      await within(15, 'two more fetches', list.fetched(2));
      assert.equal((await user.getLock('n')).code, UNAUTHENTICATED);
      assert.equal((await other.getLock('n')).code, OK);
    });
    await kept('a list answered 404 leaves the last good one',
      { status: 404, body: 'not found' });
    await kept('an empty body leaves the last good one',
      { status: 200, body: '' });
    await kept('a page of HTML leaves the last good one',
      { status: 200, body: '<html><body>Moved, 1,2</body></html>' });
    await kept('a list of 32 MiB leaves the last good one',
      { status: 200, body: '1,'.repeat(16 << 20) });
    await test('a serial taken from the list is let in again', async () => {
      list.answer = { status: 200, body: '1,2' };
      await answered(user, OK);
    });
  });
}

async function startCases(authority, keys) {
  const list = await new RevocationList().start();
  list.answer = { status: 500, body: 'broken' };
  atEnd(() => list.stop());
  const env = (policy) => ({
    CA_CERT: authority.certificate, CRL_URL: list.url,
    CRL_REFRESH_SECONDS: '1', CRL_START_POLICY: policy,
  });
  await test('without a list at start, open lets keys in', () =>
    withServer(env('open'), async (client) => {
      const { code, message } =
        await bearing(client, `Bearer ${keys.good}`).getLock('n');
      assert.equal(code, OK, message);
    }));
  await test('without a list at start, closed lets none in', async () => {
    await assertClosed(env('closed'), keys);
  });
}

/** Closed may mean: does not start, or starts and refuses until it has one. */
async function assertClosed(env, keys) {
  let refusedToStart = true;
  await withServer(env, async (client) => {
    refusedToStart = false;
    const { code } = await bearing(client, `Bearer ${keys.good}`).getLock('n');
    assert.notEqual(code, OK);
  }).catch((error) => {
    if (!refusedToStart) throw error;
    assert.match(error.message, /server ended at start/);
  });
}

await suite(async () => {
  key = new Key();
  const authority = new Authority();
  const keys = certificates(authority);
  const foreign = new Authority('Other Root').certificate;
  const list = await new RevocationList(`5,${REVOKED},6`).start();
  atEnd(() => list.stop());
  const env = { CA_CERT: authority.certificate, CRL_URL: list.url };
  await withServer(env, async (client, server) => {
    await answerTable(rows(client, keys, foreign));
    await listenCases(client, keys);
    await test('no API key is on standard error', () => {
      for (const text of Object.values(keys)) {
        assert.ok(!server.stderr.includes(text));
      }
    });
  });
  await refreshCases(authority, keys);
  await startCases(authority, keys);
});
