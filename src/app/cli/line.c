/* SPDX-License-Identifier: Apache-2.0 */
#include "app/cli/line.h"

#include <string.h>

#include "base/mem.h"
#include "config/limits.h"
#include "syncer/validate.h"

#define DATA_BASE64_MAX BASE64_ENCODED_LEN(RECORD_DATA_MAX)
#define ROOM_BYTES	BASE64_DECODED_MAX(DATA_BASE64_MAX + 3)

_Static_assert(ROOM_BYTES >= RECORD_DATA_MAX, "");
_Static_assert(DATA_BASE64_MAX + 6 * (RECORD_ID_MAX + SCHEMA_VERSION_MAX) +
			       USER_ID_HEX + 256 <=
		       LINE_BYTES_MAX,
	"");

static void drop_json(struct line_room *room)
{
	json_decref(room->json); /* NULL is fine */
	room->json = NULL;
}

void line_room_release(struct line_room *room)
{
	drop_json(room);
	mem_free(room->bytes);
	room->bytes = NULL;
}

/* Room for base64 when writing, for bytes when reading. */
static int take_bytes(struct line_room *room, struct errmsg *reterr)
{
	if (!room->bytes)
		room->bytes = mem_alloc(MAX(DATA_BASE64_MAX, ROOM_BYTES));
	return room->bytes ? 0 : errmsg_set(reterr, ERR_NOMEM, "out of memory");
}

/* ---- writing ---- */

static json_t *record_json(struct line_room *room, const struct line *line)
{
	const struct store_record *r = &line->record;
	char hex[USER_ID_HEX + 1];

	user_id_hex(&line->user, hex);
	base64_encode(r->data, (char *)room->bytes);
	return json_pack("{s:s,s:s%,s:I,s:s%,s:s%}", "user", hex, "id",
		r->id.len ? (const char *)r->id.ptr : "", r->id.len, "revision",
		(json_int_t)r->revision, "schema_version",
		r->schema_version.len ? (const char *)r->schema_version.ptr
				      : "",
		r->schema_version.len, "data", (const char *)room->bytes,
		BASE64_ENCODED_LEN(r->data.len));
}

static json_t *user_json(const struct line *line)
{
	char hex[USER_ID_HEX + 1];

	user_id_hex(&line->user, hex);
	return json_pack(
		"{s:s,s:I}", "user", hex, "counter", (json_int_t)line->counter);
}

static json_t *trailer_json(const struct line *line)
{
	char hex[2 * LINE_SHA256_BYTES + 1];

	hex_encode(slice_of(line->sha256, sizeof(line->sha256)), hex);
	hex[2 * LINE_SHA256_BYTES] = '\0';
	return json_pack("{s:I,s:I,s:I,s:s}", "users",
		(json_int_t)line->totals.users, "records",
		(json_int_t)line->totals.records, "bytes",
		(json_int_t)line->totals.bytes, "sha256", hex);
}

static json_t *to_json(struct line_room *room, const struct line *line)
{
	switch (line->kind) {
	case LINE_HEADER:
		return json_pack("{s:s,s:i}", "format", LINE_FORMAT, "version",
			LINE_VERSION);
	case LINE_USER: return user_json(line);
	case LINE_RECORD: return record_json(room, line);
	case LINE_TRAILER: return trailer_json(line);
	}
	return NULL;
}

static int check_record(
	const struct store_record *record, struct errmsg *reterr)
{
	const char *why = validate_record(
		record->id, record->data, record->schema_version);

	if (!why &&
		!(utf8_valid(record->id) && utf8_valid(record->schema_version)))
		why = "record id and schema_version must be UTF-8";
	return why ? errmsg_set(reterr, ERR_INVALID, "%s", why) : 0;
}

int line_write(struct line_room *room, const struct line *line, struct buf *out,
	struct errmsg *reterr)
{
	size_t len = 0;
	uint8_t *to;
	int r = take_bytes(room, reterr);

	if (r == 0 && line->kind == LINE_RECORD)
		r = check_record(&line->record, reterr);
	if (r < 0)
		return r;
	drop_json(room);
	room->json = to_json(room, line);
	r = buf_reserve(out, LINE_BYTES_MAX, &to);
	if (r == 0 && room->json)
		len = json_dumpb(
			room->json, (char *)to, LINE_BYTES_MAX, JSON_COMPACT);
	if (r == 0 && (len == 0 || len >= LINE_BYTES_MAX))
		r = ERR_NOMEM;
	if (r < 0)
		return errmsg_set(reterr, r, "%s", err_text(r));
	to[len] = '\n';
	buf_commit(out, len + 1);
	return 0;
}

/* ---- reading ---- */

static int bad(struct errmsg *reterr, const char *why)
{
	return errmsg_set(reterr, ERR_INVALID, "%s", why);
}

