/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/run.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bench/each.h"
#include "bench/listen.h"
#include "bench/load.h"
#include "bench/script.h"

#define CALLERS_PER_CONNECTION 4
#define BEFORE_CALLERS	       64 /* that store what a scenario begins with */
#define WARM_UP_MAX	       2000
#define OPEN_AT_ONCE	       200 /* listeners, where it is not the point */
#define SETTLE_NS	       NS_PER_S
#define FANOUT_WARM_UP	       10

struct bench {
	const struct options *o;
	struct signer *signer; /* ref */
	struct net net;
	struct client **clients; /* own, and each */
	size_t n_clients;
	struct process_usage own;
	struct figures *figures;
	struct errmsg *reterr;
};

static int64_t now_ns(void)
{
	return clock_mono_ns(&clock_system);
}

/* ---- the counted phase ---- */

static int look(const struct bench *b, struct process_usage *ret_usage)
{
	if (b->o->pid == 0)
		return 0;
	if (process_look(b->o->pid, ret_usage) < 0)
		return errmsg_set(b->reterr, ERR_SYS,
			"cannot look at process %d", (int)b->o->pid);
	b->figures->looked = true;
	return 0;
}

static int begin_count(struct bench *b)
{
	int r = process_look(getpid(), &b->own);

	if (r == 0 && b->o->pid != 0)
		process_forget_peak(b->o->pid);
	return r == 0 ? look(b, &b->figures->before) : r;
}

static int end_count(struct bench *b)
{
	struct process_usage own;
	int r = process_look(getpid(), &own);

	if (r < 0)
		return r;
	b->figures->own_cpu_ns = own.cpu_ns - b->own.cpu_ns;
	return look(b, &b->figures->after);
}

/* ---- clients ---- */

static void disconnect(struct bench *b)
{
	size_t i;

	for (i = 0; i < b->n_clients; i++)
		client_free(&b->clients[i]);
	mem_free(b->clients);
	b->clients = NULL;
	b->n_clients = 0;
}

static int connect_all(struct bench *b, size_t n)
{
	size_t i;
	int r;

	b->clients = mem_zalloc(n * sizeof(struct client *));
	if (!b->clients)
		return ERR_NOMEM;
	b->n_clients = n;
	for (i = 0; i < n; i++) {
		r = client_new(&b->net, b->o->kind, &b->clients[i]);
		if (r < 0)
			return errmsg_set(b->reterr, r, "cannot connect");
	}
	return 0;
}

static size_t connections_for(const struct options *o)
{
	if (o->kind == CLIENT_WEB) /* one call at a time on each */
		return o->callers;
	if (o->connections > 0)
		return MIN(o->connections, o->callers);
	return (o->callers + CALLERS_PER_CONNECTION - 1) /
	       CALLERS_PER_CONNECTION;
}

/* All must go well: it is not counted. */
static int run_uncounted(
	struct bench *b, const struct load_plan *plan, const char *what)
{
	CLEANUP(mem_free_ptr)
	struct load_result *result = mem_alloc(sizeof(*result));
	int r;

	if (!result)
		return ERR_NOMEM;
	r = load_run(&b->net, b->clients, b->n_clients, plan, result);
	if (r == 0 && result->bad > 0)
		return errmsg_set(b->reterr, ERR_PROTO,
			"%llu calls of %s went wrong",
			(unsigned long long)result->bad, what);
	return r;
}

/* ---- calls ---- */

static int store_records(struct bench *b)
{
	CLEANUP(script_release)
	struct script s = {0};
	struct load_plan plan = {.most_ns = INT64_MAX};
	int r = b->o->stored ? 0 : script_before(b->o, b->signer, &s);

	if (r < 0 || s.n == 0)
		return r;
	plan.requests = s.requests;
	plan.n = s.n;
	plan.callers = MIN(BEFORE_CALLERS, (uint32_t)s.n);
	if (b->o->kind == CLIENT_WEB)
		plan.callers = MIN(plan.callers, (uint32_t)b->n_clients);
	return run_uncounted(b, &plan, "the preparation");
}

/* Callers come round as often as each other, or an update would not know its
 * revision. */
static size_t warm_up_of(const struct options *o)
{
	size_t n = MIN(o->requests / 10, WARM_UP_MAX);

	return n / o->callers * o->callers;
}

static int run_calls(struct bench *b)
{
	CLEANUP(script_release)
	struct script s = {0};
	CLEANUP(mem_free_ptr)
	struct load_result *result = mem_alloc(sizeof(*result));
	struct load_plan plan = {
		.callers = b->o->callers, .most_ns = INT64_MAX};
	int r = result ? script_calls(b->o, b->signer, &s) : ERR_NOMEM;

	if (r == 0)
		r = store_records(b);
	plan.requests = s.requests;
	plan.n = warm_up_of(b->o);
	plan.in_turn = s.in_turn;
	if (r == 0 && plan.n > 0)
		r = run_uncounted(b, &plan, "the warm-up");
	plan.requests = s.requests + plan.n;
	plan.n = s.n - plan.n;
	plan.rate = b->o->rate;
	plan.most_ns = (int64_t)(b->o->seconds * (double)NS_PER_S);
	if (r == 0)
		r = begin_count(b);
	if (r == 0)
		r = load_run(&b->net, b->clients, b->n_clients, &plan, result);
	if (r == 0)
		r = end_count(b);
	if (r < 0)
		return r;
	b->figures->good = result->good;
	b->figures->bad = result->bad;
	b->figures->took_ns = result->took_ns;
	b->figures->latency = result->latency;
	return 0;
}

