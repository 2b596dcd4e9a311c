/* SPDX-License-Identifier: Apache-2.0 */
/* log_line — one event as one line of text.
 *
 *   time=2026-01-31T12:00:00.000Z level=info event=lock.set user=02ab… n=7
 *   {"time":"2026-01-31T12:00:00.000Z","level":"info","event":"lock.set",…}
 *
 * No peer can forge a line, or a field of one: in logfmt, values that need it
 * are quoted, and every byte that is not printable ASCII is written as \xNN;
 * in JSON each such byte is \u00NN, so that a string's characters are the
 * value's bytes, whatever these are. A value that was cut ends in three dots;
 * a field that has no room left in the line is left out whole.
 *
 * Cheap enough for a line per call: nothing here goes through printf. Pure
 * functions. Threads: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#define LOG_LINE_MAX  1536 /* a call's line, with every value at its longest */
#define LOG_VALUE_MAX 256  /* one value, after escaping */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log_field {
	const char *key; /* static; lower case and underscores */
	enum { LOG_SLICE, LOG_HEX, LOG_U64, LOG_I64 } type;
	union {
		struct slice text; /* borrow(until log_emit returns); LOG_HEX
				    * writes it in hexadecimal */
		uint64_t u64;
		int64_t i64;
	};
};

/* What an object adds to each line about it: a connection its number, a call
 * its method. Parents come first. NULL is the empty context. */
struct log_ctx {
	const struct log_ctx *parent; /* ref */
	struct log_field field;
};

struct log_style {
	bool json;     /* else logfmt */
	bool priority; /* "<6>" in front, as sd-daemon(3) has it */
};

/* Writes the line, newline included, without a NUL; `wall_ns` is its time.
 * `fields` ends with one whose key is NULL. Returns its length. */
size_t log_line_format(char out[LOG_LINE_MAX], struct log_style style,
	int64_t wall_ns, enum log_level level, const struct log_ctx *ctx,
	const char *event, const struct log_field *fields);

/* "error", "warn", "info", "debug". */
const char *log_level_name(enum log_level level);
