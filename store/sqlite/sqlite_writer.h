/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite_writer — the thread with the only connection that writes, and that
 * checkpoints (SQLite up to 3.51.2 can damage a WAL that two connections
 * reset).
 *
 * Group commit: all that waits goes into one transaction, and while that is
 * flushed the next group gathers. No timer: the flush is the window. An
 * operation's outcome is its own; only a failed commit is shared. */
#pragma once

#include <stddef.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/err.h"
#include "store/ports.h"

/* Operations per transaction: past this the cost of an operation no longer
 * falls, while the first one's wait grows. */
#define SQLITE_BATCH_MAX 512

/* Pages of WAL, 4 KiB each, after which the writer moves them to the database:
 * 64 MiB. Few and large checkpoints write a hot page once instead of often. */
#define SQLITE_CHECKPOINT_PAGES 16000

/* Between two tries to write while the store is not usable. */
#define SQLITE_RETRY_MS 1000

struct sqlite_writer;

/* Opens the file, migrates it and starts the thread. `ports` and `clock`
 * outlive it. Returns: 0; ERR_* with a sentence. */
MUSTCHECK int sqlite_writer_start(const char *path, struct ports *ports,
	const struct clock *clock, struct sqlite_writer **ret_writer,
	struct errmsg *reterr);

/* Does what was submitted, checkpoints and ends. NULL inside is fine. */
void sqlite_writer_stop(struct sqlite_writer **writer);

/* Any thread: whether one operation more may be submitted, and counts it.
 * Not when STORE_QUEUE_MAX wait. */
MUSTCHECK bool sqlite_writer_admit(struct sqlite_writer *w);

/* Any thread: operations' messages, without `deliver`; empty afterwards. */
void sqlite_writer_submit(struct sqlite_writer *w, struct message_chain *ops);

/* Any thread: a sweep of the locks is wanted. */
void sqlite_writer_sweep(struct sqlite_writer *w);

/* Any thread: a read has failed with this code. */
void sqlite_writer_report(struct sqlite_writer *w, int code);

/* Any thread: whether the last transaction could be made, and no damage to the
 * file has been met since the start. */
bool sqlite_writer_usable(const struct sqlite_writer *w);

/* Any thread: adds what it has counted, and what waits. */
void sqlite_writer_metrics(
	const struct sqlite_writer *w, struct metrics_sum *sum);
