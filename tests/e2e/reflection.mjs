// SPDX-License-Identifier: Apache-2.0
// reflection — grpc.reflection, v1 and v1alpha, and with it client streaming:
// it is the one service whose clients send more than one message.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import http2 from 'node:http2';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader';
import { User, encode } from './lib/client.mjs';
import {
  FRAME, Session, Wire, frame, requestHeaders, unframe,
} from './lib/raw.mjs';
import { freePort, startServer } from './lib/server.mjs';
import { Channel, contract } from './lib/service.mjs';
import { Key } from './lib/sign.mjs';
import { skip, suite, test, within } from './lib/tap.mjs';

const OK = 0;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const SERVICES = [
  'grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection', 'sync.Syncer',
];
const QUESTIONS = 5000;
const MIB = 1 << 20;
const STREAM_WINDOW = 512 << 10;
const CONNECTION_WINDOW = 4 << 20;
const MOST_PADDING = 255;
// The program itself: what npm puts before it would outlive a kill.
const ARCH = process.arch === 'arm64' ? 'aarch64' : process.arch;
const BUF = path.join(path.dirname(fileURLToPath(import.meta.url)),
  `node_modules/@bufbuild/buf-linux-${ARCH}/bin/buf`);

const { ServerReflectionInfo } = contract('grpc/reflection/v1/reflection.proto')[
  'grpc.reflection.v1.ServerReflection'];
// Their bytes are the same.
const versions = ['v1', 'v1alpha'].map((version) => {
  const name = `grpc.reflection.${version}.ServerReflection`;
  return { version, name, info: {
    ...ServerReflectionInfo, path: `/${name}/ServerReflectionInfo` } };
});
const [v1, v1alpha] = versions;

function bytesOf(question) {
  return frame(v1.info.requestSerialize(question));
}

async function answerCases(channel, { version, info }) {
  const stream = channel.duplex(info);
  await test(`${version}: services are listed before half-close`, async () => {
    const { list_services_response: list } = await stream.ask(
      { list_services: '' });
    assert.deepEqual(list.service.map(({ name }) => name).sort(), SERVICES);
  });
  await test(`${version}: each service's file is found`, async () => {
    for (const name of SERVICES) {
      const { file_descriptor_response: found } = await stream.ask(
        { file_containing_symbol: name });
      assert.equal(found.file_descriptor_proto.length, 1, name);
    }
  });
  const misses = [
    { file_containing_symbol: 'sync.Nobody' }, { file_by_filename: 'x.proto' },
    { file_containing_symbol: '' }, { file_containing_symbol: 'sync.Syncer\0' },
    { all_extension_numbers_of_type: 'sync.Nobody' },
    { file_containing_extension: {
      containing_type: 'sync.Record', extension_number: 1 } },
  ];
  await test(`${version}: a miss is an answer, and the call goes on`,
    async () => {
      for (const question of misses) {
        const { error_response: error, original_request: asked } =
          await stream.ask({ host: 'here', ...question });
        assert.equal(error.error_code, NOT_FOUND, JSON.stringify(question));
        assert.equal(asked.host, 'here');
      }
      const { file_descriptor_response: found } = await stream.ask(
        { file_by_filename: 'sync.proto' });
      assert.ok(found);
    });
  await test(`${version}: after half-close it ends with OK`, async () => {
    stream.call.end();
    assert.equal((await stream.end()).code, OK);
  });
}

/** A call of a method that is known from reflection alone. */
async function contractCases(channel) {
  await test('what is found describes the service as its contract does',
    async () => {
      const stream = channel.duplex(v1.info);
      const { file_descriptor_response: found } = await stream.ask(
        { file_containing_symbol: 'sync.Record.data' });
      stream.call.end();
      const set = Buffer.concat(found.file_descriptor_proto.flatMap((file) => {
        const length = [];
        let rest = file.length;
        for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
        return [Buffer.from([0x0a, ...length, rest]), file];
      }));
      const { GetLock } = loadFileDescriptorSetFromBuffer(
        set, { keepCase: true })['sync.Syncer'];
      const request = new User(undefined, new Key()).signed('GetLock',
        { lock_name: 'n' });
      assert.deepEqual(
        GetLock.requestSerialize(request), encode('GetLock', request));
    });
}

