/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"

#include "lib/unit.h"

/* 2026-01-31T12:00:00.007Z */
#define WHEN INT64_C(1769860800007654321)
#define HEAD "time=2026-01-31T12:00:00.007Z level=info event="

static char line[LOG_LINE_MAX + 1];

/* The line, without its newline, as text. */
static const char *format(const struct log_ctx *ctx, const char *event,
	const struct log_field *fields)
{
	size_t len = log_format(line, WHEN, LOG_INFO, ctx, event, fields);

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

TEST(log, a_line_has_time_level_event_context_and_fields)
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

TEST(log, a_value_that_needs_it_is_quoted)
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

TEST(log, every_byte_comes_back_from_its_quotes)
{
	uint8_t value[3] = {' ', 0, 'z'}, back[16];

	for (int c = 0; c < 256; c++) {
		value[1] = (uint8_t)c;
		ck_assert_uint_eq(
			unquote(written(slice_of(value, 3)), back), 3);
		ck_assert_mem_eq(back, value, 3);
	}
}

TEST(log, a_value_is_bounded_after_escaping)
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

TEST(log, a_line_is_bounded)
{
	char value[LOG_VALUE_MAX];
	struct log_field fields[20];

	memset(value, 'x', sizeof(value));
	for (size_t i = 0; i < ARRAY_LEN(fields) - 1; i++)
		fields[i] = F_SLICE("key", slice_of(value, sizeof(value)));
	fields[ARRAY_LEN(fields) - 1] = (struct log_field){.key = NULL};
	ck_assert_uint_eq(log_format(line, WHEN, LOG_INFO, NULL, "e", fields),
		LOG_LINE_MAX);
	ck_assert_int_eq(line[LOG_LINE_MAX - 1], '\n');
}

TEST(log, levels_have_names)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	enum log_level level;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		ck_assert_int_eq(
			log_level_parse(slice_str(names[i]), &level), 0);
		ck_assert_uint_eq(level, i);
	}
	level = LOG_WARN;
	ck_assert_int_eq(
		log_level_parse(slice_str("INFO"), &level), ERR_INVALID);
	ck_assert_int_eq(log_level_parse(slice_str(""), &level), ERR_INVALID);
	ck_assert_int_eq(
		log_level_parse(slice_str("infos"), &level), ERR_INVALID);
	ck_assert_int_eq(level, LOG_WARN);
}

/* ---- what comes out of standard error ---- */

static int real_stderr;

static void redirect(int fd)
{
	real_stderr = dup(STDERR_FILENO);
	ck_assert_int_ge(real_stderr, 0);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
}

static void restore(void)
{
	ck_assert_int_eq(dup2(real_stderr, STDERR_FILENO), STDERR_FILENO);
	close(real_stderr);
}

static FILE *temporary(void)
{
	FILE *file = tmpfile();

	ck_assert_ptr_nonnull(file);
	redirect(fileno(file));
	return file;
}

static int count_events(FILE *file, const char *event)
{
	char text[LOG_LINE_MAX + 2], wanted[64];
	int n = 0;

	(void)snprintf(wanted, sizeof(wanted), " event=%s", event);
	rewind(file);
	while (fgets(text, sizeof(text), file))
		n += strstr(text, wanted) != NULL;
	return n;
}

TEST(log, lines_above_the_level_are_dropped)
{
	FILE *file = temporary();

	for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
		log_set_level((enum log_level)level);
		log_error(NULL, "four");
		log_warn(NULL, "three", F_U64("n", 1));
		log_info(NULL, "two");
		log_debug(NULL, "one");
	}
	log_set_level(LOG_INFO);
	restore();
	ck_assert_int_eq(count_events(file, "four"), 4);
	ck_assert_int_eq(count_events(file, "three"), 3);
	ck_assert_int_eq(count_events(file, "two"), 2);
	ck_assert_int_eq(count_events(file, "one"), 1);
	(void)fclose(file);
}

