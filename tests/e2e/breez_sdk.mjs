// SPDX-License-Identifier: Apache-2.0
// breez_sdk — devices of one wallet with Breez's own SDK sync their contacts
// through the web port. No record may be missing on any device at the end.
//
// The SDK reaches for services of its wallet as well; they are kept from it,
// so that nothing but the server under test is asked.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { missing } from './lib/generated.mjs';
import { startServer, temporaryDirectory } from './lib/server.mjs';
import { atEnd, diag, scaled, skip, suite, test, until } from './lib/tap.mjs';

const SDK = '@breeztech/breez-sdk-spark';
const MNEMONIC = `${'abandon '.repeat(11)}about`;
const EVERY = { limit: 100000 };
const SECONDS = 30;
const SUITE_SECONDS = 900; // where others keep the machine busy
const MANY = scaled(1200); // more than a page of ListChanges holds
const DEVICES = 5;
// The SDK pushes all that waits before it pulls, and takes the revision of its
// last push for what it knows: two bursts must fit into the overlap rule.
const BURST = 20;
// The SDK takes its time for a burst where others keep the machine busy: it is
// not speed that is asked for here, but that nothing is missing.
const BURSTS_SECONDS = 120;
const SLOW_MS = 3000; // of a network on the way to the server

let sdk;
let server;
const deviceAt = new Map(); // by the host name it knows the server by

/** Loads the SDK; it talks while it is loaded, and standard output is TAP. */
function loadSdk() {
  const { log, warn } = console;
  console.log = () => {};
  console.warn = () => {};
  try {
    return createRequire(import.meta.url)(SDK);
  } finally {
    Object.assign(console, { log, warn });
  }
}

function prepareGlobals() {
  // The SDK hands its records over as maps, which JSON leaves empty.
  Object.defineProperty(Map.prototype, 'toJSON', {
    value() { return Object.fromEntries(this); } });
  const { fetch } = globalThis;
  globalThis.fetch = async (input, init) => {
    const url = new URL(input.url ?? input);
    const device = deviceAt.get(url.hostname);
    if (!device) throw new TypeError(`${url.hostname} is not for tests`);
    if (url.pathname.endsWith('/ListChanges')) device.lists += 1;
    if (device.delayMs) {
      await new Promise((resolve) => { setTimeout(resolve, device.delayMs); });
    }
    url.hostname = '127.0.0.1';
    return fetch(input.url ? new Request(url, input) : url, init);
  };
}

/** One installation of the wallet: its own storage, the account's seed. */
class Device {
  constructor(account, name) {
    this.account = account;
    this.name = name;
    this.storageDir = temporaryDirectory();
    this.host = `device${deviceAt.size}.test`;
    deviceAt.set(this.host, this);
  }

  /**
   * Settles when it pulls for the second time, at the listener's greeting. By
   * then it notices what is added; what was added before, it would push only
   * with the next.
   */
  async connect() {
    const config = sdk.defaultConfig('regtest');
    config.realTimeSyncServerUrl = `http://${this.host}:${server.webPort}`;
    config.privateEnabledDefault = false;
    this.lists = 0;
    this.sdk = await sdk.connect({
      config, storageDir: this.storageDir,
      seed: {
        type: 'mnemonic', mnemonic: MNEMONIC, passphrase: this.account },
    });
    await until(SECONDS, `${this.name} to be ready`, () => this.lists >= 2);
    return this;
  }

  disconnect() {
    return this.sdk.disconnect();
  }

  add(name) {
    return this.sdk.addContact(
      { name, paymentIdentifier: `${name.replaceAll(' ', '-')}@example.com` });
  }

  rename({ id, paymentIdentifier }, name) {
    return this.sdk.updateContact({ id, name, paymentIdentifier });
  }

  remove({ id }) {
    return this.sdk.deleteContact(id);
  }

  async names() {
    const contacts = await this.sdk.listContacts(EVERY);
    return contacts.map(({ name }) => name).sort();
  }
}

function devices(account, count) {
  return Promise.all(Array.from({ length: count },
    (_, at) => new Device(account, `${account} ${at}`).connect()));
}

/** Every device comes to hold just these names. */
async function allHold(all, names, seconds = SECONDS) {
  const expected = [...names].sort();
  for (const device of all) {
    let held = [];
    await until(seconds, `${device.name} to hold ${names.length}`,
      async () => {
        held = await device.names();
        return held.length === expected.length
          && held.every((name, at) => name === expected[at]);
      }).catch((error) => {
      diag(`${device.name} lacks ` +
        expected.filter((name) => !held.includes(name)).slice(0, 10));
      throw error;
    });
  }
}

const disconnect = (all) => Promise.all(
  all.map((device) => device.disconnect()));

const numbered = (prefix, count) => Array.from(
  { length: count }, (_, at) => `${prefix}${at}`);

async function twoCase() {
  const both = await devices('two', 2);
  const [one, other] = both;
  let ann;
  await test('two devices: a contact that one adds, the other has',
    async () => {
      ann = await one.add('ann');
      await allHold(both, ['ann']);
    });
  await test('two devices: the other renames it', async () => {
    await other.rename(ann, 'anna');
    await allHold(both, ['anna']);
  });
  await test('two devices: the first removes it', async () => {
    await other.add('bob');
    await one.remove(ann);
    await allHold(both, ['bob']);
  });
  await disconnect(both);
}

