/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/loop.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "loop/timer_heap.h"

#define LOOP_EVENTS_MAX 256 /* per epoll_wait; more only wait for the next */

struct loop {
	const struct clock *clock; /* ref */
	int epoll_fd;		   /* own */
	struct mailbox mailbox;
	struct watch mailbox_watch;
	struct timer_heap timers;
	struct list deferred;

	int64_t now_ns;
	int64_t wall_ns;
	int64_t latest_ns; /* now_ns, or read later in the turn */
	/* When the turn under way began; 0: the loop waits. */
	_Atomic int64_t busy_since_ns;
	bool waited; /* since the last turn, or there was none */
	struct metrics metrics;

	/* The events being handled: watch_stop() strikes out its own. */
	struct epoll_event events[LOOP_EVENTS_MAX];
	int n_events;

	struct message stop_message;
	atomic_bool stop_posted;
	bool stopping;
};

static void on_mailbox_ready(struct watch *w, uint32_t ready UNUSED)
{
	struct loop *loop = CONTAINER_OF(w, struct loop, mailbox_watch);

	mailbox_woke(&loop->mailbox);
}

static void on_stop_message(struct message *msg)
{
	struct loop *loop = CONTAINER_OF(msg, struct loop, stop_message);

	loop->stopping = true;
}

static void read_clocks(struct loop *loop)
{
	loop->now_ns = loop->latest_ns = clock_mono_ns(loop->clock);
	loop->wall_ns = clock_wall_ns(loop->clock);
}

static void begin_turn(struct loop *loop)
{
	loop->waited = false;
	atomic_store_explicit(
		&loop->busy_since_ns, loop->now_ns, memory_order_relaxed);
}

/* By a reading of the clock that is made anyway: before the loop waits, or
 * after it has looked without waiting. */
static void count_turn(struct loop *loop, int64_t took_ns)
{
	metrics_duration(&loop->metrics, METRIC_TURN_TIME, took_ns);
}

int loop_new(const struct clock *clock, struct loop **ret_loop)
{
	CLEANUP(loop_free)
	struct loop *loop = mem_zalloc(sizeof(*loop));
	int r;

	if (!loop)
		return ERR_NOMEM;
	loop->clock = clock;
	loop->epoll_fd = loop->mailbox.event_fd = -1;
	list_init(&loop->deferred);
	loop->stop_message.deliver = on_stop_message;
	loop->waited = true;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return ERR_SYS;
	r = mailbox_init(&loop->mailbox);
	if (r < 0)
		return r;
	loop->mailbox_watch.on_ready = on_mailbox_ready;
	r = watch_start(
		&loop->mailbox_watch, loop, loop->mailbox.event_fd, EPOLLIN);
	if (r < 0)
		return r;
	read_clocks(loop);
	*ret_loop = TAKE_PTR(loop);
	return 0;
}

void loop_free(struct loop **loop)
{
	struct loop *l = *loop;

	if (!l)
		return;
	mailbox_release(&l->mailbox);
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	timer_heap_release(&l->timers);
	mem_free(l);
	*loop = NULL;
}

void loop_deliver_mail(struct loop *loop)
{
	(void)mailbox_deliver_all(&loop->mailbox);
}

struct mailbox *loop_mailbox(struct loop *loop)
{
	return &loop->mailbox;
}

int64_t loop_now_ns(const struct loop *loop)
{
	return loop->now_ns;
}

int64_t loop_wall_ns(const struct loop *loop)
{
	return loop->wall_ns;
}

int64_t loop_clock_ns(struct loop *loop)
{
	loop->latest_ns = clock_mono_ns(loop->clock);
	return loop->latest_ns;
}

int64_t loop_latest_ns(const struct loop *loop)
{
	return loop->latest_ns;
}

struct metrics *loop_metrics(struct loop *loop)
{
	return &loop->metrics;
}

int64_t loop_stuck_ns(const struct loop *loop)
{
	int64_t since_ns = atomic_load_explicit(
		&loop->busy_since_ns, memory_order_relaxed);

	return since_ns == 0 ? 0
			     : MAX(clock_mono_ns(loop->clock) - since_ns, 0);
}

void loop_stop(struct loop *loop)
{
	if (!atomic_exchange(&loop->stop_posted, true))
		mailbox_post(&loop->mailbox, &loop->stop_message);
}

