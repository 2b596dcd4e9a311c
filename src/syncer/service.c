/* SPDX-License-Identifier: Apache-2.0 */
#include "syncer/service.h"

#include <assert.h>

#include "base/mem.h"
#include "config/limits.h"
#include "middleware/rates.h"
#include "syncer/private.h"
#include "syncer/status_map.h"

static const struct rpc_method methods[] = {
	{.name = "SetRecord",
		.metric = METRIC_METHOD_SET_RECORD,
		.start = set_record_start},
	{.name = "ListChanges",
		.metric = METRIC_METHOD_LIST_CHANGES,
		.start = list_changes_start},
	{.name = "ListenChanges",
		.metric = METRIC_METHOD_LISTEN_CHANGES,
		.server_streaming = true,
		.start = listen_changes_start},
	{.name = "SetLock",
		.metric = METRIC_METHOD_SET_LOCK,
		.start = set_lock_start},
	{.name = "GetLock",
		.metric = METRIC_METHOD_GET_LOCK,
		.start = get_lock_start},
};

/* ---- the steps that every method goes ---- */

/* proto/wire_copy.py made bytes of every string; one field was bytes before. */
static bool is_text(const ProtobufCMessageDescriptor *message,
	const ProtobufCFieldDescriptor *field)
{
	return !(message == &sync__record__descriptor &&
		 slice_eq_str(slice_str(field->name), "data"));
}

void *request_decode(struct call *c, const ProtobufCMessageDescriptor *type)
{
	return call_decode(c, type, is_text);
}

bool request_valid(struct call *c, const char *fault)
{
	if (fault)
		call_fail(c, RPC_INVALID_ARGUMENT, fault);
	return !fault;
}

bool request_in_time(struct call *c, uint32_t request_time)
{
	return request_valid(c, validate_request_time(request_time,
					loop_wall_ns(call_loop(c))));
}

/* What calls are turned away for. */
static const struct {
	enum metric_limit limit;
	const char *name; /* for the log: as the metric's label */
	const char *text; /* for the client; the store's are in status_map.c */
} limits[] = {
	{METRIC_LIMIT_RATE_PER_CONNECTION, "rate_per_connection",
		"too many requests on this connection, try again later"},
	{METRIC_LIMIT_RATE_PER_API_KEY, "rate_per_api_key",
		"too many requests with this API key, try again later"},
	{METRIC_LIMIT_RATE_PER_USER, "rate_per_user",
		"too many requests of this user, try again later"},
	{METRIC_LIMIT_LISTENERS_PER_USER, "listeners_per_user",
		"this user has as many listeners as are allowed"},
	{METRIC_LIMIT_RECORDS_PER_USER, "records_per_user", NULL},
	{METRIC_LIMIT_MIB_PER_USER, "mib_per_user", NULL},
	{METRIC_LIMIT_NEW_USERS_PER_HOUR, "new_users_per_hour", NULL},
	{METRIC_LIMIT_STORE_QUEUE, "store_queue", NULL},
};

/* Tells metrics and log. Returns the text. */
static const char *note_limit(struct call *c, enum metric_limit limit)
{
	size_t i = 0;

	while (limits[i].limit != limit)
		i++; /* it is one of them */
	metrics_reject(call_metrics(c), limit);
	call_log_add(c, F_STR("limit", limits[i].name));
	return limits[i].text;
}

void turn_away(struct call *c, enum metric_limit limit)
{
	call_fail(c, RPC_RESOURCE_EXHAUSTED, note_limit(c, limit));
}

/* Returns whether the check passed; else the call has failed. */
static bool auth_passed(struct call *c, int r, const struct errmsg *why)
{
	if (r == 0)
		return true;
	if (r == AUTH_DENIED)
		call_fail(c, RPC_UNAUTHENTICATED, why->text);
	else
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
	return false;
}

/* Checks the API key; `hash` stays with the call. */
static bool check_api_key(struct call *c, char hash[API_KEY_HASH_HEX + 1])
{
	struct syncer *s = call_service(c);
	struct errmsg why;
	int r;

	r = auth_api_key(s->auth, call_metadata(c, "authorization"),
		loop_wall_ns(s->loop) / NS_PER_S, hash, &why);
	if (hash[0])
		call_log_add(c, F_STR("api_key_sha256", hash));
	return auth_passed(c, r, &why);
}

