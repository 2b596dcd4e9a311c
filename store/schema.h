/* SPDX-License-Identifier: Apache-2.0 */
/* schema — versions and steps of a database: what the back-ends' migrations
 * have in common. A database has two parts, each with its own version: the
 * tables that are data-sync's, and what tallyd adds. For back-ends. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "store/store_admin.h"

struct schema_part {
	const char *table; /* that holds the version, in its first column */
	const char *rest;  /* values of its other columns: "" or ", …" */
	const char *const *steps; /* step n brings version n */
	size_t n_steps;
};

struct schema_step {
	int64_t version; /* that it brings */
	const char *sql;
	const char *record; /* statements that record it; borrow(the call) */
};

/* What a database is at; 0: nothing yet. */
struct schema_versions {
	int64_t shared;
	int64_t own;
	bool dirty; /* data-sync's migration broke off */
};

/* Returns: 0; ERR_CORRUPT, ERR_UNSUPPORTED (newer than we know) with a
 * sentence. */
MUSTCHECK int schema_check(const struct schema_versions *v,
	const struct schema_part *shared, const struct schema_part *own,
	struct errmsg *reterr);

/* How far it is. */
enum store_schema schema_state(const struct schema_versions *v,
	const struct schema_part *shared, const struct schema_part *own);

/* Has `run` carry out and record the steps above `have`. Returns: 0, or the
 * first error of `run`. */
MUSTCHECK int schema_run(const struct schema_part *part, int64_t have,
	int (*run)(void *db, const struct schema_step *step,
		struct errmsg *reterr),
	void *db, struct errmsg *reterr);
