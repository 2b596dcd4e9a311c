/* SPDX-License-Identifier: Apache-2.0 */
#include "net/peers.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#define V6_PREFIX_LEN 8 /* bytes: a /64 */

struct peer {
	struct map_entry entry;
	struct list told; /* in peers.told, in order of told_ns */
	struct address address;
	uint32_t n;	 /* connections; 0 only while in peers.told */
	int64_t told_ns; /* when the log was told */
};

struct peers {
	pthread_mutex_t mutex; /* all below */
	struct map map;	       /* own, with what is in it */
	struct list told;      /* told of within PEERS_TELL_NS */
	size_t n_told;
	uint32_t max;
};

static struct slice key_of(const struct address *a)
{
	return slice_of(
		a->ip, address_is_v4(a) ? sizeof(a->ip) : V6_PREFIX_LEN);
}

static struct peer *find(struct peers *p, const struct address *a)
{
	struct map_entry *e = map_get(&p->map, key_of(a));

	return e ? CONTAINER_OF(e, struct peer, entry) : NULL;
}

static void forget_unless_needed(struct peers *p, struct peer *peer)
{
	if (peer->n > 0 || !list_empty(&peer->told))
		return;
	map_remove(&p->map, &peer->entry);
	mem_free(peer);
}

/* Those of whom the log may be told again. */
static void end_old_tellings(struct peers *p, int64_t now_ns)
{
	struct peer *peer;

	while (!list_empty(&p->told)) {
		peer = CONTAINER_OF(p->told.next, struct peer, told);
		if (now_ns - peer->told_ns < PEERS_TELL_NS)
			return;
		list_remove(&peer->told);
		p->n_told--;
		forget_unless_needed(p, peer);
	}
}

static bool should_tell(struct peers *p, struct peer *peer, int64_t now_ns)
{
	if (!list_empty(&peer->told) || p->n_told >= PEERS_TOLD_MAX)
		return false;
	peer->told_ns = now_ns;
	list_append(&p->told, &peer->told);
	p->n_told++;
	return true;
}

static int add_new(struct peers *p, const struct address *a)
{
	struct peer *peer = mem_zalloc(sizeof(*peer));

	if (!peer)
		return ERR_NOMEM;
	list_init(&peer->told);
	peer->address = *a;
	peer->entry.key = key_of(&peer->address);
	peer->n = 1;
	if (map_insert(&p->map, &peer->entry) < 0) {
		mem_free(peer);
		return ERR_NOMEM;
	}
	return 0;
}

static int add_locked(struct peers *p, const struct address *a, int64_t now_ns,
	bool *ret_tell)
{
	struct peer *peer;

	end_old_tellings(p, now_ns);
	peer = find(p, a);
	if (!peer)
		return add_new(p, a);
	if (peer->n >= p->max) {
		*ret_tell = should_tell(p, peer, now_ns);
		return PEERS_FULL;
	}
	peer->n++;
	return 0;
}

int peers_add(struct peers *p, const struct address *a, int64_t now_ns,
	bool *ret_tell)
{
	int r;

	pthread_mutex_lock(&p->mutex);
	r = add_locked(p, a, now_ns, ret_tell);
	pthread_mutex_unlock(&p->mutex);
	return r;
}

void peers_remove(struct peers *p, const struct address *a)
{
	struct peer *peer;

	pthread_mutex_lock(&p->mutex);
	peer = find(p, a);
	assert(peer && peer->n > 0);
	peer->n--;
	forget_unless_needed(p, peer);
	pthread_mutex_unlock(&p->mutex);
}

int peers_new(uint32_t max, struct peers **ret_peers)
{
	struct peers *p = mem_zalloc(sizeof(*p));

	if (!p)
		return ERR_NOMEM;
	pthread_mutex_init(&p->mutex, NULL);
	map_init(&p->map);
	list_init(&p->told);
	p->max = max;
	*ret_peers = p;
	return 0;
}

static void free_peer(struct map_entry *e, void *ctx UNUSED)
{
	mem_free(CONTAINER_OF(e, struct peer, entry));
}

void peers_free(struct peers **peers)
{
	struct peers *p = *peers;

	if (!p)
		return;
	map_each(&p->map, free_peer, NULL);
	map_release(&p->map);
	pthread_mutex_destroy(&p->mutex);
	mem_free(p);
	*peers = NULL;
}
