/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/load.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define SILENCE_S 30 /* without any answer: the rest is given up */

struct caller {
	struct load *load;     /* ref */
	struct client *client; /* ref */
	struct call call;
	size_t next; /* with in_turn: its next request */
	int64_t started_ns;
	struct caller *next_idle;
};

struct load {
	const struct load_plan *plan;
	struct caller *callers; /* own */
	struct caller *idle;	/* open loop: who has nothing to do */
	size_t next;		/* request */
	uint32_t busy;
	int64_t began_ns;
	int64_t answered_ns; /* last */
	struct load_result *result;
};

static int64_t now_ns(void)
{
	return clock_mono_ns(&clock_system);
}

/* When request i is due; the beginning in closed loop. */
static int64_t due_ns(const struct load *l, size_t i)
{
	if (l->plan->rate <= 0)
		return l->began_ns;
	return l->began_ns +
	       (int64_t)((double)i * (double)NS_PER_S / l->plan->rate);
}

static bool has_request(const struct load *l, const struct caller *c)
{
	size_t i = l->plan->in_turn ? c->next : l->next;

	return i < l->plan->n && now_ns() - l->began_ns < l->plan->most_ns;
}

static size_t take_request(struct load *l, struct caller *c)
{
	size_t i;

	if (!l->plan->in_turn)
		return l->next++;
	i = c->next;
	c->next += l->plan->callers;
	return i;
}

static void rest(struct load *l, struct caller *c)
{
	c->next_idle = l->idle;
	l->idle = c;
}

/* Asks the next question. False when that could not even be sent. */
static bool ask(struct load *l, struct caller *c)
{
	size_t i = take_request(l, c);

	c->call.request = &l->plan->requests[i];
	c->started_ns = l->plan->rate > 0 ? due_ns(l, i) : now_ns();
	if (client_submit(c->client, &c->call) == 0) {
		l->busy++;
		return true;
	}
	l->result->bad++;
	return false;
}

/* Open loop: what is due is asked while somebody is free to. */
static void ask_due(struct load *l)
{
	struct caller *c;

	while (l->idle && has_request(l, l->idle) &&
		due_ns(l, l->next) <= now_ns()) {
		c = l->idle;
		l->idle = c->next_idle;
		if (!ask(l, c))
			rest(l, c);
	}
}

static void ask_on(struct load *l, struct caller *c)
{
	if (l->plan->rate > 0) {
		rest(l, c);
		ask_due(l);
		return;
	}
	while (has_request(l, c) && !ask(l, c))
		;
}

static void on_done(struct call *call)
{
	struct caller *c = CONTAINER_OF(call, struct caller, call);
	struct load *l = c->load;
	bool good =
		call->status == 0 && call->n_messages == 1 && call->answered;

	l->busy--;
	l->answered_ns = now_ns();
	if (good) {
		l->result->good++;
		histogram_add(
			&l->result->latency, l->answered_ns - c->started_ns);
	} else {
		l->result->bad++;
	}
	ask_on(l, c);
}

static void begin(
	struct load *l, struct client *const *clients, size_t n_clients)
{
	uint32_t i;

	for (i = 0; i < l->plan->callers; i++) {
		l->callers[i] = (struct caller){.load = l,
			.client = clients[i % n_clients],
			.call.on_done = on_done,
			.next = i};
		list_init(&l->callers[i].call.node);
	}
	l->began_ns = l->answered_ns = now_ns();
	for (i = 0; i < l->plan->callers; i++)
		ask_on(l, &l->callers[i]);
}

/* Until when a turn may wait: in open loop for the next call that is due. */
static int64_t deadline_ns(const struct load *l)
{
	int64_t silence = l->answered_ns + SILENCE_S * NS_PER_S;

	if (l->plan->rate > 0 && l->idle && l->next < l->plan->n)
		return MIN(due_ns(l, l->next), silence);
	return silence;
}

static bool is_going(const struct load *l)
{
	bool more = l->plan->rate > 0 && l->next < l->plan->n &&
		    now_ns() - l->began_ns < l->plan->most_ns;

	return (l->busy > 0 || more) &&
	       now_ns() < l->answered_ns + SILENCE_S * NS_PER_S;
}

static void release(struct load *l)
{
	uint32_t i;

	for (i = 0; i < l->plan->callers; i++) {
		list_remove(&l->callers[i].call.node);
		call_release(&l->callers[i].call);
	}
	mem_free(l->callers);
}

int load_run(struct net *net, struct client *const *clients, size_t n_clients,
	const struct load_plan *plan, struct load_result *ret_result)
{
	struct load l = {.plan = plan, .result = ret_result};
	int r = 0;

	memset(ret_result, 0, sizeof(*ret_result));
	l.callers = mem_zalloc(plan->callers * sizeof(*l.callers));
	if (!l.callers)
		return ERR_NOMEM;
	begin(&l, clients, n_clients);
	while (r == 0 && is_going(&l)) {
		r = net_turn(net, deadline_ns(&l));
		if (plan->rate > 0)
			ask_due(&l);
	}
	ret_result->bad += l.busy;
	ret_result->took_ns = l.answered_ns - l.began_ns;
	release(&l);
	return r;
}
