/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/each.h"

#include <stdio.h>

#include "base/mem.h"
#include "bench/load.h"
#include "bench/script.h"

#define WARM_UP	     10	 /* calls: buffers grow, statements are prepared */
#define PAGE_RECORDS 100 /* of the user that is listed */
#define WRITER	     0	 /* users */
#define READER	     1

struct part {
	const char *name;
	struct question question;
};

/* Records count up from what the question says, part by part. */
static const struct part parts[] = {
	{"set-new", {.method = METHOD_SET_RECORD, .user = WRITER}},
	{"list-empty", {.method = METHOD_LIST_CHANGES,
			       .user = READER,
			       .since_revision = PAGE_RECORDS,
			       .n_changes = 0}},
	{"list-1", {.method = METHOD_LIST_CHANGES,
			   .user = READER,
			   .since_revision = PAGE_RECORDS - 1,
			   .n_changes = 1}},
	{"list-100", {.method = METHOD_LIST_CHANGES,
			     .user = READER,
			     .n_changes = PAGE_RECORDS}},
	{"get-lock", {.method = METHOD_GET_LOCK, .user = READER}},
	{"set-lock",
		{.method = METHOD_SET_LOCK, .user = READER, .acquire = true}},
};

struct each {
	struct net *net;       /* ref */
	struct client *client; /* ref */
	struct signer *signer; /* ref */
	struct load_result *result;
};

/* One after the other; all must go well. */
static int ask(struct each *e, const struct question *q, size_t n)
{
	CLEANUP(script_release)
	struct script s = {0};
	struct load_plan plan = {.callers = 1, .most_ns = INT64_MAX};
	int r = n > 0 ? script_of(q, n, e->signer, &s) : 0;

	if (r < 0 || n == 0)
		return r;
	plan.requests = s.requests;
	plan.n = s.n;
	r = load_run(e->net, &e->client, 1, &plan, e->result);
	return r == 0 && e->result->bad > 0 ? ERR_PROTO : r;
}

static int mark(struct each *e)
{
	const struct question check = {.method = METHOD_HEALTH_CHECK};

	return ask(e, &check, 1);
}

static int run_part(
	struct each *e, const struct part *part, const struct options *o)
{
	struct question q = part->question;
	int r;

	q.data.len = o->data_bytes;
	r = ask(e, &q, WARM_UP);
	if (r == 0)
		r = mark(e);
	q.record += WARM_UP;
	if (r == 0)
		r = ask(e, &q, o->requests);
	if (r == 0)
		r = mark(e);
	if (r == 0)
		(void)printf("%s %u\n", part->name, o->requests);
	return r;
}

int each_run(struct net *net, struct client *client, const struct options *o,
	struct signer *signer, struct errmsg *reterr)
{
	CLEANUP(mem_free_ptr)
	struct load_result *result = mem_alloc(sizeof(*result));
	struct each e = {.net = net,
		.client = client,
		.signer = signer,
		.result = result};
	const struct question page = {.method = METHOD_SET_RECORD,
		.user = READER,
		.data.len = o->data_bytes};
	size_t i;
	int r = result ? ask(&e, &page, PAGE_RECORDS) : ERR_NOMEM;

	for (i = 0; r == 0 && i < ARRAY_LEN(parts); i++) {
		r = run_part(&e, &parts[i], o);
		if (r < 0)
			return errmsg_set(
				reterr, r, "%s went wrong", parts[i].name);
	}
	return r;
}
