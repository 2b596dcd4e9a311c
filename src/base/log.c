/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static _Atomic int current_level = LOG_INFO;

/* The queue between the loops and the writing thread. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	bool running;
	bool stuck; /* nobody reads standard error */
	bool stopping;
	size_t used;
	uint64_t dropped;
	char bytes[LOG_QUEUE_MAX];
} queue = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.wake = PTHREAD_COND_INITIALIZER,
};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
	return (int)level <=
	       atomic_load_explicit(&current_level, memory_order_relaxed);
}

int log_level_parse(struct slice text, enum log_level *ret_level)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(level_names); i++) {
		if (slice_eq_str(text, level_names[i])) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return ERR_INVALID;
}

/* A line under construction; one byte is kept for the newline. */
struct line {
	char *out;
	size_t len;
};

static void put(struct line *l, const char *text, size_t len)
{
	size_t room = LOG_LINE_MAX - 1 - l->len;

	len = MIN(len, room);
	memcpy(l->out + l->len, text, len);
	l->len += len;
}

static void putf(struct line *l, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void putf(struct line *l, const char *fmt, ...)
{
	char text[64];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n > 0)
		put(l, text, MIN((size_t)n, sizeof(text) - 1));
}

static bool is_plain(struct slice value)
{
	size_t i;
	uint8_t c;

	for (i = 0; i < value.len; i++) {
		c = value.ptr[i];
		if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
			return false;
	}
	return value.len > 0 && value.len <= LOG_VALUE_MAX;
}

/* Quoted, with everything but printable ASCII as \xNN, up to LOG_VALUE_MAX
 * characters in between. */
static void put_quoted(struct line *l, struct slice value)
{
	char text[5]; /* one byte's \xNN */
	size_t i, n, used = 0;
	uint8_t c;

	put(l, "\"", 1);
	for (i = 0; i < value.len; i++) {
		c = value.ptr[i];
		n = (size_t)snprintf(text, sizeof(text),
			c < ' ' || c >= 0x7f	? "\\x%02x"
			: c == '"' || c == '\\' ? "\\%c"
						: "%c",
			c);
		if (n > LOG_VALUE_MAX - used)
			break;
		put(l, text, n);
		used += n;
	}
	if (i < value.len)
		put(l, "...", 3);
	put(l, "\"", 1);
}

static void put_value(struct line *l, struct slice value)
{
	if (is_plain(value))
		put(l, (const char *)value.ptr, value.len);
	else
		put_quoted(l, value);
}

static void put_field(struct line *l, const struct log_field *f)
{
	putf(l, " %s=", f->key);
	switch (f->type) {
	case LOG_SLICE: put_value(l, f->text); break;
	case LOG_U64: putf(l, "%llu", (unsigned long long)f->u64); break;
	case LOG_I64: putf(l, "%lld", (long long)f->i64); break;
	}
}

static void put_ctx(struct line *l, const struct log_ctx *ctx)
{
	if (!ctx)
		return;
	put_ctx(l, ctx->parent);
	put_field(l, &ctx->field);
}

static void put_time(struct line *l, int64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / NS_PER_S);
	char text[32];
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) ||
		!strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm))
		return;
	putf(l, "time=%s.%03dZ", text, (int)(wall_ns % NS_PER_S / NS_PER_MS));
}

size_t log_format(char out[LOG_LINE_MAX], int64_t wall_ns, enum log_level level,
	const struct log_ctx *ctx, const char *event,
	const struct log_field *fields)
{
	struct line l = {.out = out};

	put_time(&l, wall_ns);
	putf(&l, " level=%s event=", level_names[level]);
	put_value(&l, slice_str(event));
	put_ctx(&l, ctx);
	for (; fields->key; fields++)
		put_field(&l, fields);
	out[l.len++] = '\n';
	return l.len;
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

void log_emit(enum log_level level, const struct log_ctx *ctx,
	const char *event, const struct log_field *fields)
{
	char line[LOG_LINE_MAX];
	bool direct;
	size_t len;

	len = log_format(
		line, clock_wall_ns(&clock_system), level, ctx, event, fields);
	pthread_mutex_lock(&queue.lock);
	direct = !queue.running && !queue.stuck;
	if (!direct && len <= LOG_QUEUE_MAX - queue.used) {
		memcpy(queue.bytes + queue.used, line, len);
		if (queue.used == 0)
			pthread_cond_signal(&queue.wake);
		queue.used += len;
	} else if (!direct) {
		queue.dropped++;
	}
	pthread_mutex_unlock(&queue.lock);
	if (direct)
		write_out(line, len);
}

static void write_dropped(uint64_t dropped)
{
	char line[LOG_LINE_MAX];
	size_t len;

	if (dropped == 0)
		return;
	len = log_format(line, clock_wall_ns(&clock_system), LOG_WARN, NULL,
		"log.dropped",
		(const struct log_field[]){
			F_U64("lines", dropped), {.key = NULL}});
	write_out(line, len);
}

static void *writer_main(void *arg UNUSED)
{
	static char batch[LOG_QUEUE_MAX]; /* this thread's alone */
	uint64_t dropped;
	size_t len;

	pthread_mutex_lock(&queue.lock);
	while (queue.used > 0 || !queue.stopping) {
		if (queue.used == 0) {
			pthread_cond_wait(&queue.wake, &queue.lock);
			continue;
		}
		len = queue.used;
		dropped = queue.dropped;
		memcpy(batch, queue.bytes, len);
		queue.used = 0;
		queue.dropped = 0;
		pthread_mutex_unlock(&queue.lock);
		write_out(batch, len);
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

	if (pthread_timedjoin_np(queue.thread, NULL, &until) == 0)
		return;
	pthread_mutex_lock(&queue.lock);
	queue.stuck = true;
	pthread_mutex_unlock(&queue.lock);
}

void log_stop(void)
{
	bool running;

	pthread_mutex_lock(&queue.lock);
	running = queue.running;
	queue.running = false;
	queue.stopping = true;
	pthread_cond_signal(&queue.wake);
	pthread_mutex_unlock(&queue.lock);
	if (running)
		join_writer();
	queue.stopping = false;
}
