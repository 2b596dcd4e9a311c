/* SPDX-License-Identifier: Apache-2.0 */
#include "app/cli/line.h"

#include <stdlib.h>
#include <string.h>

#include "app/cli/sequence.h"
#include "base/mem.h"
#include "config/limits.h"

#include "lib/unit.h"

#define USER	 "02" ZEROS_32 ZEROS_32
#define ZEROS_32 "00000000000000000000000000000000"
#define SHA256	 ZEROS_32 ZEROS_32

/* As docs/OPERATIONS.md has them. */
static const char header_text[] =
	"{\"format\":\"tallyd-export\",\"version\":1}";
static const char user_text[] = "{\"user\":\"" USER "\",\"counter\":9}";
static const char record_text[] =
	"{\"user\":\"" USER "\",\"id\":\"a\\\"\\u0001\xc3\xa9\","
	"\"revision\":4,\"schema_version\":\"1.0\",\"data\":\"AP8=\"}";
static const char trailer_text[] =
	"{\"users\":1,\"records\":2,\"bytes\":3,\"sha256\":\"" SHA256 "\"}";

static struct line a_record(void)
{
	return (struct line){.kind = LINE_RECORD,
		.user.bytes = {2},
		.record = {.id = slice_str("a\"\x01\xc3\xa9"),
			.schema_version = slice_str("1.0"),
			.data = slice_of("\x00\xff", 2),
			.revision = 4}};
}

static int read(struct line_room *room, const char *text, struct line *ret_line)
{
	struct errmsg why;

	return line_read(room, slice_str(text), ret_line, &why);
}

static void check_written(const struct line *line, const char *text)
{
	struct line_room room = {NULL};
	struct errmsg why = {.text = ""};
	struct buf out;

	buf_init(&out, 2 * LINE_BYTES_MAX);
	ck_assert_int_eq(line_write(&room, line, &out, &why), 0);
	ck_assert_uint_eq(buf_len(&out), strlen(text) + 1);
	ck_assert_mem_eq(buf_slice(&out).ptr, text, strlen(text));
	ck_assert_int_eq(buf_slice(&out).ptr[strlen(text)], '\n');
	buf_release(&out);
	line_room_release(&room);
}

TEST(line, is_written_as_documented)
{
	const struct line header = {.kind = LINE_HEADER};
	const struct line user = {
		.kind = LINE_USER, .user.bytes = {2}, .counter = 9};
	const struct line trailer = {.kind = LINE_TRAILER,
		.totals = {.users = 1, .records = 2, .bytes = 3}};
	const struct line record = a_record();

	check_written(&header, header_text);
	check_written(&user, user_text);
	check_written(&record, record_text);
	check_written(&trailer, trailer_text);
}

TEST(line, is_read_as_documented)
{
	struct line_room room = {NULL};
	const struct line given = a_record();
	struct line line;

	ck_assert_int_eq(read(&room, header_text, &line), 0);
	ck_assert_int_eq(line.kind, LINE_HEADER);
	ck_assert_int_eq(read(&room, user_text, &line), 0);
	ck_assert_int_eq(line.kind, LINE_USER);
	ck_assert_uint_eq(line.counter, 9);
	ck_assert_mem_eq(&line.user, &given.user, sizeof(line.user));
	ck_assert_int_eq(read(&room, record_text, &line), 0);
	ck_assert_int_eq(line.kind, LINE_RECORD);
	ck_assert(slice_eq(line.record.id, given.record.id));
	ck_assert(slice_eq(line.record.data, given.record.data));
	ck_assert(slice_eq(
		line.record.schema_version, given.record.schema_version));
	ck_assert_uint_eq(line.record.revision, 4);
	ck_assert_int_eq(read(&room, trailer_text, &line), 0);
	ck_assert_int_eq(line.kind, LINE_TRAILER);
	ck_assert_uint_eq(line.totals.records, 2);
	line_room_release(&room);
}

/* The largest record, every byte of its texts a control character. */
TEST(line, has_room_for_the_largest_record)
{
	static uint8_t data[RECORD_DATA_MAX];
	struct line_room room = {NULL};
	struct line line = a_record(), back;
	char id[RECORD_ID_MAX], schema[SCHEMA_VERSION_MAX];
	struct errmsg why;
	struct buf out;

	memset(id, 1, sizeof(id));
	memset(schema, 2, sizeof(schema));
	line.record.id = slice_of(id, sizeof(id));
	line.record.schema_version = slice_of(schema, sizeof(schema));
	line.record.data = slice_of(data, sizeof(data));
	line.record.revision = INT64_MAX;
	buf_init(&out, LINE_BYTES_MAX);
	ck_assert_int_eq(line_write(&room, &line, &out, &why), 0);
	ck_assert_int_eq(
		line_read(&room,
			slice_of(buf_slice(&out).ptr, buf_len(&out) - 1), &back,
			&why),
		0);
	ck_assert(slice_eq(back.record.data, line.record.data));
	ck_assert(slice_eq(back.record.id, line.record.id));
	ck_assert_uint_eq(back.record.revision, INT64_MAX);
	buf_release(&out);
	line_room_release(&room);
}

