// SPDX-License-Identifier: Apache-2.0
// browser — pages in Chromium, of another origin than the server, with the
// official grpc-web client and with connect-web.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import http from 'node:http';
import { User, encode } from './lib/client.mjs';
import { generate, missing } from './lib/generated.mjs';
import { startServer } from './lib/server.mjs';
import { Key } from './lib/sign.mjs';
import { atEnd, skip, suite, test, until } from './lib/tap.mjs';

const CHROMIUM = '/usr/bin/chromium';
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const UNIMPLEMENTED = 12;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;
const BIG = 65536;
const MANY = 40;

/**
 * What every page offers to the suite: call() gives the reply as plain values
 * or {code, message}; listen() collects in `heard` and `ended`, where the
 * first word counts: the official client says error and then end.
 */
const COMMON = `
  import { fromBinary } from '@bufbuild/protobuf';
  import * as pb from './sync_pb.js';
  const bytes = (base64) => Uint8Array.from(atob(base64),
    (letter) => letter.charCodeAt(0));
  const plain = ({ status, newRevision, locked, changes }) => ({
    status, locked, newRevision: newRevision && Number(newRevision),
    changes: changes?.map(({ id, revision, data }) => ({
      id, revision: Number(revision), size: data.length })) });
  const failure = ({ code, rawMessage, message }) => (
    { code, message: rawMessage ?? message });
  const heard = [];
  const request = (method, base64) => fromBinary(
    pb[method + 'RequestSchema'], bytes(base64));
  window.tally = { heard, ended: undefined,
    call: (method, base64) => call(method, request(method, base64))
      .then(plain, failure),
    listen: (base64, timeoutMs) => {
      heard.length = 0;
      window.tally.ended = undefined;
      window.tally.cancel = listen(request('ListenChanges', base64), timeoutMs,
        ({ clientId }) => heard.push(clientId ?? ''),
        (error) => { window.tally.ended ??= error ? failure(error) : {}; });
    } };
`;

const official = (server, format) => `
  import { GrpcWebClientBase, MethodDescriptor, MethodType } from 'grpc-web';
  import { toBinary } from '@bufbuild/protobuf';
  ${COMMON}
  const client = new GrpcWebClientBase({ format: '${format}' });
  const at = (method) => '${server}/sync.Syncer/' + method;
  const descriptor = (method, type, reply) => new MethodDescriptor(
    '/sync.Syncer/' + method, type, Object, Object,
    (message) => toBinary(pb[method + 'RequestSchema'], message),
    (reply_) => fromBinary(reply, reply_));
  const call = (method, message) => client.unaryCall(at(method), message, {},
    descriptor(method, MethodType.UNARY, pb[method + 'ReplySchema']));
  const listen = (message, timeoutMs, onData, onEnd) => {
    const stream = client.serverStreaming(at('ListenChanges'), message,
      timeoutMs ? { deadline: String(Date.now() + timeoutMs) } : {},
      descriptor('ListenChanges', MethodType.SERVER_STREAMING,
        pb.NotificationSchema));
    stream.on('data', onData);
    stream.on('error', onEnd);
    stream.on('end', () => onEnd());
    return () => stream.cancel();
  };
`;

const connect = (server) => `
  import { createClient, ConnectError } from '@connectrpc/connect';
  import { createGrpcWebTransport } from '@connectrpc/connect-web';
  ${COMMON}
  const client = createClient(pb.Syncer,
    createGrpcWebTransport({ baseUrl: '${server}' }));
  const call = (method, message) => client[
    method[0].toLowerCase() + method.slice(1)](message).catch((error) => {
    throw ConnectError.from(error);
  });
  const listen = (message, timeoutMs, onData, onEnd) => {
    const abort = new AbortController();
    (async () => {
      for await (const notification of client.listenChanges(
        message, { signal: abort.signal, timeoutMs })) onData(notification);
    })().then(() => onEnd(), (error) => onEnd(ConnectError.from(error)));
    return () => abort.abort();
  };
`;

const signer = () => new User(undefined, new Key());
const asText = (method, signed) => encode(method, signed).toString('base64');

