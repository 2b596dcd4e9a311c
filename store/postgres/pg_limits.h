/* SPDX-License-Identifier: Apache-2.0 */
/* pg_limits — sizes and times of the PostgreSQL store, with their reasons. */
#pragma once

/* Writes that share a transaction. Beyond 64 a record gets hardly cheaper, and
 * all of them wait for the slowest. */
#define PG_GROUP_MAX 64
/* Bytes of records in one: what a connection makes us buffer. */
#define PG_GROUP_BYTES_MAX (1024 * 1024)
/* Reads that are sent to one connection at a time: they are answered one after
 * another, so more would only wait in the wrong place. */
#define PG_READS_MAX 16
/* While a group is under way the next one gathers; after so long it goes on
 * another connection. Longer than a flush on a good disk takes. */
#define PG_GATHER_MS 5

/* How often an operation is tried again that PostgreSQL gave up for reasons of
 * its own: deadlocks, time-outs. */
#define PG_ATTEMPTS_MAX 5

/* An operation that has waited so long for a connection ends: the database is
 * away, and its client is better told. */
#define PG_QUEUE_MS 5000

/* The server's own limits for a statement of ours, and for the locks in it,
 * which only other writers of the same users hold, for milliseconds. */
#define PG_LOCK_MS	1000
#define PG_STATEMENT_MS 5000

/* After so long the server gives up a connection of ours that takes nothing. */
#define PG_STUCK_MS 60000

/* Silence of a server that owes an answer: after the first it does not count as
 * usable, after the second the connection is given up. Longer than a statement
 * may take. */
#define PG_SILENCE_MS 2500
#define PG_ANSWER_MS  8000
/* An idle connection is tried so often. */
#define PG_HEARTBEAT_MS 5000

/* Connecting, all of it: name, TCP, TLS, authentication. */
#define PG_CONNECT_MS 5000
/* Waits between attempts: doubled from the first to the last, each between half
 * and all of it, so that instances do not come back in step. The last is well
 * below the time in which the store is to serve again. */
#define PG_BACKOFF_MIN_MS 50
#define PG_BACKOFF_MAX_MS 2000

/* Writes whose answer was lost are settled when there is a connection again;
 * those that ask are told after so long that nobody knows. */
#define PG_DOUBT_MS 10000

/* Users told to other instances to look again, that wait to be sent. More of
 * them become one notice for everybody. */
#define PG_NUDGES_MAX 256

/* What the pool says must be heard: it is tried so often, and so long is waited
 * for it. */
#define PG_PING_MS 10000
#define PG_HEAR_MS 5000

/* Without LISTEN for so long, we do as if it were not to be had. */
#define PG_DEAF_MS 2000

/* Where LISTEN is not to be had, counters are looked at so often, of so many
 * users at a time. */
#define PG_POLL_MS    1000
#define PG_POLL_USERS 1000

/* A slot deletes its receipts when it has so many, which is seldom enough to
 * cost nothing; what a process that ended has left is deleted by age. Who is
 * fenced off may have been stopped for long. */
#define PG_RECEIPTS_KEPT 256
#define PG_RECEIPT_DAYS	 2
