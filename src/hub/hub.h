/* SPDX-License-Identifier: Apache-2.0 */
/* hub — who on this loop listens to whom: fan-out of change notices.
 *
 * Each subscriber has one slot. A notice that finds the slot full is merged
 * into it: what a listener must learn is that something changed, and two
 * client ids merged become none, which every client takes as "look". So a slow
 * listener costs one slot, and no change is ever missed.
 *
 * Owns: the table of users. Does not: send bytes, know protobuf.
 * Threads: one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/list.h"
#include "base/metrics.h"
#include "base/slice.h"
#include "base/user_id.h"

struct hub;
struct hub_user;

/* Embedded by who listens; zeroed, and on_notice set, before subscribing. */
struct subscriber {
	/* The slot was empty and now is not: hub_take() when it can be told.
	 * May unsubscribe itself, and no other. */
	void (*on_notice)(struct subscriber *s);

	/* The hub's. */
	struct list node;
	struct hub_user *user; /* ref; NULL when not subscribed */
	bool pending;
	char *client_id; /* own; NULL for none */
	size_t client_id_len;
};

/* `metrics`, where it counts what it merges, outlives it.
 * Returns: 0, ERR_NOMEM. */
MUSTCHECK int hub_new(struct metrics *metrics, struct hub **ret_hub);

/* Nobody is subscribed any more. NULL inside is fine. */
void hub_free(struct hub **hub);

/* Returns: 0, ERR_NOMEM. */
MUSTCHECK int hub_subscribe(
	struct hub *h, struct subscriber *s, const struct user_id *user);

/* Harmless for one that is not subscribed. */
void hub_unsubscribe(struct hub *h, struct subscriber *s);

/* Tells the user's subscribers; `client_id` NULL for none. */
void hub_publish(struct hub *h, const struct user_id *user,
	const struct slice *client_id);

/* Calls `each` for every user who has subscribers; it changes nothing here. */
void hub_each_user(struct hub *h,
	void (*each)(void *arg, const struct user_id *user), void *arg);

/* Tells every subscriber of every user to look: notices may be missing. */
void hub_nudge_all(struct hub *h);

/* Empties the slot. Returns whether there was a notice, and if so its client
 * id: ptr is NULL for none; else valid until the slot fills again. */
bool hub_take(struct subscriber *s, struct slice *ret_client_id);
