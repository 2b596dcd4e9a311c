// SPDX-License-Identifier: Apache-2.0
// service — any method of any contract over grpc-js, for what is not
// sync.Syncer.

import path from 'node:path';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath } from './server.mjs';
import { within } from './tap.mjs';

const DEADLINE_SECONDS = 20;

/** The services of a contract below `root`: {name: {method: definition}}. */
export function contract(file, root = path.dirname(protoPath())) {
  return loadSync(file, {
    includeDirs: [root],
    keepCase: true, longs: String, enums: String, defaults: true, oneofs: true,
  });
}

function toStatus({ code, details }) {
  return { code, message: details };
}

/** One channel of its own, hence one connection. */
export class Channel {
  constructor(address) {
    this.grpc = new grpc.Client(address, grpc.credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1, 'grpc.enable_retries': 0,
    });
  }

  close() {
    this.grpc.close();
  }

  /** Resolves to {code, message, reply}; never rejects. */
  unary(method, request) {
    return new Promise((resolve) => {
      this.grpc.makeUnaryRequest(
        method.path, method.requestSerialize, method.responseDeserialize,
        request, new grpc.Metadata(), deadline(),
        (error, reply) => resolve(error
          ? toStatus(error) : { code: grpc.status.OK, message: '', reply }));
    });
  }

  /** A call with streamed replies. */
  stream(method, request) {
    return new Stream(this.grpc.makeServerStreamRequest(
      method.path, method.requestSerialize, method.responseDeserialize,
      request, new grpc.Metadata(), deadline()));
  }

  /** A call with streams both ways; `seconds` is its deadline. */
  duplex(method, seconds) {
    return new Stream(this.grpc.makeBidiStreamRequest(
      method.path, method.requestSerialize, method.responseDeserialize,
      new grpc.Metadata(), deadline(seconds)));
  }
}

function deadline(seconds = DEADLINE_SECONDS) {
  return { deadline: Date.now() + seconds * 1000 };
}

/** Replies in order, and how it ended. */
export class Stream {
  constructor(call) {
    this.call = call;
    this.replies = [];
    this.waiting = [];
    this.over = undefined;
    call.on('data', (reply) => this.take(reply));
    this.ended = new Promise((resolve) => {
      call.once('error', (error) => resolve(toStatus(error)));
      call.once('status', (status) => resolve(toStatus(status)));
    });
    this.ended.then((end) => {
      this.over = end;
      for (const { reject } of this.waiting.splice(0)) {
        reject(new Error(`ended: ${JSON.stringify(end)}`));
      }
    });
  }

  take(reply) {
    if (this.waiting.length) this.waiting.shift().resolve(reply);
    else this.replies.push(reply);
  }

  /** The next reply; rejects when the call ends or nothing comes. */
  next(seconds = 5) {
    if (this.replies.length) return Promise.resolve(this.replies.shift());
    if (this.over) return Promise.reject(new Error(JSON.stringify(this.over)));
    return within(seconds, 'a reply', new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
    }));
  }

  ask(request) {
    this.call.write(request);
    return this.next();
  }

  /** How it ended: {code, message}. */
  end(seconds = 5) {
    return within(seconds, 'the end of a call', this.ended);
  }
}
