/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include "store/backend.h"
#include "store/postgres/pg_store.h"
#include "store/sqlite/sqlite_store.h"

const char *store_outcome_name(enum store_outcome outcome)
{
	static const char *const names[] = {
		[STORE_OK] = "ok",
		[STORE_CONFLICT] = "conflict",
		[STORE_LOCK_HELD] = "lock_held",
		[STORE_BUSY] = "busy",
		[STORE_FULL] = "full",
		[STORE_TOO_MANY_RECORDS] = "too_many_records",
		[STORE_TOO_MUCH_DATA] = "too_much_data",
		[STORE_NO_NEW_USER] = "no_new_user",
		[STORE_EXPIRED] = "expired",
		[STORE_UNAVAILABLE] = "unavailable",
		[STORE_UNKNOWN] = "unknown",
		[STORE_FAILED] = "failed",
	};

	return names[outcome];
}

static bool has_database_url(const struct config *config)
{
	return config->database_url[0] != '\0';
}

static bool always(const struct config *config UNUSED)
{
	return true;
}

/* The first that is wanted is opened. */
static const struct {
	bool (*wanted)(const struct config *config);
	int (*open)(const struct config *config, const struct clock *clock,
		struct store **ret_store, struct errmsg *reterr);
} backends[] = {
	{has_database_url, pg_store_open},
	{always, sqlite_store_open},
};

int store_open(const struct config *config, const struct clock *clock,
	struct store **ret_store, struct errmsg *reterr)
{
	size_t i = 0;

	while (!backends[i].wanted(config))
		i++; /* the last always is */
	return backends[i].open(config, clock, ret_store, reterr);
}

void store_close(struct store **store)
{
	if (*store)
		(*store)->backend->close(*store);
	*store = NULL;
}

int store_attach(struct store *store, struct loop *loop,
	const struct store_listener *listener, struct store_port **ret_port)
{
	return store->backend->attach(store, loop, listener, ret_port);
}

void store_detach(struct store_port **port)
{
	if (*port)
		(*port)->store->backend->detach(*port);
	*port = NULL;
}

void store_submit(struct store_port *port, struct store_op *op)
{
	op->port = port;
	port->store->backend->submit(port, op);
}

void store_nudge(struct store_port *port, const struct user_id *user)
{
	port->store->backend->nudge(port, user);
}

void store_sweep_locks(struct store *store)
{
	store->backend->sweep_locks(store);
}

bool store_usable(const struct store *store)
{
	return store->backend->usable(store);
}

void store_metrics(const struct store *store, struct metrics_sum *sum)
{
	sum->value[metric_at(METRIC_STORE, store->backend->metric)] = 1;
	sum->value[METRIC_STORE_USABLE] = store_usable(store);
	store->backend->metrics(store, sum);
}

void store_wait_usable(struct store *store, int wait_ms)
{
	if (store->backend->wait_usable)
		store->backend->wait_usable(store, wait_ms);
}
