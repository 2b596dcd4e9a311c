/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_store.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/postgres/pg_port.h"
#include "store/postgres/pg_schema.h"

/* How long the last turns of a closing port's loop wait at a time. */
#define CLOSE_TURN_MS 10

struct pg_store {
	struct store store;
	struct pg_shared shared;
};

static struct pg_store *pg_store_of(struct store *store)
{
	return CONTAINER_OF(store, struct pg_store, store);
}

static int attach(struct store *store, struct loop *loop,
	const struct store_listener *listener, struct store_port **ret_port)
{
	return pg_port_attach(
		&pg_store_of(store)->shared, store, loop, listener, ret_port);
}

static void sweep_locks(struct store *store)
{
	struct pg_shared *shared = &pg_store_of(store)->shared;

	if (shared->ports.n > 0)
		pg_port_sweep(&shared->ports.port[0]->port);
}

static bool usable(const struct store *store)
{
	const struct pg_store *s =
		CONTAINER_OF(store, const struct pg_store, store);
	size_t n = atomic_load(&s->shared.n_attached);

	return n > 0 && atomic_load(&s->shared.n_sound) == n;
}

static void wait_usable(struct store *store, int wait_ms)
{
	struct pg_shared *shared = &pg_store_of(store)->shared;
	int64_t until_ns = clock_wall_ns(&clock_system) + wait_ms * NS_PER_MS;
	const struct timespec until = {
		.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
	int r = 0;

	pthread_mutex_lock(&shared->sound_lock);
	while (r == 0 && !(usable(store) && pg_listen_decided(&shared->listen)))
		r = pthread_cond_timedwait(
			&shared->sound_changed, &shared->sound_lock, &until);
	pthread_mutex_unlock(&shared->sound_lock);
}

/* The rest is counted by the ports, on their loops. */
static void metrics(const struct store *store, struct metrics_sum *sum)
{
	const struct pg_store *s =
		CONTAINER_OF(store, const struct pg_store, store);

	sum->value[METRIC_PG_LISTENING] = pg_listen_hears(&s->shared.listen);
}

/* What is not done yet gets its answer: from the database, or, if that does not
 * come in time, that it is unavailable. Nobody else turns these loops now. */
static void finish(struct store_port *port)
{
	while (pg_port_in_flight(port) > 0) {
		if (loop_turn(port->loop, CLOSE_TURN_MS) < 0)
			return;
	}
}

static void close_store(struct store *store)
{
	struct pg_store *s = pg_store_of(store);
	struct ports_port *port;
	size_t i;

	for (i = 0; i < s->shared.ports.n; i++) {
		port = s->shared.ports.port[i];
		if (port->detached)
			continue;
		finish(&port->port);
		pg_port_detach(&port->port);
	}
	ports_release(&s->shared.ports);
	pthread_cond_destroy(&s->shared.sound_changed);
	pthread_mutex_destroy(&s->shared.sound_lock);
	pg_target_release(&s->shared.target);
	pg_target_release(&s->shared.direct);
	mem_free(s);
}

static const struct store_backend pg_backend = {
	.name = "postgresql",
	.metric = METRIC_BACKEND_POSTGRES,
	.attach = attach,
	.detach = pg_port_detach,
	.submit = pg_port_submit,
	.nudge = pg_port_nudge,
	.sweep_locks = sweep_locks,
	.usable = usable,
	.wait_usable = wait_usable,
	.metrics = metrics,
	.close = close_store,
};

/* Different for every process that ever shares the database. */
static int name_instance(struct pg_shared *shared)
{
	uint64_t chance;

	if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance))
		return ERR_SYS;
	(void)snprintf(shared->instance, sizeof(shared->instance), "%016llx",
		(unsigned long long)chance);
	return 0;
}

static int set_up(struct pg_shared *shared, const struct config *config,
	struct errmsg *reterr)
{
	bool direct = config->database_direct_url[0];
	int r = name_instance(shared);

	if (r == 0)
		r = pg_lookup_set_up();
	if (r < 0)
		return errmsg_set(reterr, r, "%s", err_text(r));
	shared->pooler = config->database_pooler;
	shared->slots_per_port =
		MAX(config->database_pool_size / config->shards, UINT32_C(1));
	shared->listen.ports = &shared->ports;
	shared->listen.instance = shared->instance;
	shared->listen.pooler = shared->pooler;
	shared->listen.direct = direct;
	shared->session = direct ? &shared->direct : &shared->target;
	r = pg_target_init(
		&shared->target, "DATABASE_URL", config->database_url, reterr);
	if (r == 0 && direct)
		r = pg_target_init(&shared->direct, "DATABASE_DIRECT_URL",
			config->database_direct_url, reterr);
	/* Migrations want a session of their own where there is one. */
	return r == 0 ? pg_schema_open(shared->session, reterr) : r;
}

int pg_store_open(const struct config *config, const struct clock *clock,
	struct store **ret_store, struct errmsg *reterr)
{
	struct pg_store *s = mem_zalloc(sizeof(*s));
	int r;

	if (!s)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	s->store.backend = &pg_backend;
	s->shared.clock = clock;
	ports_init(&s->shared.ports);
	pthread_mutex_init(&s->shared.sound_lock, NULL);
	pthread_cond_init(&s->shared.sound_changed, NULL);
	r = set_up(&s->shared, config, reterr);
	if (r < 0) {
		close_store(&s->store);
		return r;
	}
	*ret_store = &s->store;
	return 0;
}
