/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_listen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* Away since long ago: LISTEN is not to be had here. */
#define FOR_GOOD 1

static struct pg_listen *listen_of(struct pg_conn *c)
{
	return CONTAINER_OF(c, struct pg_listen, conn);
}

/* ---- notices ---- */

/* The text up to the next `separator`, which is taken off `rest`. */
static struct slice cut(struct slice *rest, char separator)
{
	const uint8_t *end =
		rest->len ? memchr(rest->ptr, separator, rest->len) : NULL;
	struct slice first = *rest;

	if (end) {
		first.len = (size_t)(end - rest->ptr);
		*rest = slice_from(*rest, first.len + 1);
	} else {
		*rest = slice_of("", 0);
	}
	return first;
}

static bool parse_revision(struct slice text, uint64_t *ret_revision)
{
	uint64_t value = 0;
	size_t i;

	if (text.len == 0 || text.len > 19)
		return false;
	for (i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(text.ptr[i] - '0');
	}
	*ret_revision = value;
	return true;
}

/* One "REVISION:CLIENT". */
static bool add_change(struct notice_batch *batch, const struct user_id *user,
	struct slice change)
{
	uint8_t bytes[BASE64_DECODED_MAX(
		BASE64_ENCODED_LEN(STORE_CLIENT_ID_MAX))];
	bool whole = slice_has_byte(change, ':');
	struct slice number = cut(&change, ':'), client = slice_of(bytes, 0);
	uint64_t revision;
	size_t at;

	if (!whole || !parse_revision(number, &revision))
		return false;
	if (slice_eq_str(change, "-")) {
		notice_batch_add(batch, user, revision, NULL);
		return true;
	}
	if (change.len > BASE64_ENCODED_LEN(STORE_CLIENT_ID_MAX) ||
		base64_decode(change, bytes, &client.len, &at) < 0)
		return false;
	notice_batch_add(batch, user, revision, &client);
	return true;
}

static size_t count_changes(struct slice changes)
{
	size_t n = 1, i;

	for (i = 0; i < changes.len; i++)
		n += changes.ptr[i] == ',';
	return n;
}

/* Returns: false for what is no notice of ours, or for want of memory. */
static bool tell(struct pg_listen *l, struct slice hex, struct slice changes)
{
	struct notice_batch *batch;
	struct user_id user;
	bool fine = true;

	if (hex.len != USER_ID_HEX || hex_decode(hex, user.bytes) < 0)
		return false;
	/* Decoded, a client id is shorter than its text. */
	batch = notice_batch_new(count_changes(changes), changes.len);
	if (!batch)
		return false;
	while (changes.len > 0 && fine)
		fine = add_change(batch, &user, cut(&changes, ','));
	ports_notify(l->ports, batch);
	return fine;
}

/* From here on nothing is missed, what came before may have been. */
static void hear(struct pg_listen *l)
{
	l->pinged = false;
	if (atomic_exchange(&l->away_ns, 0) == 0)
		return;
	metrics_add(loop_metrics(l->conn.loop), METRIC_PG_LISTENS, 1);
	ports_lost(l->ports);
	l->on_change(l->ctx);
}

static void on_notify(struct pg_conn *c, const PGnotify *notify)
{
	struct pg_listen *l = listen_of(c);
	struct slice rest = slice_str(notify->extra), token, hex;

	if (slice_starts_with(rest, l->instance)) {
		hear(l);
		return;
	}
	token = cut(&rest, ' ');
	hex = cut(&rest, ' ');
	if (slice_eq_str(hex, PG_PING))
		return; /* another instance's */
	/* "*" for a user is everybody. What cannot be read may be a change. */
	if (token.len == 0 || !tell(l, hex, rest))
		ports_lost(l->ports);
}

/* ---- the connection ---- */

static void cannot(struct pg_listen *l, const char *reason)
{
	if (atomic_exchange(&l->away_ns, FOR_GOOD) != FOR_GOOD) {
		l->on_change(l->ctx);
		log_warn(NULL, "database.polled", F_STR("reason", reason),
			F_STR("remedy", "set DATABASE_DIRECT_URL"));
	}
}

