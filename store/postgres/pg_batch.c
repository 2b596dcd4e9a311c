/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_batch.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "config/limits.h"
#include "store/page.h"

/* Locks that end later than any should by this much were taken before the
 * clock was set back. */
#define LOCK_HORIZON_S (LOCK_TTL_MAX_S + 2)

void pg_batch_begin(struct pg_batch *b, enum pg_batch_kind kind)
{
	b->kind = kind;
	b->n = 0;
	b->committed = b->sweep_locks = false;
	b->verdict = PG_FINE;
}

/* ---- sending ---- */

static void add_user(struct pg_params *p, const struct user_id *user)
{
	char hex[USER_ID_HEX + 1];

	user_id_hex(user, hex);
	pg_params_element(p, slice_of(hex, USER_ID_HEX));
}

static void add_users(struct pg_params *p, const struct pg_batch *b)
{
	size_t i;

	pg_params_array(p, PG_TEXT, b->n);
	for (i = 0; i < b->n; i++)
		add_user(p, &b->ops[i]->user);
}

static bool is_first_of_user(const struct pg_batch *b, size_t at)
{
	size_t i;

	for (i = 0; i < at; i++) {
		if (!memcmp(&b->ops[i]->user, &b->ops[at]->user,
			    sizeof(struct user_id)))
			return false;
	}
	return true;
}

/* Whether an operation of this one's user, from it on, may make it. */
static bool may_be_new(const struct pg_batch *b, size_t at)
{
	size_t i;

	for (i = at; i < b->n; i++) {
		if (!b->ops[i]->set_record.no_new_user &&
			!memcmp(&b->ops[i]->user, &b->ops[at]->user,
				sizeof(struct user_id)))
			return true;
	}
	return false;
}

/* Each once: a row cannot be locked twice by one INSERT. And whether it may be
 * made. */
static void add_distinct_users(struct pg_params *p, const struct pg_batch *b)
{
	size_t i, n = 0;

	for (i = 0; i < b->n; i++)
		n += is_first_of_user(b, i);
	pg_params_array(p, PG_TEXT, n);
	for (i = 0; i < b->n; i++) {
		if (is_first_of_user(b, i))
			add_user(p, &b->ops[i]->user);
	}
	pg_params_array(p, PG_BOOL, n);
	for (i = 0; i < b->n; i++) {
		if (is_first_of_user(b, i))
			pg_params_element_bool(p, may_be_new(b, i));
	}
}

/* One value of each operation, as an array. */
static void add_texts(struct pg_params *p, const struct pg_batch *b,
	enum pg_type type, struct slice (*of)(const struct store_op *op))
{
	size_t i;

	pg_params_array(p, type, b->n);
	for (i = 0; i < b->n; i++)
		pg_params_element(p, of(b->ops[i]));
}

static void add_numbers(struct pg_params *p, const struct pg_batch *b,
	int64_t (*of)(const struct store_op *op))
{
	size_t i;

	pg_params_array(p, PG_INT8, b->n);
	for (i = 0; i < b->n; i++)
		pg_params_element_int8(p, of(b->ops[i]));
}

static void add_truths(struct pg_params *p, const struct pg_batch *b,
	bool (*of)(const struct store_op *op))
{
	size_t i;

	pg_params_array(p, PG_BOOL, b->n);
	for (i = 0; i < b->n; i++)
		pg_params_element_bool(p, of(b->ops[i]));
}

static struct slice id_of(const struct store_op *op)
{
	return op->set_record.record.id;
}

static struct slice data_of(const struct store_op *op)
{
	return op->set_record.record.data;
}

static struct slice schema_version_of(const struct store_op *op)
{
	return op->set_record.record.schema_version;
}

/* A revision that no record can have stands for those above 2^63. */
static int64_t expected_of(const struct store_op *op)
{
	uint64_t revision = op->set_record.record.revision;

	return revision > INT64_MAX ? -1 : (int64_t)revision;
}

static int64_t limit(uint64_t max)
{
	return max == 0 || max > INT64_MAX ? INT64_MAX : (int64_t)max;
}

static int64_t max_records_of(const struct store_op *op)
{
	return limit(op->set_record.max_records);
}

static int64_t max_bytes_of(const struct store_op *op)
{
	return limit(op->set_record.max_bytes);
}