TEST(log, what_is_not_logged_is_not_computed)
{
	uint64_t computed = 0;
	FILE *file = temporary();

	log_debug(NULL, "one", F_U64("n", ++computed));
	log_info(NULL, "two", F_U64("n", ++computed));
	restore();
	ck_assert_uint_eq(computed, 1);
	(void)fclose(file);
}

enum { WRITERS = 4, LINES = 3000 };

static void *write_lines(void *arg)
{
	const int *writer = arg;

	for (int i = 0; i < LINES; i++)
		log_info(NULL, "line", F_I64("writer", *writer), F_I64("n", i));
	return NULL;
}

/* Counts lines that come in their writers' order; those dropped are told of
 * by the log itself. */
static int account_for(FILE *file)
{
	char text[LOG_LINE_MAX + 2];
	int last[WRITERS] = {-1, -1, -1, -1}, writer, n, total = 0;
	const char *fields;

	rewind(file);
	while (fgets(text, sizeof(text), file)) {
		ck_assert_int_eq(strncmp(text, "time=", 5), 0);
		fields = strstr(text, " event=");
		ck_assert_ptr_nonnull(fields);
		if (sscanf(fields, " event=log.dropped lines=%d\n", &n) == 1) {
			total += n;
			continue;
		}
		ck_assert_int_eq(sscanf(fields, " event=line writer=%d n=%d\n",
					 &writer, &n),
			2);
		ck_assert_int_gt(n, last[writer]);
		last[writer] = n;
		total++;
	}
	return total;
}

TEST(log, the_thread_writes_every_line_or_counts_it)
{
	pthread_t threads[WRITERS];
	int numbers[WRITERS];
	FILE *file = temporary();

	ck_assert_int_eq(log_start(), 0);
	for (int i = 0; i < WRITERS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines,
					 &numbers[i]),
			0);
	}
	for (int i = 0; i < WRITERS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	log_stop();
	restore();
	ck_assert_int_eq(account_for(file), WRITERS * LINES);
	(void)fclose(file);
}

static void *copy_out(void *arg)
{
	FILE *file = tmpfile();
	char bytes[4096];
	ssize_t n;

	while ((n = read(*(int *)arg, bytes, sizeof(bytes))) > 0)
		(void)fwrite(bytes, 1, (size_t)n, file);
	return file;
}

/* Nobody reads standard error: the caller is not kept waiting, and afterwards
 * the log says how many lines it lost. */
TEST(log, a_stuck_pipe_holds_up_nobody)
{
	enum { LONG_TIME = 20000 }; /* lines: several times queue and pipe */
	pthread_t reader;
	int fds[2];
	void *file;

	ck_assert_int_eq(pipe(fds), 0);
	redirect(fds[1]);
	close(fds[1]);
	ck_assert_int_eq(log_start(), 0);
	for (int i = 0; i < LONG_TIME; i++)
		log_info(NULL, "line", F_I64("writer", 0), F_I64("n", i));
	ck_assert_int_eq(pthread_create(&reader, NULL, copy_out, &fds[0]), 0);
	log_stop();
	restore();
	ck_assert_int_eq(pthread_join(reader, &file), 0);
	ck_assert_int_eq(account_for(file), LONG_TIME);
	ck_assert_int_ge(count_events(file, "log.dropped"), 1);
	(void)fclose(file);
	close(fds[0]);
}

TEST(log, after_stop_lines_are_written_at_once_and_it_can_start_anew)
{
	FILE *file = temporary();

	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(log_start(), 0);
		log_info(NULL, "queued");
		log_stop();
		log_info(NULL, "direct");
		ck_assert_int_eq(count_events(file, "queued"), i + 1);
		ck_assert_int_eq(count_events(file, "direct"), i + 1);
	}
	log_stop();
	restore();
	(void)fclose(file);
}
