/* SPDX-License-Identifier: Apache-2.0 */
#include "store/database.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "lib/unit.h"

#define URL_MAX 1024
#define SQL_MAX 65536

static char name[64];
static PGconn *server; /* own; makes and drops */
static PGconn *db;     /* own; on the database */

/* The server's URL with another database and, for the store, our schema before
 * PostgreSQL's own. */
static void url_of(const char *options, char *ret_url, size_t size)
{
	const char *url = getenv("TEST_DATABASE_URL");
	const char *end;

	ck_assert_msg(url && *url, "TEST_DATABASE_URL is not set");
	end = strrchr(url, '/');
	ck_assert_ptr_nonnull(end);
	ck_assert_ptr_null(strchr(end, '?'));
	ck_assert_int_lt(snprintf(ret_url, size, "%.*s/%s%s", (int)(end - url),
				 url, name, options),
		(int)size);
}

static PGconn *connect_to(const char *url)
{
	PGconn *conn = PQconnectdb(url);

	ck_assert_msg(
		PQstatus(conn) == CONNECTION_OK, "%s", PQerrorMessage(conn));
	return conn;
}

static PGresult *run(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(result);

	ck_assert_msg(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK,
		"%s: %s", sql, PQerrorMessage(conn));
	return result;
}

void database_make(char *url, size_t size)
{
	static unsigned number;
	char sql[URL_MAX];

	(void)snprintf(
		name, sizeof(name), "store_%ld_%u", (long)getpid(), number++);
	url_of("", sql, sizeof(sql));
	server = connect_to(getenv("TEST_DATABASE_URL"));
	(void)snprintf(sql, sizeof(sql), "CREATE DATABASE %.63s", name);
	PQclear(run(server, sql));
	url_of("", sql, sizeof(sql));
	db = connect_to(sql);
	database_sql("SET client_min_messages = warning");
	database_sql("CREATE TABLE test_clock (at timestamptz NOT NULL);"
		     "INSERT INTO test_clock VALUES (now());"
		     "CREATE FUNCTION public.clock_timestamp() RETURNS"
		     " timestamptz LANGUAGE sql VOLATILE AS"
		     " 'SELECT at FROM public.test_clock'");
	url_of("?options=-csearch_path%3Dpublic%2Cpg_catalog", url, size);
}

void database_drop(void)
{
	char sql[URL_MAX];

	PQfinish(db);
	/* Which takes a checkpoint. */
	if (!getenv("TEST_DATABASE_TEMPORARY")) {
		(void)snprintf(sql, sizeof(sql),
			"DROP DATABASE %.63s WITH (FORCE)", name);
		PQclear(run(server, sql));
	}
	PQfinish(server);
	db = server = NULL;
}

const char *database_name(void)
{
	return name;
}

PGconn *database_connect(void)
{
	char url[URL_MAX];

	url_of("", url, sizeof(url));
	return connect_to(url);
}

void database_set_clock(int64_t wall_ns)
{
	database_sql("UPDATE test_clock SET at = 'epoch'::timestamptz +"
		     " %lld * interval '1 microsecond'",
		(long long)(wall_ns / DATABASE_TICK_NS));
}

void database_sql(const char *format, ...)
{
	static char sql[SQL_MAX];
	va_list ap;
	int len;

	va_start(ap, format);
	len = vsnprintf(sql, sizeof(sql), format, ap);
	va_end(ap);
	ck_assert_int_lt(len, (int)sizeof(sql));
	PQclear(run(db, sql));
}

const char *database_text(const char *sql)
{
	static char text[4096];
	PGresult *result = run(db, sql);

	ck_assert_msg(PQntuples(result) > 0, "%s: no row", sql);
	(void)snprintf(text, sizeof(text), "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
	return text;
}

int64_t database_integer(const char *sql)
{
	return strtoll(database_text(sql), NULL, 10);
}
