// SPDX-License-Identifier: Apache-2.0
// postgres — a private PostgreSQL, and databases on it.
//
// tests/lib/postgres.py owns the processes and the directory; see there for
// what ends them. The suites of a run share one, whose URL is in
// TEST_DATABASE_URL; a suite that breaks the server starts its own. Databases
// are dropped on a server that stays: each takes a checkpoint.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { atEnd, within } from './tap.mjs';

const PROGRAM = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)), '../../lib/postgres.py');
const SECONDS = 90; // for any command: recovery after a crash, a busy disk

// Revisions are bigint; all that tests make fit a number.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/** PostgreSQL cannot be had here: what needs it is skipped. */
export class MissingPostgres extends Error {}

/** A server of the caller's own. `settings` go to postgresql.conf. */
export class Postgres {
  static async start(settings = {}) {
    const postgres = new Postgres();
    const lines = Object.entries(settings).map(
      ([name, value]) => `${name}=${value}`);
    postgres.child = spawn('/usr/bin/python3', [PROGRAM, ...lines],
      { stdio: ['pipe', 'pipe', 'inherit'] });
    postgres.child.stdin.on('error', () => {});
    postgres.lines = createInterface(
      { input: postgres.child.stdout })[Symbol.asyncIterator]();
    const answer = await postgres.answer('PostgreSQL');
    if (answer.missing) throw new MissingPostgres(answer.missing);
    return Object.assign(postgres, answer);
  }

  async answer(what) {
    const { value, done } = await within(SECONDS, what, this.lines.next());
    if (done) throw new Error(`${what}: it ended`);
    return JSON.parse(value);
  }

  async command(line) {
    this.child.stdin.write(`${line}\n`);
    const { error } = await this.answer(line);
    if (error) throw new Error(`${line}: ${error}`);
  }

  stop(mode = 'immediate') {
    return this.command(`stop ${mode}`);
  }

  start() {
    return this.command('start');
  }

  restart(mode = 'immediate') {
    return this.command(`restart ${mode}`);
  }

  freeze() {
    return this.command('freeze');
  }

  thaw() {
    return this.command('thaw');
  }

  /** Ends it and removes its directory. */
  end() {
    this.child.stdin.end();
    return within(SECONDS, 'its end', new Promise((resolve) => {
      if (this.child.exitCode !== null) resolve();
      else this.child.once('exit', resolve);
    }));
  }
}

let shared;

/** URL of the server that suites share; started if nobody did. */
export function sharedUrl() {
  shared ??= (async () => {
    if (process.env.TEST_DATABASE_URL) return process.env.TEST_DATABASE_URL;
    const postgres = await Postgres.start();
    atEnd(() => postgres.end());
    return postgres.url;
  })();
  return shared;
}

/** The same server, another database. */
export function withDatabase(url, name) {
  const other = new URL(url);
  other.pathname = `/${name}`;
  return other.href;
}

/** A connection; what breaks it is told by the query under way, if any. */
export async function connect(url) {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** Hands `fn` a connection of its own. */
export async function connected(url, fn) {
  const client = await connect(url);
  try {
    return await fn(client);
  } finally {
    await client.end().catch(() => {});
  }
}

/**
 * Runs one statement with `values`, or several without. Resolves to the rows
 * of all, as arrays.
 */
export async function rowsOf(client, text, values) {
  const results = await client.query({ text, values, rowMode: 'array' });
  return [results].flat().flatMap(({ rows }) => rows);
}

export function query(url, text, values) {
  return connected(url, (client) => rowsOf(client, text, values));
}

/** A new database. Resolves to its URL. */
export async function createDatabase(server = sharedUrl()) {
  const url = await server;
  const name = `tallyd_${randomBytes(6).toString('hex')}`;
  await query(url, `CREATE DATABASE ${name}`);
  if (url === process.env.TEST_DATABASE_URL
    && !process.env.TEST_DATABASE_TEMPORARY) {
    atEnd(() => query(url, `DROP DATABASE ${name} WITH (FORCE)`));
  }
  return withDatabase(url, name);
}