/* Base64 has none of the characters that separate a notice's parts. */
static void add_client(struct pg_params *p, const struct store_set_record *set)
{
	char text[BASE64_ENCODED_LEN(STORE_CLIENT_ID_MAX)];

	if (!set->has_client_id || set->client_id.len > STORE_CLIENT_ID_MAX) {
		pg_params_element(p, slice_str("-"));
		return;
	}
	base64_encode(set->client_id, text);
	pg_params_element(
		p, slice_of(text, BASE64_ENCODED_LEN(set->client_id.len)));
}

static void send_records(
	struct pg_batch *b, struct pg_conn *c, struct pg_params *p)
{
	size_t i;

	add_users(p, b);
	add_texts(p, b, PG_TEXT, id_of);
	add_texts(p, b, PG_BYTEA, data_of);
	add_numbers(p, b, expected_of);
	add_texts(p, b, PG_TEXT, schema_version_of);
	pg_params_array(p, PG_TEXT, b->n);
	for (i = 0; i < b->n; i++)
		add_client(p, &b->ops[i]->set_record);
	add_numbers(p, b, max_records_of);
	add_numbers(p, b, max_bytes_of);
	pg_conn_run(c, PG_SQL_SET_RECORDS, p);
}

static struct slice name_of(const struct store_op *op)
{
	return op->set_lock.name;
}

static struct slice instance_of(const struct store_op *op)
{
	return op->set_lock.instance_id;
}

static bool is_acquired(const struct store_op *op)
{
	return op->set_lock.acquire;
}

static bool is_exclusive(const struct store_op *op)
{
	return op->set_lock.exclusive;
}

static int64_t ttl_of(const struct store_op *op)
{
	return op->set_lock.ttl_seconds;
}

static void send_locks(
	struct pg_batch *b, struct pg_conn *c, struct pg_params *p)
{
	add_users(p, b);
	add_texts(p, b, PG_TEXT, name_of);
	add_texts(p, b, PG_TEXT, instance_of);
	add_truths(p, b, is_acquired);
	add_truths(p, b, is_exclusive);
	add_numbers(p, b, ttl_of);
	pg_conn_run(c, PG_SQL_SET_LOCKS, p);
}

/* In the order in which every transaction takes its locks. */
static void send_lock_order(
	struct pg_batch *b, struct pg_conn *c, struct pg_params *p)
{
	pg_params_reset(p);
	if (b->kind == PG_BATCH_RECORDS) {
		add_distinct_users(p, b);
		pg_conn_run(c, PG_SQL_LOCK_COUNTERS, p);
		return;
	}
	add_users(p, b);
	add_texts(p, b, PG_TEXT, name_of);
	pg_conn_run(c, PG_SQL_LOCK_LOCKS, p);
	pg_conn_run(c, PG_SQL_CLAMP_LOCKS, p);
}

static void drop_receipts(
	struct pg_conn *c, const char *token, int64_t seq, struct pg_params *p)
{
	pg_params_reset(p);
	pg_params_text(p, slice_str(token));
	pg_params_int8(p, seq);
	pg_conn_run(c, PG_SQL_DROP_RECEIPTS, p);
}

static void send_writes(struct pg_batch *b, struct pg_conn *c,
	const char *token, int64_t seq, bool local, struct pg_params *p)
{
	pg_conn_run(c, PG_SQL_BEGIN, NULL);
	if (local)
		pg_conn_run(c, PG_SQL_SETTINGS_LOCAL, NULL);
	send_lock_order(b, c, p);
	pg_params_reset(p);
	pg_params_text(p, slice_str(token));
	pg_params_int8(p, seq);
	if (b->kind == PG_BATCH_RECORDS)
		send_records(b, c, p);
	else
		send_locks(b, c, p);
	if (seq % PG_RECEIPTS_KEPT == 0)
		drop_receipts(c, token, seq, p);
	pg_conn_run(c, PG_SQL_COMMIT, NULL);
	pg_conn_sync(c);
}

static void send_read(const struct store_op *op, struct pg_conn *c, bool local,
	struct pg_params *p)
{
	const struct store_list_changes *list = &op->list_changes;
	char hex[USER_ID_HEX + 1];

