/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

#include "lib/unit.h"

TEST(log, what_peers_bring_about_is_told_once_a_minute)
{
	struct log_seldom seldom = {0};
	int64_t now_ns = 5 * NS_PER_S;

	ck_assert(log_seldom(&seldom, now_ns));
	ck_assert(!log_seldom(&seldom, now_ns));
	ck_assert(!log_seldom(&seldom, now_ns + LOG_SELDOM_S * NS_PER_S - 1));
	ck_assert(log_seldom(&seldom, now_ns + LOG_SELDOM_S * NS_PER_S));
	ck_assert(!log_seldom(&seldom, now_ns + LOG_SELDOM_S * NS_PER_S + 1));
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
	log_set_level(LOG_INFO);
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

/* The last line seen of each writer. */
struct seen {
	int n[WRITERS];
};

static const struct seen nothing = {{-1, -1, -1, -1}};

/* How many lines this one stands for. They come in their writers' order; those
 * dropped are told of by the log itself. */
static int account_for_line(const char *text, struct seen *seen)
{
	const char *fields = strstr(text, " event=");
	int writer, n;

	ck_assert_int_eq(strncmp(text, "time=", 5), 0);
	ck_assert_ptr_nonnull(fields);
	if (sscanf(fields, " event=log.dropped lines=%d\n", &n) == 1)
		return n;
	ck_assert_int_eq(
		sscanf(fields, " event=line writer=%d n=%d\n", &writer, &n), 2);
	ck_assert_int_gt(n, seen->n[writer]);
	seen->n[writer] = n;
	return 1;
}

static int account_for(FILE *file)
{
	char text[LOG_LINE_MAX + 2];
	struct seen seen = nothing;
	int total = 0;

	rewind(file);
	while (fgets(text, sizeof(text), file))
		total += account_for_line(text, &seen);
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

/* Standard error is a pipe that nobody reads until say_to_nobody() has ended.
 * Returns what came out of it in the end. */
static FILE *say_to_nobody(void (*say)(void))
{
	pthread_t reader;
	int fds[2];
	void *file;

	ck_assert_int_eq(pipe(fds), 0);
	redirect(fds[1]);
	close(fds[1]);
	ck_assert_int_eq(log_start(), 0);
	say();
	ck_assert_int_eq(pthread_create(&reader, NULL, copy_out, &fds[0]), 0);
	log_stop();
	restore();
	ck_assert_int_eq(pthread_join(reader, &file), 0);
	close(fds[0]);
	return file;
}

enum { LONG_TIME = 50000 }; /* lines: several times queue and pipe */

static void say_much(void)
{
	for (int i = 0; i < LONG_TIME; i++)
		log_info(NULL, "line", F_I64("writer", 0), F_I64("n", i));
}

/* The caller is not kept waiting, and afterwards the log says how many lines it
 * lost. */
TEST(log, a_stuck_pipe_holds_up_nobody)
{
	FILE *file = say_to_nobody(say_much);

	ck_assert_int_eq(account_for(file), LONG_TIME);
	ck_assert_int_ge(count_events(file, "log.dropped"), 1);
	ck_assert_uint_gt(log_lost(), 0);
	(void)fclose(file);
}

static void say_much_and_warn(void)
{
	say_much();
	for (int i = 0; i < 100; i++)
		log_warn(NULL, "warning");
}

TEST(log, warnings_find_room_when_other_lines_do_not)
{
	FILE *file = say_to_nobody(say_much_and_warn);

	ck_assert_int_eq(count_events(file, "warning"), 100);
	ck_assert_int_lt(count_events(file, "line"), LONG_TIME);
	(void)fclose(file);
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

TEST(log, a_line_is_written_though_no_other_follows)
{
	char text[LOG_LINE_MAX];
	int fds[2];
	ssize_t n;

	ck_assert_int_eq(pipe(fds), 0);
	redirect(fds[1]);
	close(fds[1]);
	ck_assert_int_eq(log_start(), 0);
	log_info(NULL, "alone");
	n = read(fds[0], text, sizeof(text)); /* the case has a deadline */
	ck_assert_int_gt(n, 0);
	ck_assert_ptr_nonnull(memmem(text, (size_t)n, "event=alone\n", 12));
	log_stop();
	restore();
	close(fds[0]);
}

TEST(log, the_journal_is_known_by_its_stream)
{
	FILE *file = temporary();
	struct stat st;
	char text[64];

	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	(void)snprintf(text, sizeof(text), "%llu:%llu",
		(unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	ck_assert(log_is_journal(text));
	(void)snprintf(text, sizeof(text), "%llu:%llu",
		(unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino + 1);
	ck_assert(!log_is_journal(text));
	ck_assert(!log_is_journal(NULL));
	ck_assert(!log_is_journal(""));
	ck_assert(!log_is_journal("8"));
	ck_assert(!log_is_journal("8:"));
	ck_assert(!log_is_journal("8:9x"));
	restore();
	(void)fclose(file);
}

/* Who stops the log is not kept waiting either, and what was said comes out
 * once it is read. */
TEST(log, a_stuck_pipe_does_not_hold_up_the_stop)
{
	char text[LOG_LINE_MAX + 2];
	struct seen seen = nothing;
	bool dropped = false;
	FILE *file;
	int fds[2], total = 0;

	ck_assert_int_eq(pipe(fds), 0);
	redirect(fds[1]);
	close(fds[1]);
	ck_assert_int_eq(log_start(), 0);
	say_much();
	log_stop();
	file = fdopen(fds[0], "r");
	ck_assert_ptr_nonnull(file);
	while (total < LONG_TIME) { /* what is dropped may be told of twice */
		ck_assert_ptr_nonnull(fgets(text, sizeof(text), file));
		total += account_for_line(text, &seen);
		dropped |= strstr(text, " event=log.dropped ") != NULL;
	}
	ck_assert_int_eq(total, LONG_TIME);
	ck_assert(dropped);
	restore();
	(void)fclose(file);
}
