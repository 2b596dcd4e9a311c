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

/* Collects a message of a request, as its bytes arrive. */
struct message_reader {
	uint8_t prefix[MESSAGE_PREFIX_LEN];
	size_t n_prefix; /* bytes of it that have arrived */
	size_t length;	 /* as the prefix says */
	struct buf body; /* own */
	bool extra;	 /* bytes followed the one message there may be */
};

void message_reader_init(struct message_reader *m, size_t max);
void message_reader_release(struct message_reader *m);

/* Forgets the message at hand and frees its memory; the next may come. */
void message_reader_reset(struct message_reader *m);

/* Takes what belongs to the message at hand off the front of *bytes; what is
 * left is the next message's. Returns: MESSAGE_WHOLE; 0 when all was taken
 * and more is to come; ERR_LIMIT (the prefix announces more than the maximum;
 * then m->length says how much, and nothing of it was kept), ERR_NOMEM. */
#define MESSAGE_WHOLE 1
MUSTCHECK int message_reader_next(
	struct message_reader *m, struct slice *bytes);

/* The same for a request of one message: what follows it is dropped and noted
 * in m->extra. Returns: 0, ERR_LIMIT, ERR_NOMEM. */
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
