// SPDX-License-Identifier: Apache-2.0
// sign — keys, signed texts and signatures as clients make them.

import { createHash, randomBytes } from 'node:crypto';
import { secp256k1 } from '@noble/curves/secp256k1';

const PREFIX = Buffer.from('realtimesync:');
const ALPHABET = 'ybndrfg8ejkmcpqxot1uwisza345h769';
export const CURVE_ORDER = secp256k1.CURVE.n;

export function zbase32(bytes) {
  let text = '';
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET[(value >> bits) & 31];
      value &= (1 << bits) - 1;
    }
  }
  if (bits > 0) text += ALPHABET[(value << (5 - bits)) & 31];
  return text;
}

export function unzbase32(text) {
  const bytes = [];
  let bits = 0;
  let value = 0;
  for (const char of text) {
    value = (value << 5) | ALPHABET.indexOf(char);
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((value >> bits) & 255);
      value &= (1 << bits) - 1;
    }
  }
  return Buffer.from(bytes);
}

export function now() {
  return Math.floor(Date.now() / 1000);
}

/** What each method signs; `r` is the request as the client fills it. */
export const texts = {
  SetRecord: (r) => {
    const { id, data, revision, schema_version: schema } = r.record;
    const hex = Buffer.from(data).toString('hex');
    return `${id}-${hex}-${revision}-${schema}-${r.request_time}`;
  },
  ListChanges: (r) => `${r.since_revision}-${r.request_time}`,
  ListenChanges: (r) => `${r.request_time}`,
  SetLock: (r) => [r.lock_name, r.instance_id, r.acquire, r.exclusive,
    r.request_time].join('-'),
  GetLock: (r) => `${r.lock_name}-${r.request_time}`,
};

export function digest(text) {
  const once = createHash('sha256').update(PREFIX).update(text).digest();
  return createHash('sha256').update(once).digest();
}

function bytes32(number) {
  return Buffer.from(number.toString(16).padStart(64, '0'), 'hex');
}

export function modN(number) {
  return ((number % CURVE_ORDER) + CURVE_ORDER) % CURVE_ORDER;
}

/** 65 bytes: header, r, s. The header says compressed, and which key. */
export function compact(recovery, r, s) {
  return Buffer.concat([
    Buffer.from([27 + 4 + recovery]), bytes32(r), bytes32(s)]);
}

export class Key {
  constructor(secret = randomBytes(32)) {
    this.secret = secp256k1.utils.normPrivateKeyToScalar(secret);
    this.userId = Buffer.from(
      secp256k1.getPublicKey(this.secret, true)).toString('hex');
  }

  parts(text) {
    return secp256k1.sign(digest(text), this.secret);
  }

  sign(text) {
    const { recovery, r, s } = this.parts(text);
    return zbase32(compact(recovery, r, s));
  }

  /**
   * Some hundred times faster, for load: one nonce per key serves every
   * text. That gives the key away, which is of no matter for a test's key.
   */
  signQuickly(text) {
    this.nonce ??= makeNonce(this.secret);
    const { inverse, r, rd, parity } = this.nonce;
    const z = BigInt(`0x${digest(text).toString('hex')}`);
    const s = (inverse * (z + rd)) % CURVE_ORDER;
    const low = s <= CURVE_ORDER / 2n;
    return zbase32(compact(low ? parity : parity ^ 1, r,
      low ? s : CURVE_ORDER - s));
  }
}

function makeNonce(secret) {
  for (;;) {
    const k = secp256k1.utils.normPrivateKeyToScalar(
      secp256k1.utils.randomPrivateKey());
    const point = secp256k1.ProjectivePoint.BASE.multiply(k).toAffine();
    if (point.x < CURVE_ORDER) {
      const r = point.x;
      return {
        inverse: modInverse(k), r, rd: modN(r * secret),
        parity: Number(point.y & 1n),
      };
    }
  }
}

function modInverse(number) {
  let [a, b, x, y] = [modN(number), CURVE_ORDER, 1n, 0n];
  while (b !== 0n) {
    const quotient = a / b;
    [a, b] = [b, a % b];
    [x, y] = [y, x - quotient * y];
  }
  return modN(x);
}