	if (local) /* one sync, one transaction */
		pg_conn_run(c, PG_SQL_SETTINGS_LOCAL, NULL);
	user_id_hex(&op->user, hex);
	pg_params_reset(p);
	pg_params_text(p, slice_of(hex, USER_ID_HEX));
	if (op->kind == STORE_LIST_CHANGES) {
		pg_params_int8(p, (int64_t)list->since);
		pg_params_int8(p, (int64_t)list->max_records + 1);
		pg_params_int8(p, (int64_t)list->max_bytes);
		pg_params_text(p, list->leave_out);
		pg_conn_run(c, PG_SQL_LIST, p);
	} else {
		pg_params_text(p, op->get_lock.name);
		pg_conn_run(c, PG_SQL_GET_LOCK, p);
	}
	pg_conn_sync(c);
}

void pg_batch_send(struct pg_batch *b, struct pg_conn *c, const char *token,
	int64_t seq, bool local, struct pg_params *params)
{
	size_t i;

	if (b->kind != PG_BATCH_READS) {
		send_writes(b, c, token, seq, local, params);
		return;
	}
	for (i = 0; i < b->n; i++)
		send_read(b->ops[i], c, local, params);
}

/* ---- errors ---- */

/* SQLSTATEs by their beginning, the longest first; PostgreSQL's appendix A. */
static const struct {
	const char *prefix;
	enum pg_verdict verdict;
	enum store_outcome outcome;
} verdicts[] = {
	{"40", PG_RETRY, STORE_UNAVAILABLE},	/* deadlock, serialization */
	{"55P03", PG_RETRY, STORE_UNAVAILABLE}, /* lock time-out */
	{"57014", PG_RETRY, STORE_UNAVAILABLE}, /* statement time-out */
	{"23505", PG_RETRY, STORE_FAILED},	/* somebody else's insert */
	{"22012", PG_RETRY_SOON, STORE_UNAVAILABLE}, /* no receipt to write */
	{"26000", PG_RETRY_SOON, STORE_UNAVAILABLE}, /* a pooler between us */
	{"42P05", PG_RETRY_SOON, STORE_UNAVAILABLE},
	{"0A000", PG_RETRY_SOON, STORE_UNAVAILABLE}, /* a table was altered */
	{"25006", PG_RETRY_SOON, STORE_UNAVAILABLE}, /* it is a standby now */
	{"54000", PG_REFUSED, STORE_UNAVAILABLE},    /* NOTIFY's queue */
	{"53100", PG_REFUSED, STORE_FULL},	     /* disk */
	{"53", PG_RETRY, STORE_UNAVAILABLE},	     /* memory and the like */
	{"57P", PG_RETRY_SOON, STORE_UNAVAILABLE},   /* shutting down */
	{"08", PG_RETRY_SOON, STORE_UNAVAILABLE},    /* connection */
	{"", PG_REFUSED, STORE_FAILED},
};

/* Of one transaction the first error says what is wrong. */
static void note_error(struct pg_batch *b, const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	size_t i = 0;

	if (!state)
		state = "";
	while (strncmp(state, verdicts[i].prefix, strlen(verdicts[i].prefix)) !=
		0)
		i++; /* the last always is */
	b->verdict = verdicts[i].verdict;
	b->refusal = verdicts[i].outcome;
	log_at(b->verdict == PG_REFUSED ? LOG_ERROR : LOG_WARN, NULL,
		"store.statement_failed", F_STR("sqlstate", state),
		F_STR("reason", pg_error_text(result)),
		F_U64("operations", b->n));
}

/* ---- results ---- */

int64_t pg_int8(const PGresult *result, int row, int column)
{
	uint64_t bits;

	if (PQgetisnull(result, row, column) ||
		PQgetlength(result, row, column) != sizeof(bits))
		return 0;
	memcpy(&bits, PQgetvalue(result, row, column), sizeof(bits));
	return (int64_t)be64toh(bits);
}

/* Behind an array's header: length and value of each element. */
#define ARRAY_ELEMENT 12

/* Of what its place in a receipt holds: the revision, or why there is none. */
static enum store_outcome set_record_outcome(int64_t result)
{
	switch (result) {
	case 0: return STORE_CONFLICT;
	case PG_TOO_MANY_RECORDS: return STORE_TOO_MANY_RECORDS;
	case PG_TOO_MUCH_DATA: return STORE_TOO_MUCH_DATA;
	case PG_NO_NEW_USER: return STORE_NO_NEW_USER;
	default: return STORE_OK;
	}
}

