/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_chores.h"

#include <stdio.h>

#include "base/log.h"

void pg_chores_init(struct pg_chores *c, const struct store_listener *listener)
{
	*c = (struct pg_chores){.n_nudges = 0};
	pg_poll_init(&c->poll, listener);
}

void pg_chores_release(struct pg_chores *c)
{
	pg_poll_release(&c->poll);
}

void pg_chores_nudge(struct pg_chores *c, const struct user_id *user)
{
	if (c->n_nudges < PG_NUDGES_MAX)
		c->nudges[c->n_nudges++] = *user;
	else
		c->nudge_all = true;
}

bool pg_chores_poll(struct pg_chores *c, int64_t now_ns)
{
	if (now_ns - c->polled_ns < PG_POLL_MS * NS_PER_MS)
		return false;
	c->polled_ns = now_ns;
	pg_poll_begin(&c->poll);
	return true;
}

bool pg_chores_wait(const struct pg_chores *c)
{
	return c->sweep || c->ping || c->n_nudges > 0 || c->nudge_all ||
	       c->poll.next < c->poll.n_users;
}

/* ---- sending ---- */

static void send_notify(
	struct pg_slot *s, struct pg_params *params, const char *whom)
{
	char text[PG_TOKEN_BYTES + USER_ID_HEX + 8];
	int len = snprintf(text, sizeof(text), "%s %s 0:-", s->token, whom);

	pg_params_reset(params);
	pg_params_text(params, slice_of(text, (size_t)len));
	pg_conn_run(&s->conn, PG_SQL_NOTIFY, params);
}

static void send_nudges(
	struct pg_chores *c, struct pg_slot *s, struct pg_params *params)
{
	char hex[USER_ID_HEX + 1];
	size_t i;

	for (i = 0; i < c->n_nudges && !c->nudge_all; i++) {
		user_id_hex(&c->nudges[i], hex);
		send_notify(s, params, hex);
	}
	if (c->nudge_all)
		send_notify(s, params, "*");
	c->nudges_sent = c->n_nudges > 0 || c->nudge_all;
	c->n_nudges = 0;
	c->nudge_all = false;
}

void pg_chores_send(
	struct pg_chores *c, struct pg_slot *s, struct pg_params *params)
{
	pg_slot_busy_with_chores(s);
	send_nudges(c, s, params);
	if (c->ping)
		send_notify(s, params, PG_PING);
	c->ping = false;
	if (c->sweep) {
		pg_conn_run(&s->conn, PG_SQL_SWEEP_LOCKS, NULL);
		pg_conn_run(&s->conn, PG_SQL_SWEEP_RECEIPTS, NULL);
	}
	c->sweep = false;
	if (pg_poll_next(&c->poll, params))
		pg_conn_run(&s->conn, PG_SQL_POLL, params);
	pg_conn_sync(&s->conn);
}

/* Of nudges that were lost nobody knows any more whom they were for. The rest
 * has the next time for another try. */
void pg_chores_take(struct pg_chores *c, const PGresult *result)
{
	if (!result) {
		c->nudge_all = c->nudge_all || c->nudges_sent;
		return;
	}
	if (PQresultStatus(result) == PGRES_FATAL_ERROR)
		log_warn(NULL, "store.chore_failed",
			F_STR("reason", pg_error_text(result)));
	else if (PQnfields(result) == 2) /* the poll's alone */
		pg_poll_take(&c->poll, result);
}
