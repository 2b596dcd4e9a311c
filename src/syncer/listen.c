/* SPDX-License-Identifier: Apache-2.0 */
/* ListenChanges: one empty notification as a greeting, then one for each
 * change, or for several while the peer is slow to take them. */
#include "syncer/private.h"

struct listener {
	struct subscriber subscriber;
	struct call *call; /* ref; the listener is in its arena */
	struct user_id user;
};

/* Tells what is in the slot, unless an earlier message still waits: then
 * on_sent comes back here, and meanwhile notices merge in the slot. */
static void tell(struct listener *l)
{
	Sync__Notification n = SYNC__NOTIFICATION__INIT;
	struct slice client_id;

	if (!call_all_sent(l->call) || !hub_take(&l->subscriber, &client_id))
		return;
	if (client_id.ptr) {
		n.optional_client_id_case =
			SYNC__NOTIFICATION__OPTIONAL_CLIENT_ID_CLIENT_ID;
		n.client_id = pb_bytes(client_id);
	}
	metrics_add(call_metrics(l->call), METRIC_NOTICES_SENT, 1);
	call_send(l->call, &n.base);
}

static void on_notice(struct subscriber *s)
{
	tell(CONTAINER_OF(s, struct listener, subscriber));
}

static void on_sent(struct call *c)
{
	tell(call_ctx(c));
}

static void on_over(struct call *c)
{
	struct syncer *s = call_service(c);
	struct listener *l = call_ctx(c);

	metrics_add(call_metrics(c), METRIC_LISTENERS, -1);
	hub_unsubscribe(s->hub, &l->subscriber);
	quotas_remove_listener(s->quotas, &l->user);
}

/* The client comes back on another connection: to another instance, or to
 * the next start of this one. */
static void on_drain(struct call *c)
{
	call_fail(c, RPC_UNAVAILABLE, "server is shutting down");
}

static const struct call_hooks listener_hooks = {
	.on_sent = on_sent,
	.on_drain = on_drain,
	.on_over = on_over,
};

/* Returns: 0, QUOTAS_FULL, ERR_NOMEM. */
static int subscribe(struct syncer *s, struct listener *l)
{
	int r = quotas_add_listener(s->quotas, &l->user);

	if (r != 0)
		return r;
	l->subscriber.on_notice = on_notice;
	r = hub_subscribe(s->hub, &l->subscriber, &l->user);
	if (r < 0)
		quotas_remove_listener(s->quotas, &l->user);
	return r;
}

static void begin(struct call *c, struct listener *l)
{
	const Sync__Notification greeting = SYNC__NOTIFICATION__INIT;
	int r = subscribe(call_service(c), l);

	if (r == QUOTAS_FULL) {
		turn_away(c, METRIC_LIMIT_LISTENERS_PER_USER);
		return;
	}
	if (r < 0) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
		return;
	}
	l->call = c;
	metrics_add(call_metrics(c), METRIC_LISTENERS, 1);
	call_set_hooks(c, &listener_hooks, l);
	/* Subscribed before greeted: who reacts to the greeting by asking for
	 * changes misses none. */
	call_send(c, &greeting.base);
	call_drop_request(c);
}

void listen_changes_start(struct call *c)
{
	const Sync__ListenChangesRequest *request =
		request_decode(c, &sync__listen_changes_request__descriptor);
	struct signed_text *text;
	struct listener *l;

	if (!request || !request_in_time(c, request->request_time))
		return;
	l = arena_zalloc(call_arena(c), sizeof(*l));
	if (!l) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
		return;
	}
	text = auth_begin(c);
	if (!text)
		return;
	signed_text_listen_changes(text, request->request_time);
	if (!auth_signature(c, request->signature, &l->user))
		return;
	begin(c, l);
}