async function fiveCase() {
  const all = await devices('five', DEVICES);
  const rounds = scaled(3, 2);
  const names = [];
  await test(`five devices add at the same time, ${rounds} times`,
    async () => {
      for (let round = 0; round < rounds; round += 1) {
        const added = all.map((_, at) => `r${round}d${at}`);
        await Promise.all(all.map((device, at) => device.add(added[at])));
        names.push(...added);
      }
      await allHold(all, names);
    });
  await test('five devices rename one contact at the same time and agree',
    async () => {
      const shared = await all[0].add('shared');
      await allHold(all, [...names, 'shared']);
      await Promise.all(all.map((device, at) =>
        device.rename(shared, `by${at}`)));
      const agreed = async () => new Set((await Promise.all(
        all.map((device) => device.names()))).map(String)).size === 1;
      await until(SECONDS, 'the devices to agree', agreed);
      const held = await all[0].names();
      assert.equal(held.length, names.length + 1);
      assert.match(held.find((name) => name.startsWith('by')), /^by\d$/);
    });
  await disconnect(all);
}

async function behindCase() {
  const all = await devices('behind', 3);
  const [one, other, third] = all;
  const bursts = ['one', 'other', 'missed', 'late', 'back'].map(
    (prefix) => numbered(prefix, BURST));
  const add = async (device, list) => {
    for (const name of list) await device.add(name);
  };
  await third.disconnect();
  await test('devices that push while others do skip nothing', async () => {
    await Promise.all([add(one, bursts[0]), add(other, bursts[1])]);
    await allHold([one, other], bursts.slice(0, 2).flat(), BURSTS_SECONDS);
  }, { seconds: BURSTS_SECONDS });
  await test('a device that was away catches up while it pushes', async () => {
    await add(one, bursts[2]);
    await allHold([one, other], bursts.slice(0, 3).flat(), BURSTS_SECONDS);
    await third.connect();
    await Promise.all([add(one, bursts[3]), add(third, bursts[4])]);
    await allHold(all, bursts.flat(), BURSTS_SECONDS);
  }, { seconds: BURSTS_SECONDS });
  await disconnect(all);
}

/** Its pushes take longer than the overlap rule looks back by itself. */
async function slowCase() {
  const both = await devices('slow', 2);
  const [slow, quick] = both;
  const name = 'a device that pushes for a minute skips nothing';
  slow.delayMs = SLOW_MS;
  await test(name, async () => {
    const names = numbered('slow', BURST);
    for (const contact of names) await slow.add(contact);
    await until(SECONDS, 'the slow one to push', async () =>
      (await quick.names()).includes('slow1'));
    await quick.add('quick');
    await allHold(both, [...names, 'quick'], BURSTS_SECONDS);
  }, { seconds: 2 * BURSTS_SECONDS });
  await disconnect(both);
}

async function restartCase() {
  const all = await devices('restart', 3);
  const names = ['before'];
  await test('devices that add while the server restarts lose nothing',
    async () => {
      await all[0].add('before');
      await allHold(all, names);
      await server.stop();
      for (const device of all) {
        const name = `during ${device.name}`;
        await device.add(name);
        names.push(name);
      }
      await server.start();
      for (const device of all) {
        const name = `after ${device.name}`;
        await device.add(name);
        names.push(name);
      }
      await allHold(all, names, 50);
    }, { seconds: 60 });
  await disconnect(all);
}

async function manyCase() {
  const [first] = await devices('many', 1);
  const names = numbered('contact', MANY);
  await test(`a device joins ${MANY} records and has them all`, async () => {
    for (const name of names) {
      await first.add(name);
      // Else its sync has no turn: it gives up what lies too long in its way.
      await new Promise((resolve) => { setImmediate(resolve); });
    }
    const second = await new Device('many', 'joining').connect();
    await allHold([first, second], names, 100);
    await second.add('last');
    await allHold([first, second], [...names, 'last']);
    await disconnect([first, second]);
  }, { seconds: 400 });
}

/** Compiled for another Node.js, it would end this one. */
function unloadable() {
  const { status } = spawnSync(process.execPath,
    ['-e', "require('better-sqlite3')(':memory:')"],
    { cwd: import.meta.dirname, stdio: 'ignore' });
  return status === 0 ? undefined
    : 'npm\'s better-sqlite3 cannot be loaded by this Node.js';
}

await suite(async () => {
  const reason = missing(SDK, 'better-sqlite3') ?? unloadable();
  if (reason) {
    skip('Breez SDK', reason);
    return;
  }
  prepareGlobals();
  sdk = loadSdk();
  server = await startServer();
  atEnd(() => server.stop());
  await twoCase();
  await fiveCase();
  await behindCase();
  if (process.env.E2E_THOROUGH) await slowCase();
  await restartCase();
  await manyCase();
}, { seconds: SUITE_SECONDS });
