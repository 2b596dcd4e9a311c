/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

static _Atomic int current_level = LOG_INFO;
static struct log_style current_style; /* set before there are threads */

/* The queue between the loops and the writing thread. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	bool running;
	bool stuck; /* nobody reads standard error */
	bool stopping;
	bool urgent; /* what waits should be written now */
	size_t used;
	uint64_t dropped;      /* since the log last said so */
	_Atomic uint64_t lost; /* ever */
	unsigned bank; /* the one being filled; the other is being written */
	char banks[2][LOG_QUEUE_MAX];
} queue = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.wake = PTHREAD_COND_INITIALIZER,
};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

bool log_seldom(struct log_seldom *seldom, int64_t now_ns)
{
	if (now_ns < seldom->next_ns)
		return false;
	seldom->next_ns = now_ns + LOG_SELDOM_S * NS_PER_S;
	return true;
}

bool log_enabled(enum log_level level)
{
	return (int)level <=
	       atomic_load_explicit(&current_level, memory_order_relaxed);
}

int log_level_parse(struct slice text, enum log_level *ret_level)
{
	enum log_level level;

	for (level = LOG_ERROR; level <= LOG_DEBUG; level++) {
		if (slice_eq_str(text, log_level_name(level))) {
			*ret_level = level;
			return 0;
		}
	}
	return ERR_INVALID;
}

void log_set_style(struct log_style style)
{
	current_style = style;
}

bool log_is_journal(const char *journal_stream)
{
	unsigned long long device, inode;
	struct stat st;
	char *end;

	if (!journal_stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	device = strtoull(journal_stream, &end, 10);
	if (*end != ':')
		return false;
	inode = strtoull(end + 1, &end, 10);
	return !*end && device == st.st_dev && inode == st.st_ino;
}

static size_t format(char out[LOG_LINE_MAX], enum log_level level,
	const struct log_ctx *ctx, const char *event,
	const struct log_field *fields)
{
	return log_line_format(out, current_style, clock_wall_ns(&clock_system),
		level, ctx, event, fields);
}

/* A log line that cannot be written has nowhere else to go. */
static void write_out(const char *bytes, size_t len)
{
	ssize_t n;

	while (len > 0) {
		n = write(STDERR_FILENO, bytes, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		bytes += n;
		len -= (size_t)n;
	}
}

/* Under the lock. */
static void enqueue(enum log_level level, const char *line, size_t len)
{
	size_t kept = level <= LOG_WARN ? 0 : LOG_QUEUE_KEPT;
	bool first = queue.used == 0;
	bool urgent = level <= LOG_WARN || queue.used > LOG_QUEUE_MAX / 2;

	if (queue.used > LOG_QUEUE_MAX - kept - len) {
		queue.dropped++;
		atomic_fetch_add(&queue.lost, 1);
		return;
	}
	memcpy(queue.banks[queue.bank] + queue.used, line, len);
	queue.used += len;
	if (first || (urgent && !queue.urgent))
		pthread_cond_signal(&queue.wake);
	queue.urgent |= urgent;
}

void log_emit(enum log_level level, const struct log_ctx *ctx,
	const char *event, const struct log_field *fields)
{
	char line[LOG_LINE_MAX];
	size_t len = format(line, level, ctx, event, fields);
	bool direct;

	pthread_mutex_lock(&queue.lock);
	direct = !queue.running && !queue.stuck;
	if (!direct)
		enqueue(level, line, len);
	pthread_mutex_unlock(&queue.lock);
	if (direct)
		write_out(line, len);
}

uint64_t log_lost(void)
{
	return atomic_load(&queue.lost);
}

static void write_dropped(uint64_t dropped)
{
	char line[LOG_LINE_MAX];
	size_t len;

	if (dropped == 0)
		return;
	len = format(line, LOG_WARN, NULL, "log.dropped",
		(const struct log_field[]){
			F_U64("lines", dropped), {.key = NULL}});
	write_out(line, len);
}

/* Under the lock: waits for a line, and then for those that go with it. Returns
 * whether there is any; if not, the thread is to end. */
static bool gather(void)
{
	int64_t until_ns;
	struct timespec until;
	int r = 0;

	while (queue.used == 0 && !queue.stopping)
		pthread_cond_wait(&queue.wake, &queue.lock);
	until_ns = clock_mono_ns(&clock_system) + LOG_GATHER_MS * NS_PER_MS;
	until = (struct timespec){
		.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
	while (r == 0 && !queue.urgent && !queue.stopping)
		r = pthread_cond_clockwait(
			&queue.wake, &queue.lock, CLOCK_MONOTONIC, &until);
	return queue.used > 0;
}

static void *writer_main(void *arg UNUSED)
{
	const char *full;
	uint64_t dropped;
	size_t len;

	pthread_mutex_lock(&queue.lock);
	while (gather()) {
		full = queue.banks[queue.bank];
		len = queue.used;
		dropped = queue.dropped;
		queue.bank = !queue.bank;
		queue.used = 0;
		queue.dropped = 0;
		queue.urgent = false;
		pthread_mutex_unlock(&queue.lock);
		write_out(full, len);
		write_dropped(dropped);
		pthread_mutex_lock(&queue.lock);
	}
	pthread_mutex_unlock(&queue.lock);
	return NULL;
}

int log_start(void)
{
	sigset_t all, before;
	int r;

	/* Signals are for the main loop; this thread must not take one. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&queue.thread, NULL, writer_main, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return ERR_SYS;
	pthread_mutex_lock(&queue.lock);
	queue.running = true;
	pthread_mutex_unlock(&queue.lock);
	return 0;
}

/* Waits for the thread, but not for ever: whoever reads our standard error may
 * have stopped, and that must not keep the process from ending. */
static void join_writer(void)
{
	int64_t until_ns =
		clock_wall_ns(&clock_system) + LOG_STOP_MAX_S * NS_PER_S;
	struct timespec until = {
		.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
	bool joined = pthread_timedjoin_np(queue.thread, NULL, &until) == 0;

	/* One that is late goes on with what is said until the end. */
	pthread_mutex_lock(&queue.lock);
	queue.stuck = !joined;
	queue.stopping = false;
	pthread_mutex_unlock(&queue.lock);
}

void log_stop(void)
{
	bool running;

	pthread_mutex_lock(&queue.lock);
	running = queue.running;
	queue.running = false;
	queue.stopping |= running;
	pthread_cond_signal(&queue.wake);
	pthread_mutex_unlock(&queue.lock);
	if (running)
		join_writer();
}
