// SPDX-License-Identifier: Apache-2.0
// ears — thousands of cheap listeners, and what they missed.

import { User, decodeNotification, encode } from './client.mjs';
import { FRAME, Wire, frame, requestHeaders, unframe } from './raw.mjs';
import { until } from './tap.mjs';

const LISTEN = '/sync.Syncer/ListenChanges';

/**
 * One listener on a Wire. Keeps what it heard: how many messages, whose
 * changes, and when it last heard of one without a name; with `keep` all of
 * it, in order.
 */
export class Ear {
  constructor(name) {
    this.name = name;
    this.heard = [];
    this.greeted = false;
    this.names = new Set();
    this.unnamedAt = -Infinity;
    this.count = 0;
    this.ended = undefined;
    this.pending = Buffer.alloc(0);
  }

  take(payload) {
    this.pending = Buffer.concat([this.pending, payload]);
    for (const { bytes } of unframe(this.pending)) {
      if (this.pending.length < 5 + bytes.length) break;
      const whole = 5 + this.pending.readUInt32BE(1);
      if (this.pending.length < whole) break;
      this.pending = this.pending.subarray(whole);
      this.message(bytes);
    }
  }

  message(bytes) {
    if (!this.greeted) {
      this.greeted = bytes.length === 0;
      return;
    }
    this.count += 1;
    const { client_id: clientId } = decodeNotification(bytes);
    if (this.keep) this.heard.push(clientId);
    this.onMessage?.(clientId);
    if (clientId === undefined) this.unnamedAt = performance.now();
    else this.names.add(clientId);
  }

  /** A commit is heard by its name, or by any later one without a name. */
  missed({ name, at }) {
    return !this.names.has(name) && this.unnamedAt < at;
  }
}

/** A connection whose streams are listeners. */
export class Ears {
  constructor(port, options = {}) {
    this.streams = new Map();
    this.wire = new Wire(port, {
      ...options, onFrame: (event) => this.onFrame(event),
    });
    this.wire.closed.then(() => {
      for (const ear of this.streams.values()) ear.ended ??= 'closed';
    });
    this.headers = requestHeaders(LISTEN);
    this.nextStream = 1;
  }

  onFrame({ type, stream, payload, ends }) {
    const ear = this.streams.get(stream);
    if (!ear) return;
    if (type === FRAME.DATA) ear.take(payload);
    if (ends) ear.ended = 'trailers';
    if (type === FRAME.RST_STREAM) ear.ended ??= 'reset';
  }

  listen(key, ear) {
    const user = new User(undefined, key, { quick: true });
    const request = encode('ListenChanges', user.signed('ListenChanges', {}));
    const stream = this.nextStream;
    this.nextStream += 2;
    ear.stream = stream;
    ear.ears = this;
    this.streams.set(stream, ear);
    this.wire.request(stream, this.headers, frame(request));
    return ear;
  }
}

export function greeted(ears, seconds = 20) {
  return until(seconds, 'all greetings',
    () => ears.every((ear) => ear.greeted || ear.ended));
}
