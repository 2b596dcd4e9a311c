/* SPDX-License-Identifier: Apache-2.0 */
#include "syncer/service.h"

#include <assert.h>

#include "base/mem.h"
#include "config/limits.h"
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

struct signed_text *auth_begin(struct call *c)
{
	struct syncer *s = call_service(c);
	char *hash = arena_alloc(call_arena(c), API_KEY_HASH_HEX + 1);
	struct errmsg why;
	int r;

	if (!hash) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
		return NULL;
	}
	r = auth_api_key(s->auth, call_metadata(c, "authorization"),
		loop_wall_ns(s->loop) / NS_PER_S, hash, &why);
	if (hash[0])
		call_log_add(c, F_STR("api_key_sha256", hash));
	return auth_passed(c, r, &why) ? auth_begin_text(s->auth) : NULL;
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

static void count_answer(const struct store_call *sc)
{
	struct metrics *m = call_metrics(sc->call);
	size_t series = (size_t)sc->op.kind * METRIC_OUTCOME_N + sc->op.outcome;

	static_assert((int)METRIC_OP_GET_LOCK == STORE_GET_LOCK,
		"the operations are the store's");
	static_assert((int)METRIC_OUTCOME_FAILED == STORE_FAILED,
		"the outcomes are the store's");
	metrics_add(m, metric_at(METRIC_STORE_OPS, series), 1);
	if (sc->op.outcome == STORE_BUSY)
		metrics_reject(m, METRIC_LIMIT_STORE_QUEUE);
}

struct call *store_call_answer(struct store_call *sc)
{
	enum store_outcome outcome = sc->op.outcome;
	struct outcome_status status;

	count_answer(sc);
	if (call_is_over(sc->call))
		return NULL;
	if (outcome == STORE_OK || outcome == STORE_CONFLICT)
		return sc->call;
	if (outcome != STORE_LOCK_HELD && outcome != STORE_EXPIRED)
		log_warn(call_log(sc->call), "store.refused",
			F_STR("outcome", store_outcome_name(outcome)));
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
	struct loop *loop, struct syncer **ret_syncer, struct errmsg *reterr)
{
	CLEANUP(syncer_free)
	struct syncer *s = mem_zalloc(sizeof(*s));
	int r;

	if (!s)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	s->config = config;
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
