/* SPDX-License-Identifier: Apache-2.0 */
/* backend — what a back-end gives to store.c. Only for back-ends. */
#pragma once

#include "store/store.h"

/* Each function as its namesake in store.h. */
struct store_backend {
	const char *name;
	enum metric_backend metric;
	int (*attach)(struct store *store, struct loop *loop,
		const struct store_listener *listener,
		struct store_port **ret_port);
	void (*detach)(struct store_port *port);
	void (*submit)(struct store_port *port, struct store_op *op);
	void (*nudge)(struct store_port *port, const struct user_id *user);
	void (*sweep_locks)(struct store *store);
	bool (*usable)(const struct store *store);
	void (*wait_usable)(struct store *store, int wait_ms); /* or NULL */
	void (*metrics)(const struct store *store, struct metrics_sum *sum);
	void (*close)(struct store *store);
};

/* A back-end's store and port begin with these. */
struct store {
	const struct store_backend *backend; /* ref; static */
};

struct store_port {
	struct store *store; /* ref */
	struct loop *loop;   /* ref */
	struct store_listener listener;
};