TEST(line, what_clients_could_not_store_is_not_written)
{
	static const char nul[] = "a\0b", utf8[] = "\xff";
	static char big[RECORD_DATA_MAX + 1];
	struct line_room room = {NULL};
	struct line lines[4];
	struct errmsg why;
	struct buf out;
	size_t i;

	for (i = 0; i < ARRAY_LEN(lines); i++)
		lines[i] = a_record();
	lines[0].record.id = slice_of(nul, 3);
	lines[1].record.id = slice_str(utf8);
	lines[2].record.data = slice_of(big, sizeof(big));
	lines[3].record.schema_version = slice_str("1234567890123456");
	buf_init(&out, LINE_BYTES_MAX);
	for (i = 0; i < ARRAY_LEN(lines); i++) {
		ck_assert_int_eq(
			line_write(&room, &lines[i], &out, &why), ERR_INVALID);
		ck_assert_uint_eq(buf_len(&out), 0);
	}
	buf_release(&out);
	line_room_release(&room);
}

/* Every line, cut off anywhere, with a byte of it changed to any other. */
TEST(line, a_changed_one_is_refused_or_still_a_line)
{
	static const char *const texts[] = {
		header_text, user_text, record_text, trailer_text};
	char text[sizeof(record_text)];
	struct line_room room = {NULL};
	struct errmsg why;
	struct line line;
	size_t i, at;
	int byte, r;

	for (i = 0; i < ARRAY_LEN(texts); i++) {
		for (at = 0; at < strlen(texts[i]); at++) {
			r = line_read(
				&room, slice_of(texts[i], at), &line, &why);
			ck_assert_int_eq(r, ERR_INVALID);
			memcpy(text, texts[i], strlen(texts[i]) + 1);
			for (byte = 1; byte < 256; byte++) {
				text[at] = (char)byte;
				r = read(&room, text, &line);
				if (r != 0 && r != ERR_INVALID)
					ck_abort_msg("%d", r);
			}
		}
	}
	line_room_release(&room);
}

TEST(line, a_want_of_memory_is_told_and_leaves_nothing)
{
	struct line_room room = {NULL};
	struct errmsg why;
	struct line line;
	struct buf out;
	long n;
	int r = -1, w = -1;

	json_set_alloc_funcs(mem_alloc, mem_free);
	for (n = 0; r < 0 || w < 0; n++) {
		const struct line record = a_record();

		buf_init(&out, LINE_BYTES_MAX);
		(void)mem_fail_after(n);
		r = line_read(&room, slice_str(record_text), &line, &why);
		if (r == 0)
			w = line_write(&room, &record, &out, &why);
		(void)mem_fail_after(-1);
		ck_assert(r == 0 || r == ERR_NOMEM || r == ERR_INVALID);
		buf_release(&out);
		line_room_release(&room);
	}
	json_set_alloc_funcs(malloc, free);
	ck_assert_int_gt(n, 4);
}

/* ---- sequence ---- */

static int take(struct sequence *s, const char *text)
{
	CLEANUP(line_room_release)
	struct line_room room = {NULL};
	struct errmsg why;
	struct line line;
	int r = line_read(&room, slice_str(text), &line, &why);

	return r == 0 ? sequence_take(s, &line, slice_str(text), &why) : r;
}

TEST(sequence, ends_with_the_trailer_that_fits)
{
	struct errmsg why;
	struct sequence s;
	struct line trailer;

	ck_assert_int_eq(sequence_init(&s), 0);
	ck_assert_int_eq(take(&s, user_text), ERR_INVALID);
	ck_assert_int_eq(take(&s, header_text), 0);
	ck_assert_int_eq(take(&s, header_text), ERR_INVALID);
	ck_assert_int_eq(take(&s, record_text), ERR_INVALID);
	ck_assert_int_eq(take(&s, user_text), 0);
	ck_assert_int_eq(take(&s, record_text), 0);
	ck_assert_int_eq(take(&s, record_text), ERR_INVALID);
	ck_assert_int_eq(take(&s, trailer_text), ERR_INVALID);
	ck_assert(!sequence_is_whole(&s));
	ck_assert_int_eq(sequence_trailer(&s, &trailer), 0);
	ck_assert_uint_eq(trailer.totals.users, 1);
	ck_assert_uint_eq(trailer.totals.records, 1);
	ck_assert_uint_eq(trailer.totals.bytes, 2);
	ck_assert_int_eq(
		sequence_take(&s, &trailer, slice_str("trailer"), &why), 0);
	ck_assert(sequence_is_whole(&s));
	ck_assert_int_eq(take(&s, user_text), ERR_INVALID);
	sequence_release(&s);
}

/* The vector "abc" of FIPS 180-2, appendix B.1. */
TEST(sequence, has_the_sha256_of_its_lines)
{
	static const char digest[] = "ba7816bf8f01cfea414140de5dae2223"
				     "b00361a396177a9cb410ff61f20015ad";
	const struct line header = {.kind = LINE_HEADER};
	char hex[2 * LINE_SHA256_BYTES];
	struct errmsg why;
	struct sequence s;
	struct line trailer;

	ck_assert_int_eq(sequence_init(&s), 0);
	ck_assert_int_eq(sequence_take(&s, &header, slice_str("abc"), &why), 0);
	ck_assert_int_eq(sequence_trailer(&s, &trailer), 0);
	hex_encode(slice_of(trailer.sha256, sizeof(trailer.sha256)), hex);
	ck_assert_mem_eq(hex, digest, sizeof(hex));
	sequence_release(&s);
}
