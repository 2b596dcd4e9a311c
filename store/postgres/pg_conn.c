/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_conn.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>

#include "base/log.h"

/* PostgreSQL 12 has what our statements use. */
#define SERVER_VERSION_MIN 120000

static void begin_attempt(struct pg_conn *c);

static void set_timer(struct pg_conn *c, int64_t ms)
{
	/* There is no other way on without it, and memory comes back. */
	if (timer_set(&c->timer, c->loop,
		    loop_now_ns(c->loop) + ms * NS_PER_MS) < 0)
		log_error(NULL, "database.timer_failed");
}

/* ---- the end of a connection ---- */

/* When it finds its socket broken libpq closes it, in whatever function. */
static bool has_socket(const struct pg_conn *c)
{
	return PQsocket(c->pg) >= 0;
}

static void close_pg(struct pg_conn *c)
{
	pg_lookup_stop(&c->lookup);
	if (has_socket(c))
		watch_stop(&c->watch);
	else
		watch_forget(&c->watch);
	PQfinish(c->pg); /* NULL is fine */
	c->pg = NULL;
	c->n_syncs = 0;
	c->heartbeat = false;
	c->failing = NULL;
	c->prepared = false;
}

/* Half of it is certain, half is chance. */
static int64_t backoff_ms(uint32_t failures)
{
	int64_t most =
		MIN((int64_t)PG_BACKOFF_MIN_MS << MIN(failures, UINT32_C(16)),
			(int64_t)PG_BACKOFF_MAX_MS);
	uint32_t chance = 0;

	/* Without it, all of the wait is certain. */
	(void)!getrandom(&chance, sizeof(chance), GRND_NONBLOCK);
	return most / 2 + (int64_t)(chance % (uint32_t)(most / 2 + 1));
}

static void wait_for_attempt(struct pg_conn *c)
{
	c->state = PG_CONN_WAITING;
	set_timer(c, backoff_ms(c->failures));
	c->failures++;
}

/* libpq's words may name hosts and users: for the log, never for clients. A
 * reason is loud once, until the connection is of use again. */
static void log_failure(
	struct pg_conn *c, const char *event, const char *reason)
{
	const char *detail = c->pg ? PQerrorMessage(c->pg) : "";
	enum log_level level = reason == c->told ? LOG_DEBUG : LOG_ERROR;

	log_at(level, NULL, event, F_STR("role", c->role),
		F_STR("reason", reason), F_STR("detail", detail));
	c->told = reason;
}

static void lose(struct pg_conn *c, const char *reason)
{
	log_failure(c, "database.lost", reason);
	close_pg(c);
	wait_for_attempt(c);
	c->on_lost(c);
}

void pg_conn_fail(struct pg_conn *c, const char *reason)
{
	if (c->state != PG_CONN_OPEN || c->failing)
		return;
	c->failing = reason;
	set_timer(c, 0);
}

void pg_conn_stop(struct pg_conn *c)
{
	close_pg(c);
	timer_clear(&c->timer);
	c->state = PG_CONN_STOPPED;
}

/* ---- connecting ---- */

/* To the next address, or the next host; after the last of them to the first,
 * when some time has gone by. */
static void attempt_failed(struct pg_conn *c, const char *reason)
{
	const struct pg_host *host = &c->target->hosts[c->host];
	size_t n_addresses = host->lookup ? c->lookup.n_addresses : 1;

	log_failure(c, "database.unreachable", reason);
	close_pg(c);
	if (++c->address < n_addresses) {
		begin_attempt(c);
		return;
	}
	c->address = 0;
	c->lookup.n_addresses = 0;
	if (++c->host < c->target->n_hosts) {
		begin_attempt(c);
		return;
	}
	c->host = 0;
	wait_for_attempt(c);
}

static void on_ready(struct watch *w, uint32_t ready);

static void opened(struct pg_conn *c)
{
	if (PQserverVersion(c->pg) < SERVER_VERSION_MIN) {
		attempt_failed(c, "the server is older than PostgreSQL 12");
		return;
	}
	if (PQsetnonblocking(c->pg, 1) < 0 || !PQenterPipelineMode(c->pg)) {
		attempt_failed(c, "the connection cannot be set up");
		return;
	}
	c->state = PG_CONN_OPEN;
	c->address = 0;
	c->lookup.n_addresses = 0;
	c->heard_ns = loop_now_ns(c->loop);
	set_timer(c, PG_HEARTBEAT_MS);
	c->on_open(c);
}

/* The socket changes while libpq tries, and a closed one must not be watched:
 * it is taken out before each step and put in again after it. */
