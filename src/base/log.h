/* SPDX-License-Identifier: Apache-2.0 */
/* log — one event, one logfmt line on standard error.
 *
 *   time=2026-01-31T12:00:00.000Z level=info event=record.set user=02ab… rev=7
 *
 * Values that need it are quoted and escaped, so that no peer can forge a
 * line; a line is at most LOG_LINE_MAX bytes. After log_start() lines go
 * through a bounded queue to a thread of their own, since standard error may
 * be a file or a stuck pipe and event loops must not wait for either; lines
 * that find the queue full are counted, and the count is logged.
 *
 * Never given to it: signatures, keys, record contents, database URLs.
 * Threads: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/slice.h"

#define LOG_LINE_MAX   1024 /* fits every event with bounded values */
#define LOG_VALUE_MAX  256  /* one value, after escaping */
#define LOG_STOP_MAX_S 1
#define LOG_QUEUE_MAX  (256 * 1024) /* bytes: some seconds of a busy server */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log_field {
	const char *key;
	enum { LOG_SLICE, LOG_U64, LOG_I64 } type;
	union {
		struct slice text; /* borrow(until log_emit returns) */
		uint64_t u64;
		int64_t i64;
	};
};

#define F_SLICE(k, s)                                                          \
	((struct log_field){.key = (k), .type = LOG_SLICE, .text = (s)})
#define F_STR(k, s) F_SLICE(k, slice_str(s))
#define F_U64(k, v)                                                            \
	((struct log_field){.key = (k), .type = LOG_U64, .u64 = (v)})
#define F_I64(k, v)                                                            \
	((struct log_field){.key = (k), .type = LOG_I64, .i64 = (v)})

/* What an object adds to each line about it: a connection its number, a call
 * its method. Parents come first. NULL is the empty context. */
struct log_ctx {
	const struct log_ctx *parent; /* ref */
	struct log_field field;
};

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

/* "error", "warn", "info" or "debug". Returns: 0, ERR_INVALID. */
MUSTCHECK int log_level_parse(struct slice text, enum log_level *ret_level);

/* Starts and stops the thread. stop writes out what is queued, for at most
 * LOG_STOP_MAX_S; after it, as before start, lines are written at once. start
 * returns: 0, ERR_SYS. */
MUSTCHECK int log_start(void);
void log_stop(void);

/* `fields` ends with one whose key is NULL. Use the macros above. */
void log_emit(enum log_level level, const struct log_ctx *ctx,
	const char *event, const struct log_field *fields);

/* The line as log_emit() would write it, newline included, without a NUL;
 * `wall_ns` is its time. Returns its length. For log.c and its tests. */
size_t log_format(char out[LOG_LINE_MAX], int64_t wall_ns, enum log_level level,
	const struct log_ctx *ctx, const char *event,
	const struct log_field *fields);
