// SPDX-License-Identifier: Apache-2.0
// store — where a server under test keeps its records, asked beside it.
//
// E2E_STORE=postgres gives every directory of a server a database of its own
// instead of a file, so that the suites run on both unchanged.

import { execFileSync } from 'node:child_process';
import path from 'node:path';
import {
  MissingPostgres, createDatabase, query, sharedUrl,
} from './postgres.mjs';
import { needs } from './tap.mjs';

export const POSTGRES = process.env.E2E_STORE === 'postgres';

// What holds at any moment, whoever was killed.
const UNSOUND = `
  SELECT 'record above its counter: ' || user_id || ' ' || id FROM records
    WHERE NOT EXISTS (SELECT 1 FROM user_revisions WHERE
      user_revisions.user_id = records.user_id AND
      user_revisions.revision >= records.revision)
  UNION ALL SELECT 'two records of one revision: ' || user_id FROM records
    GROUP BY user_id, revision HAVING count(*) > 1
  UNION ALL SELECT 'two counters: ' || user_id FROM user_revisions
    GROUP BY user_id HAVING count(*) > 1
  UNION ALL SELECT 'miscounted: ' || user_id FROM user_revisions AS c
    WHERE counted = revision AND (c.records, c.bytes) <>
      (SELECT count(*), coalesce(sum(length(r.data)), 0) FROM records AS r
        WHERE r.user_id = c.user_id)`;

export class SqliteStore {
  constructor(dir) {
    this.dir = dir;
    this.file = path.join(dir, 'db.sqlite');
  }

  async env() {
    return { SQLITE_DIR_PATH: this.dir };
  }

  /** Rows as text: a line each, columns between bars. */
  async sql(text) {
    return execFileSync('sqlite3',
      ['-bail', '-cmd', '.timeout 5000', this.file],
      { input: text, stdio: ['pipe', 'pipe', 'pipe'] }).toString().trim();
  }

  /** What is wrong with it; '' for nothing. */
  async faults() {
    const damage = await this.sql('PRAGMA integrity_check');
    return damage === 'ok' ? this.sql(UNSOUND) : damage;
  }
}

export class PostgresStore {
  /** On a database that is there, or on a new one. */
  constructor(url) {
    this.given = url;
  }

  url() {
    this.given ??= createDatabase();
    return this.given;
  }

  async env() {
    return { DATABASE_URL: await this.url() };
  }

  async rows(text, values) {
    return query(await this.url(), text, values);
  }

  /** As the other's; booleans as 0 and 1. */
  async sql(text) {
    const plain = (value) => (typeof value === 'boolean'
      ? Number(value) : value ?? '');
    return (await this.rows(text))
      .map((row) => row.map(plain).join('|')).join('\n');
  }

  faults() {
    return this.sql(UNSOUND);
  }
}

const stores = new Map();

/** The store of a server's directory. */
export function storeOf(dir) {
  if (!stores.has(dir)) {
    stores.set(dir, POSTGRES ? new PostgresStore() : new SqliteStore(dir));
  }
  return stores.get(dir);
}

/** A reason for which nothing can run on PostgreSQL here. */
export async function withoutPostgres() {
  try {
    await sharedUrl();
    return undefined;
  } catch (error) {
    if (error instanceof MissingPostgres) return error.message;
    throw error;
  }
}

if (POSTGRES) needs(withoutPostgres);
