// SPDX-License-Identifier: Apache-2.0
// exported — exports as docs/OPERATIONS.md describes them, made without the
// server: the format's second implementation.

import { createHash, randomBytes, randomInt } from 'node:crypto';

const HEADER = { format: 'tallyd-export', version: 1 };

/** Ids whose JSON needs escapes, and whose order is that of bytes. */
const ODD_IDS = ['', 'é', 'Z', 'a', '"\\', '\n\t', '\u0001', '\u{1f600}',
  '\u2028', '\uffee'];
const SIZES = [0, 1, 2, 3, 17, 256];
const LARGEST = 65536;

export const byBytes = (one, other) => (
  Buffer.compare(Buffer.from(one), Buffer.from(other)));

/** A user with `count` records at some of the revisions up to `counter`. */
export function makeUser(count, user = `02${randomBytes(32).toString('hex')}`) {
  const records = [];
  let revision = 0;
  for (let at = 0; at < count; at += 1) {
    revision += at % 7 === 3 ? 1 + randomInt(9) : 1;
    records.push({
      user, id: ODD_IDS[at] ?? `record ${at}`, revision,
      schema_version: at % 5 ? '1.0' : '',
      data: randomBytes(at === 11 ? LARGEST : SIZES[at % SIZES.length])
        .toString('base64'),
    });
  }
  return { user, counter: revision + randomInt(3), records };
}

/** Users of all sizes with about so many records together. */
export function makeUsers(total) {
  const users = [makeUser(0), makeUser(1), makeUser(0, '00'.repeat(33))];
  let rest = total - 1;
  // One of them is longer than several batches of an import.
  for (let count = Math.ceil(total * 0.8); rest > 0; count = randomInt(120)) {
    users.push(makeUser(Math.min(count, rest)));
    rest -= count;
  }
  return users.sort((one, other) => byBytes(one.user, other.user));
}

export function linesOf(users) {
  return [HEADER, ...users.flatMap(({ user, counter, records }) => (
    [{ user, counter }, ...records]))].map((line) => JSON.stringify(line));
}

/** A line's object; an empty one for what is none. */
function parsed(line) {
  try {
    return JSON.parse(line) ?? {};
  } catch {
    return {};
  }
}

/** The trailer that fits these lines, as far as they are lines. */
export function trailerOf(lines) {
  const records = lines.map(parsed).filter(({ id }) => id !== undefined);
  return JSON.stringify({
    users: lines.length - 1 - records.length,
    records: records.length,
    bytes: records.reduce((sum, { data }) => (
      sum + Buffer.from(String(data), 'base64').length), 0),
    sha256: createHash('sha256')
      .update(lines.map((line) => `${line}\n`).join('')).digest('hex'),
  });
}

/** The whole file. */
export function fileOf(users) {
  const lines = linesOf(users);
  return Buffer.from([...lines, trailerOf(lines), ''].join('\n'));
}
