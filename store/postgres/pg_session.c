/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_session.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

static int failed(PGconn *pg, const char *what, struct errmsg *reterr)
{
	const char *why = PQerrorMessage(pg);
	size_t len = strcspn(why, "\n");

	return errmsg_set(
		reterr, ERR_IO, "database: %s: %.*s", what, (int)len, why);
}

/* ---- connecting ---- */

static void ignore_notice(void *ctx UNUSED, const char *message UNUSED)
{
}

/* The last of a keyword's values is the one that counts. */
static void name_it(struct pg_parts *parts, const char *name)
{
	size_t n = 0;

	while (parts->keywords[n])
		n++;
	if (!name || n + 1 >= PG_PARTS_MAX)
		return;
	parts->keywords[n] = "application_name";
	parts->values[n] = name;
	parts->keywords[n + 1] = NULL;
	parts->values[n + 1] = NULL;
}

static int connect_to(const struct pg_target *target,
	const struct pg_host *host, const char *name, PGconn **ret_pg,
	struct errmsg *reterr)
{
	struct pg_parts parts;
	PGconn *pg;
	int r;

	pg_target_parts(target, host, host->address, &parts);
	name_it(&parts, name);
	pg = PQconnectdbParams(parts.keywords, parts.values, 0);
	if (!pg)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	if (PQstatus(pg) == CONNECTION_OK) {
		(void)PQsetNoticeProcessor(pg, ignore_notice, NULL);
		*ret_pg = pg;
		return 0;
	}
	r = failed(pg, "cannot be connected to", reterr);
	PQfinish(pg);
	return r;
}

int pg_session_open(const struct pg_target *target, const char *name,
	PGconn **ret_pg, struct errmsg *reterr)
{
	int r = ERR_IO;
	size_t i;

	for (i = 0; i < target->n_hosts && r < 0; i++)
		r = connect_to(target, &target->hosts[i], name, ret_pg, reterr);
	return r;
}

void pg_session_close(PGconn **pg)
{
	PQfinish(*pg); /* NULL is fine */
	*pg = NULL;
}

/* ---- statements ---- */

int pg_session_run(
	PGconn *pg, const char *sql, const char *what, struct errmsg *reterr)
{
	PGresult *result = PQexec(pg, sql);
	ExecStatusType status = PQresultStatus(result);

	PQclear(result);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		return failed(pg, what, reterr);
	return 0;
}

int pg_session_begin(PGconn *pg, const char *kind, struct errmsg *reterr)
{
	static const char settings[] =
		"SELECT set_config(name, '0', true) FROM pg_settings"
		" WHERE name IN ('statement_timeout',"
		" 'idle_in_transaction_session_timeout', 'transaction_timeout');"
		"SELECT set_config('synchronous_commit',"
		" replace(current_setting('synchronous_commit'), 'off', 'on'),"
		" true)";
	char sql[sizeof(settings) + 96];

	(void)snprintf(sql, sizeof(sql), "BEGIN ISOLATION LEVEL %s; %s", kind,
		settings);
	return pg_session_run(pg, sql, "cannot begin", reterr);
}

int pg_session_ask(PGconn *pg, const char *sql, char out[PG_ANSWER_BYTES],
	struct errmsg *reterr)
{
	PGresult *result = PQexec(pg, sql);
	bool ok = PQresultStatus(result) == PGRES_TUPLES_OK;

	if (ok)
		(void)snprintf(out, PG_ANSWER_BYTES, "%s",
			PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	return ok ? 0 : failed(pg, "cannot be read", reterr);
}

int pg_session_query(PGconn *pg, const char *sql,
	const struct pg_params *params, const char *what, PGresult **ret_result,
	struct errmsg *reterr)
{
	static const int binary[PG_PARAMS_MAX] = {1, 1, 1, 1, 1, 1, 1, 1};
	const char *values[PG_PARAMS_MAX] = {NULL};
	int n = params ? params->n : 0, i;
	ExecStatusType status;
	PGresult *result;

	if (params && params->failed)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	for (i = 0; i < n; i++)
		values[i] = (const char *)buf_slice(&params->bytes).ptr +
			    params->at[i];
	result = PQexecParams(
		pg, sql, n, NULL, values, n ? params->length : NULL, binary, 1);
	status = PQresultStatus(result);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		PQclear(result);
		return failed(pg, what, reterr);
	}
	*ret_result = result;
	return 0;
}

void pg_session_clear(PGresult **result)
{
	PQclear(*result); /* NULL is fine */
	*result = NULL;
}

/* ---- fields ---- */

struct slice pg_session_bytes(const PGresult *result, int row, int column)
{
	return slice_of(PQgetvalue(result, row, column),
		(size_t)PQgetlength(result, row, column));
}

int64_t pg_session_int8(const PGresult *result, int row, int column)
{
	struct slice bytes = pg_session_bytes(result, row, column);
	uint64_t bits = 0;

	if (bytes.len == sizeof(bits))
		memcpy(&bits, bytes.ptr, sizeof(bits));
	return (int64_t)be64toh(bits);
}