/* ---- listeners ---- */

static int tell_all(
	struct bench *b, struct listeners *l, const struct script *writes)
{
	struct figures *f = b->figures;
	size_t each = b->o->listeners / b->o->users;
	int64_t began = 0;
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < writes->n; i++) {
		if (i == FANOUT_WARM_UP) {
			memset(&f->latency, 0, sizeof(f->latency));
			memset(&f->last, 0, sizeof(f->last));
			l->wakes = &f->wakes;
			began = now_ns();
			r = begin_count(b);
		}
		if (r == 0)
			r = listeners_tell(l, b->clients[0],
				&writes->requests[i], each, &f->latency,
				&f->last);
		if (r < 0)
			f->bad++;
	}
	f->good = f->latency.n;
	f->took_ns = now_ns() - began;
	return began > 0 ? end_count(b)
			 : errmsg_set(b->reterr, ERR_SYS, "nobody was told");
}

static int run_fanout(struct bench *b, struct listeners *l)
{
	CLEANUP(script_release)
	struct script writes = {0};
	int r = script_calls(b->o, b->signer, &writes);

	if (r == 0)
		r = listeners_open(l, OPEN_AT_ONCE);
	return r == 0 ? tell_all(b, l, &writes) : r;
}

static int run_idle(struct bench *b, struct listeners *l)
{
	int64_t ping_ns = (int64_t)(b->o->ping_seconds * (double)NS_PER_S);
	int64_t began;
	int r = listeners_open(l, OPEN_AT_ONCE);

	if (r == 0)
		r = listeners_stay(l, SETTLE_NS, 0);
	if (r == 0)
		r = begin_count(b);
	began = now_ns();
	if (r == 0)
		r = listeners_stay(l,
			(int64_t)(b->o->seconds * (double)NS_PER_S), ping_ns);
	b->figures->took_ns = now_ns() - began;
	b->figures->good = l->n - l->lost;
	b->figures->bad = l->lost;
	return r == 0 ? end_count(b) : r;
}

static int run_storm(struct bench *b, struct listeners *l)
{
	int r = listeners_open(l, OPEN_AT_ONCE);

	listeners_close(l);
	if (r == 0) /* the server sees them go */
		r = net_turn(&b->net, now_ns() + SETTLE_NS);
	if (r == 0)
		r = begin_count(b);
	l->greets = &b->figures->latency;
	if (r == 0)
		r = listeners_open(l, l->n);
	b->figures->took_ns = now_ns() - l->began_ns;
	b->figures->good = l->greeted;
	b->figures->bad = l->n - l->greeted;
	return r == 0 ? end_count(b) : r;
}

static int run_listeners(struct bench *b)
{
	CLEANUP(script_release)
	struct script s = {0};
	struct listeners l = {0};
	int r = script_listens(b->o, b->signer, &s);

	if (r == 0)
		r = listeners_init(
			&l, &b->net, b->o->listeners, s.requests, s.n);
	if (r < 0)
		return r;
	switch (b->o->scenario) {
	case SCENARIO_IDLE: r = run_idle(b, &l); break;
	case SCENARIO_STORM: r = run_storm(b, &l); break;
	default: r = run_fanout(b, &l); break;
	}
	if (r < 0 && l.fault)
		(void)errmsg_set(b->reterr, r, "%s (%zu of %zu greeted)",
			l.fault, l.greeted, l.n);
	listeners_release(&l);
	return r;
}

/* ---- all of it ---- */

static int run_scenario(struct bench *b)
{
	switch (b->o->scenario) {
	case SCENARIO_IDLE:
	case SCENARIO_STORM:
	case SCENARIO_FANOUT: return run_listeners(b);
	case SCENARIO_EACH:
		return each_run(&b->net, b->clients[0], b->o, b->signer);
	default: return run_calls(b);
	}
}

static size_t clients_of(const struct options *o)
{
	switch (o->scenario) {
	case SCENARIO_IDLE:
	case SCENARIO_STORM:
	case SCENARIO_FANOUT:
	case SCENARIO_EACH: return 1;
	default: return connections_for(o);
	}
}

int run(const struct options *o, struct signer *signer,
	struct figures *ret_figures, struct errmsg *reterr)
{
	struct bench b = {.o = o,
		.signer = signer,
		.figures = ret_figures,
		.reterr = reterr};
	int r = net_init(&b.net, o->address, o->ca_file,
		o->kind == CLIENT_WEB ? "http/1.1" : "h2", reterr);

	if (r == 0)
		r = look(&b, &ret_figures->idle);
	if (r == 0)
		r = connect_all(&b, clients_of(o));
	ret_figures->connections = (uint32_t)b.n_clients;
	if (r == 0)
		r = run_scenario(&b);
	disconnect(&b);
	net_release(&b.net);
	if (r < 0 && reterr->text[0] == '\0')
		(void)errmsg_set(reterr, r, "%s", err_text(r));
	return r;
}
