/* SPDX-License-Identifier: Apache-2.0 */
#include "app/watchdog.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

/* Looks per interval. sd_watchdog_enabled(3) asks for two; an answer is seen
 * one look later than it came, and one may be dropped. */
#define LOOKS 4

struct probe {
	struct message message;
	struct watchdog *watchdog; /* ref */
};

struct watchdog {
	const struct notify *notify; /* ref */
	struct shard *const *shards; /* ref */
	size_t n_shards;
	struct loop *loop; /* ref */
	struct timer timer;
	atomic_size_t unanswered;
	bool told; /* that an answer is missing */
	struct probe probes[];
};

/* On a shard's thread. */
static void deliver_probe(struct message *msg)
{
	struct probe *p = CONTAINER_OF(msg, struct probe, message);

	atomic_fetch_sub(&p->watchdog->unanswered, 1);
}

static void ask_all(struct watchdog *w)
{
	size_t i;

	atomic_store(&w->unanswered, w->n_shards);
	for (i = 0; i < w->n_shards; i++)
		shard_post(w->shards[i], &w->probes[i].message);
}

static void look(struct watchdog *w)
{
	size_t unanswered = atomic_load(&w->unanswered);

	if (unanswered == 0) {
		w->told = false;
		notify_alive(w->notify);
		ask_all(w);
	} else if (!w->told) {
		w->told = true;
		log_warn(NULL, "watchdog.waiting", F_U64("shards", unanswered));
	}
}

static void on_due(struct timer *t)
{
	struct watchdog *w = CONTAINER_OF(t, struct watchdog, timer);

	look(w);
	/* Its place in the heap is free, so this takes no memory. */
	if (timer_set(t, w->loop,
		    loop_now_ns(w->loop) + w->notify->watchdog_ns / LOOKS) < 0)
		log_error(NULL, "watchdog.stopped");
}

int watchdog_start(struct loop *loop, const struct notify *n,
	struct shard *const shards[], size_t n_shards,
	struct watchdog **ret_watchdog)
{
	CLEANUP(watchdog_free)
	struct watchdog *w =
		mem_zalloc(sizeof(*w) + n_shards * sizeof(struct probe));
	size_t i;
	int r;

	if (!w)
		return ERR_NOMEM;
	w->notify = n;
	w->shards = shards;
	w->n_shards = n_shards;
	w->loop = loop;
	w->timer.on_due = on_due;
	for (i = 0; i < n_shards; i++) {
		w->probes[i].message.deliver = deliver_probe;
		w->probes[i].watchdog = w;
	}
	r = timer_set(&w->timer, loop, loop_now_ns(loop));
	if (r < 0)
		return r;
	*ret_watchdog = TAKE_PTR(w);
	return 0;
}

void watchdog_free(struct watchdog **watchdog)
{
	struct watchdog *w = *watchdog;

	if (!w)
		return;
	timer_clear(&w->timer);
	mem_free(w);
	*watchdog = NULL;
}
