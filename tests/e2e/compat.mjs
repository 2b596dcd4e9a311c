// SPDX-License-Identifier: Apache-2.0
// compat — what data-sync was observed to answer, row by row.
//
// Rows build on one another: the revisions are those of one user's life.

import assert from 'node:assert/strict';
import { Client, User } from './lib/client.mjs';
import { answerTable } from './lib/expect.mjs';
import { startServer } from './lib/server.mjs';
import {
  CURVE_ORDER, Key, compact, now, unzbase32, zbase32,
} from './lib/sign.mjs';
import { suite, test } from './lib/tap.mjs';

const OK = 0;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const FAILED_PRECONDITION = 9;
const UNAUTHENTICATED = 16;

const TOO_FAR = 'request time too far from server time';
const NO_SIGNATURE = 'invalid signature';
const ZERO_NULL = '00000000-0000-0000-0000-000000000000';
const HELD = 'lock held by another instance';
const illegal = (at) =>
  `failed to decode signature: illegal z-base-32 data at input byte ${at}`;

function done(revision) {
  return { status: 'SUCCESS', new_revision: String(revision) };
}
const CONFLICT = { status: 'CONFLICT', new_revision: '0' };

/** The good signature of a request as bytes, changed, as text. */
function changed(user, fields, change) {
  const { signature } = user.record(fields);
  return zbase32(change(Buffer.from(unzbase32(signature))));
}

function withHeader(byte) {
  return (sig) => {
    sig[0] = byte(sig[0]);
    return sig;
  };
}

function withRange(start, end, value) {
  return (sig) => sig.fill(value, start, end);
}

function highS(user, fields) {
  return changed(user, fields, (sig) => {
    const r = BigInt(`0x${sig.subarray(1, 33).toString('hex')}`);
    const s = BigInt(`0x${sig.subarray(33).toString('hex')}`);
    return compact((sig[0] - 31) ^ 1, r, CURVE_ORDER - s);
  });
}

/** Calls anew while the server had the request too late for the second that
 * it names, on a machine that was busy. */
async function inTime(call) {
  for (;;) {
    const second = now();
    const answer = await call(second);
    if (answer.code === OK || now() - second <= 1) return answer;
  }
}

