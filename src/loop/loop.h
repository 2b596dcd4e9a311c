/* SPDX-License-Identifier: Apache-2.0 */
/* loop — one thread's event loop: descriptors, timers, mailbox, end of turn.
 *
 * A turn: wait in epoll, deliver the mailbox, run ready descriptors, run due
 * timers, run what was deferred.
 *
 * Threads: everything but loop_mailbox() and loop_stop() belongs to the thread
 * that runs the loop (or to the one that made it, before it runs).
 * Callbacks never run inside the functions below. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/metrics.h"
#include "loop/mailbox.h"

struct loop;

/* Returns: 0, ERR_NOMEM, ERR_SYS. `clock` outlives the loop. */
MUSTCHECK int loop_new(const struct clock *clock, struct loop **ret_loop);
void loop_free(struct loop **loop);

/* Runs turns until loop_stop(). Returns: 0, ERR_SYS (epoll failed). */
MUSTCHECK int loop_run(struct loop *loop);

/* One turn that waits at most `max_wait_ms` (-1: until something happens).
 * Returns as loop_run(). */
MUSTCHECK int loop_turn(struct loop *loop, int max_wait_ms);

/* Any thread: loop_run() returns after the turn in which this arrives. */
void loop_stop(struct loop *loop);

/* Delivers what other threads have posted, in the middle of a turn: for who
 * has just read from a peer, so that news posted before the peer wrote is known
 * when its bytes are looked at. On the loop's thread, not inside what messages
 * may change. */
void loop_deliver_mail(struct loop *loop);

/* Where other threads post to this loop. */
struct mailbox *loop_mailbox(struct loop *loop);

/* Where its thread counts; as long as the loop. */
struct metrics *loop_metrics(struct loop *loop);

/* Any thread: for how long the turn under way has lasted by now; 0 while the
 * loop waits. */
int64_t loop_stuck_ns(const struct loop *loop);

/* CLOCK_MONOTONIC and the wall as of the start of the turn's work: cheap, and
 * the same for all that happens in one turn. */
int64_t loop_now_ns(const struct loop *loop);
int64_t loop_wall_ns(const struct loop *loop);

/* CLOCK_MONOTONIC at this very moment: for who measures its own work. */
int64_t loop_clock_ns(struct loop *loop);

/* What that, or loop_now_ns(), said last: for who would like to know how late
 * in the turn it is, but not at the price of a clock. */
int64_t loop_latest_ns(const struct loop *loop);

/* A descriptor to watch. Embedded by its owner, who sets on_ready first. */
struct watch {
	int fd;
	uint32_t events; /* EPOLLIN and friends now asked for */
	void (*on_ready)(struct watch *w, uint32_t ready);
	struct loop *loop; /* NULL when not watched */
};

/* Level-triggered. Returns: 0, ERR_SYS. */
MUSTCHECK int watch_start(
	struct watch *w, struct loop *loop, int fd, uint32_t events);
/* No system call when nothing changes. Returns: 0, ERR_SYS. */
MUSTCHECK int watch_change(struct watch *w, uint32_t events);
/* Not called back any more, not even for events already fetched. */
void watch_stop(struct watch *w);
/* The same for a descriptor that somebody else has closed. That took it out of
 * epoll, and by now its number may be another's: it must not be stopped. */
void watch_forget(struct watch *w);

/* A moment to be called at. Embedded; zeroed before first use. */
struct timer {
	int64_t at_ns;
	size_t slot; /* 1 + place in the heap; 0 when not armed */
	void (*on_due)(struct timer *t);
	struct loop *loop;
};

/* (Re)arms for `at_ns` on the loop's monotonic clock.
 * Returns: 0, ERR_NOMEM (then it is as it was). */
MUSTCHECK int timer_set(struct timer *t, struct loop *loop, int64_t at_ns);
void timer_clear(struct timer *t);
static inline bool timer_is_set(const struct timer *t)
{
	return t->slot > 0;
}

/* Work for the end of the turn, where writes of the whole turn are gathered.
 * Embedded; list_init(&d->node) before first use. Deferring twice runs once;
 * what is deferred by deferred work runs in the same turn. */
struct deferred {
	struct list node;
	void (*run)(struct deferred *d);
};

void loop_defer(struct loop *loop, struct deferred *d);
static inline void deferred_cancel(struct deferred *d)
{
	list_remove(&d->node);
}
