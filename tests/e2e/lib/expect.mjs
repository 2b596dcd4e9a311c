// SPDX-License-Identifier: Apache-2.0
// expect — compares answers with what a row of a table says.

import assert from 'node:assert/strict';
import { test } from './tap.mjs';

/**
 * `expected` is a string, a RegExp, or a list of strings any of which does.
 * Go's protobuf writes some spaces as U+00A0, by chance of the build.
 */
export function sameMessage(received, expected) {
  if (expected === undefined) return;
  const actual = received?.replaceAll('\u00a0', ' ');
  if (expected instanceof RegExp) {
    assert.match(actual ?? '', expected);
  } else if (Array.isArray(expected)) {
    assert.ok(expected.includes(actual),
      `message ${JSON.stringify(actual)} is none of ` +
      JSON.stringify(expected));
  } else {
    assert.equal(actual, expected);
  }
}

/** Checks status, message and the named fields of the reply. */
export function sameAnswer(answer, code, messageOrReply) {
  assert.equal(answer.code, code,
    `status ${answer.code} (${answer.message}), expected ${code}`);
  if (code !== 0) {
    sameMessage(answer.message, messageOrReply);
    return;
  }
  for (const [field, value] of Object.entries(messageOrReply ?? {})) {
    assert.deepEqual(answer.reply[field], value, field);
  }
}

/** Rows are [name, () => answer, code, message or reply fields]. */
export async function answerTable(rows) {
  for (const [name, ask, code, expected] of rows) {
    await test(name, async () => sameAnswer(await ask(), code, expected));
  }
}
