// SPDX-License-Identifier: Apache-2.0
// tap — cases, one TAP line each, and a plan at the end.
//
// A case is an async function; it fails by throwing. A case that does not end
// within its deadline fails too, and a suite that does not end at all is
// ended by a watchdog, so that nothing waits for ever.

const CASE_SECONDS = 30;
const SUITE_SECONDS = 240;

let count = 0;
let failed = 0;
const finishers = [];
const witnesses = [];
const needed = [];

/** Amounts shrink with E2E_SCALE; assertions never do. */
export function scaled(amount, least = 1) {
  const scale = Number(process.env.E2E_SCALE || 1);
  return Math.max(least, Math.round(amount * scale));
}

export function diag(text) {
  for (const line of String(text).split('\n')) {
    const plain = line.replace(/[\x00-\x1f\x7f]/g, '?');
    if (plain) process.stdout.write(`# ${plain}\n`);
  }
}

/** Runs at the end of the suite, also after a crash; last added, first run. */
export function atEnd(fn) {
  finishers.unshift(fn);
}

/** Asked after each failing case; returns text that explains it. */
export function onFailure(fn) {
  witnesses.push(fn);
}

/** Asked before the suite; a reason it returns has the suite skipped. */
export function needs(fn) {
  needed.push(fn);
}

function report(good, name, suffix = '') {
  count += 1;
  const text = name.replaceAll('#', '\\#').replaceAll('\n', ' ');
  const verdict = good ? 'ok' : 'not ok';
  process.stdout.write(`${verdict} ${count} - ${text}${suffix}\n`);
}

export function skip(name, reason) {
  report(true, name, ` # SKIP ${reason}`);
}

/** The lines of a stack that are the suite's, not the helpers'. */
function ownFrames(stack = '') {
  return stack.split('\n').filter((line) => line.startsWith('    at ')
    && line.includes('/e2e/') && !/e2e\/(lib|node_modules)\//.test(line))
    .slice(0, 2).join('\n');
}

function fail(name, error) {
  failed += 1;
  report(false, name);
  diag(error?.message ?? error);
  diag(ownFrames(error?.stack));
  for (const witness of witnesses) diag(witness());
}

/** Rejects when `promise` has not settled within `seconds`. */
export function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${what}: nothing after ${seconds} s`)),
      seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const POLL_MS = 5;

/** Asks until `condition` holds, every `everyMs`; rejects after `seconds`. */
export async function until(
  seconds, what, condition, { everyMs = POLL_MS } = {},
) {
  const deadline = performance.now() + seconds * 1000;
  while (!await condition()) {
    if (performance.now() > deadline) {
      throw new Error(`${what}: not so after ${seconds} s`);
    }
    await new Promise((resolve) => { setTimeout(resolve, everyMs); });
  }
}

/** Runs one case and prints its line. Resolves to whether it passed. */
export async function test(name, fn, { seconds = CASE_SECONDS } = {}) {
  try {
    await within(seconds, name, (async () => fn())());
  } catch (error) {
    fail(name, error);
    return false;
  }
  report(true, name);
  return true;
}

async function finish() {
  for (const finisher of finishers.splice(0)) {
    try {
      await within(10, 'clean-up', (async () => finisher())());
    } catch (error) {
      diag(`clean-up: ${error.message}`);
    }
  }
}

function end() {
  process.stdout.write(`1..${count}\n`);
  process.exit(failed ? 1 : 0);
}

/** Runs the whole suite: `body` calls test(); the plan is printed after it. */
export async function suite(body, { seconds = SUITE_SECONDS } = {}) {
  const started = performance.now();
  const crash = async (error) => {
    fail('the suite itself runs to its end', error);
    await finish();
    end();
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  const watchdog = setTimeout(
    () => crash(new Error(`suite not finished after ${seconds} s`)),
    seconds * 1000);
  watchdog.unref();
  try {
    const reasons = await Promise.all(needed.map((fn) => fn()));
    const reason = reasons.find(Boolean);
    if (reason) skip('the suite', reason);
    else await body();
  } catch (error) {
    fail('the suite itself runs to its end', error);
  }
  await finish();
  diag(`${((performance.now() - started) / 1000).toFixed(1)} s`);
  end();
}