void loop_defer(struct loop *loop, struct deferred *d)
{
	if (list_empty(&d->node))
		list_append(&loop->deferred, &d->node);
}

/* How long epoll may wait: not past the first timer, and not at all when
 * there is work already. */
static int wait_ms(struct loop *loop, int max_wait_ms)
{
	const struct timer *first = timer_heap_first(&loop->timers);
	int64_t ms = max_wait_ms < 0 ? INT_MAX : max_wait_ms, now;

	if (!list_empty(&loop->deferred))
		return 0;
	now = clock_mono_ns(loop->clock);
	/* Rounded up: a timer that is a little late fires once, one that is
	 * early would make the loop spin. */
	if (first)
		ms = MIN(ms,
			MAX(first->at_ns - now + NS_PER_MS - 1, 0) / NS_PER_MS);
	if (ms > 0 && !loop->waited) {
		count_turn(loop, now - loop->now_ns);
		loop->waited = true;
		atomic_store_explicit(
			&loop->busy_since_ns, 0, memory_order_relaxed);
	}
	return max_wait_ms < 0 && !first ? -1 : (int)ms;
}

static int fetch_events(struct loop *loop, int max_wait_ms)
{
	int timeout = 0, n;

	if (mailbox_try_sleep(&loop->mailbox))
		timeout = wait_ms(loop, max_wait_ms);
	n = epoll_wait(loop->epoll_fd, loop->events, LOOP_EVENTS_MAX, timeout);
	atomic_store(&loop->mailbox.asleep, false);
	if (n < 0 && errno != EINTR)
		return ERR_SYS;
	loop->n_events = MAX(n, 0);
	return 0;
}

static void run_watches(struct loop *loop)
{
	struct watch *w;
	int i;

	for (i = 0; i < loop->n_events; i++) {
		w = loop->events[i].data.ptr;
		if (w)
			w->on_ready(w, loop->events[i].events);
	}
	loop->n_events = 0;
}

static void run_timers(struct loop *loop)
{
	struct timer *t;

	while ((t = timer_heap_first(&loop->timers)) &&
		t->at_ns <= loop->now_ns) {
		timer_clear(t);
		t->on_due(t);
	}
}

static void run_deferred(struct loop *loop)
{
	struct list *node;

	while ((node = list_pop(&loop->deferred))) {
		struct deferred *d = CONTAINER_OF(node, struct deferred, node);

		d->run(d);
	}
}

int loop_turn(struct loop *loop, int max_wait_ms)
{
	int64_t before_ns = loop->now_ns;
	int r = fetch_events(loop, max_wait_ms);

	if (r < 0)
		return r;
	read_clocks(loop);
	if (!loop->waited)
		count_turn(loop, loop->now_ns - before_ns);
	begin_turn(loop);
	(void)mailbox_deliver_all(&loop->mailbox); /* nothing is fine */
	run_watches(loop);
	run_timers(loop);
	run_deferred(loop);
	return 0;
}

int loop_run(struct loop *loop)
{
	int r = 0;

	while (!loop->stopping && r == 0)
		r = loop_turn(loop, -1);
	return r;
}

int watch_start(struct watch *w, struct loop *loop, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return ERR_SYS;
	w->fd = fd;
	w->events = events;
	w->loop = loop;
	return 0;
}

int watch_change(struct watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	if (w->events == events)
		return 0;
	if (epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev) < 0)
		return ERR_SYS;
	w->events = events;
	return 0;
}

void watch_stop(struct watch *w)
{
	if (!w->loop)
		return;
	/* An open descriptor that is watched can always be removed. */
	(void)epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	watch_forget(w);
}

void watch_forget(struct watch *w)
{
	struct loop *loop = w->loop;
	int i;

	for (i = 0; loop && i < loop->n_events; i++) {
		if (loop->events[i].data.ptr == w)
			loop->events[i].data.ptr = NULL;
	}
	w->loop = NULL;
}

int timer_set(struct timer *t, struct loop *loop, int64_t at_ns)
{
	t->loop = loop;
	return timer_heap_set(&loop->timers, t, at_ns);
}

void timer_clear(struct timer *t)
{
	if (timer_is_set(t))
		timer_heap_remove(&t->loop->timers, t);
}
