// SPDX-License-Identifier: Apache-2.0
// datasync — the databases that data-sync leaves, and the statements with
// which it goes on using them.

import { connected, rowsOf } from './postgres.mjs';
import { now } from './sign.mjs';

export const TABLES = ['records', 'user_revisions', 'locks',
  'schema_migrations'];

const SQLITE_SCHEMA = `
CREATE TABLE schema_migrations (version uint64,dirty bool);
CREATE UNIQUE INDEX version_unique ON schema_migrations (version);
CREATE TABLE records (user_id TEXT NOT NULL, id TEXT NOT NULL,
  data BLOB NOT NULL, revision INTEGER NOT NULL, schema_version TEXT NOT NULL,
  PRIMARY KEY (user_id, id));
CREATE TABLE user_revisions (user_id TEXT NOT NULL, revision INTEGER NOT NULL,
  PRIMARY KEY (user_id, revision));
CREATE TABLE locks (user_id TEXT NOT NULL, lock_name TEXT NOT NULL,
  instance_id TEXT NOT NULL, expires_at INTEGER NOT NULL,
  exclusive INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (user_id, lock_name, instance_id));
CREATE INDEX idx_locks_expires_at ON locks(expires_at);
CREATE INDEX idx_locks_user_lock ON locks(user_id, lock_name);
`;
const POSTGRES_SCHEMA = `
CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY,
  dirty boolean NOT NULL);
CREATE TABLE records (user_id TEXT NOT NULL, id TEXT NOT NULL,
  data bytea NOT NULL, revision INTEGER NOT NULL, schema_version TEXT NOT NULL,
  PRIMARY KEY (user_id, id));
CREATE TABLE user_revisions (user_id TEXT NOT NULL, revision INTEGER NOT NULL,
  PRIMARY KEY (user_id, revision));
CREATE TABLE locks (user_id TEXT NOT NULL, lock_name TEXT NOT NULL,
  instance_id TEXT NOT NULL, expires_at BIGINT NOT NULL,
  exclusive BOOLEAN NOT NULL DEFAULT FALSE,
  PRIMARY KEY (user_id, lock_name, instance_id));
CREATE INDEX idx_locks_expires_at ON locks(expires_at);
CREATE INDEX idx_locks_user_lock ON locks(user_id, lock_name);
`;
const ROWS_AT_ONCE = 1000;

const text = (value) => `'${value}'`;

/** Statements with $1, $2, … as SQL without, for sqlite3's shell. */
function inlined(statement, values) {
  const literal = (value) => {
    if (Buffer.isBuffer(value)) return `x'${value.toString('hex')}'`;
    if (typeof value === 'boolean') return Number(value);
    return typeof value === 'number' ? value : text(value);
  };
  return `${statement.replaceAll(/\$(\d+)/g,
    (_, index) => literal(values[index - 1]))};`;
}

/** data-sync's SetRecord replaces what is there, in words of either. */
const UPSERTS = {
  sqlite: {
    record: ['INSERT OR REPLACE INTO records (user_id, id, data, revision, ' +
      'schema_version) VALUES ($1, $2, $3, $4, $5) RETURNING revision'],
    lock: ['INSERT OR REPLACE INTO locks (user_id, lock_name, instance_id, ' +
      'expires_at, exclusive) VALUES ($1, $2, $3, $4, $5)'],
  },
  postgres: {
    record: ['INSERT INTO records (user_id, id, data, revision, ' +
      'schema_version) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (user_id, id) ' +
      'DO UPDATE SET data=EXCLUDED.data, revision=EXCLUDED.revision, ' +
      'schema_version=EXCLUDED.schema_version RETURNING revision'],
    lock: ['INSERT INTO locks (user_id, lock_name, instance_id, expires_at, ' +
      'exclusive) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (user_id, ' +
      'lock_name, instance_id) DO UPDATE SET expires_at = ' +
      'EXCLUDED.expires_at, exclusive = EXCLUDED.exclusive'],
  },
};

/** A database as data-sync and golang-migrate left it, on a server's store. */
export class DataSync {
  constructor(store) {
    this.store = store;
    this.dialect = store.file ? 'sqlite' : 'postgres';
  }