static void go_on_connecting(struct pg_conn *c)
{
	PostgresPollingStatusType status;
	uint32_t events;

	watch_stop(&c->watch);
	status = PQconnectPoll(c->pg);
	if (status == PGRES_POLLING_FAILED) {
		attempt_failed(c, "it refused or did not answer");
		return;
	}
	events = status == PGRES_POLLING_WRITING ? EPOLLOUT : EPOLLIN;
	if (watch_start(&c->watch, c->loop, PQsocket(c->pg), events) < 0)
		attempt_failed(c, "its socket cannot be watched");
	else if (status == PGRES_POLLING_OK)
		opened(c);
}

/* What the server says without being asked; libpq would write it to standard
 * error as it is. */
static void log_notice(void *ctx UNUSED, const PGresult *result)
{
	log_info(NULL, "database.notice", F_STR("text", pg_error_text(result)));
}

static void connect_to(struct pg_conn *c, const char *address)
{
	struct pg_parts parts;

	pg_target_parts(c->target, &c->target->hosts[c->host], address, &parts);
	c->state = PG_CONN_CONNECTING;
	c->pg = PQconnectStartParams(parts.keywords, parts.values, 0);
	if (!c->pg || PQstatus(c->pg) == CONNECTION_BAD) {
		attempt_failed(c, "it cannot be connected to");
		return;
	}
	(void)PQsetNoticeReceiver(c->pg, log_notice, NULL);
	/* As documented: the first step follows when it can be written. */
	if (watch_start(&c->watch, c->loop, PQsocket(c->pg), EPOLLOUT) < 0)
		attempt_failed(c, "its socket cannot be watched");
}

static void on_looked_up(struct pg_lookup *l)
{
	struct pg_conn *c = CONTAINER_OF(l, struct pg_conn, lookup);

	if (l->n_addresses == 0)
		attempt_failed(c, "its name has no address");
	else
		connect_to(c, l->addresses[c->address]);
}

static void begin_attempt(struct pg_conn *c)
{
	const struct pg_host *host = &c->target->hosts[c->host];

	set_timer(c, PG_CONNECT_MS);
	if (!host->lookup) {
		connect_to(c, host->address);
		return;
	}
	if (c->lookup.n_addresses > 0) {
		connect_to(c, c->lookup.addresses[c->address]);
		return;
	}
	c->state = PG_CONN_LOOKING;
	if (pg_lookup_start(&c->lookup, c->loop, host->name) < 0)
		attempt_failed(c, "out of memory");
}

void pg_conn_works(struct pg_conn *c)
{
	c->failures = 0;
	c->told = NULL;
}

/* ---- when open ---- */

static void flush(struct pg_conn *c)
{
	int left = PQflush(c->pg);
	uint32_t events = EPOLLIN | (left > 0 ? (uint32_t)EPOLLOUT : 0);

	if (left < 0 || !has_socket(c) || watch_change(&c->watch, events) < 0)
		pg_conn_fail(c, "it cannot be written to");
}

static void sent(struct pg_conn *c, int ok)
{
	if (!ok)
		pg_conn_fail(c, "a statement cannot be sent");
}

void pg_conn_run(
	struct pg_conn *c, enum pg_sql sql, const struct pg_params *params)
{
	static const int binary[PG_PARAMS_MAX] = {
		[0 ... PG_PARAMS_MAX - 1] = 1};
	const struct pg_statement *s = &pg_statements[sql];
	const char *values[PG_PARAMS_MAX];
	int n = params ? params->n : 0, i;
	struct slice bytes;

	if (params && params->failed) {
		pg_conn_fail(c, "out of memory");
		return;
	}
	for (i = 0; i < n; i++) {
		bytes = buf_slice(&params->bytes);
		values[i] = (const char *)bytes.ptr + params->at[i];
	}
	if (c->prepared && s->name)
		sent(c, PQsendQueryPrepared(c->pg, s->name, n, values,
				n ? params->length : NULL, binary, 1));
	else
		sent(c, PQsendQueryParams(c->pg, s->sql, n, NULL, values,
				n ? params->length : NULL, binary, 1));
}

void pg_conn_run_text(struct pg_conn *c, const char *sql)
{
	sent(c, PQsendQueryParams(c->pg, sql, 0, NULL, NULL, NULL, NULL, 0));
}

void pg_conn_prepare_all(struct pg_conn *c)
{
	size_t i;

	for (i = 0; i < PG_SQL_STATEMENTS; i++) {
		const struct pg_statement *s = &pg_statements[i];

		if (s->name)
			sent(c, PQsendPrepare(c->pg, s->name, s->sql, 0, NULL));
	}
}

