/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_poll.h"

#include "base/mem.h"
#include "store/postgres/pg_batch.h"

struct known {
	struct map_entry entry;
	struct user_id user;
	uint64_t revision;
	uint64_t round; /* the last in which somebody listened */
};

void pg_poll_init(struct pg_poll *p, const struct store_listener *listener)
{
	*p = (struct pg_poll){.listener = listener};
	map_init(&p->known);
}

static void forget(struct map_entry *entry, void *ctx)
{
	struct pg_poll *p = ctx;

	map_remove(&p->known, entry);
	mem_free(CONTAINER_OF(entry, struct known, entry));
}

void pg_poll_release(struct pg_poll *p)
{
	map_each(&p->known, forget, p);
	map_release(&p->known);
	mem_free(p->users);
	p->users = NULL;
}

/* ---- a round ---- */

static void collect(void *ctx, const struct user_id *user)
{
	struct pg_poll *p = ctx;
	size_t size = MAX(2 * p->size, (size_t)64);
	struct user_id *users;

	if (p->n_users == p->size) {
		users = mem_realloc(p->users, size * sizeof(*users));
		if (!users)
			return; /* this one is looked at in another round */
		p->users = users;
		p->size = size;
	}
	p->users[p->n_users++] = *user;
}

static struct known *find(struct pg_poll *p, const struct user_id *user)
{
	struct map_entry *entry = map_get(&p->known, user_id_slice(user));

	return entry ? CONTAINER_OF(entry, struct known, entry) : NULL;
}

static void mark(struct pg_poll *p)
{
	struct known *k;
	size_t i;

	for (i = 0; i < p->n_users; i++) {
		k = find(p, &p->users[i]);
		if (k)
			k->round = p->round;
	}
}

static void forget_if_old(struct map_entry *entry, void *ctx)
{
	struct pg_poll *p = ctx;

	if (CONTAINER_OF(entry, struct known, entry)->round != p->round)
		forget(entry, p);
}

void pg_poll_begin(struct pg_poll *p)
{
	if (p->next < p->n_users || !p->listener->users)
		return;
	p->n_users = p->next = 0;
	p->round++;
	p->listener->users(p->listener->ctx, collect, p);
	mark(p);
	map_each(&p->known, forget_if_old, p);
}

bool pg_poll_next(struct pg_poll *p, struct pg_params *params)
{
	size_t n = MIN(p->n_users - p->next, (size_t)PG_POLL_USERS), i;
	char hex[USER_ID_HEX + 1];

	if (n == 0)
		return false;
	pg_params_reset(params);
	pg_params_array(params, PG_TEXT, n);
	for (i = 0; i < n; i++) {
		user_id_hex(&p->users[p->next++], hex);
		pg_params_element(params, slice_of(hex, USER_ID_HEX));
	}
	return true;
}

/* ---- what it finds ---- */

static void tell(struct pg_poll *p, const struct user_id *user)
{
	const struct store_notice notice = {.user = *user};

	p->listener->on_notice(p->listener->ctx, &notice);
}

/* One that was not known may have changed since its listener came. */
static void learn(
	struct pg_poll *p, const struct user_id *user, uint64_t revision)
{
	struct known *k = find(p, user);

	if (k && k->revision == revision)
		return;
	if (!k) {
		k = mem_zalloc(sizeof(*k));
		if (k) {
			k->user = *user;
			k->round = p->round;
			k->entry.key = user_id_slice(&k->user);
		}
		if (k && map_insert(&p->known, &k->entry) < 0) {
			mem_free(k);
			k = NULL;
		}
	}
	if (k)
		k->revision = revision;
	tell(p, user);
}

void pg_poll_take(struct pg_poll *p, const PGresult *result)
{
	struct user_id user;
	struct slice hex;
	int row;

	for (row = 0; row < PQntuples(result); row++) {
		hex = slice_of(PQgetvalue(result, row, 0),
			(size_t)PQgetlength(result, row, 0));
		if (hex.len == USER_ID_HEX && hex_decode(hex, user.bytes) == 0)
			learn(p, &user, (uint64_t)pg_int8(result, row, 1));
	}
}

void pg_poll_note(struct pg_poll *p, const struct store_notice *notice)
{
	struct known *k = find(p, &notice->user);

	/* One between the two is somebody else's, and still to be found. */
	if (k && k->revision + 1 == notice->revision)
		k->revision = notice->revision;
}