  /**
   * Makes it: `records` are [user, id, data, revision], `counters` [user,
   * revision], `locks` [user, name, instance, expires_at].
   */
  async make({ records = [], counters = [], locks = [], version = 2,
    dirty = false } = {}) {
    const sqlite = this.dialect === 'sqlite';
    const blob = (bytes) => (sqlite ? `x'${bytes.toString('hex')}'`
      : `'\\x${bytes.toString('hex')}'`);
    const bool = (value) => (sqlite ? Number(value) : value);
    const all = [];
    const insert = (table, rows, show) => {
      for (let at = 0; at < rows.length; at += ROWS_AT_ONCE) {
        const tuples = rows.slice(at, at + ROWS_AT_ONCE)
          .map((row) => `(${show(row)})`);
        all.push(`INSERT INTO ${table} VALUES ${tuples};`);
      }
    };
    insert('schema_migrations', [[version, bool(dirty)]], (row) => row);
    insert('records', records, ([user, id, data, revision]) => [
      text(user), text(id), blob(data), revision, text('0.1')]);
    insert('user_revisions', counters,
      ([user, revision]) => [text(user), revision]);
    insert('locks', locks, ([user, name, instance, expires]) => [
      text(user), text(name), text(instance), expires, bool(true)]);
    await this.store.sql(`BEGIN; ${sqlite ? SQLITE_SCHEMA : POSTGRES_SCHEMA}
      ${all.join('\n')} COMMIT;`);
  }

  /** Runs its statements in one serializable transaction; their rows. */
  async transaction(steps) {
    if (this.dialect === 'sqlite') {
      const output = await this.store.sql(
        ['BEGIN;', ...steps.map(([sql, values]) => inlined(sql, values)),
          'COMMIT;'].join('\n'));
      return output ? output.split('\n').map((line) => line.split('|')) : [];
    }
    return connected(await this.store.url(), async (client) => {
      const rows = [];
      await client.query('BEGIN ISOLATION LEVEL SERIALIZABLE');
      for (const [sql, values] of steps) {
        rows.push(...await rowsOf(client, sql, values));
      }
      await client.query('COMMIT');
      return rows.map((row) => row.map(String));
    });
  }

  upsert(what, values) {
    return [...UPSERTS[this.dialect][what], values];
  }

  /** SetRecord of a user who has a counter. */
  setRecord(user, id, data, revision) {
    return this.transaction([
      ['SELECT revision FROM records WHERE user_id = $1 AND id = $2',
        [user, id]],
      ['SELECT revision FROM user_revisions WHERE user_id = $1', [user]],
      ['UPDATE user_revisions SET revision = revision + 1 ' +
        'WHERE user_id = $1 RETURNING revision', [user]],
      this.upsert('record', [user, id, data, revision, '0.1']),
    ]);
  }

  /** SetRecord of one who has none. */
  firstRecord(user, id, data) {
    return this.transaction([
      ['INSERT INTO user_revisions (user_id, revision) VALUES ($1, $2) ' +
        'RETURNING revision', [user, 1]],
      this.upsert('record', [user, id, data, 1, '0.1']),
    ]);
  }

  listChanges(user, since) {
    return this.transaction([[
      'SELECT id, revision FROM records WHERE user_id = $1 AND ' +
      'revision > $2 ORDER BY revision ASC LIMIT $3', [user, since, 1000]]]);
  }

  /** Whether another instance holds the lock. */
  heldByOther(user, name, instance) {
    return this.transaction([[
      'SELECT 1 FROM locks WHERE user_id = $1 AND lock_name = $2 AND ' +
      'instance_id != $3 AND expires_at > $4 LIMIT 1',
      [user, name, instance, now()]]]);
  }

  acquire(user, name, instance, exclusive = false) {
    return this.transaction([this.upsert('lock',
      [user, name, instance, now() + 100, exclusive])]);
  }

  release(user, name, instance) {
    return this.transaction([[
      'DELETE FROM locks WHERE user_id = $1 AND lock_name = $2 AND ' +
      'instance_id = $3', [user, name, instance]]]);
  }

  sweep() {
    return this.transaction([[
      'DELETE FROM locks WHERE expires_at <= $1', [now()]]]);
  }
}