int pg_batch_settle(
	struct pg_batch *b, const PGresult *result, int row, int column)
{
	const char *bytes = PQgetvalue(result, row, column);
	struct store_op *op;
	uint64_t value;
	size_t i;

	if ((size_t)PQgetlength(result, row, column) !=
		PG_ARRAY_HEADER + b->n * ARRAY_ELEMENT)
		return ERR_CORRUPT;
	for (i = 0; i < b->n; i++) {
		memcpy(&value, bytes + PG_ARRAY_HEADER + i * ARRAY_ELEMENT + 4,
			sizeof(value));
		value = be64toh(value);
		op = b->ops[i];
		if (op->kind == STORE_SET_RECORD) {
			op->outcome = set_record_outcome((int64_t)value);
			op->set_record.new_revision = value;
		} else {
			op->outcome = value ? STORE_OK : STORE_LOCK_HELD;
		}
	}
	return 0;
}

static struct slice field(const PGresult *result, int row, int column)
{
	return slice_of(PQgetvalue(result, row, column),
		(size_t)PQgetlength(result, row, column));
}

static enum store_outcome take_list(
	struct store_list_changes *list, const PGresult *result)
{
	int n = PQntuples(result), row, r = 1;

	page_begin(list);
	for (row = 0; row < n && r == 1; row++) {
		const struct store_record record = {
			.id = field(result, row, 0),
			.data = field(result, row, 1),
			.revision = (uint64_t)pg_int8(result, row, 2),
			.schema_version = field(result, row, 3),
		};

		r = page_append(list, &record);
	}
	if (r < 0)
		return r == ERR_NOMEM ? STORE_UNAVAILABLE : STORE_FAILED;
	return STORE_OK;
}

static enum store_outcome take_lock(
	struct pg_batch *b, struct store_get_lock *get, const PGresult *result)
{
	int64_t left_s = pg_int8(result, 0, 0);

	get->locked = left_s > 0;
	b->sweep_locks = b->sweep_locks || left_s > LOCK_HORIZON_S;
	return STORE_OK;
}

static struct store_op *take_read(struct pg_batch *b, const PGresult *result)
{
	struct store_op *op = b->ops[0];

	b->n--;
	memmove(&b->ops[0], &b->ops[1], b->n * sizeof(op));
	b->verdict = PG_FINE;
	if (PQresultStatus(result) != PGRES_TUPLES_OK) {
		note_error(b, result);
		op->outcome = b->refusal;
	} else if (op->kind == STORE_LIST_CHANGES) {
		op->outcome = take_list(&op->list_changes, result);
	} else {
		op->outcome = take_lock(b, &op->get_lock, result);
	}
	return op;
}

static bool is_committed(const PGresult *result)
{
	return PQresultStatus(result) == PGRES_COMMAND_OK &&
	       !strcmp(PQcmdStatus((PGresult *)result), "COMMIT");
}

static void take_write(struct pg_batch *b, const PGresult *result)
{
	switch (PQresultStatus(result)) {
	case PGRES_FATAL_ERROR:
		if (b->verdict == PG_FINE)
			note_error(b, result);
		break;
	case PGRES_TUPLES_OK:
		/* The one with the receipt: its second column counts it. */
		if (!strcmp(PQfname(result, 0), "results") &&
			pg_batch_settle(b, result, 0, 0) < 0) {
			b->verdict = PG_REFUSED;
			b->refusal = STORE_UNKNOWN;
		}
		break;
	case PGRES_COMMAND_OK:
		if (is_committed(result) && b->verdict == PG_FINE)
			b->committed = true;
		break;
	default: break; /* aborted with the transaction */
	}
}

/* Not that of the settings before it, unless these failed. */
static bool is_for_read(const struct pg_batch *b, const PGresult *result)
{
	bool settings = PQresultStatus(result) == PGRES_TUPLES_OK &&
			!strcmp(PQfname(result, 0), "set_config");

	return b->n > 0 && !settings &&
	       PQresultStatus(result) != PGRES_PIPELINE_ABORTED;
}

struct store_op *pg_batch_take(struct pg_batch *b, const PGresult *result)
{
	if (b->kind == PG_BATCH_READS)
		return is_for_read(b, result) ? take_read(b, result) : NULL;
	take_write(b, result);
	return NULL;
}
