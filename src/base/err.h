/* SPDX-License-Identifier: Apache-2.0 */
/* err — one family of error codes, and the sentence that goes with one.
 *
 * A function returns 0 when done, an ERR_* (< 0) when it failed, and where its
 * module says so a positive code for an outcome that is expected. */
#pragma once

#include "base/attr.h"

#define ERR_MAP(X)                                                             \
	X(NOMEM, -1, "out of memory")                                          \
	X(INVALID, -2, "invalid value")                                        \
	X(LIMIT, -3, "limit exceeded")                                         \
	X(IO, -4, "input/output error")                                        \
	X(CLOSED, -5, "closed")                                                \
	X(PROTO, -6, "protocol error")                                         \
	X(SYS, -7, "system call failed")                                       \
	X(BUSY, -8, "busy")                                                    \
	X(UNSUPPORTED, -9, "not supported")                                    \
	X(CORRUPT, -10, "stored data is damaged")

enum err {
#define X(name, code, text) ERR_##name = (code),
	ERR_MAP(X)
#undef X
};

/* Static text of a code; "ok" for 0, "unknown error" for a code not above. */
const char *err_text(int code);

#define ERRMSG_MAX 256 /* a sentence for a log line or a start-up failure */

/* Caller's storage for the sentence that explains a failure. Written only on
 * failure; never holds secrets. */
struct errmsg {
	char text[ERRMSG_MAX];
};

/* Formats the sentence (cut at ERRMSG_MAX) and returns `code`, so that a
 * failure is one statement. `e` may be NULL. */
int errmsg_set(struct errmsg *e, int code, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