/* Where no API key is asked for all applications are one. */
static uint64_t application_of(const char *api_key_hash)
{
	uint8_t bytes[8];

	if (!api_key_hash[0] || hex_decode(slice_of(api_key_hash, 16), bytes))
		return rates_who(slice_str("everybody"));
	return rates_who(slice_of(bytes, sizeof(bytes)));
}

struct signed_text *auth_begin(struct call *c)
{
	struct syncer *s = call_service(c);
	char *hash = arena_alloc(call_arena(c), API_KEY_HASH_HEX + 1);
	int64_t now_ns = loop_now_ns(s->loop);

	if (!hash) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
		return NULL;
	}
	if (!quotas_take_of_connection(
		    s->quotas, call_rate_bucket(c), now_ns)) {
		turn_away(c, METRIC_LIMIT_RATE_PER_CONNECTION);
		return NULL;
	}
	if (!check_api_key(c, hash))
		return NULL;
	s->api_key = application_of(hash);
	if (!quotas_take_of_api_key(s->quotas, s->api_key, now_ns)) {
		turn_away(c, METRIC_LIMIT_RATE_PER_API_KEY);
		return NULL;
	}
	return auth_begin_text(s->auth);
}

bool auth_signature(
	struct call *c, ProtobufCBinaryData signature, struct user_id *ret_user)
{
	struct syncer *s = call_service(c);
	int64_t began_ns = loop_clock_ns(s->loop);
	struct errmsg why;
	int r;

	r = auth_recover(s->auth, pb_slice(signature), ret_user, &why);
	metrics_duration(loop_metrics(s->loop), METRIC_SIGNATURE_TIME,
		loop_clock_ns(s->loop) - began_ns);
	if (!auth_passed(c, r, &why))
		return false;
	call_log_add(c, F_HEX("user", user_id_slice(ret_user)));
	if (!quotas_take_of_user(s->quotas, ret_user, loop_now_ns(s->loop))) {
		turn_away(c, METRIC_LIMIT_RATE_PER_USER);
		return false;
	}
	return true;
}

struct store_call *store_call_new(
	struct call *c, enum store_kind kind, void (*done)(struct store_op *op))
{
	struct store_call *sc = arena_zalloc(call_arena(c), sizeof(*sc));

	if (!sc) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED,
			"request takes too much memory");
		return NULL;
	}
	sc->call = c;
	sc->op.kind = kind;
	sc->op.done = done;
	return sc;
}

void store_call_submit(struct store_call *sc)
{
	struct syncer *s = call_service(sc->call);

	call_hold(sc->call);
	s->in_flight++;
	sc->op.deadline_ns = call_deadline_ns(sc->call);
	store_submit(s->port, &sc->op);
}

static void on_read_over(struct call *c)
{
	struct store_call *sc = call_ctx(c);

	atomic_store(&sc->op.abandoned, true);
}

void store_call_submit_read(struct store_call *sc)
{
	static const struct call_hooks hooks = {.on_over = on_read_over};

	call_set_hooks(sc->call, &hooks, sc);
	store_call_submit(sc);
}

/* The limit that an outcome is about; METRIC_LIMIT_N for none. */
static enum metric_limit limit_of(enum store_outcome outcome)
{
	switch (outcome) {
	case STORE_BUSY: return METRIC_LIMIT_STORE_QUEUE;
	case STORE_TOO_MANY_RECORDS: return METRIC_LIMIT_RECORDS_PER_USER;
	case STORE_TOO_MUCH_DATA: return METRIC_LIMIT_MIB_PER_USER;
	case STORE_NO_NEW_USER: return METRIC_LIMIT_NEW_USERS_PER_HOUR;
	default: return METRIC_LIMIT_N;
	}
}

static void count_answer(const struct store_call *sc)
{
	struct metrics *m = call_metrics(sc->call);
	size_t series = (size_t)sc->op.kind * METRIC_OUTCOME_N + sc->op.outcome;

	static_assert((int)METRIC_OP_GET_LOCK == STORE_GET_LOCK,
		"the operations are the store's");
	static_assert((int)METRIC_OUTCOME_FAILED == STORE_FAILED,
		"the outcomes are the store's");
	metrics_add(m, metric_at(METRIC_STORE_OPS, series), 1);
}

