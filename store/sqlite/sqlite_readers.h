/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite_readers — a few threads that read, each with a connection of its own;
 * readers and the writer do not wait for each other (WAL). */
#pragma once

#include "base/attr.h"
#include "base/clock.h"
#include "base/err.h"
#include "store/ports.h"

struct sqlite_readers;
struct sqlite_writer;

/* `n` threads. The writer has opened the file and outlives them.
 * Returns: 0; ERR_* with a sentence. */
MUSTCHECK int sqlite_readers_start(const char *path, size_t n,
	struct sqlite_writer *writer, const struct clock *clock,
	struct sqlite_readers **ret_readers, struct errmsg *reterr);

/* Does what was submitted and ends. NULL inside is fine. */
void sqlite_readers_stop(struct sqlite_readers **readers);

/* As sqlite_writer_admit() and sqlite_writer_submit(). */
MUSTCHECK bool sqlite_readers_admit(struct sqlite_readers *r);
void sqlite_readers_submit(struct sqlite_readers *r, struct message_chain *ops);

/* Any thread: operations that were admitted and are not answered. */
size_t sqlite_readers_queued(const struct sqlite_readers *r);
