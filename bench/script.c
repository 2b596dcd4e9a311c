/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/script.h"

#include "base/err.h"
#include "base/mem.h"

/* An update names the revision that its record has. Each caller has a user of
 * its own and writes so many records of it in turn, so revisions are known
 * beforehand. */
#define UPDATED_RECORDS 16
#define LOCKS		16 /* of each user */
#define INSTANCES	64 /* of all users */
#define DATA_MAX	65536

/* Shares of a mixed load, in percent; the rest are locks. */
#define MIXED_LISTS 70
#define MIXED_SETS  25

static uint8_t data[DATA_MAX];

/* xorshift (Marsaglia 2003): the same in every run. */
static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* Bytes that do not compress, like a wallet's ciphertext. */
static struct slice some_data(size_t len)
{
	uint32_t state = 2463534242;
	size_t i;

	for (i = 0; i < DATA_MAX && data[DATA_MAX - 1] == 0; i++)
		data[i] = (uint8_t)(next_random(&state) | 1);
	return slice_of(data, MIN(len, (size_t)DATA_MAX));
}

void script_release(struct script *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		request_release(&s->requests[i]);
	mem_free(s->requests);
	*s = (struct script){0};
}

static void hand_over(struct script *from, struct script *to)
{
	*to = *from;
	*from = (struct script){0};
}

/* What request i asks; `random` is any number. */
typedef void question_fn(const struct options *o, uint32_t i, uint32_t random,
	struct question *q);

static int make(const struct options *o, struct signer *signer, size_t n,
	question_fn *ask, struct script *ret_script)
{
	CLEANUP(script_release)
	struct script s = {0};
	uint32_t state = 88172645;
	struct question q;
	int r = 0;

	s.requests = mem_zalloc(MAX(n, 1) * sizeof(*s.requests));
	if (!s.requests)
		return ERR_NOMEM;
	for (; r == 0 && s.n < n; s.n++) {
		q = (struct question){.n_changes = UINT32_MAX,
			.data = some_data(o->data_bytes)};
		ask(o, (uint32_t)s.n, next_random(&state), &q);
		q.user += o->first_user;
		r = request_init(&s.requests[s.n], &q, signer);
	}
	if (r == 0)
		hand_over(&s, ret_script);
	return r;
}

static void ask_record(const struct options *o, uint32_t i,
	uint32_t random UNUSED, struct question *q)
{
	q->method = METHOD_SET_RECORD;
	q->user = i % o->users;
	q->record = i / o->users;
}

/* New ones go on where those that are there before end. */
static void ask_set_new(const struct options *o, uint32_t i, uint32_t random,
	struct question *q)
{
	ask_record(o, i, random, q);
	q->record += o->records;
}

static void ask_set_update(const struct options *o, uint32_t i,
	uint32_t random UNUSED, struct question *q)
{
	uint32_t write = i / o->callers; /* of this user */

	q->method = METHOD_SET_RECORD;
	q->user = i % o->callers;
	q->record = write % UPDATED_RECORDS;
	q->revision = write < UPDATED_RECORDS
			      ? 0
			      : (uint64_t)write - UPDATED_RECORDS + 1;
}

static void ask_list(const struct options *o, uint32_t i,
	uint32_t random UNUSED, struct question *q)
{
	q->method = METHOD_LIST_CHANGES;
	q->user = i % o->users;
	q->n_changes = MIN(o->find, o->records);
	q->since_revision = o->records - q->n_changes;
}

static void ask_get_lock(const struct options *o, uint32_t i,
	uint32_t random UNUSED, struct question *q)
{
	q->method = METHOD_GET_LOCK;
	q->user = i % o->users;
	q->lock = i / o->users % LOCKS;
}

static void ask_set_lock(const struct options *o, uint32_t i,
	uint32_t random UNUSED, struct question *q)
{
	q->method = METHOD_SET_LOCK;
	q->user = i % o->users;
	q->lock = i / o->users / 2 % LOCKS;
	q->instance = i / o->users / 2 % INSTANCES;
	q->acquire = i / o->users % 2 == 0;
}

/* Who is written to is not listed, so that what a list finds is known. */
static void ask_mixed(const struct options *o, uint32_t i, uint32_t random,
	struct question *q)
{
	uint32_t of_100 = random % 100;

	if (of_100 < MIXED_LISTS) {
		ask_list(o, i, random, q);
		return;
	}
	if (of_100 < MIXED_LISTS + MIXED_SETS)
		ask_record(o, i, random, q);
	else
		ask_set_lock(o, i, random, q);
	q->user += o->users;
}

static void ask_listen(const struct options *o UNUSED, uint32_t i,
	uint32_t random UNUSED, struct question *q)
{
	q->method = METHOD_LISTEN_CHANGES;
	q->user = i;
}

int script_before(const struct options *o, struct signer *signer,
	struct script *ret_script)
{
	return make(o, signer, (size_t)o->users * o->records, ask_record,
		ret_script);
}

int script_calls(const struct options *o, struct signer *signer,
	struct script *ret_script)
{
	question_fn *ask = ask_set_new;
	int r;

	switch (o->scenario) {
	case SCENARIO_SET_UPDATE: ask = ask_set_update; break;
	case SCENARIO_LIST: ask = ask_list; break;
	case SCENARIO_GET_LOCK: ask = ask_get_lock; break;
	case SCENARIO_SET_LOCK: ask = ask_set_lock; break;
	case SCENARIO_MIXED: ask = ask_mixed; break;
	default: break;
	}
	r = make(o, signer, o->requests, ask, ret_script);
	if (r == 0)
		ret_script->in_turn = o->scenario == SCENARIO_SET_UPDATE;
	return r;
}

int script_listens(const struct options *o, struct signer *signer,
	struct script *ret_script)
{
	return make(o, signer, o->users, ask_listen, ret_script);
}

int script_of(const struct question *question, size_t n, struct signer *signer,
	struct script *ret_script)
{
	CLEANUP(script_release)
	struct script s = {0};
	struct question q = *question;
	int r = 0;

	q.data = some_data(q.data.len);
	s.requests = mem_zalloc(n * sizeof(*s.requests));
	if (!s.requests)
		return ERR_NOMEM;
	for (; r == 0 && s.n < n; s.n++) {
		r = request_init(&s.requests[s.n], &q, signer);
		q.record++;
	}
	if (r == 0)
		hand_over(&s, ret_script);
	return r;
}
