/* SPDX-License-Identifier: Apache-2.0 */
#include "app/cli/batch.h"

#include <string.h>

#include "base/mem.h"
#include "config/limits.h"

#define RECORD_BYTES_MAX (RECORD_ID_MAX + SCHEMA_VERSION_MAX + RECORD_DATA_MAX)

int batch_init(struct batch *b, struct store_admin *admin)
{
	*b = (struct batch){.admin = admin};
	b->users = mem_alloc(STORE_FILL_USERS_MAX * sizeof(*b->users));
	b->records = mem_alloc(STORE_FILL_RECORDS_MAX * sizeof(*b->records));
	b->bytes = mem_alloc(STORE_FILL_BYTES_MAX);
	return b->users && b->records && b->bytes ? 0 : ERR_NOMEM;
}

void batch_release(struct batch *b)
{
	mem_free(b->users);
	mem_free(b->records);
	mem_free(b->bytes);
	*b = (struct batch){.admin = NULL};
}

static struct store_fill_user *last_user(struct batch *b)
{
	return &b->users[b->n_users - 1];
}

/* Stores what there is; a user that goes on begins the next batch. */
static int store(struct batch *b, struct errmsg *reterr)
{
	const struct store_fill fill = {
		b->users, b->n_users, b->records, b->n_records};
	int r = 0;

	if (b->admin && b->n_users > 0)
		r = store_admin_fill(b->admin, &fill, reterr);
	if (r < 0)
		return r;
	if (b->in_user)
		b->users[0] = *last_user(b);
	b->n_users = b->in_user ? 1 : 0;
	b->n_records = 0;
	b->n_bytes = 0;
	return 0;
}

static void end_user(struct batch *b)
{
	struct store_fill_user *user;

	if (!b->in_user)
		return;
	user = last_user(b);
	user->whole = true;
	user->filled = user->counter;
	user->n_records = b->in_all;
	b->in_user = false;
}

static int take_user(
	struct batch *b, const struct line *line, struct errmsg *reterr)
{
	int r = 0;

	end_user(b);
	if (b->n_users == STORE_FILL_USERS_MAX)
		r = store(b, reterr);
	if (r < 0)
		return r;
	b->users[b->n_users++] = (struct store_fill_user){
		.user = line->user, .counter = line->counter};
	b->in_user = true;
	b->in_all = 0;
	return 0;
}

static bool is_full(const struct batch *b)
{
	return b->n_records >= STORE_FILL_RECORDS_MAX - BATCH_SPARE ||
	       b->n_bytes > STORE_FILL_BYTES_MAX -
				    (BATCH_SPARE + 1) * RECORD_BYTES_MAX;
}

static struct slice keep(struct batch *b, struct slice bytes)
{
	uint8_t *to = b->bytes + b->n_bytes;

	if (bytes.len > 0)
		memcpy(to, bytes.ptr, bytes.len);
	b->n_bytes += bytes.len;
	return slice_of(to, bytes.len);
}

static int take_record(
	struct batch *b, const struct line *line, struct errmsg *reterr)
{
	const struct store_record *r = &line->record;
	int e = 0;

	if (is_full(b) && r->revision != last_user(b)->filled)
		e = store(b, reterr);
	if (e < 0)
		return e;
	if (b->n_records == STORE_FILL_RECORDS_MAX ||
		b->n_bytes > STORE_FILL_BYTES_MAX - RECORD_BYTES_MAX)
		return errmsg_set(
			reterr, ERR_LIMIT, "too many records of one revision");
	b->records[b->n_records++] =
		(struct store_fill_record){.user = b->n_users - 1,
			.record = {.id = keep(b, r->id),
				.schema_version = keep(b, r->schema_version),
				.data = keep(b, r->data),
				.revision = r->revision}};
	last_user(b)->filled = r->revision;
	b->in_all++;
	return 0;
}

int batch_take(struct batch *b, const struct line *line, struct errmsg *reterr)
{
	switch (line->kind) {
	case LINE_HEADER: return 0;
	case LINE_USER: return take_user(b, line, reterr);
	case LINE_RECORD: return take_record(b, line, reterr);
	case LINE_TRAILER: end_user(b); return store(b, reterr);
	}
	return 0;
}