/** One page and the client in it. */
class Tab {
  constructor(name, page) {
    this.name = name;
    this.page = page;
  }

  call(method, signed) {
    return this.page.evaluate(
      ([name, text]) => window.tally.call(name, text),
      [method, asText(method, signed)]);
  }

  async listen(user, { timeoutMs, ...fields } = {}) {
    await this.page.evaluate(
      ([text, timeout]) => window.tally.listen(text, timeout),
      [asText('ListenChanges', user.signed('ListenChanges', fields)),
        timeoutMs]);
  }

  /** Settles when it has heard just this. */
  async hears(...expected) {
    let heard;
    await until(10, `${this.name} to hear ${expected}`, async () => {
      heard = await this.page.evaluate(() => window.tally.heard);
      return heard.length >= expected.length;
    });
    assert.deepEqual(heard, expected);
  }

  async ended() {
    let end;
    await until(10, `the end of ${this.name}'s listener`, async () => {
      end = await this.page.evaluate(() => window.tally.ended);
      return end !== undefined;
    });
    return end;
  }

  cancel() {
    return this.page.evaluate(() => window.tally.cancel());
  }
}

/** Serves a page per bundle; resolves to the server's address. */
async function servePages(bundles) {
  const pages = http.createServer(({ url }, response) => {
    const [, name, script] = url.split('/');
    response.setHeader('content-type', script
      ? 'text/javascript' : 'text/html; charset=utf-8');
    response.end(script ? bundles[name]
      : `<!doctype html><title>${name}</title>` +
        `<script src="/${name}/script"></script>`);
  });
  await new Promise((resolve) => { pages.listen(0, '127.0.0.1', resolve); });
  atEnd(() => pages.close());
  return `http://127.0.0.1:${pages.address().port}`;
}

async function bundle(contents, dir) {
  const { build } = await import('esbuild');
  const { outputFiles: [file] } = await build({
    stdin: { contents, resolveDir: dir }, bundle: true, write: false,
    format: 'iife', target: 'es2022', logLevel: 'error' });
  return file.text;
}

async function openTabs(server) {
  const dir = generate();
  const base = `http://${server.webAddress}`;
  const bundles = {
    'grpc-web': await bundle(official(base, 'text'), dir),
    'grpc-web-binary': await bundle(official(base, 'binary'), dir),
    'connect-web': await bundle(connect(base), dir),
  };
  const origin = await servePages(bundles);
  const { chromium } = await import('playwright-core');
  const browser = await chromium.launch({
    executablePath: CHROMIUM, args: ['--no-sandbox'] });
  atEnd(() => browser.close());
  const context = await browser.newContext();
  const tabs = [];
  for (const name of Object.keys(bundles)) {
    const page = await context.newPage();
    await page.goto(`${origin}/${name}`);
    tabs.push(new Tab(name, page));
  }
  return tabs;
}

async function callCases(tab) {
  const user = signer();
  await test(`${tab.name}: records are set and listed`, async () => {
    for (let at = 0; at < MANY; at += 1) {
      const { newRevision } = await tab.call('SetRecord', user.record(
        { id: `r${at}`, data: Buffer.alloc(BIG, at) }));
      assert.equal(newRevision, at + 1);
    }
    const { changes } = await tab.call('ListChanges',
      user.signed('ListChanges', { since_revision: '0' }));
    assert.deepEqual(changes, Array.from({ length: MANY }, (_, at) => (
      { id: `r${at}`, revision: at + 1, size: BIG })));
  });
  await test(`${tab.name}: a lock is taken and seen`, async () => {
    await tab.call('SetLock', user.signed('SetLock', {
      lock_name: 'n', instance_id: '6f1d3f1e-0d6a-4f7c-9d3a-1a2b3c4d5e6f',
      acquire: true, exclusive: true }));
    const { locked } = await tab.call('GetLock',
      user.signed('GetLock', { lock_name: 'n' }));
    assert.equal(locked, true);
  });
  await test(`${tab.name}: a page of another origin reads the status`,
    async () => {
      assert.deepEqual(await tab.call('GetLock',
        user.signed('GetLock', { lock_name: '' })),
      { code: INVALID_ARGUMENT, message: 'lock_name must not be empty' });
      assert.deepEqual(await tab.call('GetLock',
        user.signed('GetLock', { lock_name: 'n', signature: '' })),
      { code: UNAUTHENTICATED, message: 'invalid signature' });
    });
}