void pg_conn_sync(struct pg_conn *c)
{
	if (!PQpipelineSync(c->pg)) {
		pg_conn_fail(c, "a statement cannot be sent");
		return;
	}
	if (c->n_syncs++ == 0) {
		c->heard_ns = loop_now_ns(c->loop);
		set_timer(c, PG_ANSWER_MS);
	}
	flush(c);
}

static void take_sync(struct pg_conn *c)
{
	if (--c->n_syncs == 0)
		set_timer(c, PG_HEARTBEAT_MS);
	if (c->heartbeat)
		c->heartbeat = false;
	else
		c->on_sync(c);
}

/* An error that says something about the connection and nothing about the
 * statement: libpq's own have no severity, and after FATAL there is no more. */
static bool is_the_end(const struct pg_conn *c, const PGresult *result)
{
	const char *severity =
		PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

	return PQresultStatus(result) == PGRES_FATAL_ERROR &&
	       (PQstatus(c->pg) == CONNECTION_BAD || !severity ||
		       strcmp(severity, "ERROR") != 0);
}

static void take_result(struct pg_conn *c, const PGresult *result)
{
	if (is_the_end(c, result))
		pg_conn_fail(c, "the server ended the connection");
	else if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
		take_sync(c);
	else
		c->on_result(c, result);
}

/* libpq gives NULL between the results of two statements, and for ever when
 * there is none: the syncs that are owed say which. */
static void take_results(struct pg_conn *c)
{
	PGresult *result;

	while (!c->failing && c->n_syncs > 0 && !PQisBusy(c->pg)) {
		result = PQgetResult(c->pg);
		if (result)
			take_result(c, result);
		else if (PQstatus(c->pg) == CONNECTION_BAD)
			return;
		PQclear(result); /* NULL is fine */
	}
}

static void take_notifies(struct pg_conn *c)
{
	PGnotify *notify;

	while (!c->failing && (notify = PQnotifies(c->pg))) {
		if (c->on_notify)
			c->on_notify(c, notify);
		PQfreemem(notify);
	}
}

static void go_on(struct pg_conn *c, uint32_t ready)
{
	bool alive = true;

	if (ready & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
		alive = PQconsumeInput(c->pg);
		c->heard_ns = loop_now_ns(c->loop);
		/* What came before the end counts. */
		take_results(c);
		take_notifies(c);
	}
	if (!c->failing && (!alive || PQstatus(c->pg) == CONNECTION_BAD))
		pg_conn_fail(c, "the server closed the connection");
	if (!c->failing)
		flush(c);
	if (c->failing)
		lose(c, c->failing);
}

static void on_ready(struct watch *w, uint32_t ready)
{
	struct pg_conn *c = CONTAINER_OF(w, struct pg_conn, watch);

	if (c->state == PG_CONN_CONNECTING)
		go_on_connecting(c);
	else
		go_on(c, ready);
}

const char *pg_error_text(const PGresult *result)
{
	const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	return text ? text : "";
}

/* ---- time ---- */

int64_t pg_conn_silence_ns(const struct pg_conn *c)
{
	return c->state == PG_CONN_OPEN && c->n_syncs > 0
		       ? loop_now_ns(c->loop) - c->heard_ns
		       : 0;
}

static void look_after(struct pg_conn *c)
{
	int64_t left_ms = PG_ANSWER_MS - pg_conn_silence_ns(c) / NS_PER_MS;

	if (c->failing) {
		lose(c, c->failing);
	} else if (c->n_syncs == 0) {
		c->heartbeat = true;
		pg_conn_sync(c);
	} else if (left_ms > 0) {
		set_timer(c, left_ms);
	} else {
		lose(c, "the server does not answer");
	}
}

static void on_timer(struct timer *t)
{
	struct pg_conn *c = CONTAINER_OF(t, struct pg_conn, timer);

	switch (c->state) {
	case PG_CONN_WAITING: begin_attempt(c); break;
	case PG_CONN_LOOKING:
	case PG_CONN_CONNECTING: attempt_failed(c, "it took too long"); break;
	case PG_CONN_OPEN: look_after(c); break;
	case PG_CONN_STOPPED: break;
	}
}

void pg_conn_start(
	struct pg_conn *c, struct loop *loop, const struct pg_target *target)
{
	c->loop = loop;
	c->target = target;
	c->watch.on_ready = on_ready;
	c->timer.on_due = on_timer;
	c->lookup.on_done = on_looked_up;
	c->state = PG_CONN_WAITING;
	set_timer(c, 0);
}
