/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "lib/fake_clock.h"
#include "lib/unit.h"
#include "loop/loop.h"

static struct fake_clock time_now;
static struct loop *loop;
static char order[64];

static void set_up(void)
{
	fake_clock_init(&time_now);
	order[0] = '\0';
	ck_assert_int_eq(loop_new(&time_now.clock, &loop), 0);
}

static void turn(void)
{
	ck_assert_int_eq(loop_turn(loop, 0), 0);
}

struct named_timer {
	struct timer timer;
	char name;
};

static void note(char name)
{
	size_t n = strlen(order);

	order[n] = name;
	order[n + 1] = '\0';
}

static void on_timer(struct timer *t)
{
	note(CONTAINER_OF(t, struct named_timer, timer)->name);
}

TEST(loop, timers_run_in_order_of_time_and_once)
{
	struct named_timer t[3] = {{.timer.on_due = on_timer, .name = 'a'},
		{.timer.on_due = on_timer, .name = 'b'},
		{.timer.on_due = on_timer, .name = 'c'}};
	int64_t now;

	set_up();
	now = loop_now_ns(loop);
	ck_assert_int_eq(timer_set(&t[0].timer, loop, now + 30), 0);
	ck_assert_int_eq(timer_set(&t[1].timer, loop, now + 10), 0);
	ck_assert_int_eq(timer_set(&t[2].timer, loop, now + 20), 0);
	fake_clock_advance(&time_now, 25);
	turn();
	ck_assert_str_eq(order, "bc");
	fake_clock_advance(&time_now, 25);
	turn();
	turn();
	ck_assert_str_eq(order, "bca");
	loop_free(&loop);
}

TEST(loop, a_timer_can_be_moved_and_cleared)
{
	struct named_timer t[2] = {{.timer.on_due = on_timer, .name = 'a'},
		{.timer.on_due = on_timer, .name = 'b'}};
	int64_t now;

	set_up();
	now = loop_now_ns(loop);
	ck_assert_int_eq(timer_set(&t[0].timer, loop, now + 10), 0);
	ck_assert_int_eq(timer_set(&t[1].timer, loop, now + 20), 0);
	ck_assert_int_eq(timer_set(&t[0].timer, loop, now + 30), 0);
	timer_clear(&t[1].timer);
	timer_clear(&t[1].timer);
	ck_assert(!timer_is_set(&t[1].timer));
	fake_clock_advance(&time_now, 25);
	turn();
	ck_assert_str_eq(order, "");
	fake_clock_advance(&time_now, 10);
	turn();
	ck_assert_str_eq(order, "a");
	loop_free(&loop);
}

TEST(loop, heap_keeps_order_under_random_moves)
{
	enum { N = 200 };
	struct named_timer t[N];
	int64_t last = 0, now;
	unsigned seed = 1;
	int i, ran = 0;

	set_up();
	now = loop_now_ns(loop);
	for (i = 0; i < N; i++)
		t[i] = (struct named_timer){.timer.on_due = on_timer};
	for (i = 0; i < 10 * N; i++) {
		struct timer *one = &t[rand_r(&seed) % N].timer;

		if (rand_r(&seed) % 4 == 0)
			timer_clear(one);
		else
			ck_assert_int_eq(timer_set(one, loop,
						 now + rand_r(&seed) % 1000),
				0);
	}
	for (;;) {
		struct timer *first = NULL;

		for (i = 0; i < N; i++) {
			if (timer_is_set(&t[i].timer) &&
				(!first || t[i].timer.at_ns < first->at_ns))
				first = &t[i].timer;
		}
		if (!first)
			break;
		ck_assert_int_ge(first->at_ns, last);
		last = first->at_ns;
		order[0] = '\0';
		fake_clock_set(&time_now, last);
		turn();
		ck_assert(!timer_is_set(first));
		ran++;
	}
	ck_assert_int_gt(ran, 0);
	loop_free(&loop);
}

struct named_message {
	struct message message;
	char name;
};

static void on_message(struct message *m)
{
	note(CONTAINER_OF(m, struct named_message, message)->name);
}

struct named_watch {
	struct watch watch;
	struct watch *stops;
	char name;
};

static void on_watch(struct watch *w, uint32_t ready UNUSED)
{
	struct named_watch *n = CONTAINER_OF(w, struct named_watch, watch);

	note(n->name);
	if (n->stops)
		watch_stop(n->stops);
}

TEST(loop, mail_is_delivered_before_descriptors)
{
	struct named_watch w = {.watch.on_ready = on_watch, .name = 'w'};
	struct named_message m = {.message.deliver = on_message, .name = 'm'};
	int fds[2];

	set_up();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(watch_start(&w.watch, loop, fds[0], EPOLLIN), 0);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	mailbox_post(loop_mailbox(loop), &m.message);
	turn();
	ck_assert_str_eq(order, "mw");
	watch_stop(&w.watch);
	close(fds[0]);
	close(fds[1]);
	loop_free(&loop);
}

TEST(loop, a_stopped_watch_hears_nothing_of_events_already_fetched)
{
	struct named_watch w[2] = {{.watch.on_ready = on_watch, .name = 'a'},
		{.watch.on_ready = on_watch, .name = 'b'}};
	int fds[2][2], i;

	set_up();
	for (i = 0; i < 2; i++) {
		w[i].stops = &w[1 - i].watch;
		ck_assert_int_eq(
			socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]), 0);
		ck_assert_int_eq(
			watch_start(&w[i].watch, loop, fds[i][0], EPOLLIN), 0);
		ck_assert_int_eq(write(fds[i][1], "x", 1), 1);
	}
	turn();
	ck_assert_uint_eq(strlen(order), 1);
	for (i = 0; i < 2; i++) {
		watch_stop(&w[i].watch);
		close(fds[i][0]);
		close(fds[i][1]);
	}
	loop_free(&loop);
}

