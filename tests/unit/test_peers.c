/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "lib/unit.h"
#include "net/peers.h"

static struct address v4(uint8_t last)
{
	return address_of_v4((const uint8_t[4]){192, 0, 2, last});
}

/* 2001:db8:0:SUBNET::HOST */
static struct address v6(uint8_t subnet, uint8_t host)
{
	return address_of_v6((const uint8_t[16]){
		0x20, 1, 0xd, 0xb8, [7] = subnet, [15] = host});
}

static struct peers *peers;
static bool tell;

static int add(struct address a, int64_t now_ns)
{
	tell = false;
	return peers_add(peers, &a, now_ns, &tell);
}

static void take_away(struct address a)
{
	peers_remove(peers, &a);
}

static void set_up(uint32_t max)
{
	ck_assert_int_eq(peers_new(max, &peers), 0);
}

TEST(peers, each_has_its_own_cap)
{
	set_up(2);
	ck_assert_int_eq(add(v4(1), 0), 0);
	ck_assert_int_eq(add(v4(1), 0), 0);
	ck_assert_int_eq(add(v4(1), 0), PEERS_FULL);
	ck_assert_int_eq(add(v4(2), 0), 0);
	take_away(v4(1));
	ck_assert_int_eq(add(v4(1), 0), 0);
	ck_assert_int_eq(add(v4(1), 0), PEERS_FULL);
	peers_free(&peers);
	ck_assert_ptr_null(peers);
	peers_free(&peers);
}

TEST(peers, ipv6_counts_by_subnet)
{
	set_up(2);
	ck_assert_int_eq(add(v6(1, 1), 0), 0);
	ck_assert_int_eq(add(v6(1, 2), 0), 0);
	ck_assert_int_eq(add(v6(1, 3), 0), PEERS_FULL);
	ck_assert_int_eq(add(v6(2, 1), 0), 0);
	/* It need not be the one that came first. */
	take_away(v6(1, 1));
	ck_assert_int_eq(add(v6(1, 3), 0), 0);
	take_away(v6(1, 2));
	take_away(v6(1, 3));
	ck_assert_int_eq(add(v6(1, 9), 0), 0);
	peers_free(&peers);
}

TEST(peers, an_unknown_address_is_a_peer_like_others)
{
	set_up(1);
	ck_assert_int_eq(add((struct address){{0}}, 0), 0);
	ck_assert_int_eq(add((struct address){{0}}, 0), PEERS_FULL);
	ck_assert_int_eq(add(v4(0), 0), 0);
	peers_free(&peers);
}

TEST(peers, the_log_hears_of_a_peer_once_a_minute)
{
	int64_t now = NS_PER_S;

	set_up(1);
	ck_assert_int_eq(add(v4(1), now), 0);
	ck_assert_int_eq(add(v4(1), now), PEERS_FULL);
	ck_assert(tell);
	ck_assert_int_eq(add(v4(1), now + 1), PEERS_FULL);
	ck_assert(!tell);
	ck_assert_int_eq(add(v4(2), now), 0);
	ck_assert_int_eq(add(v4(2), now + 2), PEERS_FULL);
	ck_assert(tell);
	ck_assert_int_eq(add(v4(1), now + PEERS_TELL_NS - 1), PEERS_FULL);
	ck_assert(!tell);
	ck_assert_int_eq(add(v4(1), now + PEERS_TELL_NS), PEERS_FULL);
	ck_assert(tell);
	peers_free(&peers);
}

TEST(peers, going_and_coming_back_is_not_told_again)
{
	int64_t now = NS_PER_S;

	set_up(1);
	ck_assert_int_eq(add(v4(1), now), 0);
	ck_assert_int_eq(add(v4(1), now), PEERS_FULL);
	ck_assert(tell);
	take_away(v4(1));
	ck_assert_int_eq(add(v4(1), now + 1), 0);
	ck_assert_int_eq(add(v4(1), now + 1), PEERS_FULL);
	ck_assert(!tell);
	take_away(v4(1));
	/* Forgotten by now: this frees it. */
	ck_assert_int_eq(add(v4(2), now + PEERS_TELL_NS), 0);
	ck_assert_int_eq(add(v4(1), now + PEERS_TELL_NS), 0);
	ck_assert_int_eq(add(v4(1), now + PEERS_TELL_NS), PEERS_FULL);
	ck_assert(tell);
	peers_free(&peers);
}

TEST(peers, of_how_many_the_log_hears_is_bounded)
{
	struct address a;
	int i, told = 0;

	set_up(1);
	for (i = 0; i < 2 * PEERS_TOLD_MAX; i++) {
		a = address_of_v4((const uint8_t[4]){
			10, 0, (uint8_t)(i >> 8), (uint8_t)i});
		ck_assert_int_eq(add(a, 0), 0);
		ck_assert_int_eq(add(a, 0), PEERS_FULL);
		told += tell;
		take_away(a);
	}
	ck_assert_int_eq(told, PEERS_TOLD_MAX);
	peers_free(&peers);
}

TEST(peers, without_memory_nothing_is_counted)
{
	long n;

	for (n = 0; n < 2; n++) {
		set_up(1);
		ck_assert(!mem_fail_after(n));
		ck_assert_int_eq(add(v4(1), 0), ERR_NOMEM);
		ck_assert(mem_fail_after(-1));
		ck_assert_int_eq(add(v4(1), 0), 0);
		ck_assert_int_eq(add(v4(1), 0), PEERS_FULL);
		peers_free(&peers);
	}
}

enum { THREADS = 4, ROUNDS = 2000 };

static atomic_int inside;
static atomic_bool too_many;

/* Everybody wants the same few places. */
static void *come_and_go(void *counted)
{
	struct address a = v6(7, 1);
	bool ignored;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		if (peers_add(peers, &a, i, &ignored) != 0)
			continue;
		++*(int *)counted;
		if (atomic_fetch_add(&inside, 1) >= 2)
			atomic_store(&too_many, true);
		atomic_fetch_sub(&inside, 1);
		peers_remove(peers, &a);
	}
	return NULL;
}

TEST(peers, threads_share_one_count)
{
	pthread_t threads[THREADS];
	int counted[THREADS] = {0}, i, sum = 0;

	set_up(2);
	for (i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go,
					 &counted[i]),
			0);
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		sum += counted[i];
	}
	ck_assert_int_gt(sum, 0);
	ck_assert(!atomic_load(&too_many));
	ck_assert_int_eq(add(v6(7, 1), 0), 0);
	ck_assert_int_eq(add(v6(7, 2), 0), 0);
	ck_assert_int_eq(add(v6(7, 3), 0), PEERS_FULL);
	peers_free(&peers);
}
