/* SPDX-License-Identifier: Apache-2.0 */
#include "syncer/change.h"

#include <string.h>

#include "rpc/protobuf.h"

/* Tags of proto/sync.proto's fields: number and wire type. */
enum {
	REPLY_CHANGES = 1 << 3 | PB_BYTES,
	RECORD_ID = 1 << 3 | PB_BYTES,
	RECORD_REVISION = 2 << 3 | PB_VARINT,
	RECORD_SCHEMA_VERSION = 3 << 3 | PB_BYTES,
	RECORD_DATA = 4 << 3 | PB_BYTES,
};

#define TAG_LEN 1 /* of numbers below 16 */

/* Fields at their default are left out. */
static size_t number_len(uint64_t value)
{
	return value ? TAG_LEN + pb_varint_len(value) : 0;
}

static size_t bytes_len(struct slice bytes)
{
	return bytes.len ? TAG_LEN + pb_varint_len(bytes.len) + bytes.len : 0;
}

static uint8_t *put_number(uint8_t *at, uint8_t tag, uint64_t value)
{
	if (value == 0)
		return at;
	*at = tag;
	return pb_put_varint(at + TAG_LEN, value);
}

static uint8_t *put_bytes(uint8_t *at, uint8_t tag, struct slice bytes)
{
	if (bytes.len == 0)
		return at;
	at = put_number(at, tag, bytes.len);
	memcpy(at, bytes.ptr, bytes.len);
	return at + bytes.len;
}

int change_encode(struct buf *page, const struct store_record *record)
{
	size_t len = bytes_len(record->id) + number_len(record->revision) +
		     bytes_len(record->schema_version) +
		     bytes_len(record->data);
	size_t whole = TAG_LEN + pb_varint_len(len) + len;
	uint8_t *at;
	int r = buf_reserve(page, whole, &at);

	if (r < 0)
		return r;
	*at = REPLY_CHANGES;
	at = pb_put_varint(at + TAG_LEN, len);
	at = put_bytes(at, RECORD_ID, record->id);
	at = put_number(at, RECORD_REVISION, record->revision);
	at = put_bytes(at, RECORD_SCHEMA_VERSION, record->schema_version);
	(void)put_bytes(at, RECORD_DATA, record->data);
	buf_commit(page, whole);
	return 0;
}
