/* SPDX-License-Identifier: Apache-2.0 */
/* SetRecord and ListChanges. */
#include "config/limits.h"
#include "rpc/message.h"
#include "syncer/change.h"
#include "syncer/private.h"

/* Most writes make no user. One of which we do not know counts. */
static void settle_new_user(const struct store_call *sc)
{
	const struct syncer *s = call_service(sc->call);
	const struct store_op *op = &sc->op;
	bool made =
		op->outcome == STORE_UNKNOWN ||
		(op->outcome == STORE_OK && op->set_record.new_revision == 1);

	if (sc->may_make_user && !made)
		quotas_give_back_new_user(s->quotas, sc->api_key);
}

static void set_record_done(struct store_op *op)
{
	struct store_call *sc = CONTAINER_OF(op, struct store_call, op);
	Sync__SetRecordReply reply = SYNC__SET_RECORD_REPLY__INIT;
	struct call *c = store_call_answer(sc);

	settle_new_user(sc);
	if (c) {
		if (op->outcome == STORE_CONFLICT)
			reply.status = SYNC__SET_RECORD_STATUS__CONFLICT;
		else
			reply.new_revision = op->set_record.new_revision;
		call_reply(c, &reply.base);
	}
	store_call_end(sc);
}

static const char *record_fault(const Sync__Record *record)
{
	if (!record)
		return "record must not be empty";
	return validate_record(pb_slice(record->id), pb_slice(record->data),
		pb_slice(record->schema_version));
}

static void submit_within_limits(struct store_call *sc)
{
	const struct syncer *s = call_service(sc->call);
	struct store_set_record *set = &sc->op.set_record;

	sc->api_key = s->api_key;
	sc->may_make_user = quotas_take_new_user(
		s->quotas, sc->api_key, loop_now_ns(s->loop));
	set->no_new_user = !sc->may_make_user;
	set->max_records = s->config->max_records_per_user;
	set->max_bytes = (uint64_t)s->config->max_mib_per_user << 20;
	store_call_submit(sc);
}

void set_record_start(struct call *c)
{
	const Sync__SetRecordRequest *request =
		request_decode(c, &sync__set_record_request__descriptor);
	struct store_set_record *set;
	struct signed_text *text;
	struct store_call *sc;

	if (!request || !request_valid(c, record_fault(request->record)) ||
		!request_in_time(c, request->request_time))
		return;
	sc = store_call_new(c, STORE_SET_RECORD, set_record_done);
	text = sc ? auth_begin(c) : NULL;
	if (!text)
		return;
	set = &sc->op.set_record;
	set->record = (struct store_record){
		.id = pb_slice(request->record->id),
		.schema_version = pb_slice(request->record->schema_version),
		.data = pb_slice(request->record->data),
		.revision = request->record->revision,
	};
	set->has_client_id =
		request->optional_client_id_case ==
		SYNC__SET_RECORD_REQUEST__OPTIONAL_CLIENT_ID_CLIENT_ID;
	if (set->has_client_id)
		set->client_id = pb_slice(request->client_id);
	signed_text_set_record(text, set->record.id, set->record.data,
		set->record.revision, set->record.schema_version,
		request->request_time);
	if (auth_signature(c, request->signature, &sc->op.user))
		submit_within_limits(sc);
}

static void nudge(struct syncer *s, const struct user_id *user)
{
	struct metrics *m = loop_metrics(s->loop);

	metrics_add(m, METRIC_PAGES_TRUNCATED, 1);
	metrics_add(m, metric_at(METRIC_NUDGES, METRIC_NUDGE_PAGE), 1);
	store_nudge(s->port, user);
}

static void list_changes_done(struct store_op *op)
{
	struct store_call *sc = CONTAINER_OF(op, struct store_call, op);
	struct store_list_changes *list = &op->list_changes;
	struct call *c = store_call_answer(sc);
	struct syncer *s = call_service(sc->call);

	if (c) {
		call_reply_encoded(c, &list->page);
		/* Clients ask once for each notification, and do not ask for
		 * the next page by themselves. */
		if (list->truncated)
			nudge(s, &op->user);
	}
	buf_release(&list->page);
	store_call_end(sc);
}

/* The connection has room for a page. */
static void list_changes_read(struct call *c, void *ctx)
{
	struct store_call *sc = ctx;

	if (message_begin(&sc->op.list_changes.page, LIST_BYTES_MAX) < 0)
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
	else
		store_call_submit_read(sc);
}

void list_changes_start(struct call *c)
{
	const Sync__ListChangesRequest *request =
		request_decode(c, &sync__list_changes_request__descriptor);
	struct syncer *s = call_service(c);
	struct store_list_changes *list;
	struct signed_text *text;
	struct store_call *sc;
	char *own;

	if (!request || !request_in_time(c, request->request_time))
		return;
	sc = store_call_new(c, STORE_LIST_CHANGES, list_changes_done);
	text = sc ? auth_begin(c) : NULL;
	if (!text)
		return;
	signed_text_list_changes(
		text, request->since_revision, request->request_time);
	if (!auth_signature(c, request->signature, &sc->op.user))
		return;
	own = arena_alloc(call_arena(c), OVERLAP_REVISIONS + 1);
	if (!own) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED,
			"request takes too much memory");
		return;
	}
	list = &sc->op.list_changes;
	list->max_records = LIST_RECORDS_MAX;
	list->max_bytes = LIST_BYTES_MAX;
	list->encode = change_encode;
	list->since = recent_start(s->recent, &sc->op.user,
		request->since_revision, loop_now_ns(s->loop), own);
	if (list->since < request->since_revision)
		metrics_add(call_metrics(c), METRIC_LISTS_LOWERED, 1);
	list->leave_out = slice_of(own, request->since_revision - list->since);
	if (call_reserve(c, LIST_BYTES_MAX, list_changes_read, sc))
		list_changes_read(c, sc);
}
