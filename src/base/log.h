/* SPDX-License-Identifier: Apache-2.0 */
/* log — what happened, one line each (base/log_line.h), on standard error.
 *
 * After log_start() lines go through a bounded queue to a thread of their own,
 * since standard error may be a file or a stuck pipe and event loops must not
 * wait for either. The thread gathers: a busy server's lines leave in few
 * writes, and a line costs the loop that says it no system call. Lines that
 * find the queue full are counted, and the count is logged.
 *
 * Never given to it: signatures, keys, record contents, database URLs.
 * Threads: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/log_line.h"
#include "base/slice.h"

#define LOG_STOP_MAX_S 1
#define LOG_SELDOM_S   60

/* Bytes that wait to be written: 0.1 s of 25,000 calls a second, as long as
 * the one who reads our lines may stand still without losing any. */
#define LOG_QUEUE_MAX (1024 * 1024)
/* Of these only warnings and errors get the last: calls do not crowd them
 * out. */
#define LOG_QUEUE_KEPT (64 * 1024)
/* A line waits so long for others to be written with it, unless it is a
 * warning or an error, or half the queue is full. */
#define LOG_GATHER_MS 20

#define F_SLICE(k, s)                                                          \
	((struct log_field){.key = (k), .type = LOG_SLICE, .text = (s)})
#define F_STR(k, s) F_SLICE(k, slice_str(s))
#define F_HEX(k, s)                                                            \
	((struct log_field){.key = (k), .type = LOG_HEX, .text = (s)})
#define F_U64(k, v)                                                            \
	((struct log_field){.key = (k), .type = LOG_U64, .u64 = (v)})
#define F_I64(k, v)                                                            \
	((struct log_field){.key = (k), .type = LOG_I64, .i64 = (v)})

#define log_at(level, ctx, event, ...)                                         \
	do {                                                                   \
		if (log_enabled(level))                                        \
			log_emit(level, ctx, event,                            \
				(const struct log_field[]){                    \
					__VA_ARGS__ __VA_OPT__(, ){            \
						.key = NULL}});                \
	} while (0)
#define log_error(ctx, ...) log_at(LOG_ERROR, ctx, __VA_ARGS__)
#define log_warn(ctx, ...)  log_at(LOG_WARN, ctx, __VA_ARGS__)
#define log_info(ctx, ...)  log_at(LOG_INFO, ctx, __VA_ARGS__)
#define log_debug(ctx, ...) log_at(LOG_DEBUG, ctx, __VA_ARGS__)

/* Lines above this level are dropped; LOG_INFO until set. */
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

/* How lines look; logfmt without priorities until set. Before log_start(). */
void log_set_style(struct log_style style);

/* Whether standard error is a stream of systemd's journal. `journal_stream` is
 * the value of JOURNAL_STREAM (systemd.exec(5)), or NULL. */
bool log_is_journal(const char *journal_stream);

/* "error", "warn", "info" or "debug". Returns: 0, ERR_INVALID. */
MUSTCHECK int log_level_parse(struct slice text, enum log_level *ret_level);

/* For what peers can bring about as often as they like: whether a minute has
 * passed since this last said so. Zeroed before use; one thread. */
struct log_seldom {
	int64_t next_ns;
};
bool log_seldom(struct log_seldom *seldom, int64_t now_ns);

/* Starts and stops the thread. stop writes out what is queued, for at most
 * LOG_STOP_MAX_S; after it, as before start, lines are written at once. start
 * returns: 0, ERR_SYS. */
MUSTCHECK int log_start(void);
void log_stop(void);

/* How many lines were lost because the queue was full. Any thread. */
uint64_t log_lost(void);

/* `fields` ends with one whose key is NULL. Use the macros above. */
void log_emit(enum log_level level, const struct log_ctx *ctx,
	const char *event, const struct log_field *fields);