async function listenCases(server, hearer, writer) {
  await test(`${hearer.name} hears what ${writer.name} sets`, async () => {
    const user = signer();
    await hearer.listen(user);
    await hearer.hears('');
    for (const [at, clientId] of ['ann', 'bob', 'eve'].entries()) {
      const { newRevision } = await writer.call('SetRecord',
        user.record({ id: clientId, clientId }));
      assert.equal(newRevision, at + 1);
      await hearer.hears(...['', 'ann', 'bob', 'eve'].slice(0, at + 2));
    }
    const ended = () => server.stderr.split('\n').filter((line) =>
      line.includes('/sync.Syncer/ListenChanges')
      && line.includes('to=closed')).length;
    const before = ended();
    await hearer.cancel();
    await until(10, 'its call to be freed', () => ended() === before + 1);
  });
}

async function endCases(tab) {
  await test(`${tab.name}: a listener that is refused`, async () => {
    await tab.listen(signer(), { signature: '' });
    assert.deepEqual(await tab.ended(),
      { code: UNAUTHENTICATED, message: 'invalid signature' });
  });
  await test(`${tab.name}: a listener's deadline`, async () => {
    await tab.listen(signer(), { timeoutMs: 500 });
    assert.equal((await tab.ended()).code, DEADLINE_EXCEEDED);
    await tab.hears('');
  });
}

/** The pages ask by CORS, with a preflight: by fetch it can be seen. */
async function corsCases(server, { page }) {
  const seen = await page.evaluate(async (base) => {
    const answer = await fetch(`${base}/sync.Syncer/Nope`, {
      method: 'POST', body: new Uint8Array(5), headers: {
        'content-type': 'application/grpc-web+proto', 'x-grpc-web': '1' } });
    return { type: answer.type, origin: window.origin,
      status: answer.headers.get('grpc-status') };
  }, `http://${server.webAddress}`);
  await test('the pages are of another origin, and ask by CORS', () => {
    assert.notEqual(seen.origin, `http://${server.webAddress}`);
    assert.equal(seen.type, 'cors');
    assert.equal(seen.status, String(UNIMPLEMENTED));
  });
  await test('a page reads /health of another origin', async () =>
    assert.equal(await page.evaluate(async (base) => (
      await fetch(`${base}/health`)).text(), `http://${server.webAddress}`),
    'OK'));
}

async function drainCases(server, tabs) {
  for (const tab of tabs) {
    await tab.listen(signer());
    await tab.hears('');
  }
  const end = server.stop();
  for (const tab of tabs) {
    await test(`${tab.name}: a drain ends its listener by UNAVAILABLE`,
      async () => assert.equal((await tab.ended()).code, UNAVAILABLE));
  }
  await test('with pages open it drains to the end', async () =>
    assert.deepEqual(await end, { code: 0, signal: null }));
}

await suite(async () => {
  const reason = existsSync(CHROMIUM)
    ? missing('playwright-core', 'esbuild', 'grpc-web',
      '@connectrpc/connect-web', '@bufbuild/protoc-gen-es')
    : `${CHROMIUM} is not installed`;
  if (reason) {
    skip('pages in Chromium', reason);
    return;
  }
  const server = await startServer({ env: { LOG_LEVEL: 'debug' } });
  const tabs = await openTabs(server);
  const [text, , connectWeb] = tabs;
  await corsCases(server, text);
  for (const tab of tabs) await callCases(tab);
  // In its binary format the official client does not stream.
  for (const hearer of [text, connectWeb]) {
    for (const writer of tabs) await listenCases(server, hearer, writer);
    await endCases(hearer);
  }
  await drainCases(server, [text, connectWeb]);
});
