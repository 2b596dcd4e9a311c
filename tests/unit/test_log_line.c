/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log_line.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/attr.h"
#include "base/log.h"

#include "lib/unit.h"

/* 2026-01-31T12:00:00.007Z */
#define WHEN INT64_C(1769860800007654321)
#define HEAD "time=2026-01-31T12:00:00.007Z level=info event="

static char line[LOG_LINE_MAX + 1];
static struct log_style style;

/* The line, without its newline, as text. */
static const char *format(const struct log_ctx *ctx, const char *event,
	const struct log_field *fields)
{
	size_t len = log_line_format(
		line, style, WHEN, LOG_INFO, ctx, event, fields);

	ck_assert_uint_le(len, LOG_LINE_MAX);
	ck_assert_int_eq(line[len - 1], '\n');
	line[len - 1] = '\0';
	ck_assert_ptr_null(strchr(line, '\n'));
	return line;
}

/* How one value is written. */
static const char *written(struct slice value)
{
	const char *text = format(NULL, "e",
		(const struct log_field[]){F_SLICE("v", value), {.key = NULL}});

	ck_assert_int_eq(strncmp(text, HEAD "e v=", strlen(HEAD "e v=")), 0);
	return text + strlen(HEAD "e v=");
}

TEST(log_line, a_line_has_time_level_event_context_and_fields)
{
	const struct log_ctx server = {.field = F_STR("server", "a")};
	const struct log_ctx conn = {
		.parent = &server, .field = F_U64("conn", UINT64_MAX)};

	ck_assert_str_eq(
		format(&conn, "record.set",
			(const struct log_field[]){F_I64("n", INT64_MIN),
				F_STR("id", "x"), {.key = NULL}}),
		HEAD "record.set server=a conn=18446744073709551615 "
		     "n=-9223372036854775808 id=x");
	ck_assert_str_eq(
		format(NULL, "e", (const struct log_field[]){{.key = NULL}}),
		HEAD "e");
}

TEST(log_line, a_value_that_needs_it_is_quoted)
{
	ck_assert_str_eq(written(slice_str("plain/text:1")), "plain/text:1");
	ck_assert_str_eq(written(slice_str("")), "\"\"");
	ck_assert_str_eq(written(slice_of(NULL, 0)), "\"\"");
	ck_assert_str_eq(written(slice_str("two words")), "\"two words\"");
	ck_assert_str_eq(written(slice_str("a=b")), "\"a=b\"");
	ck_assert_str_eq(written(slice_str("a\"b")), "\"a\\\"b\"");
	ck_assert_str_eq(written(slice_str("a\\b")), "\"a\\\\b\"");
	ck_assert_str_eq(
		written(slice_str("x\nlevel=error")), "\"x\\x0alevel=error\"");
	ck_assert_str_eq(written(slice_of("a\0b", 3)), "\"a\\x00b\"");
	ck_assert_str_eq(written(slice_str("\x1b[2J")), "\"\\x1b[2J\"");
	ck_assert_str_eq(written(slice_str("\xe2\x80\xa8\x7f")),
		"\"\\xe2\\x80\\xa8\\x7f\"");
}

/* Reads what put_quoted() wrote, as a logfmt parser does. */
static size_t unquote(const char *text, uint8_t *out)
{
	size_t n = 0;
	char hex[3] = {0};

	ck_assert_int_eq(*text++, '"');
	for (; *text != '"'; text++) {
		ck_assert(*text >= ' ' && *text < 0x7f);
		if (*text != '\\') {
			out[n++] = (uint8_t)*text;
		} else if (*++text == 'x') {
			memcpy(hex, text + 1, 2);
			out[n++] = (uint8_t)strtoul(hex, NULL, 16);
			text += 2;
		} else {
			out[n++] = (uint8_t)*text;
		}
	}
	ck_assert_int_eq(text[1], '\0');
	return n;
}

TEST(log_line, every_byte_comes_back_from_its_quotes)
{
	uint8_t value[3] = {' ', 0, 'z'}, back[16];

	for (int c = 0; c < 256; c++) {
		value[1] = (uint8_t)c;
		ck_assert_uint_eq(
			unquote(written(slice_of(value, 3)), back), 3);
		ck_assert_mem_eq(back, value, 3);
	}
}

TEST(log_line, a_value_is_bounded_after_escaping)
{
	static const char kinds[] = "x\" \n\xff";
	char value[5 * LOG_VALUE_MAX];
	uint8_t back[sizeof(value)];
	const char *text;
	size_t n;

	for (size_t k = 0; k < sizeof(kinds); k++) {
		memset(value, kinds[k], sizeof(value));
		text = written(slice_of(value, sizeof(value)));
		/* Two quotes, and dots for what was left out. */
		ck_assert_uint_le(strlen(text), LOG_VALUE_MAX + 5);
		ck_assert_uint_ge(strlen(text), LOG_VALUE_MAX);
		n = unquote(text, back);
		ck_assert_mem_eq(back + n - 3, "...", 3);
		ck_assert_mem_eq(back, value, n - 3);
	}
	memset(value, 'x', sizeof(value));
	text = written(slice_of(value, LOG_VALUE_MAX));
	ck_assert_uint_eq(strlen(text), LOG_VALUE_MAX);
	ck_assert_ptr_null(strchr(text, '.'));
}

