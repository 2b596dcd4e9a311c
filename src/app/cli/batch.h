/* SPDX-License-Identifier: Apache-2.0 */
/* batch — lines of an import gathered into what a store takes at a time.
 *
 * Owns: copies of what the lines borrow. Does not: check lines; `sequence` has.
 */
#pragma once

#include "app/cli/line.h"
#include "store/store_admin.h"

/* Records that may share a revision, where data-sync raced with itself, go
 * into one batch, which is never split among them. Of as many there is room
 * beyond a batch that counts as full. */
#define BATCH_SPARE 8

struct batch {
	struct store_admin *admin;	   /* ref; NULL: nothing is stored */
	struct store_fill_user *users;	   /* own */
	struct store_fill_record *records; /* own */
	uint8_t *bytes;			   /* own; what records point into */
	size_t n_users, n_records, n_bytes;
	bool in_user;	 /* the last user may have more records */
	uint64_t in_all; /* records of that user, in earlier batches, too */
};

/* Returns: 0, ERR_NOMEM. */
MUSTCHECK int batch_init(struct batch *b, struct store_admin *admin);
void batch_release(struct batch *b);

/* Takes a line; stores the batch when it is full, and at the trailer.
 * Returns: 0; ERR_LIMIT (too many records of one revision), or as
 * store_admin_fill(), with a sentence. */
MUSTCHECK int batch_take(
	struct batch *b, const struct line *line, struct errmsg *reterr);
