/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations, against a model that keeps all in arrays. */
#include <stdio.h>
#include <stdlib.h>

#include "store/suite.h"

#define USERS	4
#define IDS	12
#define OPS	10000 /* STORE_MODEL_OPS overrides it */
#define RESTART 2000  /* operations between two closings of the store */

struct model_record {
	uint64_t revision; /* 0: none */
	unsigned data;
};

static struct model_record model[USERS][IDS];
static uint64_t counters[USERS];
static struct suite s;

static struct user_id user_of(unsigned number)
{
	return (struct user_id){{2, 7, (uint8_t)number}};
}

static void model_set(unsigned user, unsigned id, unsigned data, uint64_t given)
{
	struct model_record *r = &model[user][id];
	struct user_id uid = user_of(user);
	char id_text[16], data_text[16];
	uint64_t revision = 0;
	enum store_outcome outcome;

	(void)snprintf(id_text, sizeof(id_text), "id%u", id);
	(void)snprintf(data_text, sizeof(data_text), "%u", data);
	outcome = set(&s, &uid, id_text, data_text, given, &revision);
	if (r->revision > 0 && r->revision != given) {
		ck_assert_int_eq(outcome, STORE_CONFLICT);
		return;
	}
	ck_assert_int_eq(outcome, STORE_OK);
	ck_assert_uint_eq(revision, ++counters[user]);
	*r = (struct model_record){revision, data};
}

/* The model's page, as suite_encode() writes it. */
static void model_list(unsigned user, uint64_t since, char *out, size_t size)
{
	uint64_t revision;
	size_t len = 0;
	unsigned id;

	out[0] = '\0';
	for (revision = since + 1; revision <= counters[user]; revision++) {
		for (id = 0; id < IDS; id++) {
			if (model[user][id].revision == revision)
				len += (size_t)snprintf(out + len, size - len,
					"id%u=%u@%llu ", id,
					model[user][id].data,
					(unsigned long long)revision);
		}
	}
}

static void check_list(unsigned user, uint64_t since)
{
	static struct page page;
	static char expected[sizeof(page.text)];
	struct user_id uid = user_of(user);

	ck_assert_int_eq(list(&s, &uid, since, 1000, 1 << 16, &page), STORE_OK);
	model_list(user, since, expected, sizeof(expected));
	ck_assert_str_eq(page.text, expected);
}

TEST(model, random_operations_agree_with_a_simple_model)
{
	const char *wanted = getenv("STORE_MODEL_OPS");
	long n = wanted ? strtol(wanted, NULL, 10) : OPS, i;
	unsigned seed = 20260131, user, id;
	uint64_t given;

	suite_begin(&s, 1);
	for (i = 1; i <= n; i++) {
		user = (unsigned)rand_r(&seed) % USERS;
		id = (unsigned)rand_r(&seed) % IDS;
		given = model[user][id].revision;
		if (rand_r(&seed) % 4 == 0)
			given += (uint64_t)rand_r(&seed) % 3;
		if (rand_r(&seed) % 3 > 0)
			model_set(user, id, (unsigned)i, given);
		else
			check_list(user,
				(uint64_t)rand_r(&seed) % (counters[user] + 2));
		if (i % RESTART == 0) {
			suite_close(&s);
			suite_open(&s, 1);
		}
	}
	for (user = 0; user < USERS; user++)
		check_list(user, 0);
	suite_end(&s);
}
