/* SPDX-License-Identifier: Apache-2.0 */
#include "syncer/quotas.h"

#include "base/mem.h"
#include "hub/listeners.h"
#include "middleware/rates.h"

/* Each NULL, or `limited` false, where there is no limit. */
struct quotas {
	bool connections_limited;
	struct rate of_connection;
	struct rates *of_api_keys;   /* own */
	struct rates *of_users;	     /* own */
	struct rates *new_users;     /* own */
	struct listeners *listeners; /* own */
};

static int new_rates(uint32_t n, struct rate (*rate_of)(uint32_t n),
	size_t n_places, struct rates **ret_rates)
{
	struct rate rate;

	if (n == 0)
		return 0;
	rate = rate_of(n);
	return rates_new(&rate, n_places, ret_rates);
}

int quotas_new(const struct config *config, struct quotas **ret_quotas)
{
	CLEANUP(quotas_free)
	struct quotas *q = mem_zalloc(sizeof(*q));
	int r;

	if (!q)
		return ERR_NOMEM;
	q->connections_limited = config->max_rate_per_connection > 0;
	if (q->connections_limited)
		q->of_connection =
			rate_per_second(config->max_rate_per_connection);
	r = new_rates(config->max_rate_per_api_key, rate_per_second,
		QUOTA_API_KEYS_MAX, &q->of_api_keys);
	if (r == 0)
		r = new_rates(config->max_rate_per_user, rate_per_second,
			QUOTA_USERS_MAX, &q->of_users);
	if (r == 0)
		r = new_rates(config->max_new_users_per_hour, rate_per_hour,
			QUOTA_API_KEYS_MAX, &q->new_users);
	if (r == 0 && config->max_listeners_per_user > 0)
		r = listeners_new(
			config->max_listeners_per_user, &q->listeners);
	if (r < 0)
		return r;
	*ret_quotas = TAKE_PTR(q);
	return 0;
}

void quotas_free(struct quotas **quotas)
{
	struct quotas *q = *quotas;

	if (!q)
		return;
	rates_free(&q->of_api_keys);
	rates_free(&q->of_users);
	rates_free(&q->new_users);
	listeners_free(&q->listeners);
	mem_free(q);
	*quotas = NULL;
}

bool quotas_take_of_connection(
	const struct quotas *q, int64_t *bucket, int64_t now_ns)
{
	return !q->connections_limited || !bucket ||
	       rate_take(&q->of_connection, bucket, now_ns);
}

bool quotas_take_of_api_key(struct quotas *q, uint64_t api_key, int64_t now_ns)
{
	return !q->of_api_keys || rates_take(q->of_api_keys, api_key, now_ns);
}

bool quotas_take_of_user(
	struct quotas *q, const struct user_id *user, int64_t now_ns)
{
	/* The first byte is one of two. */
	return !q->of_users ||
	       rates_take(q->of_users,
		       rates_who(slice_from(user_id_slice(user), 1)), now_ns);
}

bool quotas_take_new_user(struct quotas *q, uint64_t api_key, int64_t now_ns)
{
	return !q->new_users || rates_take(q->new_users, api_key, now_ns);
}

void quotas_give_back_new_user(struct quotas *q, uint64_t api_key)
{
	if (q->new_users)
		rates_give_back(q->new_users, api_key);
}

int quotas_add_listener(struct quotas *q, const struct user_id *user)
{
	int r = q->listeners ? listeners_add(q->listeners, user) : 0;

	return r == LISTENERS_FULL ? QUOTAS_FULL : r;
}

void quotas_remove_listener(struct quotas *q, const struct user_id *user)
{
	if (q->listeners)
		listeners_remove(q->listeners, user);
}