/* Its number may be another's by then: who watches that is not to lose it. */
TEST(loop, a_forgotten_watch_leaves_the_next_one_of_its_number)
{
	struct named_watch w[2] = {{.watch.on_ready = on_watch, .name = 'a'},
		{.watch.on_ready = on_watch, .name = 'b'}};
	int fds[2][2];

	set_up();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds[0]), 0);
	ck_assert_int_eq(watch_start(&w[0].watch, loop, fds[0][0], EPOLLIN), 0);
	close(fds[0][0]);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds[1]), 0);
	ck_assert_int_eq(fds[1][0], fds[0][0]);
	ck_assert_int_eq(watch_start(&w[1].watch, loop, fds[1][0], EPOLLIN), 0);
	ck_assert_int_eq(write(fds[1][1], "x", 1), 1);
	watch_forget(&w[0].watch);
	turn();
	ck_assert_str_eq(order, "b");
	watch_stop(&w[1].watch);
	close(fds[0][1]);
	close(fds[1][0]);
	close(fds[1][1]);
	loop_free(&loop);
}

struct named_deferred {
	struct deferred deferred;
	struct deferred *then;
	char name;
};

static void run_named(struct deferred *d)
{
	struct named_deferred *n =
		CONTAINER_OF(d, struct named_deferred, deferred);

	note(n->name);
	if (n->then)
		loop_defer(loop, n->then);
}

TEST(loop, deferred_work_runs_once_and_in_the_same_turn)
{
	struct named_deferred b = {.deferred.run = run_named, .name = 'b'};
	struct named_deferred a = {
		.deferred.run = run_named, .then = &b.deferred, .name = 'a'};

	set_up();
	list_init(&a.deferred.node);
	list_init(&b.deferred.node);
	loop_defer(loop, &a.deferred);
	loop_defer(loop, &a.deferred);
	turn();
	ck_assert_str_eq(order, "ab");
	loop_defer(loop, &a.deferred);
	deferred_cancel(&a.deferred);
	turn();
	ck_assert_str_eq(order, "ab");
	loop_free(&loop);
}

TEST(loop, stop_ends_run_and_may_come_twice)
{
	set_up();
	loop_stop(loop);
	loop_stop(loop);
	ck_assert_int_eq(loop_run(loop), 0);
	loop_free(&loop);
}

static void on_quiet_timer(struct timer *t UNUSED)
{
}

TEST(loop, a_timer_without_memory_stays_as_it_was)
{
	enum { N = 100 }; /* more than the first room is for */
	struct named_timer t[N];
	int64_t now;
	int n_set = 0, n_failed = 0;

	set_up();
	now = loop_now_ns(loop);
	for (int i = 0; i < N; i++) {
		t[i] = (struct named_timer){.timer.on_due = on_quiet_timer};
		(void)mem_fail_after(0);
		if (timer_set(&t[i].timer, loop, now + 10) < 0) {
			n_failed++;
			ck_assert(!timer_is_set(&t[i].timer));
			(void)mem_fail_after(-1);
			ck_assert_int_eq(
				timer_set(&t[i].timer, loop, now + 20), 0);
		}
		n_set++;
		/* Moving one takes no memory. */
		(void)mem_fail_after(0);
		ck_assert_int_eq(timer_set(&t[0].timer, loop, now + 5), 0);
		(void)mem_fail_after(-1);
	}
	ck_assert_int_ge(n_failed, 2);
	ck_assert_int_eq(n_set, N);
	fake_clock_advance(&time_now, 20);
	turn();
	for (int i = 0; i < N; i++)
		ck_assert(!timer_is_set(&t[i].timer));
	loop_free(&loop);
}

TEST(loop, making_one_without_memory_fails_cleanly)
{
	fake_clock_init(&time_now);
	loop = NULL;
	(void)mem_fail_after(0);
	ck_assert_int_eq(loop_new(&time_now.clock, &loop), ERR_NOMEM);
	ck_assert(mem_fail_after(-1));
	ck_assert_ptr_null(loop);
}

static uint64_t value(size_t slot)
{
	return metrics_value(loop_metrics(loop), slot);
}

static uint64_t turns(void)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i <= METRIC_DURATION_BOUNDS; i++)
		n += value(METRIC_TURN_TIME + i);
	return n;
}

static void work_for_3_ms(struct deferred *d UNUSED)
{
	fake_clock_advance(&time_now, 3 * NS_PER_MS);
	ck_assert_int_eq(loop_stuck_ns(loop), 3 * NS_PER_MS);
}

TEST(loop, what_a_turn_took_is_counted_when_the_next_begins)
{
	struct deferred work = {.run = work_for_3_ms};

	set_up();
	list_init(&work.node);
	ck_assert_int_eq(loop_stuck_ns(loop), 0);
	loop_defer(loop, &work);
	turn();
	ck_assert_uint_eq(turns(), 0);
	turn();
	ck_assert_uint_eq(turns(), 1);
	ck_assert_uint_eq(value(METRIC_TURN_TIME + METRIC_DURATION_BOUNDS + 1),
		3 * NS_PER_MS);
	loop_free(&loop);
}

TEST(loop, the_latest_reading_of_the_clock_is_kept)
{
	set_up();
	fake_clock_advance(&time_now, 5);
	ck_assert_int_eq(loop_latest_ns(loop), loop_now_ns(loop));
	ck_assert_int_eq(loop_clock_ns(loop), loop_now_ns(loop) + 5);
	ck_assert_int_eq(loop_latest_ns(loop), loop_now_ns(loop) + 5);
	turn();
	ck_assert_int_eq(loop_latest_ns(loop), loop_now_ns(loop));
	loop_free(&loop);
}