function recordRows(user, other) {
  const set = (fields) => () => user.setRecord(fields);
  const signed = (id, signature) => () => user.setRecord({
    id, signature: typeof signature === 'function'
      ? signature(user.record({ id }).signature) : signature,
  });
  const bytes = (id, change) => () => user.setRecord({
    id, signature: changed(user, { id }, change),
  });
  return [
    ['SetRecord: record missing', () => user.client.call('SetRecord', {
      request_time: now(), signature: user.key.sign('x'),
    }), INVALID_ARGUMENT, 'record must not be empty'],
    ['SetRecord: record present but empty, signature of another text',
      () => user.client.call('SetRecord', {
        record: {}, request_time: now(), signature: user.key.sign('x'),
      }), OK, done(1)],
    ['SetRecord: id 64 bytes', set({ id: 'a'.repeat(64) }), OK, done(1)],
    ['SetRecord: id 65 bytes', set({ id: 'a'.repeat(65) }), INVALID_ARGUMENT,
      'record id exceeds maximum length of 64'],
    ['SetRecord: id of 33 two-byte letters', set({ id: 'é'.repeat(33) }),
      INVALID_ARGUMENT, 'record id exceeds maximum length of 64'],
    ['SetRecord: id empty', set({ id: '' }), OK, done(2)],
    ['SetRecord: data 65536', set({ id: 'big', data: Buffer.alloc(65536, 7) }),
      OK, done(3)],
    ['SetRecord: data 65537', set({ id: 'big2', data: Buffer.alloc(65537) }),
      INVALID_ARGUMENT, 'record data exceeds maximum size of 65536 bytes'],
    ['SetRecord: data empty is stored', () => other.setRecord(
      { id: 'none', data: '' }), OK, done(1)],
    ['SetRecord: data empty again, at its revision', () => other.setRecord(
      { id: 'none', data: '', revision: 1 }), OK, done(2)],
    ['SetRecord: schema_version 15', () => other.setRecord(
      { id: 'schema', schema: 's'.repeat(15) }), OK, done(3)],
    ['SetRecord: schema_version 16', set({ schema: 's'.repeat(16) }),
      INVALID_ARGUMENT, 'record schema_version exceeds maximum length of 15'],
    ['SetRecord: id, data and schema too long', set({
      id: 'a'.repeat(65), data: Buffer.alloc(65537), schema: 's'.repeat(16),
    }), INVALID_ARGUMENT, 'record id exceeds maximum length of 64'],
    ['SetRecord: data and schema too long', set({
      data: Buffer.alloc(65537), schema: 's'.repeat(16),
    }), INVALID_ARGUMENT, 'record data exceeds maximum size of 65536 bytes'],
    ['SetRecord: request_time 0', set({ request_time: 0 }),
      INVALID_ARGUMENT, TOO_FAR],
    ['SetRecord: request_time 2^32-1', set({ request_time: 4294967295 }),
      INVALID_ARGUMENT, TOO_FAR],
    ['SetRecord: request_time -301 s',
      () => user.setRecord({ request_time: now() - 301 }),
      INVALID_ARGUMENT, TOO_FAR],
    ['SetRecord: request_time -299 s, signed for another time',
      () => inTime((second) => user.setRecord({
        request_time: second - 299,
        signature: user.record({ request_time: second - 298 }).signature,
      })), OK, done(1)],
    ['SetRecord: request_time +302 s',
      () => user.setRecord({ request_time: now() + 302 }),
      INVALID_ARGUMENT, TOO_FAR],
    ['SetRecord: request_time +299 s, well signed', () => other.setRecord(
      { id: 'early', request_time: now() + 299 }), OK, done(4)],
    ['SetRecord: old time and bad signature', set({
      request_time: 1, signature: '!!!!',
    }), INVALID_ARGUMENT, TOO_FAR],
    ['SetRecord: id too long and old time', set({
      id: 'a'.repeat(65), request_time: 1,
    }), INVALID_ARGUMENT, 'record id exceeds maximum length of 64'],
    ['SetRecord: signature empty', signed('r1', ''),
      UNAUTHENTICATED, NO_SIGNATURE],
    ["SetRecord: signature '!!!!'", signed('r1', '!!!!'),
      UNAUTHENTICATED, illegal(0)],
    ["SetRecord: signature with 'l', 'v' and '2'", signed('r1', 'yyyylv2'),
      UNAUTHENTICATED, illegal(4)],
    ['SetRecord: signature upper case',
      signed('r1', (good) => good.toUpperCase()), UNAUTHENTICATED, illegal(0)],
    ["SetRecord: signature 'y'", signed('r1', 'y'),
      UNAUTHENTICATED, NO_SIGNATURE],
    ["SetRecord: signature of 104 'y'", signed('r1', 'y'.repeat(104)),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature and one more', signed('r1', (good) => `${good}y`),
      UNAUTHENTICATED, NO_SIGNATURE],
    ["SetRecord: signature and 'yy'", signed('r1', (good) => `${good}yy`),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature and a newline', signed('r1', (good) => `${good}\n`),
      UNAUTHENTICATED, illegal(104)],
    ['SetRecord: signature cut by one', signed('r1', (good) =>
      good.slice(0, -1)), UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature of 64 KiB', signed('r1', 'y'.repeat(65536)),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature header of an uncompressed key',
      bytes('r1', withHeader((h) => h - 4)), UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature header 26', bytes('r1', withHeader(() => 26)),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature header 35', bytes('r1', withHeader(() => 35)),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature header 0', bytes('r1', withHeader(() => 0)),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature header 255', bytes('r1', withHeader(() => 255)),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature header 33 or 34 (r + n too large)',
      bytes('r1', withHeader((h) => h + 2)), UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature r = 0', bytes('r1', withRange(1, 33, 0)),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature s = 0', bytes('r1', withRange(33, 65, 0)),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature s = ff…', bytes('r1', withRange(33, 65, 255)),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature r = ff…', bytes('r1', withRange(1, 33, 255)),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature of 64 bytes',
      bytes('r1', (sig) => sig.subarray(0, 64)),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature of 66 bytes',
      bytes('r1', (sig) => Buffer.concat([sig, Buffer.alloc(1)])),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['SetRecord: signature with high s', () => {
      const fields = { id: 'r1', request_time: now() };
      return user.setRecord({ ...fields, signature: highS(user, fields) });
    }, OK, done(4)],
    ['SetRecord: data not what was signed', () => user.setRecord({
      id: 'r1', data: 'changed', signature: user.record({ id: 'r1' }).signature,
    }), OK, done(1)],
    ['SetRecord: new record, revision 7 though none exists',
      set({ id: 'rev7', revision: 7 }), OK, done(5)],
    ['SetRecord: same record, wrong revision 9',
      set({ id: 'rev7', revision: 9 }), OK, CONFLICT],
    ['SetRecord: same record, revision 0', set({ id: 'rev7' }), OK, CONFLICT],
    ['SetRecord: same record, revision 2^63',
      set({ id: 'rev7', revision: 2n ** 63n }), OK, CONFLICT],
    ['SetRecord: same record, its revision plus 2^32',
      set({ id: 'rev7', revision: 2n ** 32n + 5n }), OK, CONFLICT],
    ['SetRecord: new record, revision 2^64-1',
      set({ id: 'revmax', revision: 2n ** 64n - 1n }), OK, done(6)],
    ['SetRecord: id with NUL', set({ id: 'a\0b' }), INVALID_ARGUMENT,
      'record id must not contain NUL'],
    ['SetRecord: id with NUL again', set({ id: 'a\0b' }), INVALID_ARGUMENT,
      'record id must not contain NUL'],
  ];
}

function listRows(user) {
  const none = { changes: [] };
  const since = (revision) => () => user.listChanges(revision);
  return [
    ['ListChanges: since 2^31-1', since(2n ** 31n - 1n), OK, none],
    ['ListChanges: since 2^31', since(2n ** 31n), OK, none],
    ['ListChanges: since 2^63-1', since(2n ** 63n - 1n), OK, none],
    ['ListChanges: since 2^63', since(2n ** 63n), OK, none],
    ['ListChanges: since 2^64-1', since(2n ** 64n - 1n), OK, none],
    ['ListChanges: signature undecodable',
      () => user.listChanges(0, { signature: '!!!!' }),
      UNAUTHENTICATED, illegal(0)],
    ['ListChanges: signature empty',
      () => user.listChanges(0, { signature: '' }),
      UNAUTHENTICATED, NO_SIGNATURE],
    ['ListChanges: old time', () => user.listChanges(0, { request_time: 1 }),
      INVALID_ARGUMENT, TOO_FAR],
    ['ListChanges: signature of another text',
      () => user.listChanges(0, { signature: user.key.sign('x') }), OK, none],
  ];
}

async function listCases(user, other) {
  await test('ListChanges: since 0', async () => {
    const changes = await user.changes();
    assert.deepEqual(changes.map(({ id, revision }) => [id, revision]), [
      ['a'.repeat(64), 1], ['', 2], ['big', 3], ['r1', 4], ['rev7', 5],
      ['revmax', 6]]);
    assert.deepEqual(changes[2].data, Buffer.alloc(65536, 7));
    assert.equal(changes[3].data.toString(), 'd');
    assert.equal(changes[3].schema_version, '0.1');
  });
  await test('ListChanges: since 4 gives 5 and 6', async () => {
    const changes = await user.changes(4);
    assert.deepEqual(changes.map(({ revision }) => revision), [5, 6]);
  });
  await test('ListChanges: empty data comes back empty', async () => {
    const changes = await other.changes();
    assert.deepEqual(changes.map(({ id, revision, data }) =>
      [id, revision, data.length]),
    [['none', 2, 0], ['schema', 3, 1], ['early', 4, 1]]);
  });
}

async function listenCases(user) {
  const refusal = (rest, code, message) => async () => {
    const listener = user.listen(rest);
    const { end } = await listener.next();
    assert.deepEqual(end, { code, message });
  };
  await test('ListenChanges: the first message is empty', async () => {
    const listener = user.listen();
    await listener.greeting();
    listener.cancel();
  });
  await test('ListenChanges: signature undecodable',
    refusal({ signature: '!!!!' }, UNAUTHENTICATED, illegal(0)));
  await test('ListenChanges: signature empty',
    refusal({ signature: '' }, UNAUTHENTICATED, NO_SIGNATURE));
  await test('ListenChanges: old time',
    refusal({ request_time: 1 }, INVALID_ARGUMENT, TOO_FAR));
}

function lockNameRows(user) {
  const uuid = '6f1d3f1e-0d6a-4f7c-9d3a-1a2b3c4d5e6f';
  const lock = (name, instance, rest) => () => user.setLock(
    { name, instance, ...rest });
  const exclusive = { exclusive: true };
  return [
    ['SetLock: empty name', lock('', uuid), INVALID_ARGUMENT,
      'lock_name must not be empty'],
    ['SetLock: name 256 bytes', lock('n'.repeat(256), uuid), OK],
    ['SetLock: name 257 bytes', lock('n'.repeat(257), uuid), INVALID_ARGUMENT,
      'lock_name exceeds maximum length of 256'],
    ['SetLock: name with NUL', lock('a\0b', uuid), INVALID_ARGUMENT,
      'lock_name must not contain NUL'],
    ['SetLock: bad UUID', lock('n', 'nope'), INVALID_ARGUMENT,
      'instance_id must be a valid UUID'],
    ['SetLock: empty UUID', lock('n', ''), INVALID_ARGUMENT,
      'instance_id must be a valid UUID'],
    ['SetLock: UUID with a letter beyond f', lock('n', uuid.replace('6', 'g')),
      INVALID_ARGUMENT, 'instance_id must be a valid UUID'],
    ['SetLock: UUID with a hyphen moved',
      lock('n', '6f1d3f1e0-d6a-4f7c-9d3a-1a2b3c4d5e6f'),
      INVALID_ARGUMENT, 'instance_id must be a valid UUID'],
    ['SetLock: empty name before bad UUID', lock('', 'nope'),
      INVALID_ARGUMENT, 'lock_name must not be empty'],
    ['SetLock: bad UUID before old time', lock('n', 'nope',
      { request_time: 1 }), INVALID_ARGUMENT,
    'instance_id must be a valid UUID'],
    ['SetLock: UUID in braces', lock('u', `{${uuid}}`, exclusive), OK],
    ['SetLock: UUID with urn:uuid:', lock('u', `urn:uuid:${uuid}`, exclusive),
      OK],
    ['SetLock: UUID without hyphens',
      lock('u', uuid.replaceAll('-', ''), exclusive), OK],
    ['SetLock: UUID in capitals', lock('u', uuid.toUpperCase(), exclusive),
      OK],
    ['SetLock: UUID in capitals, then small: one instance',
      lock('u', uuid, exclusive), OK],
    ['SetLock: nil UUID beside an exclusive holder',
      lock('u', ZERO_NULL, exclusive), FAILED_PRECONDITION, HELD],
    ['SetLock: released in one form, held in another',
      lock('u', `{${uuid.toUpperCase()}}`, { acquire: false }), OK],
    ['GetLock: free after release in another form',
      () => user.getLock('u'), OK, { locked: false }],
    ['SetLock: nil UUID', lock('nil', ZERO_NULL), OK],
    ['SetLock: ttl 0', lock('t', uuid, { ttl: 0 }), INVALID_ARGUMENT,
      'ttl_seconds must be at least 1'],
    ['SetLock: release with ttl 0', lock('t', uuid,
      { acquire: false, ttl: 0 }), INVALID_ARGUMENT,
    'ttl_seconds must be at least 1'],
    ['SetLock: ttl 0 and bad signature', lock('t', uuid,
      { ttl: 0, signature: '!!!!' }), UNAUTHENTICATED, illegal(0)],
    ['SetLock: ttl 2^32-1', lock('t', uuid, { ttl: 4294967295 }), OK],
    ['SetLock: old time', lock('t', uuid, { request_time: 1 }),
      INVALID_ARGUMENT, TOO_FAR],
    ['SetLock: signature empty', lock('t', uuid, { signature: '' }),
      UNAUTHENTICATED, NO_SIGNATURE],
  ];
}

function lockLifeRows(user, stranger) {
  const one = '11111111-1111-4111-8111-111111111111';
  const two = '22222222-2222-4222-8222-222222222222';
  const lock = (instance, exclusive, acquire = true) => () => user.setLock(
    { name: 'life', instance, exclusive, acquire });
  const held = (locked) => ({ locked });
  const ask = () => user.getLock('life');
  return [
    ['SetLock: i1 acquires exclusively', lock(one, true), OK],
    ['GetLock: held', ask, OK, held(true)],
    ['GetLock: not held by another user', () => stranger.getLock('life'),
      OK, held(false)],
    ['SetLock: another user acquires the same name exclusively',
      () => stranger.setLock(
        { name: 'life', instance: two, exclusive: true }), OK],
    ['SetLock: i2 exclusively while i1 holds exclusively', lock(two, true),
      FAILED_PRECONDITION, HELD],
    ['SetLock: i2 shared while i1 holds exclusively', lock(two, false),
      FAILED_PRECONDITION, HELD],
    ['SetLock: i1 again exclusively', lock(one, true), OK],
    ['SetLock: i1 again shared', lock(one, false), OK],
    ['SetLock: i2 shared after that', lock(two, false), OK],
    ['SetLock: i1 exclusively while i2 holds shared', lock(one, true),
      FAILED_PRECONDITION, HELD],
    ['SetLock: i1 releases', lock(one, false, false), OK],
    ['SetLock: i1 releases again', lock(one, false, false), OK],
    ['GetLock: i2 still holds', ask, OK, held(true)],
    ['SetLock: i2 exclusively, now alone', lock(two, true), OK],
    ['SetLock: i2 releases', lock(two, false, false), OK],
    ['GetLock: all released', ask, OK, held(false)],
    ['GetLock: never existed', () => user.getLock('never'), OK, held(false)],
    ['GetLock: empty name', () => user.getLock(''), INVALID_ARGUMENT,
      'lock_name must not be empty'],
    ['GetLock: name 256 bytes', () => user.getLock('n'.repeat(256)), OK,
      held(true)],
    ['GetLock: name 257 bytes', () => user.getLock('n'.repeat(257)),
      INVALID_ARGUMENT, 'lock_name exceeds maximum length of 256'],
    ['GetLock: name with NUL', () => user.getLock('a\0b'), INVALID_ARGUMENT,
      'lock_name must not contain NUL'],
    ['GetLock: empty name before bad signature',
      () => user.getLock('', { signature: '!!!!' }), INVALID_ARGUMENT,
      'lock_name must not be empty'],
    ['GetLock: empty name before old time',
      () => user.getLock('', { request_time: 1 }), INVALID_ARGUMENT,
      'lock_name must not be empty'],
    ['GetLock: old time', () => user.getLock('n', { request_time: 1 }),
      INVALID_ARGUMENT, TOO_FAR],
    ['GetLock: old time before bad signature',
      () => user.getLock('n', { request_time: 1, signature: '!!!!' }),
      INVALID_ARGUMENT, TOO_FAR],
    ['GetLock: signature undecodable',
      () => user.getLock('n', { signature: '!!!!' }),
      UNAUTHENTICATED, illegal(0)],
    ['GetLock: with an authorization header, no CA_CERT configured',
      () => new User(user.client, user.key, {
        metadata: { authorization: 'Bearer abc' },
      }).getLock('life'), OK, held(false)],
  ];
}

const pause = (milliseconds) => new Promise((resolve) => {
  setTimeout(resolve, milliseconds);
});

/** The next time the wall clock stands at this part of a second. */
function clockAt(milliseconds) {
  return pause((milliseconds - (Date.now() % 1000) + 1000) % 1000);
}

/**
 * Asks for a lock of ttl 1 again and again: it must be held for a second
 * after it was requested, and gone 2.1 s after it was granted.
 */
async function ttlOne(user, name, phase) {
  await clockAt(phase);
  const requested = performance.now();
  const instance = '33333333-3333-4333-8333-333333333333';
  const { code } = await user.setLock({ name, instance, ttl: 1 });
  assert.equal(code, OK);
  const granted = performance.now();
  let heldFor = 0;
  for (;;) {
    const asked = performance.now();
    const { reply } = await user.getLock(name);
    if (!reply.locked) break;
    heldFor = performance.now() - requested;
    assert.ok(asked - granted < 2100,
      `still held ${Math.round(asked - granted)} ms after it was granted`);
    await pause(20);
  }
  const gone = performance.now() - requested;
  assert.ok(gone >= 1000,
    `free ${Math.round(gone)} ms after it was requested ` +
    `(last seen held at ${Math.round(heldFor)} ms)`);
}

async function ttlCases(client) {
  const phases = [20, 500, 950];
  const outcomes = phases.map((phase) => ttlOne(
    new User(client, new Key()), `ttl-${phase}`, phase)
    .then(() => undefined, (error) => error));
  for (const [index, phase] of phases.entries()) {
    await test(`SetLock: ttl 1 taken at .${String(phase).padStart(3, '0')} s ` +
      'is held 1.0 s and gone by 2.1 s', async () => {
      const error = await outcomes[index];
      if (error) throw error;
    });
  }
}

await suite(async () => {
  const server = await startServer();
  const client = new Client(server.address);
  const user = new User(client, new Key());
  const other = new User(client, new Key());
  await answerTable(recordRows(user, other));
  await listCases(user, other);
  await answerTable(listRows(user));
  await listenCases(user);
  await answerTable(lockNameRows(user));
  await answerTable(lockLifeRows(user, other));
  await ttlCases(client);
  await test('the client\'s deadline is over before it calls', async () => {
    const answer = await client.call('GetLock',
      user.signed('GetLock', { lock_name: 'n' }), { seconds: -1 });
    assert.equal(answer.code, DEADLINE_EXCEEDED);
  });
  client.close();
});