static void on_open(struct pg_conn *c)
{
	struct pg_listen *l = listen_of(c);

	l->listening = l->refused = l->stands = l->pinged = false;
	l->channel[0] = '\0';
	pg_conn_run(c, PG_SQL_WHO, NULL);
	pg_conn_sync(c);
}

static void take_who(struct pg_listen *l, const PGresult *result)
{
	bool other = pg_int8(result, 0, 0) != PQbackendPID(l->conn.pg);

	(void)snprintf(l->channel, sizeof(l->channel), "%.*s",
		PQgetlength(result, 0, 1), PQgetvalue(result, 0, 1));
	l->pooled = !l->direct && (l->pooler == POOLER_ON ||
					  (l->pooler == POOLER_AUTO && other));
}

static void on_result(struct pg_conn *c, const PGresult *result)
{
	struct pg_listen *l = listen_of(c);

	if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
		l->refused = true;
		if (l->channel[0])
			cannot(l, pg_error_text(result));
		else
			pg_conn_fail(c, "its tables cannot be read");
	} else if (PQresultStatus(result) == PGRES_TUPLES_OK &&
		   !l->channel[0]) {
		take_who(l, result);
	}
}

static void send_listen(struct pg_listen *l)
{
	char sql[96];

	if (l->pooled) {
		cannot(l, "a pooler is between us and the database");
		return;
	}
	l->listening = true;
	(void)snprintf(sql, sizeof(sql), "LISTEN \"%s\"", l->channel);
	pg_conn_run(&l->conn, PG_SQL_SETTINGS, NULL);
	pg_conn_run_text(&l->conn, sql);
	pg_conn_sync(&l->conn);
}

static void on_sync(struct pg_conn *c)
{
	struct pg_listen *l = listen_of(c);

	if (l->refused)
		return;
	if (!l->listening) {
		send_listen(l);
		return;
	}
	pg_conn_works(c);
	l->stands = true;
	l->pinged_ns = 0; /* at once */
	l->on_change(l->ctx);
}

static void on_lost(struct pg_conn *c)
{
	struct pg_listen *l = listen_of(c);

	l->stands = false;
	if (atomic_load(&l->away_ns) == 0)
		atomic_store(&l->away_ns, loop_now_ns(c->loop));
}

void pg_listen_start(
	struct pg_listen *l, struct loop *loop, const struct pg_target *target)
{
	l->conn.on_open = on_open;
	l->conn.on_result = on_result;
	l->conn.on_sync = on_sync;
	l->conn.on_notify = on_notify;
	l->conn.on_lost = on_lost;
	l->conn.role = "listen";
	atomic_store(&l->away_ns, loop_now_ns(loop));
	pg_conn_start(&l->conn, loop, target);
}

void pg_listen_stop(struct pg_listen *l)
{
	pg_conn_stop(&l->conn);
}

bool pg_listen_look_after(struct pg_listen *l)
{
	int64_t since_ns;

	if (!l->stands)
		return false;
	since_ns = loop_now_ns(l->conn.loop) - l->pinged_ns;
	if (l->pinged && since_ns > PG_HEAR_MS * NS_PER_MS)
		pg_conn_fail(&l->conn, "it does not hear what the pool says");
	return !l->pinged && since_ns > PG_PING_MS * NS_PER_MS;
}

void pg_listen_pinged(struct pg_listen *l)
{
	l->pinged = true;
	l->pinged_ns = loop_now_ns(l->conn.loop);
}

bool pg_listen_decided(const struct pg_listen *l)
{
	int64_t away_ns = atomic_load(&l->away_ns);

	return away_ns == 0 || away_ns == FOR_GOOD;
}

bool pg_listen_hears(const struct pg_listen *l)
{
	return atomic_load(&l->away_ns) == 0;
}

bool pg_listen_works(const struct pg_listen *l, int64_t now_ns)
{
	int64_t away_ns = atomic_load(&l->away_ns);

	return away_ns == 0 || now_ns - away_ns < PG_DEAF_MS * NS_PER_MS;
}