/* What has no room is left out, field by field; the line stays one. */
TEST(log_line, a_line_is_bounded)
{
	char value[LOG_VALUE_MAX];
	struct log_field fields[20];
	const char *text;

	memset(value, 'x', sizeof(value));
	for (size_t i = 0; i < ARRAY_LEN(fields) - 2; i++)
		fields[i] = F_SLICE("key", slice_of(value, sizeof(value)));
	fields[ARRAY_LEN(fields) - 2] = F_U64("last", 7);
	fields[ARRAY_LEN(fields) - 1] = (struct log_field){.key = NULL};
	text = format(NULL, "e", fields);
	ck_assert_uint_eq(strlen(text),
		strlen(HEAD "e") + 5 * (strlen(" key=") + sizeof(value)) +
			strlen(" last=7"));
	ck_assert_str_eq(text + strlen(text) - strlen(" last=7"), " last=7");
}

TEST(log_line, bytes_are_written_in_hexadecimal)
{
	ck_assert_str_eq(
		format(NULL, "e",
			(const struct log_field[]){
				F_HEX("h", slice_of("\x02\xab\xff", 3)),
				{.key = NULL}}),
		HEAD "e h=02abff");
}

TEST(log_line, a_priority_stands_in_front)
{
	static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};
	const struct log_field none = {.key = NULL};

	for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
		for (int json = 0; json <= 1; json++) {
			log_line_format(line,
				(struct log_style){
					.priority = true, .json = json},
				WHEN, (enum log_level)level, NULL, "e", &none);
			ck_assert_mem_eq(line, priorities[level], 3);
			ck_assert_int_eq(line[3], json ? '{' : 't');
		}
	}
}

/* ---- JSON, as an independent parser reads it ---- */

static json_t *parsed(const struct log_ctx *ctx, const char *event,
	const struct log_field *fields)
{
	const char *text;
	json_t *object;

	style.json = true;
	text = format(ctx, event, fields);
	style.json = false;
	object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	ck_assert_msg(json_is_object(object), "no JSON: %s", text);
	return object;
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

TEST(log_line, a_json_line_is_an_object_of_time_level_event_and_fields)
{
	const struct log_ctx conn = {.field = F_U64("conn", 12)};
	json_t *object = parsed(&conn, "record.set",
		(const struct log_field[]){F_I64("n", INT64_MIN),
			F_STR("id", "x"), F_HEX("h", slice_of("\x0f", 1)),
			{.key = NULL}});

	ck_assert_uint_eq(json_object_size(object), 7);
	ck_assert_str_eq(text_of(object, "time"), "2026-01-31T12:00:00.007Z");
	ck_assert_str_eq(text_of(object, "level"), "info");
	ck_assert_str_eq(text_of(object, "event"), "record.set");
	ck_assert_int_eq(
		json_integer_value(json_object_get(object, "conn")), 12);
	ck_assert_int_eq(
		json_integer_value(json_object_get(object, "n")), INT64_MIN);
	ck_assert_str_eq(text_of(object, "id"), "x");
	ck_assert_str_eq(text_of(object, "h"), "0f");
	json_decref(object);
}

/* A string's characters are the value's bytes: U+0000 to U+00FF in UTF-8. */
TEST(log_line, every_byte_comes_back_from_json)
{
	uint8_t value[256], back[512];
	size_t n = 0, at;
	const char *text;
	json_t *object;

	for (size_t half = 0; half < sizeof(value); half += 32) {
		for (at = 0; at < 32; at++)
			value[at] = (uint8_t)(half + at);
		if (half == 0)
			value[0] = 1; /* the parser takes no NUL */
		object = parsed(NULL, "e",
			(const struct log_field[]){
				F_SLICE("v", slice_of(value, 32)),
				{.key = NULL}});
		text = text_of(object, "v");
		for (n = 0; *text; text++) {
			if ((*text & 0xc0) == 0xc0) {
				back[n] = (uint8_t)((*text & 3) << 6);
				text++;
				back[n++] |= (uint8_t)(*text & 0x3f);
			} else {
				back[n++] = (uint8_t)*text;
			}
		}
		ck_assert_uint_eq(n, 32);
		ck_assert_mem_eq(back, value, 32);
		json_decref(object);
	}
}

TEST(log_line, a_json_line_stays_json_when_it_is_full)
{
	static const char worst[] = "\xff\"\\\n\x7f";
	char value[5 * LOG_VALUE_MAX];
	struct log_field fields[20];

	for (size_t len = 0; len < LOG_VALUE_MAX; len++) {
		for (size_t i = 0; i < sizeof(value); i++)
			value[i] = i < len ? 'x' : worst[i % 5];
		for (size_t i = 0; i < ARRAY_LEN(fields) - 1; i++) {
			static char keys[ARRAY_LEN(fields)][8];

			(void)snprintf(keys[i], sizeof(keys[i]), "k%zu", i);
			fields[i] = F_SLICE(
				keys[i], slice_of(value, sizeof(value)));
		}
		fields[ARRAY_LEN(fields) - 1] = (struct log_field){.key = NULL};
		json_decref(parsed(NULL, "e", fields));
	}
}
