/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log_line.h"

#include <string.h>
#include <time.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/codec.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* sd-daemon(3); what we call debug and info the journal does, too. */
static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

/* ---- text ---- */

/* A line under construction; what ends it always has room. */
struct line {
	char *out;
	size_t len;
	size_t max;
	bool json;
	bool full; /* something did not fit */
};

static void put(struct line *l, const char *text, size_t len)
{
	if (len > l->max - l->len) {
		l->full = true;
		return;
	}
	memcpy(l->out + l->len, text, len);
	l->len += len;
}

static void put_text(struct line *l, const char *text)
{
	put(l, text, strlen(text));
}

static void put_u64(struct line *l, uint64_t value)
{
	char digits[20]; /* of UINT64_MAX */
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	put(l, digits + at, sizeof(digits) - at);
}

static void put_i64(struct line *l, int64_t value)
{
	if (value < 0)
		put(l, "-", 1);
	put_u64(l, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

/* ---- values ---- */

/* What a byte may be: a part of a value without quotes; of one in quotes. */
enum { BARE = 1, QUOTED = 2 };

static const uint8_t kinds[256] = {
	[' '] = QUOTED,
	['!'] = BARE | QUOTED, /* behind it the quotation mark */
	['#' ... '<'] = BARE | QUOTED,
	['='] = QUOTED,
	['>' ... '['] = BARE | QUOTED, /* behind it the backslash */
	[']' ... '~'] = BARE | QUOTED,
};

/* How many bytes at the front are of this kind. */
static size_t span(struct slice s, uint8_t kind)
{
	size_t n = 0;

	while (n < s.len && (kinds[s.ptr[n]] & kind))
		n++;
	return n;
}

#define ESCAPE_MAX 6 /* \u00NN */

/* Returns how many characters. */
static size_t escape(bool json, uint8_t byte, char out[ESCAPE_MAX])
{
	const char *start = json ? "\\u00" : "\\x";
	size_t n = strlen(start);

	if (byte == '"' || byte == '\\') {
		out[0] = '\\';
		out[1] = (char)byte;
		return 2;
	}
	memcpy(out, start, n);
	hex_encode(slice_of(&byte, 1), out + n);
	return n + 2;
}

/* At most LOG_VALUE_MAX characters between the quotes. */
static void put_quoted(struct line *l, struct slice value)
{
	size_t used = 0, n;
	char text[ESCAPE_MAX];

	put(l, "\"", 1);
	while (value.len > 0) {
		n = MIN(span(value, QUOTED), LOG_VALUE_MAX - used);
		put(l, (const char *)value.ptr, n);
		value = slice_from(value, n);
		used += n;
		if (value.len == 0)
			break;
		n = escape(l->json, value.ptr[0], text);
		if (n > LOG_VALUE_MAX - used) {
			put(l, "...", 3);
			break;
		}
		put(l, text, n);
		value = slice_from(value, 1);
		used += n;
	}
	put(l, "\"", 1);
}

static void put_value(struct line *l, struct slice value)
{
	if (!l->json && value.len > 0 && value.len <= LOG_VALUE_MAX &&
		span(value, BARE) == value.len)
		put(l, (const char *)value.ptr, value.len);
	else
		put_quoted(l, value);
}

static void put_hex(struct line *l, struct slice bytes)
{
	char text[LOG_VALUE_MAX];

	bytes.len = MIN(bytes.len, sizeof(text) / 2);
	hex_encode(bytes, text);
	put_text(l, l->json ? "\"" : "");
	put(l, text, 2 * bytes.len);
	put_text(l, l->json ? "\"" : "");
}

/* ---- fields ---- */

static void put_key(struct line *l, const char *key)
{
	put_text(l, l->json ? ",\"" : " ");
	put_text(l, key);
	put_text(l, l->json ? "\":" : "=");
}

static void put_field(struct line *l, const struct log_field *f)
{
	size_t before = l->len;

	put_key(l, f->key);
	switch (f->type) {
	case LOG_SLICE: put_value(l, f->text); break;
	case LOG_HEX: put_hex(l, f->text); break;
	case LOG_U64: put_u64(l, f->u64); break;
	case LOG_I64: put_i64(l, f->i64); break;
	}
	if (l->full)
		l->len = before;
	l->full = false;
}

static void put_ctx(struct line *l, const struct log_ctx *ctx)
{
	if (!ctx)
		return;
	put_ctx(l, ctx->parent);
	put_field(l, &ctx->field);
}

/* ---- the line ---- */

#define SECOND_TEXT_MAX 32 /* "2026-01-31T12:00:00" */

/* The second as text. Each thread keeps its last one: making it costs more
 * than the rest of a line. Returns its length; 0 for no time there is. */
static size_t second_text(time_t second, const char **ret_text)
{
	static _Thread_local char text[SECOND_TEXT_MAX];
	static _Thread_local time_t second_of_text;
	static _Thread_local size_t len;
	struct tm tm;

	if (len == 0 || second != second_of_text) {
		len = gmtime_r(&second, &tm) ? strftime(text, sizeof(text),
						       "%Y-%m-%dT%H:%M:%S", &tm)
					     : 0;
		second_of_text = second;
	}
	*ret_text = text;
	return len;
}

static void put_time(struct line *l, int64_t wall_ns)
{
	unsigned ms = (unsigned)(wall_ns % NS_PER_S / NS_PER_MS);
	char end[] = ".000Z";
	const char *text;
	size_t len = second_text((time_t)(wall_ns / NS_PER_S), &text);

	end[1] = (char)('0' + ms / 100 % 10);
	end[2] = (char)('0' + ms / 10 % 10);
	end[3] = (char)('0' + ms % 10);
	put_text(l, l->json ? "{\"time\":\"" : "time=");
	put(l, text, len);
	put_text(l, end);
	if (l->json)
		put_text(l, "\"");
}

size_t log_line_format(char out[LOG_LINE_MAX], struct log_style style,
	int64_t wall_ns, enum log_level level, const struct log_ctx *ctx,
	const char *event, const struct log_field *fields)
{
	const char *end = style.json ? "}\n" : "\n";
	struct line l = {
		.out = out,
		.max = LOG_LINE_MAX - strlen(end),
		.json = style.json,
	};

	if (style.priority)
		put_text(&l, priorities[level]);
	put_time(&l, wall_ns);
	put_field(&l, &(const struct log_field){.key = "level",
			      .text = slice_str(level_names[level])});
	put_field(&l, &(const struct log_field){
			      .key = "event", .text = slice_str(event)});
	put_ctx(&l, ctx);
	for (; fields->key; fields++)
		put_field(&l, fields);
	l.max = LOG_LINE_MAX;
	put_text(&l, end);
	return l.len;
}
