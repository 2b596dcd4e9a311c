/* SPDX-License-Identifier: Apache-2.0 */
#include "store/schema.h"

#include <stdio.h>

static int check_version(
	const struct schema_part *part, int64_t version, struct errmsg *reterr)
{
	if (version >= 0 && version <= (int64_t)part->n_steps)
		return 0;
	return errmsg_set(reterr, ERR_UNSUPPORTED,
		"database: version %lld in %s is newer than this program knows",
		(long long)version, part->table);
}

int schema_check(const struct schema_versions *v,
	const struct schema_part *shared, const struct schema_part *own,
	struct errmsg *reterr)
{
	int r;

	if (v->dirty)
		return errmsg_set(reterr, ERR_CORRUPT,
			"database: a migration broke off half-way "
			"(schema_migrations is dirty); restore a backup or "
			"finish it by hand");
	r = check_version(shared, v->shared, reterr);
	return r == 0 ? check_version(own, v->own, reterr) : r;
}

enum store_schema schema_state(const struct schema_versions *v,
	const struct schema_part *shared, const struct schema_part *own)
{
	if (v->shared == (int64_t)shared->n_steps &&
		v->own == (int64_t)own->n_steps)
		return STORE_SCHEMA_CURRENT;
	return v->shared > 0 ? STORE_SCHEMA_OLD : STORE_SCHEMA_NONE;
}

int schema_run(const struct schema_part *part, int64_t have,
	int (*run)(void *db, const struct schema_step *step,
		struct errmsg *reterr),
	void *db, struct errmsg *reterr)
{
	struct schema_step step;
	char record[160];
	int64_t version;
	int r = 0;

	for (version = have + 1; version <= (int64_t)part->n_steps && r == 0;
		version++) {
		(void)snprintf(record, sizeof(record),
			"DELETE FROM %s; INSERT INTO %s VALUES (%lld%s)",
			part->table, part->table, (long long)version,
			part->rest);
		step = (struct schema_step){
			version, part->steps[version - 1], record};
		r = run(db, &step, reterr);
	}
	return r;
}