async function wireCases(session) {
  const paths = versions.map(({ name }) => `/${name}/ServerReflectionInfo`);
  await test('v1 and v1alpha answer the same bytes', async () => {
    const body = Buffer.concat([
      { list_services: '' }, { file_containing_symbol: 'sync.Syncer.SetLock' },
      { file_by_filename: 'grpc/health/v1/health.proto' },
      { file_containing_symbol: 'nobody' },
      { all_extension_numbers_of_type: 'sync.Record' },
    ].map(bytesOf));
    const answers = await Promise.all(
      paths.map((where) => session.call(where, body)));
    for (const { status, body: replies } of answers) {
      assert.equal(status, OK);
      assert.equal(unframe(replies).length, 5);
      assert.deepEqual(replies, answers[0].body);
    }
  });
  const rows = [
    ['no request at all', Buffer.alloc(0), OK],
    ['half-close in the headers', null, OK],
    ['a request that asks nothing', frame(Buffer.alloc(0)), INVALID_ARGUMENT],
    ['a name that is no UTF-8', frame(Buffer.from([0x22, 1, 0xff])), INTERNAL],
    ['bytes that are no message', frame(Buffer.from([0xff])), INTERNAL],
    ['a message that is cut off', bytesOf({ list_services: '' })
      .subarray(0, 6), 2],
    ['a message of 1 MiB', frame(Buffer.alloc(MIB)), 8],
    ['a compressed message without its header',
      frame(Buffer.alloc(4), 1), INTERNAL],
  ];
  for (const [name, body, status] of rows) {
    await test(`${name}: status ${status}`, async () =>
      assert.equal((await session.call(paths[0], body)).status, status));
  }
}

async function streamCases(channel) {
  await test(`${QUESTIONS} questions in one call are answered in order`,
    async () => {
      const stream = channel.duplex(v1.info);
      for (let n = 0; n < QUESTIONS; n += 1) {
        stream.call.write({ host: String(n), list_services: '' });
      }
      stream.call.end();
      for (let n = 0; n < QUESTIONS; n += 1) {
        assert.equal((await stream.next()).valid_host, String(n));
      }
      assert.equal((await stream.end()).code, OK);
    });
  await test('a call may ask more than any window holds', async () => {
    const stream = channel.duplex(v1.info);
    const symbol = 'x'.repeat(60 << 10);
    for (let sent = 0; sent < 2 * CONNECTION_WINDOW; sent += symbol.length) {
      const { original_request: asked } = await stream.ask(
        { file_containing_symbol: symbol });
      assert.equal(asked.file_containing_symbol.length, symbol.length);
    }
    stream.call.end();
    assert.equal((await stream.end()).code, OK);
  });
  await test('an idle call ends at its own deadline', async () => {
    const stream = channel.duplex(v1alpha.info, 0.5);
    await stream.ask({ list_services: '' });
    assert.equal((await stream.end()).code, DEADLINE_EXCEEDED);
  });
}

/** A peer that asks and asks, and gives answers no window. */
class Asker {
  constructor(port) {
    this.invited = STREAM_WINDOW;
    this.sent = 0;
    this.replied = 0;
    this.stream = 1;
    this.waiting = new Map();
    this.wire = new Wire(port, { streamWindow: 0, onFrame: (event) => {
      const { stream, type, payload, ends } = event;
      if (stream === 1 && type === FRAME.WINDOW_UPDATE) {
        this.invited += payload.readUInt32BE();
      }
      if (stream === 1 && type === FRAME.DATA) this.replied += payload.length;
      if (type === FRAME.HEADERS || ends) this.waiting.get(stream)?.(event);
    } });
  }

  /** The stream's HEADERS, or its last frame. */
  heard(stream) {
    return within(20, `an answer on stream ${stream}`,
      new Promise((resolve) => { this.waiting.set(stream, resolve); }));
  }

  /** Another call's HEADERS, so all before it has been read. */
  async check() {
    this.stream += 2;
    const answer = this.heard(this.stream);
    this.wire.request(this.stream, requestHeaders(
      '/grpc.health.v1.Health/Check'), frame(Buffer.alloc(0)));
    await answer;
    this.wire.reset(this.stream);
  }

  open(bytes) {
    this.wire.openRequest(1, requestHeaders(v1.info.path), bytes);
    this.sent += bytes.length;
  }

  more(bytes) {
    this.wire.write(Buffer.from([0, bytes.length >> 8, bytes.length & 255,
      FRAME.DATA, 0, 0, 0, 0, 1]), bytes);
    this.sent += bytes.length;
  }
}

async function backPressureCases(server) {
  const question = bytesOf({ file_containing_symbol: 'sync.Syncer' });
  const batch = Buffer.concat(Array(400).fill(question));
  const asker = new Asker(server.port);
  const answered = asker.heard(1);
  asker.open(batch);
  await answered;
  await test('who reads no answers is soon not invited to ask', async () => {
    const before = server.rss();
    while (asker.sent + batch.length <= Math.min(asker.invited, 4 * MIB)) {
      asker.more(batch);
      await asker.check();
    }
    assert.ok(asker.sent < 2 * STREAM_WINDOW, `took in ${asker.sent} bytes`);
    assert.ok(server.rss() - before < 32 * MIB);
    assert.equal(asker.replied, 0);
  });
  await test('others on the same connection are answered meanwhile', () =>
    asker.check());
  await test('once it reads, every question is answered', async () => {
    const end = asker.heard(1);
    asker.wire.widen(1, 0x7fffffff);
    asker.wire.finishRequest(1, Buffer.alloc(0));
    assert.ok((await end).ends);
    const questions = asker.sent / question.length;
    assert.equal(asker.replied % questions, 0);
    assert.ok(asker.replied / questions > question.length);
  });
  await asker.wire.destroy();
}

