/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/each.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bench/load.h"
#include "bench/script.h"

#define WARM_UP	     10	 /* calls: buffers grow, statements are prepared */
#define PAGE_RECORDS 100 /* of the user that is listed */
#define WRITER	     0	 /* users */
#define READER	     1
#define LISTENED     2
/* Streams of the one connection that stay open; fewer than servers allow. */
#define LISTENERS 40
#define TELL_S	  60 /* under an emulator, on a busy machine */

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

struct stream {
	struct call call;
	struct each *each; /* ref */
};

struct each {
	struct net *net;       /* ref */
	struct client *client; /* ref */
	struct signer *signer; /* ref */
	struct load_result *result;
	struct script listens;
	struct stream streams[WARM_UP + LISTENERS];
	size_t n_streams;
	size_t told; /* messages of all streams */
	bool ended;  /* one of them, which none should */
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

/* ---- listeners ---- */

static void on_message(struct call *c)
{
	CONTAINER_OF(c, struct stream, call)->each->told++;
}

static void on_done(struct call *c)
{
	CONTAINER_OF(c, struct stream, call)->each->ended = true;
}

/* Waits until so many messages have come. */
static int wait_told(struct each *e, size_t wanted)
{
	int64_t until = clock_mono_ns(&clock_system) + TELL_S * NS_PER_S;
	int r = 0;

	while (r == 0 && e->told < wanted && !e->ended &&
		clock_mono_ns(&clock_system) < until)
		r = net_turn(e->net, until);
	return r == 0 && e->told != wanted ? ERR_PROTO : r;
}

static int open_streams(struct each *e, size_t n)
{
	struct stream *s;
	int r = 0;

	for (; r == 0 && n > 0; n--) {
		s = &e->streams[e->n_streams];
		s->each = e;
		s->call.request = &e->listens.requests[e->n_streams++];
		s->call.on_message = on_message;
		s->call.on_done = on_done;
		r = client_submit(e->client, &s->call);
		if (r == 0)
			r = wait_told(e, e->n_streams);
	}
	return r;
}

/* Each write is told to all before the next. */
static int tell(struct each *e, struct question *q, size_t n)
{
	size_t wanted = e->told;
	int r = 0;

	for (; r == 0 && n > 0; n--) {
		wanted += e->n_streams;
		r = ask(e, q, 1);
		q->record++;
		if (r == 0)
			r = wait_told(e, wanted);
	}
	return r;
}

static int run_listen(struct each *e)
{
	const struct question q = {
		.method = METHOD_LISTEN_CHANGES, .user = LISTENED};
	int r = script_of(&q, ARRAY_LEN(e->streams), e->signer, &e->listens);

	if (r == 0)
		r = open_streams(e, WARM_UP);
	if (r == 0)
		r = mark(e);
	if (r == 0)
		r = open_streams(e, LISTENERS);
	if (r == 0)
		r = mark(e);
	if (r == 0)
		(void)printf("listen %d\n", LISTENERS);
	return r;
}

static int run_tell(struct each *e, const struct options *o)
{
	struct question q = {.method = METHOD_SET_RECORD,
		.user = LISTENED,
		.data.len = o->data_bytes};
	int r = tell(e, &q, WARM_UP);

	if (r == 0)
		r = mark(e);
	if (r == 0)
		r = tell(e, &q, o->requests);
	if (r == 0)
		r = mark(e);
	if (r == 0)
		(void)printf("tell %u\n", o->requests);
	return r;
}

/* ---- all of it ---- */

static int run_all(struct each *e, const struct options *o)
{
	const struct question page = {.method = METHOD_SET_RECORD,
		.user = READER,
		.data.len = o->data_bytes};
	size_t i;
	int r = ask(e, &page, PAGE_RECORDS);

	for (i = 0; r == 0 && i < ARRAY_LEN(parts); i++)
		r = run_part(e, &parts[i], o);
	if (r == 0)
		r = run_listen(e);
	return r == 0 ? run_tell(e, o) : r;
}

static void each_free(struct each **each)
{
	struct each *e = *each;
	size_t i;

	if (!e)
		return;
	for (i = 0; i < e->n_streams; i++)
		call_release(&e->streams[i].call);
	script_release(&e->listens);
	mem_free(e->result);
	mem_free(e);
	*each = NULL;
}

int each_run(struct net *net, struct client *client, const struct options *o,
	struct signer *signer)
{
	CLEANUP(each_free)
	struct each *e = mem_zalloc(sizeof(*e));

	if (!e)
		return ERR_NOMEM;
	e->net = net;
	e->client = client;
	e->signer = signer;
	e->result = mem_alloc(sizeof(*e->result));
	return e->result ? run_all(e, o) : ERR_NOMEM;
}