static int read_user(
	const char *hex, size_t len, struct line *line, struct errmsg *reterr)
{
	char again[USER_ID_HEX + 1];

	if (len == USER_ID_HEX &&
		hex_decode(slice_of(hex, len), line->user.bytes) == 0) {
		user_id_hex(&line->user, again);
		if (!memcmp(hex, again, len))
			return 0;
	}
	return bad(reterr, "user must be 66 hexadecimal digits in lower case");
}

static int read_number(
	json_int_t value, uint64_t *ret_value, struct errmsg *reterr)
{
	if (value < 0)
		return bad(reterr, "a number is negative");
	*ret_value = (uint64_t)value;
	return 0;
}

static int read_header(json_t *json, struct errmsg *reterr)
{
	const char *format;
	json_int_t version;

	if (json_unpack(json, "{s:s,s:I!}", "format", &format, "version",
		    &version) < 0 ||
		strcmp(format, LINE_FORMAT) != 0)
		return bad(reterr, "it is not the header of an export");
	if (version != LINE_VERSION)
		return bad(reterr, "the export is of a version that is not "
				   "known here");
	return 0;
}

static int read_user_line(
	json_t *json, struct line *line, struct errmsg *reterr)
{
	json_int_t counter;
	const char *user;
	size_t user_len;
	int r;

	if (json_unpack(json, "{s:s%,s:I!}", "user", &user, &user_len,
		    "counter", &counter) < 0)
		return bad(reterr, "it is neither a user nor a record");
	r = read_user(user, user_len, line, reterr);
	return r == 0 ? read_number(counter, &line->counter, reterr) : r;
}

/* The decoder skips line breaks, which do not belong here. */
static int read_data(struct line_room *room, struct slice text,
	struct slice *ret_data, struct errmsg *reterr)
{
	size_t len = 0, at;

	if (text.len > DATA_BASE64_MAX)
		return bad(reterr, "record data is too long");
	if (base64_decode(text, room->bytes, &len, &at) < 0 ||
		text.len != BASE64_ENCODED_LEN(len))
		return bad(reterr, "record data is not base64");
	*ret_data = slice_of(room->bytes, len);
	return 0;
}

static int read_record(
	struct line_room *room, struct line *line, struct errmsg *reterr)
{
	const char *user, *id, *schema, *data;
	size_t user_len, id_len, schema_len, data_len;
	struct store_record *record = &line->record;
	json_int_t revision;
	int r;

	if (json_unpack(room->json, "{s:s%,s:s%,s:I,s:s%,s:s%!}", "user", &user,
		    &user_len, "id", &id, &id_len, "revision", &revision,
		    "schema_version", &schema, &schema_len, "data", &data,
		    &data_len) < 0)
		return bad(reterr, "it is not a record");
	record->id = slice_of(id, id_len);
	record->schema_version = slice_of(schema, schema_len);
	r = read_user(user, user_len, line, reterr);
	if (r == 0)
		r = read_number(revision, &record->revision, reterr);
	if (r == 0)
		r = read_data(
			room, slice_of(data, data_len), &record->data, reterr);
	return r == 0 ? check_record(record, reterr) : r;
}

static int read_trailer(json_t *json, struct line *line, struct errmsg *reterr)
{
	json_int_t users, records, bytes;
	const char *sha256;
	size_t len;
	int r;

	if (json_unpack(json, "{s:I,s:I,s:I,s:s%!}", "users", &users, "records",
		    &records, "bytes", &bytes, "sha256", &sha256, &len) < 0 ||
		len != 2 * LINE_SHA256_BYTES ||
		hex_decode(slice_of(sha256, len), line->sha256) < 0)
		return bad(reterr, "it is not the trailer of an export");
	r = read_number(users, &line->totals.users, reterr);
	if (r == 0)
		r = read_number(records, &line->totals.records, reterr);
	return r == 0 ? read_number(bytes, &line->totals.bytes, reterr) : r;
}

static enum line_kind kind_of(const json_t *json)
{
	if (json_object_get(json, "format"))
		return LINE_HEADER;
	if (json_object_get(json, "sha256"))
		return LINE_TRAILER;
	return json_object_get(json, "id") ? LINE_RECORD : LINE_USER;
}

int line_read(struct line_room *room, struct slice text, struct line *ret_line,
	struct errmsg *reterr)
{
	struct line line = {.kind = LINE_HEADER};
	json_error_t error;
	int r = take_bytes(room, reterr);

	if (r < 0)
		return r;
	drop_json(room);
	/* NULs are read to be refused by name. */
	room->json = json_loadb((const char *)text.ptr, text.len,
		JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	if (!room->json && json_error_code(&error) == json_error_out_of_memory)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	if (!json_is_object(room->json))
		return bad(reterr, "it is not a JSON object");
	line.kind = kind_of(room->json);
	switch (line.kind) {
	case LINE_HEADER: r = read_header(room->json, reterr); break;
	case LINE_USER: r = read_user_line(room->json, &line, reterr); break;
	case LINE_RECORD: r = read_record(room, &line, reterr); break;
	case LINE_TRAILER: r = read_trailer(room->json, &line, reterr); break;
	}
	if (r == 0)
		*ret_line = line;
	return r;
}
