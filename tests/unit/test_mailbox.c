/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/mailbox.h"

#include <poll.h>

#include "base/clock.h"
#include "base/err.h"
#include "loop/thread.h"

#include "lib/unit.h"

#define PATIENCE_MS 20000 /* for what must come, on a busy machine */

enum { POSTERS = 8, EACH = 20000 };

struct letter {
	struct message message;
	int poster, number;
};

static struct mailbox box;
static struct letter letters[POSTERS][EACH];
static int last[POSTERS], n_delivered;

static void on_letter(struct message *m)
{
	struct letter *l = CONTAINER_OF(m, struct letter, message);

	ck_assert_int_eq(l->number, last[l->poster] + 1);
	last[l->poster] = l->number;
	n_delivered++;
	/* As one that frees its object would. */
	m->next = (struct message *)(uintptr_t)1;
}

static void write_letters(void)
{
	for (int p = 0; p < POSTERS; p++) {
		last[p] = -1;
		for (int i = 0; i < EACH; i++)
			letters[p][i] =
				(struct letter){.message.deliver = on_letter,
					.poster = p,
					.number = i};
	}
	n_delivered = 0;
}

static void *post_singly(void *arg)
{
	struct letter *mine = arg;

	for (int i = 0; i < EACH; i++)
		mailbox_post(&box, &mine[i].message);
	return NULL;
}

static void *post_chains(void *arg)
{
	struct letter *mine = arg;
	struct message_chain chain = {0};
	size_t len = 1;

	for (int i = 0; i < EACH; i++) {
		message_chain_add(&chain, &mine[i].message);
		if (chain.n < len && i + 1 < EACH)
			continue;
		mailbox_post_chain(&box, &chain);
		ck_assert_ptr_null(chain.first);
		len = len % 7 + 1;
	}
	return NULL;
}

static void deliver_chain(struct message *m)
{
	struct message *next;

	for (; m; m = next) {
		next = m->next;
		m->deliver(m);
	}
}

static void start_posters(pthread_t threads[POSTERS])
{
	for (int p = 0; p < POSTERS; p++)
		ck_assert_int_eq(
			thread_start(&threads[p], "poster",
				p % 2 ? post_chains : post_singly, letters[p]),
			0);
}

TEST(mailbox, nothing_is_lost_and_each_posters_order_is_kept)
{
	pthread_t threads[POSTERS];
	struct message *m;

	write_letters();
	ck_assert_int_eq(mailbox_init(&box), 0);
	start_posters(threads);
	while (n_delivered < POSTERS * EACH) {
		m = mailbox_wait(&box, PATIENCE_MS);
		ck_assert_ptr_nonnull(m); /* else a wake-up was lost */
		deliver_chain(m);
	}
	for (int p = 0; p < POSTERS; p++)
		thread_join(threads[p]);
	ck_assert_ptr_null(mailbox_wait(&box, 0));
	mailbox_release(&box);
}

/* As a loop does it: looks, sleeps in poll, wakes, looks again. */
TEST(mailbox, who_sleeps_on_the_descriptor_is_always_woken)
{
	struct pollfd pfd = {.events = POLLIN};
	pthread_t threads[POSTERS];

	write_letters();
	ck_assert_int_eq(mailbox_init(&box), 0);
	pfd.fd = box.event_fd;
	start_posters(threads);
	while (n_delivered < POSTERS * EACH) {
		if (mailbox_try_sleep(&box)) {
			ck_assert_int_eq(poll(&pfd, 1, PATIENCE_MS), 1);
			mailbox_woke(&box);
		}
		(void)mailbox_deliver_all(&box);
	}
	for (int p = 0; p < POSTERS; p++)
		thread_join(threads[p]);
	mailbox_release(&box);
}

TEST(mailbox, takes_the_oldest_first_and_all_at_once)
{
	struct message_chain chain = {0};

	write_letters();
	ck_assert_int_eq(mailbox_init(&box), 0);
	ck_assert(!mailbox_deliver_all(&box));
	ck_assert_ptr_null(mailbox_take(&box));
	for (int i = 0; i < 3; i++)
		mailbox_post(&box, &letters[0][i].message);
	mailbox_post_chain(&box, &chain);
	message_chain_add(&chain, &letters[0][3].message);
	message_chain_add(&chain, &letters[0][4].message);
	ck_assert_uint_eq(chain.n, 2);
	mailbox_post_chain(&box, &chain);
	message_chain_add(&chain, &letters[0][5].message);
	mailbox_post_chain(&box, &chain);
	mailbox_post(&box, &letters[0][6].message);
	ck_assert(mailbox_deliver_all(&box));
	ck_assert_int_eq(n_delivered, 7);
	ck_assert(!mailbox_deliver_all(&box));
	mailbox_release(&box);
	mailbox_release(&box);
	mailbox_release(NULL);
}

static bool readable(void)
{
	struct pollfd pfd = {.fd = box.event_fd, .events = POLLIN};

	return poll(&pfd, 1, 0) == 1;
}

TEST(mailbox, the_descriptor_is_written_only_for_a_sleeper_and_once)
{
	write_letters();
	ck_assert_int_eq(mailbox_init(&box), 0);
	mailbox_post(&box, &letters[0][0].message);
	ck_assert(!readable());
	ck_assert(!mailbox_try_sleep(&box)); /* mail waits */
	ck_assert(mailbox_deliver_all(&box));
	ck_assert(mailbox_try_sleep(&box));
	ck_assert(!readable());
	mailbox_post(&box, &letters[0][1].message);
	ck_assert(readable());
	mailbox_woke(&box);
	ck_assert(!readable());
	mailbox_post(&box, &letters[0][2].message);
	ck_assert(!readable());
	ck_assert(mailbox_deliver_all(&box));
	mailbox_release(&box);
}

TEST(mailbox, waiting_has_an_end)
{
	int64_t before = clock_mono_ns(&clock_system);

	ck_assert_int_eq(mailbox_init(&box), 0);
	ck_assert_ptr_null(mailbox_wait(&box, 0));
	ck_assert_ptr_null(mailbox_wait(&box, 30));
	ck_assert_int_ge(clock_mono_ns(&clock_system) - before, 30 * NS_PER_MS);
	write_letters();
	mailbox_post(&box, &letters[0][0].message);
	ck_assert_ptr_eq(mailbox_wait(&box, -1), &letters[0][0].message);
	mailbox_release(&box);
}
