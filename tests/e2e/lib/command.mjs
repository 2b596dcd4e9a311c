// SPDX-License-Identifier: Apache-2.0
// command — runs one command of the binary on a store and takes what it says.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { openSync, closeSync } from 'node:fs';
import { binaryPath, endingWithUs } from './server.mjs';
import { within } from './tap.mjs';

const SECONDS = 60;
const SANITIZERS = ['ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS',
  'LSAN_OPTIONS', 'LLVM_PROFILE_FILE'];

/** A process of it; its standard input is `file`, a pipe, or nothing. */
export function launch(args, env, { file, pipe = false } = {}) {
  const stdin = file ? openSync(file, 'r') : pipe ? 'pipe' : 'ignore';
  const [program, rest] = endingWithUs(binaryPath(), args);
  const child = spawn(program, rest, {
    env: {
      PATH: process.env.PATH,
      ...Object.fromEntries(SANITIZERS.filter((name) => name in process.env)
        .map((name) => [name, process.env[name]])),
      ...env,
    },
    stdio: [stdin, 'pipe', 'pipe'],
  });
  if (file) closeSync(stdin);
  // Who ends before it has read all is no fault of ours.
  child.stdin?.on('error', () => {});
  const taken = { out: [], err: [] };
  child.stdout.on('data', (bytes) => taken.out.push(bytes));
  child.stderr.on('data', (bytes) => taken.err.push(bytes));
  child.ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({
      code, signal,
      bytes: Buffer.concat(taken.out),
      out: Buffer.concat(taken.out).toString(),
      err: Buffer.concat(taken.err).toString(),
    }));
  });
  return child;
}

/** Runs it to its end: {code, signal, bytes, out, err}. */
export async function run(args, env, { input, file, seconds = SECONDS } = {}) {
  const child = launch(args, env, { file, pipe: input !== undefined });
  if (input !== undefined) child.stdin.end(input);
  try {
    return await within(seconds, `tallyd ${args.join(' ')}`, child.ended);
  } finally {
    child.kill('SIGKILL');
  }
}

/** Runs it and rejects unless it succeeds. */
export async function succeed(args, env, options) {
  const end = await run(args, env, options);
  assert.equal(end.code, 0, `tallyd ${args.join(' ')}: ${end.err}`);
  return end;
}
