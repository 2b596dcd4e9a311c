/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/unit.h"
#include "store/postgres/pg_target.h"

static struct pg_target target;
static struct errmsg why;

static void set_up(const char *url)
{
	/* libpq would fill in what the environment says. */
	ck_assert_int_eq(unsetenv("PGHOST"), 0);
	ck_assert_int_eq(unsetenv("PGPORT"), 0);
	ck_assert_msg(pg_target_init(&target, "DATABASE_URL", url, &why) == 0,
		"%s", why.text);
}

/* What would be given to libpq for a keyword; the last one counts. */
static const char *part(
	const struct pg_host *host, const char *address, const char *keyword)
{
	static struct pg_parts parts;
	const char *value = "";

	pg_target_parts(&target, host, address, &parts);
	for (size_t i = 0; parts.keywords[i]; i++) {
		if (!strcmp(parts.keywords[i], keyword))
			value = parts.values[i];
	}
	return value;
}

TEST(pg_target, goes_where_the_url_says)
{
	set_up("postgres://me:secret@db.example:5433/sync?sslmode=require");
	ck_assert_uint_eq(target.n_hosts, 1);
	ck_assert_str_eq(target.hosts[0].name, "db.example");
	ck_assert_str_eq(target.hosts[0].port, "5433");
	ck_assert(target.hosts[0].lookup);
	ck_assert_str_eq(
		part(&target.hosts[0], "192.0.2.1", "host"), "db.example");
	ck_assert_str_eq(
		part(&target.hosts[0], "192.0.2.1", "hostaddr"), "192.0.2.1");
	ck_assert_str_eq(part(&target.hosts[0], "", "port"), "5433");
	ck_assert_str_eq(part(&target.hosts[0], "", "user"), "me");
	ck_assert_str_eq(part(&target.hosts[0], "", "password"), "secret");
	ck_assert_str_eq(part(&target.hosts[0], "", "dbname"), "sync");
	ck_assert_str_eq(part(&target.hosts[0], "", "sslmode"), "require");
	ck_assert_str_eq(part(&target.hosts[0], "", "target_session_attrs"),
		"read-write");
	pg_target_release(&target);
}

TEST(pg_target, has_keywords_too)
{
	set_up("host=/run/postgresql dbname=sync target_session_attrs=any");
	ck_assert_str_eq(target.hosts[0].name, "/run/postgresql");
	ck_assert(!target.hosts[0].lookup);
	ck_assert_str_eq(
		part(&target.hosts[0], "", "target_session_attrs"), "any");
	pg_target_release(&target);
}

TEST(pg_target, has_several_hosts)
{
	set_up("postgres://a,[::1]:5433,c:5434/sync");
	ck_assert_uint_eq(target.n_hosts, 3);
	ck_assert_str_eq(target.hosts[0].name, "a");
	ck_assert_str_eq(target.hosts[0].port, "");
	ck_assert_str_eq(target.hosts[1].name, "::1");
	ck_assert(!target.hosts[1].lookup);
	ck_assert_str_eq(target.hosts[1].port, "5433");
	ck_assert_str_eq(target.hosts[2].port, "5434");
	pg_target_release(&target);
	set_up("host=a,b hostaddr=192.0.2.1,192.0.2.2 port=5555");
	ck_assert_uint_eq(target.n_hosts, 2);
	ck_assert_str_eq(target.hosts[1].address, "192.0.2.2");
	ck_assert_str_eq(target.hosts[1].port, "5555");
	ck_assert(!target.hosts[1].lookup);
	pg_target_release(&target);
}

TEST(pg_target, needs_no_host)
{
	set_up("postgres:///sync");
	ck_assert_uint_eq(target.n_hosts, 1);
	ck_assert_str_eq(target.hosts[0].name, "");
	ck_assert(!target.hosts[0].lookup);
	pg_target_release(&target);
}

TEST(pg_target, drops_what_another_driver_knows)
{
	set_up("postgres://a/sync?pool_max_conns=7&application_name=x"
	       "&x-migrations-table=y");
	ck_assert_str_eq(part(&target.hosts[0], "", "application_name"), "x");
	ck_assert_str_eq(part(&target.hosts[0], "", "pool_max_conns"), "");
	pg_target_release(&target);
}

TEST(pg_target, says_nothing_of_a_url_that_it_cannot_read)
{
	static const char *const bad[] = {"postgres://u:hunter2@[::1/x",
		"host=a password='hunter2", "hunter2",
		"postgres://a:hunter2x/"};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		memset(&why, 0, sizeof(why));
		if (pg_target_init(&target, "DATABASE_URL", bad[i], &why) < 0) {
			ck_assert_ptr_nonnull(strstr(why.text, "DATABASE_URL"));
			ck_assert_ptr_null(strstr(why.text, "hunter2"));
		}
		pg_target_release(&target);
	}
	ck_assert_int_eq(pg_target_init(&target, "DATABASE_URL", bad[2], &why),
		ERR_INVALID);
	pg_target_release(&target);
}

TEST(pg_target, takes_so_many_hosts)
{
	ck_assert_int_eq(pg_target_init(&target, "DATABASE_URL",
				 "postgres://a,b,c,d,e,f,g,h,i/x", &why),
		ERR_INVALID);
	pg_target_release(&target);
	ck_assert_int_eq(
		pg_target_init(&target, "DATABASE_URL",
			"host=a,b hostaddr=192.0.2.1 port=1,2,3", &why),
		ERR_INVALID);
	pg_target_release(&target);
}
