/* SPDX-License-Identifier: Apache-2.0 */
/* sequence — which line of an export may follow which, and what they add up to.
 * Who writes lines and who reads them ask the same one, so that nothing is
 * written that would not be read.
 *
 * A header; users in the order of their ids, each with its records in the order
 * of revisions (of equal ones: of ids), none above the user's counter; a
 * trailer with the right counts and checksum; the end. */
#pragma once

#include <openssl/evp.h>

#include "app/cli/line.h"
#include "config/limits.h"

/* Revisions count single changes, so no honest one comes near. Above it JSON's
 * readers differ (RFC 8259, section 6), and from 2^63 - 1 on a server could not
 * count on. */
#define SEQUENCE_COUNTER_MAX ((UINT64_C(1) << 53) - 1)

struct sequence {
	enum { SEQUENCE_EMPTY, SEQUENCE_OPEN, SEQUENCE_CLOSED } state;
	EVP_MD_CTX *sha256; /* own; of the lines so far */
	bool has_user;
	struct user_id user;
	uint64_t counter;
	uint64_t revision; /* the user's last; 0: none yet */
	char id[RECORD_ID_MAX];
	size_t id_len;
	struct line_totals totals;
};

/* Returns: 0, ERR_NOMEM. */
MUSTCHECK int sequence_init(struct sequence *s);
void sequence_release(struct sequence *s);

/* Takes the next line; `text` is the line with its newline.
 * Returns: 0; ERR_INVALID with a sentence, ERR_NOMEM. */
MUSTCHECK int sequence_take(struct sequence *s, const struct line *line,
	struct slice text, struct errmsg *reterr);

/* Fills in the trailer that fits here. Returns: 0, ERR_NOMEM. */
MUSTCHECK int sequence_trailer(const struct sequence *s, struct line *ret_line);

/* Whether there was a trailer. */
static inline bool sequence_is_whole(const struct sequence *s)
{
	return s->state == SEQUENCE_CLOSED;
}
