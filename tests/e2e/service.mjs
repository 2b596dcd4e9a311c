// SPDX-License-Identifier: Apache-2.0
// service — what passes between the server and a service manager: sockets, and
// word of how it is.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { Authority } from './lib/ca.mjs';
import { Client, User, status } from './lib/client.mjs';
import { pause } from './lib/load.mjs';
import { Managed } from './lib/manager.mjs';
import { Key } from './lib/sign.mjs';
import { skip, suite, test, until } from './lib/tap.mjs';

const SECONDS = 10;
const WATCHDOG_MS = 400;
const env = { SHARDS: '2', DRAIN_TIMEOUT: '7' };

async function answers(address) {
  const client = new Client(address);
  const { code, message } = await new User(client, new Key()).getLock('n');
  client.close();
  assert.equal(code, status.OK, message);
}

/** Starts one, hands it to `fn`, and ends it. */
async function managing(options, fn) {
  const managed = await Managed.make({ ...options,
    env: { ...env, ...options.env } });
  await fn(managed);
  if (managed.pid && !managed.ended) await managed.stop();
  await managed.end();
}

async function lifeCases() {
  await managing({}, async (managed) => {
    await test('it tells that it is READY once it serves', async () => {
      await managed.begin();
      assert.ok(managed.told.includes('STATUS=Serving'));
      await answers(managed.address);
    });
    await test('its log names the address of a socket that was handed over',
      () => assert.match(managed.stderr, new RegExp(
        `"Server listening at ${managed.address}".* web=127.0.0.1:` +
        `${managed.webPort} `)));
    await test('it tells that it ends, and how long that may take',
      async () => {
        assert.deepEqual(await managed.stop(), { code: 0 });
        assert.ok(managed.told.includes('STOPPING=1'));
        assert.ok(managed.told.includes('EXTEND_TIMEOUT_USEC=17000000'));
      });
    await test('who connects while nothing runs is served by the next',
      async () => {
        const early = answers(managed.address);
        await managed.begin();
        await early;
      });
    await test('it asks for no watchdog that nobody wants', () =>
      assert.ok(!managed.told.includes('WATCHDOG=1')));
  });
}

async function socketCases() {
  for (const names of [[], ['web'], ['grpc']]) {
    await test(`handed over: ${names.join() || 'nothing'}; it opens the rest`,
      () => managing({ names }, async (managed) => {
        await managed.begin();
        await answers(managed.address);
        const reply = await fetch(`http://127.0.0.1:${managed.webPort}/health`);
        assert.equal(reply.status, 200);
      }));
  }
  await test('metrics are served on a socket that is handed over', () =>
    managing({ names: ['metrics', 'grpc', 'web'] }, async (managed) => {
      await managed.begin();
      const reply = await fetch(`http://127.0.0.1:${managed.ports[0]}/metrics`);
      assert.match(await reply.text(), /^tallyd_connections/m);
      await answers(managed.address);
    }));
  for (const [names, sentence] of [
    [['grpc', 'web', 'other'], 'sockets must be named grpc, web or metrics'],
    [['tallyd.socket'], 'sockets must be named grpc, web or metrics'],
    [['grpc', 'grpc'], 'two sockets have one name'],
  ]) {
    await test(`handed over: ${names}; it does not start`,
      () => managing({ names }, async (managed) => {
        await managed.launch();
        await until(SECONDS, 'its end', () => managed.ended);
        assert.deepEqual(managed.ended, { code: 1 });
        await until(SECONDS, sentence, () => managed.stderr.includes(
          `start.failed reason="socket activation: ${sentence}"`));
        assert.ok(!managed.told.includes('READY=1'));
      }));
  }
}

async function reloadCases() {
  const authority = new Authority();
  const { cert, key } = authority.files(authority.issue().name);
  await managing({ env: { TLS_CERT_FILE: cert, TLS_KEY_FILE: key } }, async (managed) => {
    await managed.begin();
    const reload = async () => {
      managed.told.length = 0;
      managed.command('SIGHUP');
      await managed.hears('READY=1');
      assert.equal(managed.told[0], 'RELOADING=1');
      const [, microseconds] = managed.told[1].split('MONOTONIC_USEC=');
      const up = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
      assert.ok(Math.abs(up - microseconds / 1e6) < SECONDS, managed.told[1]);
    };
    await test('SIGHUP: it tells that it loads its files, and when it has',
      reload);
    await test('and also when they cannot be used', async () => {
      writeFileSync(cert, 'nothing');
      await reload();
      assert.match(managed.stderr, /event=tls\.not_loaded/);
    });
  });
}

async function watchdogCases() {
  const alive = (managed) => managed.told.filter(
    (line) => line === 'WATCHDOG=1').length;
  const watched = { env: { WATCHDOG_USEC: String(WATCHDOG_MS * 1000) } };
  await managing(watched, async (managed) => {
    await managed.begin();
    await test('it tells that it is alive, again and again', () =>
      until(SECONDS, 'five times', () => alive(managed) >= 5));
    const what = 'with one shard stuck it tells so no more';
    if (!await managed.stick('shard-1')) {
      skip(what, 'threads cannot be traced here');
      return;
    }
    await test(what, async () => {
      await until(SECONDS, 'its log', () => (
        managed.stderr.includes('event=watchdog.waiting shards=1')));
      const before = alive(managed);
      await pause(2 * WATCHDOG_MS);
      assert.equal(alive(managed), before);
    });
    await test('and does again when the shard goes on', async () => {
      const before = alive(managed);
      managed.command('unstick');
      await until(SECONDS, 'word', () => alive(managed) > before);
    });
  });
  await managing({ env: { WATCHDOG_USEC: '10000', WATCHDOG_PID: '1' } },
    async (managed) => {
      await test('another process\'s watchdog is none of its business',
        async () => {
          await managed.begin();
          await answers(managed.address);
          assert.equal(alive(managed), 0);
        });
    });
}

/** Its queue takes ten datagrams or some more. */
async function deafCases() {
  await managing({ env: { WATCHDOG_USEC: '4000' } }, async (managed) => {
    await managed.begin();
    await test('a manager that does not listen holds up nobody', async () => {
      managed.child.kill('SIGSTOP');
      await until(SECONDS, 'a full queue', () => (
        managed.stderr.includes('event=notify.failed')));
      await answers(managed.address);
      managed.child.kill('SIGCONT');
    });
  });
  for (const NOTIFY_SOCKET of ['relative', '/', '@', `/${'x'.repeat(200)}`]) {
    await test(`it serves with NOTIFY_SOCKET=${NOTIFY_SOCKET.slice(0, 20)}`,
      async () => {
        const managed = await Managed.make({ names: [],
          env: { ...env, TEST_NOTIFY_SOCKET: NOTIFY_SOCKET } });
        await managed.launch();
        await until(SECONDS, 'its log', () => (
          managed.stderr.includes('Server listening at')));
        await answers(managed.address);
        await managed.stop();
        await managed.end();
      });
  }
}

await suite(async () => {
  await lifeCases();
  await socketCases();
  await reloadCases();
  await watchdogCases();
  await deafCases();
});
