/* SPDX-License-Identifier: Apache-2.0 */
/* line — the lines of an export: JSON objects (RFC 8259), one a line.
 *
 *   {"format":"tallyd-export","version":1}
 *   {"user":"02…","counter":9}
 *   {"user":"02…","id":"…","revision":4,"schema_version":"1.0","data":"…"}
 *   {"users":1,"records":1,"bytes":17,"sha256":"…"}
 *
 * A user's line comes before those of its records. `data` is base64; `sha256`
 * is of all lines before it, newlines included. Which line may follow which is
 * `sequence`'s to say. Threads: one. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/user_id.h"
#include "store/store.h"

#define LINE_FORMAT  "tallyd-export"
#define LINE_VERSION 1

/* A record of the largest size in base64, with each byte of its id and schema
 * version escaped, has some 86 KiB. */
#define LINE_BYTES_MAX	  ((size_t)128 * 1024)

#define LINE_SHA256_BYTES 32

enum line_kind { LINE_HEADER, LINE_USER, LINE_RECORD, LINE_TRAILER };

struct line_totals {
	uint64_t users;
	uint64_t records;
	uint64_t bytes; /* of the records' data */
};

struct line {
	enum line_kind kind;
	struct user_id user;	    /* of LINE_USER, LINE_RECORD */
	uint64_t counter;	    /* of LINE_USER */
	struct store_record record; /* of LINE_RECORD; borrow */
	struct line_totals totals;  /* of LINE_TRAILER, as the next */
	uint8_t sha256[LINE_SHA256_BYTES];
};

/* What a line is made in; zeroed before its first use. */
struct line_room {
	json_t *json;	/* own */
	uint8_t *bytes; /* own */
};

void line_room_release(struct line_room *room);

/* Appends the line and its newline. Returns: 0; ERR_NOMEM; ERR_INVALID (text
 * that is not UTF-8), ERR_LIMIT, with a sentence. */
MUSTCHECK int line_write(struct line_room *room, const struct line *line,
	struct buf *out, struct errmsg *reterr);

/* Reads a line without its newline; what ret_line borrows is valid until the
 * room is used again. A member that is missing, of another type, unknown or
 * there twice, a number out of range, a record that clients could not store:
 * all are refused. Returns: 0; ERR_NOMEM; ERR_INVALID with a sentence, which
 * holds nothing of the line. */
MUSTCHECK int line_read(struct line_room *room, struct slice text,
	struct line *ret_line, struct errmsg *reterr);
