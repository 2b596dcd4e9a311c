/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/hub.h"

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"

struct hub {
	struct map users;	 /* of struct hub_user */
	struct metrics *metrics; /* ref */
};

/* A user with at least one subscriber. */
struct hub_user {
	struct map_entry entry;
	struct user_id id;
	struct list subscribers;
};

int hub_new(struct metrics *metrics, struct hub **ret_hub)
{
	struct hub *h = mem_zalloc(sizeof(*h));

	if (!h)
		return ERR_NOMEM;
	map_init(&h->users);
	h->metrics = metrics;
	*ret_hub = h;
	return 0;
}

void hub_free(struct hub **hub)
{
	if (!*hub)
		return;
	map_release(&(*hub)->users);
	mem_free(*hub);
	*hub = NULL;
}

static struct hub_user *find_user(struct hub *h, const struct user_id *id)
{
	struct map_entry *e = map_get(&h->users, user_id_slice(id));

	return e ? CONTAINER_OF(e, struct hub_user, entry) : NULL;
}

static struct hub_user *add_user(struct hub *h, const struct user_id *id)
{
	struct hub_user *user = mem_zalloc(sizeof(*user));

	if (!user)
		return NULL;
	user->id = *id;
	user->entry.key = user_id_slice(&user->id);
	list_init(&user->subscribers);
	if (map_insert(&h->users, &user->entry) < 0) {
		mem_free(user);
		return NULL;
	}
	return user;
}

int hub_subscribe(
	struct hub *h, struct subscriber *s, const struct user_id *user)
{
	struct hub_user *u = find_user(h, user);

	if (!u)
		u = add_user(h, user);
	if (!u)
		return ERR_NOMEM;
	s->user = u;
	list_init(&s->node);
	list_append(&u->subscribers, &s->node);
	return 0;
}

static void forget_id(struct subscriber *s)
{
	mem_free(s->client_id);
	s->client_id = NULL;
}

void hub_unsubscribe(struct hub *h, struct subscriber *s)
{
	struct hub_user *u = s->user;

	if (!u)
		return;
	s->user = NULL;
	forget_id(s);
	list_remove(&s->node);
	if (list_empty(&u->subscribers)) {
		map_remove(&h->users, &u->entry);
		mem_free(u);
	}
}

static bool same_id(const struct subscriber *s, const struct slice *client_id)
{
	return client_id && s->client_id &&
	       slice_eq(*client_id, slice_of(s->client_id, s->client_id_len));
}

/* `client_id` NULL for none; so is one for which there is no memory. */
static void merge(
	struct hub *h, struct subscriber *s, const struct slice *client_id)
{
	if (s->pending) {
		metrics_add(h->metrics, METRIC_NOTICES_MERGED, 1);
		if (!same_id(s, client_id))
			forget_id(s);
		return;
	}
	forget_id(s);
	if (client_id) {
		s->client_id = mem_dup(client_id->ptr, client_id->len);
		s->client_id_len = client_id->len;
	}
	s->pending = true;
	s->on_notice(s);
}

/* The user goes with its last subscriber, which may unsubscribe while it is
 * told: the list is not looked at after that one. */
static void tell_all(
	struct hub *h, struct hub_user *u, const struct slice *client_id)
{
	struct list *node, *last = u->subscribers.prev, *next;

	for (node = u->subscribers.next;; node = next) {
		bool is_last = node == last;

		next = node->next;
		merge(h, CONTAINER_OF(node, struct subscriber, node),
			client_id);
		if (is_last)
			return;
	}
}

void hub_publish(struct hub *h, const struct user_id *user,
	const struct slice *client_id)
{
	struct hub_user *u = find_user(h, user);

	if (u)
		tell_all(h, u, client_id);
}

static void nudge_user(struct map_entry *entry, void *ctx)
{
	tell_all(ctx, CONTAINER_OF(entry, struct hub_user, entry), NULL);
}

void hub_nudge_all(struct hub *h)
{
	map_each(&h->users, nudge_user, h);
}

bool hub_take(struct subscriber *s, struct slice *ret_client_id)
{
	if (!s->pending)
		return false;
	s->pending = false;
	*ret_client_id = s->client_id ? slice_of(s->client_id, s->client_id_len)
				      : slice_of(NULL, 0);
	return true;
}

struct each_user {
	void (*each)(void *arg, const struct user_id *user);
	void *arg;
};

static void call_each(struct map_entry *entry, void *ctx)
{
	const struct each_user *e = ctx;

	e->each(e->arg, &CONTAINER_OF(entry, struct hub_user, entry)->id);
}

void hub_each_user(struct hub *h,
	void (*each)(void *arg, const struct user_id *user), void *arg)
{
	struct each_user e = {each, arg};

	map_each(&h->users, call_each, &e);
}
