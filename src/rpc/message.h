/* SPDX-License-Identifier: Apache-2.0 */
/* message — gRPC's length-prefixed messages: a flag byte, four bytes of
 * length (big endian), the message. Shared by gRPC and gRPC-Web. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/slice.h"

#define MESSAGE_PREFIX_LEN 5

enum message_flag { MESSAGE_PLAIN = 0, MESSAGE_COMPRESSED = 1 };

/* Collects the one message of a request, as its bytes arrive. */
struct message_reader {
	uint8_t prefix[MESSAGE_PREFIX_LEN];
	size_t n_prefix; /* bytes of it that have arrived */
	size_t length;	 /* as the prefix says */
	struct buf body; /* own */
	bool extra;	 /* bytes followed: a second message */
};

void message_reader_init(struct message_reader *m, size_t max);
void message_reader_release(struct message_reader *m);

/* Returns: 0, ERR_LIMIT (the prefix announces more than the maximum; then
 * m->length says how much, and nothing of it was kept), ERR_NOMEM. */
MUSTCHECK int message_reader_take(struct message_reader *m, struct slice bytes);

static inline bool message_reader_empty(const struct message_reader *m)
{
	return m->n_prefix == 0;
}

static inline bool message_reader_whole(const struct message_reader *m)
{
	return m->n_prefix == MESSAGE_PREFIX_LEN &&
	       buf_len(&m->body) == m->length;
}

/* An outgoing message is built in a buffer that begins with room for the
 * prefix, so that framing it moves nothing. Returns: 0, ERR_NOMEM. */
MUSTCHECK int message_begin(struct buf *b, size_t max);

/* Writes the prefix into that room: the rest of the buffer is the message. */
void message_end(struct buf *b, uint8_t flag);