/** Windows are ours to open, so what nobody takes in must count as taken. */
async function windowCases(server) {
  await test('bodies of refused requests use up no connection', async () => {
    const session = new Session(server.address);
    const body = Buffer.alloc(64 << 10);
    for (let sent = 0; sent < 2 * CONNECTION_WINDOW; sent += body.length) {
      const { status } = await session.call('/no.Service/Method', body);
      assert.equal(status, UNIMPLEMENTED);
    }
    await session.close();
  });
  await test('padding uses up no stream', async () => {
    const client = http2.connect(`http://${server.address}`,
      { paddingStrategy: http2.constants.PADDING_STRATEGY_MAX });
    const stream = client.request({
      ':method': 'POST', ':path': v1.info.path,
      'content-type': 'application/grpc', te: 'trailers' });
    const question = bytesOf({ file_by_filename: '' });
    let received = 0;
    let answered;
    stream.on('data', (bytes) => {
      received += bytes.length;
      answered();
    });
    for (let n = 0; n < 2 * STREAM_WINDOW / MOST_PADDING; n += 1) {
      const before = received;
      const answer = new Promise((resolve) => { answered = resolve; });
      stream.write(question);
      await within(5, `answer ${n}`, answer);
      assert.ok(received > before);
    }
    client.destroy();
  });
}

async function webCases(web) {
  await test('gRPC-Web, which has no streams of requests, is told so',
    async () => {
      const answer = await fetch(`http://${web}${v1.info.path}`, {
        method: 'POST', body: bytesOf({ list_services: '' }),
        headers: { 'content-type': 'application/grpc-web+proto' } });
      assert.equal(answer.headers.get('grpc-status'), String(UNIMPLEMENTED));
    });
}

async function bufCases(server) {
  const base = `http://${server.address}`;
  const run = (...args) => promisify(execFile)(BUF,
    ['curl', '--protocol', 'grpc', '--http2-prior-knowledge', ...args],
    { timeout: 20000, env: { HOME: server.dir, PATH: process.env.PATH } });
  const cases = [
    ['buf curl lists the services', async () => {
      const { stdout } = await run('--list-services', base);
      assert.deepEqual(stdout.trim().split('\n').sort(), SERVICES);
    }],
    ['buf curl lists the methods', async () => {
      const { stdout } = await run('--list-methods', base);
      assert.match(stdout, /^sync\.Syncer\/ListenChanges$/m);
    }],
    ['buf curl calls a method it knows from us alone', async () => {
      const { stdout } = await run('--data', '{"service": "sync.Syncer"}',
        `${base}/grpc.health.v1.Health/Check`);
      assert.deepEqual(JSON.parse(stdout), { status: 'SERVING' });
    }],
    ['buf curl shows a status of sync.Syncer', async () => {
      const failure = await run('--data', '{"lockName": "n"}',
        `${base}/sync.Syncer/GetLock`).then(() => undefined, (error) => error);
      assert.equal(JSON.parse(failure.stderr).code, 'invalid_argument');
    }],
  ];
  const works = existsSync(BUF) && await promisify(execFile)(
    BUF, ['--version'], { timeout: 20000 }).then(() => true, () => false);
  for (const [name, fn] of cases) {
    if (works) await test(name, fn);
    else skip(name, 'npm\'s @bufbuild/buf has no binary for this machine');
  }
}

async function drainCases(server, channel) {
  const stream = channel.duplex(v1.info);
  await stream.ask({ list_services: '' });
  const end = server.stop('SIGTERM', 15);
  await test('SIGTERM: an idle call ends with UNAVAILABLE', async () =>
    assert.equal((await stream.end()).code, UNAVAILABLE));
  await test('SIGTERM: it does not keep the server', async () =>
    assert.deepEqual(await within(10, 'its end', end),
      { code: 0, signal: null }));
}

await suite(async () => {
  const web = `127.0.0.1:${await freePort()}`;
  const server = await startServer({ env: { GRPC_WEB_LISTEN_ADDRESS: web } });
  const channel = new Channel(server.address);
  const session = new Session(server.address);
  for (const version of versions) await answerCases(channel, version);
  await contractCases(channel);
  await wireCases(session);
  await streamCases(channel);
  await backPressureCases(server);
  await windowCases(server);
  await webCases(web);
  await bufCases(server);
  await session.close();
  await drainCases(server, channel);
  channel.close();
});