/* A fault is worth a line of its own; what a user does is in the call's. */
static void tell_refusal(struct call *c, enum store_outcome outcome)
{
	enum metric_limit limit = limit_of(outcome);

	if (limit != METRIC_LIMIT_N)
		(void)note_limit(c, limit); /* its text is in status_map.c */
	if (outcome == STORE_BUSY ||
		(limit == METRIC_LIMIT_N && outcome != STORE_LOCK_HELD &&
			outcome != STORE_EXPIRED))
		log_warn(call_log(c), "store.refused",
			F_STR("outcome", store_outcome_name(outcome)));
}

struct call *store_call_answer(struct store_call *sc)
{
	enum store_outcome outcome = sc->op.outcome;
	struct outcome_status status;

	count_answer(sc);
	if (outcome != STORE_OK && outcome != STORE_CONFLICT)
		tell_refusal(sc->call, outcome);
	if (call_is_over(sc->call))
		return NULL;
	if (outcome == STORE_OK || outcome == STORE_CONFLICT)
		return sc->call;
	status = status_of_outcome(outcome);
	call_fail(sc->call, status.status, status.text);
	return NULL;
}

void store_call_end(struct store_call *sc)
{
	struct syncer *s = call_service(sc->call);

	s->in_flight--;
	call_release(sc->call);
}

/* ---- the store's notices ---- */

static void on_notice(void *ctx, const struct store_notice *n)
{
	const struct slice *client_id = n->has_client_id ? &n->client_id : NULL;
	struct syncer *s = ctx;

	if (n->revision > 0 && s->config->list_overlap)
		recent_note(s->recent, &n->user, n->revision, client_id,
			loop_now_ns(s->loop));
	hub_publish(s->hub, &n->user, client_id);
}

static void on_lost(void *ctx)
{
	struct syncer *s = ctx;

	metrics_add(loop_metrics(s->loop),
		metric_at(METRIC_NUDGES, METRIC_NUDGE_LOST), 1);
	hub_nudge_all(s->hub);
}

static void each_user(void *ctx,
	void (*each)(void *arg, const struct user_id *user), void *arg)
{
	struct syncer *s = ctx;

	hub_each_user(s->hub, each, arg);
}

/* ---- life ---- */

static int attach(struct syncer *s, struct store *store)
{
	const struct store_listener listener = {
		.on_notice = on_notice,
		.on_lost = on_lost,
		.users = each_user,
		.ctx = s,
	};

	return store_attach(store, s->loop, &listener, &s->port);
}

int syncer_new(const struct config *config, struct store *store,
	struct quotas *quotas, struct loop *loop, struct syncer **ret_syncer,
	struct errmsg *reterr)
{
	CLEANUP(syncer_free)
	struct syncer *s = mem_zalloc(sizeof(*s));
	int r;

	if (!s)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	s->config = config;
	s->quotas = quotas;
	s->loop = loop;
	s->service = (struct rpc_service){
		.name = "sync.Syncer",
		.methods = methods,
		.n_methods = ARRAY_LEN(methods),
		.ctx = s,
	};
	r = auth_new(config, &s->auth, reterr);
	if (r < 0)
		return r;
	r = hub_new(loop_metrics(loop), &s->hub);
	if (r == 0)
		r = recent_new(
			OVERLAP_USERS_MAX, OVERLAP_WRITES_MAX, &s->recent);
	if (r == 0)
		r = attach(s, store);
	if (r < 0)
		return errmsg_set(reterr, r, "%s", err_text(r));
	*ret_syncer = TAKE_PTR(s);
	return 0;
}

void syncer_free(struct syncer **syncer)
{
	struct syncer *s = *syncer;

	if (!s)
		return;
	store_detach(&s->port);
	recent_free(&s->recent);
	hub_free(&s->hub);
	auth_free(&s->auth);
	mem_free(s);
	*syncer = NULL;
}

const struct rpc_service *syncer_service(const struct syncer *syncer)
{
	return &syncer->service;
}

void syncer_set_crl(struct syncer *syncer, struct crl *crl)
{
	auth_set_crl(syncer->auth, crl);
}

size_t syncer_in_flight(const struct syncer *syncer)
{
	return syncer->in_flight;
}
