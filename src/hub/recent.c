/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/recent.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "config/limits.h"

#define WINDOW_NS (OVERLAP_WINDOW_S * NS_PER_S)
#define GAP_NS	  (OVERLAP_GAP_S * NS_PER_S)
#define MEMORY_NS (OVERLAP_MEMORY_S * NS_PER_S)
/* The asker's own write and those that may count below it. */
#define WRITES_MAX (2 * OVERLAP_REVISIONS)
/* Few users write more in that time; the ring doubles for who does. */
#define WRITES_MIN 8

struct write {
	uint64_t revision; /* 0: none */
	uint64_t client;   /* hash of the client id; 0: came without */
	int64_t at_ns;
	unsigned repeats; /* answers from here that were lowered */
};

struct recent_user {
	struct map_entry entry;
	struct list by_age; /* oldest last write first */
	struct user_id id;
	struct write *ring; /* own */
	size_t size;	    /* of the ring; a power of two */
	size_t next;	    /* place of the next write */
};

struct recent {
	struct map users;
	struct list by_age; /* of struct recent_user */
	size_t max_users;
	size_t n_writes; /* room for so many, in all rings */
	size_t max_writes;
	uint64_t seed[2];
};

int recent_new(size_t max_users, size_t max_writes, struct recent **ret_recent)
{
	struct recent *r = mem_zalloc(sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	map_init(&r->users);
	r->seed[0] = r->users.seed[1];
	r->seed[1] = r->users.seed[0];
	list_init(&r->by_age);
	r->max_users = max_users;
	r->max_writes = max_writes;
	*ret_recent = r;
	return 0;
}

static void forget_user(struct recent *r, struct recent_user *u)
{
	map_remove(&r->users, &u->entry);
	list_remove(&u->by_age);
	r->n_writes -= u->size;
	mem_free(u->ring);
	mem_free(u);
}

static struct recent_user *oldest_user(struct recent *r)
{
	return list_empty(&r->by_age) ? NULL
				      : CONTAINER_OF(r->by_age.next,
						struct recent_user, by_age);
}

void recent_free(struct recent **recent)
{
	struct recent *r = *recent;
	struct recent_user *u;

	if (!r)
		return;
	while ((u = oldest_user(r)))
		forget_user(r, u);
	map_release(&r->users);
	mem_free(r);
	*recent = NULL;
}

static struct recent_user *find_user(
	const struct recent *r, const struct user_id *id)
{
	struct map_entry *e = map_get(&r->users, user_id_slice(id));

	return e ? CONTAINER_OF(e, struct recent_user, entry) : NULL;
}

/* The writes from the newest on, for `back` from 0 up; NULL behind the last. */
static struct write *write_back(const struct recent_user *u, size_t back)
{
	struct write *w = &u->ring[(u->next - 1 - back) & (u->size - 1)];

	return back < u->size && w->revision > 0 ? w : NULL;
}

/* Users whose last write is long ago. A few at a time: each note adds at most
 * one. */
static void forget_old(struct recent *r, int64_t now_ns)
{
	struct recent_user *u;
	int i;

	for (i = 0; i < 2; i++) {
		u = oldest_user(r);
		if (u && now_ns - write_back(u, 0)->at_ns > MEMORY_NS)
			forget_user(r, u);
	}
}

/* Makes room for `n` more writes, but not at the cost of `keep`: then there may
 * be none. */
static bool make_room(
	struct recent *r, size_t n, const struct recent_user *keep)
{
	struct recent_user *u;

	while (r->n_writes + n > r->max_writes) {
		u = oldest_user(r);
		if (!u || u == keep)
			return false;
		forget_user(r, u);
	}
	return true;
}

static struct recent_user *add_user(
	struct recent *r, const struct user_id *id, int64_t now_ns)
{
	struct recent_user *u;

	forget_old(r, now_ns);
	if (r->users.n_entries >= r->max_users)
		forget_user(r, oldest_user(r));
	u = make_room(r, WRITES_MIN, NULL) ? mem_zalloc(sizeof(*u)) : NULL;
	if (!u)
		return NULL;
	u->id = *id;
	u->entry.key = user_id_slice(&u->id);
	list_init(&u->by_age);
	u->size = WRITES_MIN;
	u->ring = mem_zalloc(u->size * sizeof(*u->ring));
	if (!u->ring || map_insert(&r->users, &u->entry) < 0) {
		mem_free(u->ring);
		mem_free(u);
		return NULL;
	}
	r->n_writes += u->size;
	return u;
}

/* Makes the ring twice as large, if what would be overwritten may still count.
 * Without memory it is overwritten. */
static void make_room_for_write(
	struct recent *r, struct recent_user *u, int64_t now_ns)
{
	const struct write *oldest = &u->ring[u->next];
	struct write *ring;
	size_t i;

	if (oldest->revision == 0 || now_ns - oldest->at_ns > MEMORY_NS ||
		u->size == WRITES_MAX || !make_room(r, u->size, u))
		return;
	ring = mem_zalloc(2 * u->size * sizeof(*ring));
	if (!ring)
		return;
	for (i = 0; i < u->size; i++)
		ring[i] = u->ring[(u->next + i) % u->size];
	mem_free(u->ring);
	u->ring = ring;
	u->next = u->size;
	r->n_writes += u->size;
	u->size *= 2;
}

void recent_note(struct recent *r, const struct user_id *user,
	uint64_t revision, const struct slice *client_id, int64_t now_ns)
{
	struct recent_user *u = find_user(r, user);

	if (!u)
		u = add_user(r, user, now_ns);
	if (!u)
		return;
	list_remove(&u->by_age);
	list_append(&r->by_age, &u->by_age);
	make_room_for_write(r, u, now_ns);
	assert(u->next < u->size);
	u->ring[u->next] = (struct write){
		.revision = revision,
		.client = client_id ? siphash(*client_id, r->seed) | 1 : 0,
		.at_ns = now_ns,
	};
	u->next = (u->next + 1) % u->size;
}

/* The write that gave `revision`, if we remember it. */
static struct write *find_write(const struct recent_user *u, uint64_t revision)
{
	struct write *w;
	size_t back;

	for (back = 0; (w = write_back(u, back)); back++) {
		if (w->revision == revision)
			return w;
	}
	return NULL;
}

/* The lowest start that the other clients' writes below `own` ask for: those
 * since shortly before its run of writes began. What is too old for that is too
 * old to belong to the run. */
static uint64_t lowest_start(
	const struct recent_user *u, const struct write *own)
{
	uint64_t start = own->revision;
	int64_t began_ns = own->at_ns;
	const struct write *w;
	size_t back;

	for (back = 0; (w = write_back(u, back)); back++) {
		if (began_ns - w->at_ns > WINDOW_NS)
			break;
		if (w->revision >= own->revision)
			continue;
		if (w->client != own->client) {
			if (own->revision - w->revision <= OVERLAP_REVISIONS)
				start = MIN(start, w->revision - 1);
		} else if (began_ns - w->at_ns <= GAP_NS) {
			began_ns = w->at_ns;
		}
	}
	return start;
}

_Static_assert(OVERLAP_GAP_S <= OVERLAP_WINDOW_S, "lowest_start() stops there");

/* Which revisions from `start` up to `own` its writer wrote. */
static void mark_own(const struct recent_user *u, const struct write *own,
	uint64_t start, char *ret_own)
{
	const struct write *w;
	size_t back;

	memset(ret_own, '.', own->revision - start);
	for (back = 0; (w = write_back(u, back)); back++) {
		if (w->revision > start && w->revision <= own->revision &&
			w->client == own->client)
			ret_own[w->revision - start - 1] = 'x';
	}
}

uint64_t recent_start(struct recent *r, const struct user_id *user,
	uint64_t since, int64_t now_ns, char ret_own[OVERLAP_REVISIONS + 1])
{
	struct recent_user *u = find_user(r, user);
	struct write *own = u && since > 0 ? find_write(u, since) : NULL;
	uint64_t start;

	if (!own || own->client == 0 || own->repeats >= OVERLAP_REPEATS_MAX ||
		now_ns - own->at_ns > MEMORY_NS)
		return since;
	start = lowest_start(u, own);
	if (start < since) {
		own->repeats++;
		mark_own(u, own, start, ret_own);
	}
	return start;
}
