/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdio.h>

#include "app/cli/command.h"
#include "base/mem.h"
#include "store/store_admin.h"

struct stats {
	struct store_totals totals;
	struct store_usage *users; /* own */
	size_t n_users;
};

static void stats_release(struct stats *s)
{
	mem_free(s->users);
	s->users = NULL;
}

static int gather(
	struct stats *s, const struct command_call *call, struct errmsg *reterr)
{
	CLEANUP(store_admin_close)
	struct store_admin *admin = NULL;
	int r;

	s->users = mem_alloc(STORE_BIGGEST_MAX * sizeof(*s->users));
	if (!s->users)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	r = store_admin_open(call->config, STORE_ADMIN_READ, &admin, reterr);
	if (r == 0)
		r = store_admin_totals(admin, &s->totals, reterr);
	if (r == 0)
		r = store_admin_biggest(
			admin, call->top, s->users, &s->n_users, reterr);
	return r;
}

/* ---- as text ---- */

static void print_figure(const char *name, uint64_t value)
{
	(void)printf("%-15s %llu\n", name, (unsigned long long)value);
}

static void print_text(const struct stats *s)
{
	const struct store_usage *u;
	size_t i;

	print_figure("users", s->totals.users);
	print_figure("records", s->totals.records);
	print_figure("bytes", s->totals.bytes);
	print_figure("locks", s->totals.locks);
	print_figure("database bytes", s->totals.database_bytes);
	if (s->n_users == 0)
		return;
	(void)printf("\n%-*s %10s %12s %10s\n", USER_ID_HEX, "biggest users",
		"records", "bytes", "revision");
	for (i = 0; i < s->n_users; i++) {
		u = &s->users[i];
		(void)printf("%-*s %10llu %12llu %10llu\n", USER_ID_HEX,
			u->user, (unsigned long long)u->records,
			(unsigned long long)u->bytes,
			(unsigned long long)u->revision);
	}
}

/* ---- as JSON ---- */

static json_t *users_json(const struct stats *s)
{
	json_t *list = json_array();
	const struct store_usage *u;
	size_t i;

	for (i = 0; i < s->n_users && list; i++) {
		u = &s->users[i];
		/* It takes over the reference, also when it fails. */
		if (json_array_append_new(list,
			    json_pack("{s:s,s:I,s:I,s:I}", "user", u->user,
				    "records", (json_int_t)u->records, "bytes",
				    (json_int_t)u->bytes, "revision",
				    (json_int_t)u->revision)) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

static int print_json(const struct stats *s, struct errmsg *reterr)
{
	const struct store_totals *t = &s->totals;
	json_t *users = users_json(s);
	json_t *json =
		users ? json_pack("{s:I,s:I,s:I,s:I,s:I,s:o}", "users",
				(json_int_t)t->users, "records",
				(json_int_t)t->records, "bytes",
				(json_int_t)t->bytes, "locks",
				(json_int_t)t->locks, "database_bytes",
				(json_int_t)t->database_bytes, "biggest", users)
		      : NULL;
	int r = json ? json_dumpf(json, stdout, JSON_COMPACT) : -1;

	json_decref(json);
	if (r < 0)
		return errmsg_set(reterr, ERR_IO, "cannot be written");
	(void)putchar('\n');
	return 0;
}

int stats_run(const struct command_call *call, struct errmsg *reterr)
{
	CLEANUP(stats_release)
	struct stats s = {.users = NULL};
	int r = gather(&s, call, reterr);

	if (r < 0)
		return r;
	if (call->options & OPTION_JSON)
		return print_json(&s, reterr);
	print_text(&s);
	return 0;
}
