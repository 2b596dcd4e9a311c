// SPDX-License-Identifier: Apache-2.0
// client — the five methods over grpc-js, with a deadline on every call.

import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath } from './server.mjs';
import { now, texts } from './sign.mjs';
import { within } from './tap.mjs';

const DEADLINE_SECONDS = 20;
const LISTEN_SECONDS = 600;

export const { status } = grpc;
export const STREAMS = Number(process.env.E2E_STREAMS || 100);

const loading = { keepCase: true, longs: String, enums: String };
const service = loadSync(
  protoPath(), { ...loading, defaults: true })['sync.Syncer'];
// Without defaults a field that was not sent is absent.
const sparse = loadSync(protoPath(), loading)['sync.Syncer'];

/** Wire bytes of a request, for callers that frame it themselves. */
export function encode(method, request) {
  return service[method].requestSerialize(request);
}

export function decodeReply(method, bytes) {
  return service[method].responseDeserialize(bytes);
}

/** {client_id} of a Notification, undefined where it was not sent. */
export function decodeNotification(bytes) {
  return { client_id: sparse.ListenChanges.responseDeserialize(bytes)
    .client_id };
}

function toStatus(error) {
  return { code: error.code, message: error.details };
}

/** Credentials of TLS; with `key` and `cert` the client has some, too. */
export function secure({ ca, key = null, cert = null }) {
  return grpc.credentials.createSsl(ca, key, cert);
}

/** One channel of its own, hence one connection. */
export class Client {
  constructor(address, options = {},
    credentials = grpc.credentials.createInsecure()) {
    this.grpc = new grpc.Client(address, credentials, {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
      'grpc.max_receive_message_length': -1,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 200,
      ...options,
    });
  }

  close() {
    this.grpc.close();
  }

  /** Resolves to {code, message, reply}; never rejects. */
  call(method, request, { metadata = {}, seconds = DEADLINE_SECONDS } = {}) {
    const { path, requestSerialize, responseDeserialize } = service[method];
    return new Promise((resolve) => {
      this.grpc.makeUnaryRequest(
        path, requestSerialize, responseDeserialize, request,
        toMetadata(metadata), { deadline: Date.now() + seconds * 1000 },
        (error, reply) => resolve(error
          ? toStatus(error) : { code: status.OK, message: '', reply }));
    });
  }

  listen(request, { metadata = {}, seconds = LISTEN_SECONDS } = {}) {
    const { path, requestSerialize } = service.ListenChanges;
    return new Listener(this.grpc.makeServerStreamRequest(
      path, requestSerialize, decodeNotification, request,
      toMetadata(metadata), { deadline: Date.now() + seconds * 1000 }));
  }
}

function toMetadata(headers) {
  const metadata = new grpc.Metadata();
  for (const [name, value] of Object.entries(headers)) {
    metadata.set(name, value);
  }
  return metadata;
}

/** Notifications in order; `client_id` is undefined where it was absent. */
export class Listener {
  constructor(stream) {
    this.stream = stream;
    this.queue = [];
    this.waiting = [];
    this.onEvent = undefined;
    this.ended = new Promise((resolve) => {
      stream.once('error', (error) => resolve(toStatus(error)));
      stream.once('status', ({ code, details }) => resolve(
        { code, message: details }));
    });
    stream.on('data', (message) => this.take(message));
    this.ended.then((end) => this.take({ end }));
  }

  take(event) {
    if (this.onEvent) this.onEvent(event);
    else if (this.waiting.length) this.waiting.shift()(event);
    else this.queue.push(event);
  }

  /** The next notification, or {end: {code, message}}. */
  next(seconds = 5) {
    if (this.queue.length) return Promise.resolve(this.queue.shift());
    let waiter;
    return within(seconds, 'notification', new Promise((resolve) => {
      waiter = resolve;
      this.waiting.push(waiter);
    })).finally(() => {
      this.waiting = this.waiting.filter((other) => other !== waiter);
    });
  }

  async greeting(seconds = 5) {
    const first = await this.next(seconds);
    if (first.end || first.client_id !== undefined) {
      throw new Error(`not a greeting: ${JSON.stringify(first)}`);
    }
    return this;
  }

  /** Hands queued and later events to `fn`, in order. */
  each(fn) {
    this.onEvent = fn;
    for (const event of this.queue.splice(0)) fn(event);
  }

  cancel() {
    this.stream.cancel();
  }
}

/** One account on one client; builds and signs the requests. */
export class User {
  constructor(client, key, { metadata = {}, quick = false } = {}) {
    this.client = client;
    this.key = key;
    this.options = { metadata };
    this.signText = (text) => (quick ? key.signQuickly(text) : key.sign(text));
  }

  signed(method, request) {
    const whole = { request_time: now(), ...request };
    whole.signature ??= this.signText(texts[method](whole));
    return whole;
  }

  record({ id = 'r', data = 'd', revision = 0, schema = '0.1',
    clientId, ...rest }) {
    const record = {
      id, data: Buffer.from(data), revision: String(revision),
      schema_version: schema,
    };
    const request = { record, ...rest };
    if (clientId !== undefined) request.client_id = clientId;
    return this.signed('SetRecord', request);
  }

  setRecord(fields, options) {
    return this.client.call('SetRecord', this.record(fields),
      { ...this.options, ...options });
  }

  /** As setRecord, but gives the new revision and rejects all else. */
  async write(fields) {
    const { code, message, reply } = await this.setRecord(fields);
    if (code !== status.OK || reply.status !== 'SUCCESS') {
      throw new Error(`SetRecord ${fields.id}: ${code} ${message} ` +
        `${reply?.status ?? ''}`);
    }
    return Number(reply.new_revision);
  }

  listChanges(since = 0, rest = {}) {
    return this.client.call('ListChanges',
      this.signed('ListChanges', { since_revision: String(since), ...rest }),
      this.options);
  }

  /** The page's records with numbers for revisions; rejects all else. */
  async changes(since = 0) {
    const { code, message, reply } = await this.listChanges(since);
    if (code !== status.OK) throw new Error(`ListChanges: ${code} ${message}`);
    return reply.changes.map((record) => (
      { ...record, revision: Number(record.revision) }));
  }

  /** Every record, page after page; what a page repeats is left out. */
  async everything() {
    const all = [];
    for (let since = 0; ;) {
      const page = (await this.changes(since))
        .filter(({ revision }) => revision > since);
      if (!page.length) return all;
      all.push(...page);
      since = page.at(-1).revision;
    }
  }

  listen(rest = {}, options) {
    return this.client.listen(this.signed('ListenChanges', rest),
      { ...this.options, ...options });
  }

  setLock({ name, instance, acquire = true, exclusive = false, ttl,
    ...rest }) {
    const request = {
      lock_name: name, instance_id: instance, acquire, exclusive, ...rest,
    };
    if (ttl !== undefined) request.ttl_seconds = ttl;
    return this.client.call(
      'SetLock', this.signed('SetLock', request), this.options);
  }

  getLock(name, rest = {}) {
    return this.client.call('GetLock',
      this.signed('GetLock', { lock_name: name, ...rest }), this.options);
  }
}
