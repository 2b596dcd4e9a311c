/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/listeners.h"

#include <assert.h>
#include <pthread.h>

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"

struct listening {
	struct map_entry entry;
	struct user_id user;
	uint32_t n; /* > 0 */
};

struct listeners {
	pthread_mutex_t mutex; /* all below */
	struct map map;	       /* own, with what is in it */
	uint32_t max;
};

int listeners_new(uint32_t max, struct listeners **ret_listeners)
{
	struct listeners *l = mem_zalloc(sizeof(*l));

	if (!l)
		return ERR_NOMEM;
	pthread_mutex_init(&l->mutex, NULL);
	map_init(&l->map);
	l->max = max;
	*ret_listeners = l;
	return 0;
}

void listeners_free(struct listeners **listeners)
{
	struct listeners *l = *listeners;

	if (!l)
		return;
	assert(l->map.n_entries == 0);
	map_release(&l->map);
	pthread_mutex_destroy(&l->mutex);
	mem_free(l);
	*listeners = NULL;
}

static struct listening *find(struct listeners *l, const struct user_id *user)
{
	struct map_entry *e = map_get(&l->map, user_id_slice(user));

	return e ? CONTAINER_OF(e, struct listening, entry) : NULL;
}

static int add_first(struct listeners *l, const struct user_id *user)
{
	struct listening *one = mem_zalloc(sizeof(*one));

	if (!one)
		return ERR_NOMEM;
	one->user = *user;
	one->entry.key = user_id_slice(&one->user);
	one->n = 1;
	if (map_insert(&l->map, &one->entry) < 0) {
		mem_free(one);
		return ERR_NOMEM;
	}
	return 0;
}

int listeners_add(struct listeners *l, const struct user_id *user)
{
	struct listening *one;
	int r = 0;

	pthread_mutex_lock(&l->mutex);
	one = find(l, user);
	if (!one)
		r = add_first(l, user);
	else if (one->n >= l->max)
		r = LISTENERS_FULL;
	else
		one->n++;
	pthread_mutex_unlock(&l->mutex);
	return r;
}

void listeners_remove(struct listeners *l, const struct user_id *user)
{
	struct listening *one;

	pthread_mutex_lock(&l->mutex);
	one = find(l, user);
	assert(one && one->n > 0);
	if (--one->n == 0) {
		map_remove(&l->map, &one->entry);
		mem_free(one);
	}
	pthread_mutex_unlock(&l->mutex);
}
