/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/message.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"

void message_reader_init(struct message_reader *m, size_t max)
{
	*m = (struct message_reader){0};
	buf_init(&m->body, max);
}

void message_reader_release(struct message_reader *m)
{
	buf_release(&m->body);
}

void message_reader_reset(struct message_reader *m)
{
	buf_shrink(&m->body);
	m->n_prefix = 0;
	m->length = 0;
}

static uint32_t read_length(const uint8_t prefix[MESSAGE_PREFIX_LEN])
{
	return (uint32_t)prefix[1] << 24 | (uint32_t)prefix[2] << 16 |
	       (uint32_t)prefix[3] << 8 | prefix[4];
}

/* Takes what belongs to the prefix; returns the rest. */
static struct slice take_prefix(struct message_reader *m, struct slice bytes)
{
	size_t n = MIN(MESSAGE_PREFIX_LEN - m->n_prefix, bytes.len);

	memcpy(m->prefix + m->n_prefix, bytes.ptr, n);
	m->n_prefix += n;
	if (m->n_prefix == MESSAGE_PREFIX_LEN)
		m->length = read_length(m->prefix);
	return slice_from(bytes, n);
}

int message_reader_next(struct message_reader *m, struct slice *bytes)
{
	size_t n;
	int r;

	if (bytes->len > 0)
		*bytes = take_prefix(m, *bytes);
	if (m->n_prefix < MESSAGE_PREFIX_LEN)
		return 0;
	if (m->length > m->body.cap)
		return ERR_LIMIT;
	n = MIN(m->length - buf_len(&m->body), bytes->len);
	r = buf_append(&m->body, bytes->ptr, n);
	if (r < 0)
		return r;
	*bytes = slice_from(*bytes, n);
	return message_reader_whole(m) ? MESSAGE_WHOLE : 0;
}

int message_reader_take(struct message_reader *m, struct slice bytes)
{
	int r = message_reader_next(m, &bytes);

	m->extra |= r == MESSAGE_WHOLE && bytes.len > 0;
	return MIN(r, 0);
}

int message_begin(struct buf *b, size_t max)
{
	uint8_t *room;
	int r;

	buf_init(b, max + MESSAGE_PREFIX_LEN);
	r = buf_reserve(b, MESSAGE_PREFIX_LEN, &room);
	if (r < 0)
		return r;
	memset(room, 0, MESSAGE_PREFIX_LEN);
	buf_commit(b, MESSAGE_PREFIX_LEN);
	return 0;
}

void message_end(struct buf *b, uint8_t flag)
{
	size_t len = buf_len(b) - MESSAGE_PREFIX_LEN;
	uint8_t *prefix = b->mem + b->start;

	assert(buf_len(b) >= MESSAGE_PREFIX_LEN && len <= UINT32_MAX);
	prefix[0] = (uint8_t)flag;
	prefix[1] = (uint8_t)(len >> 24);
	prefix[2] = (uint8_t)(len >> 16);
	prefix[3] = (uint8_t)(len >> 8);
	prefix[4] = (uint8_t)len;
}
