/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/health.h"

#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "health_wire.pb-c.h"

/* The generated names are longer than a line. */
typedef Grpc__Health__V1__HealthCheckRequest check_request;
typedef Grpc__Health__V1__HealthCheckResponse check_response;
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving_status;
typedef Grpc__Health__V1__HealthListResponse list_response;
typedef Grpc__Health__V1__HealthListResponse__StatusesEntry list_entry;

#define STATUS(name)                                                           \
	GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

struct health {
	struct rpc_server *server; /* ref */
	struct rpc_service service;
	struct list watchers; /* of struct watcher; each in its call's arena */
};

struct watcher {
	struct list node;
	struct call *call; /* ref */
	bool known;	   /* the service it asks for */
	serving_status told;
};

static bool is_text(const ProtobufCMessageDescriptor *message UNUSED,
	const ProtobufCFieldDescriptor *field UNUSED)
{
	return true;
}

static bool knows(const struct rpc_server *server, struct slice name)
{
	size_t i;

	for (i = 0; i < server->n_services; i++) {
		if (slice_eq_str(name, server->services[i]->name))
			return true;
	}
	return name.len == 0;
}

static serving_status status_now(const struct health *h)
{
	return h->server->serving ? STATUS(SERVING) : STATUS(NOT_SERVING);
}

/* Reads the request of Check and Watch. Returns false when the call failed. */
static bool read_request(struct call *c, bool *ret_known)
{
	const struct health *h = call_service(c);
	const void *message = call_decode(c,
		&grpc__health__v1__health_check_request__descriptor, is_text);
	const check_request *request = message;

	if (!request)
		return false;
	*ret_known = knows(h->server, pb_slice(request->service));
	return true;
}

static void start_check(struct call *c)
{
	check_response reply = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
	bool known;

	if (!read_request(c, &known))
		return;
	if (!known) {
		call_fail(c, RPC_NOT_FOUND, "unknown service");
		return;
	}
	reply.status = status_now(call_service(c));
	call_reply(c, &reply.base);
}

/* ---- all of them ---- */

static void start_list(struct call *c)
{
	const struct health *h = call_service(c);
	const struct rpc_server *server = h->server;
	size_t n = 1 + server->n_services, i;
	list_response reply = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
	check_response status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
	list_entry *entries;
	list_entry **refs;

	if (!call_decode(c, &grpc__health__v1__health_list_request__descriptor,
		    is_text))
		return;
	entries = arena_alloc(call_arena(c), n * sizeof(*entries));
	refs = arena_alloc(call_arena(c), n * sizeof(list_entry *));
	if (!entries || !refs) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
		return;
	}
	status.status = status_now(h);
	for (i = 0; i < n; i++) {
		entries[i] = (list_entry)
			GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__STATUSES_ENTRY__INIT;
		/* protobuf-c's struct lacks the const. */
		entries[i].key =
			(char *)(uintptr_t)(i == 0 ? ""
						   : server->services[i - 1]
							     ->name);
		entries[i].value = &status;
		refs[i] = &entries[i];
	}
	reply.n_statuses = n;
	reply.statuses = refs;
	call_reply(c, &reply.base);
}

/* ---- who watches ---- */

/* Tells the status unless it was told, or an earlier one still waits for the
 * peer: then on_sent comes back here, and what came and went meanwhile is not
 * told at all. */
static void tell(struct watcher *w)
{
	check_response reply = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	reply.status = w->known ? status_now(call_service(w->call))
				: STATUS(SERVICE_UNKNOWN);
	if (reply.status == w->told || !call_all_sent(w->call))
		return;
	w->told = reply.status;
	call_send(w->call, &reply.base);
}

static void on_sent(struct call *c)
{
	tell(call_ctx(c));
}

/* The client looks again on its next connection. */
static void on_drain(struct call *c)
{
	call_fail(c, RPC_UNAVAILABLE, "server is shutting down");
}

static void on_over(struct call *c)
{
	struct watcher *w = call_ctx(c);

	list_remove(&w->node);
}

static const struct call_hooks watcher_hooks = {
	.on_sent = on_sent,
	.on_drain = on_drain,
	.on_over = on_over,
};

static void start_watch(struct call *c)
{
	struct health *h = call_service(c);
	struct watcher *w;
	bool known;

	if (!read_request(c, &known))
		return;
	w = arena_zalloc(call_arena(c), sizeof(*w));
	if (!w) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
		return;
	}
	w->call = c;
	w->known = known;
	w->told = STATUS(UNKNOWN); /* which is never told */
	list_append(&h->watchers, &w->node);
	tell(w);
	call_set_hooks(c, &watcher_hooks, w);
	call_drop_request(c);
}

/* ---- life ---- */

static const struct rpc_method methods[] = {
	{.name = "Check",
		.metric = METRIC_METHOD_HEALTH_CHECK,
		.start = start_check},
	{.name = "List",
		.metric = METRIC_METHOD_HEALTH_LIST,
		.start = start_list},
	{.name = "Watch",
		.metric = METRIC_METHOD_HEALTH_WATCH,
		.server_streaming = true,
		.start = start_watch},
};

int health_new(struct rpc_server *server, struct health **ret_health)
{
	struct health *h = mem_zalloc(sizeof(*h));

	if (!h)
		return ERR_NOMEM;
	h->server = server;
	h->service = (struct rpc_service){
		.name = "grpc.health.v1.Health",
		.methods = methods,
		.n_methods = ARRAY_LEN(methods),
		.ctx = h,
		.quiet = true,
	};
	list_init(&h->watchers);
	*ret_health = h;
	return 0;
}

void health_free(struct health **health)
{
	mem_free(*health);
	*health = NULL;
}

const struct rpc_service *health_service(const struct health *health)
{
	return &health->service;
}

void health_set_serving(struct health *health, bool serving)
{
	struct list *node, *save;

	if (serving == health->server->serving)
		return;
	health->server->serving = serving;
	list_for_each_safe (node, save, &health->watchers)
		tell(CONTAINER_OF(node, struct watcher, node));
}
