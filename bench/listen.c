/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/listen.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define OPEN_S 60 /* until all are greeted */
#define TELL_S 10 /* until all are told */

struct listener {
	struct listeners *all; /* ref */
	struct client *client; /* own */
	struct call call;
};

static int64_t now_ns(void)
{
	return clock_mono_ns(&clock_system);
}

int listeners_init(struct listeners *l, struct net *net, size_t n,
	const struct request *requests, size_t n_requests)
{
	memset(l, 0, sizeof(*l));
	l->net = net;
	l->requests = requests;
	l->n_requests = n_requests;
	l->all = mem_zalloc(n * sizeof(*l->all));
	if (!l->all)
		return ERR_NOMEM;
	l->n = n;
	return 0;
}

void listeners_close(struct listeners *l)
{
	size_t i;

	for (i = 0; i < l->n; i++) {
		client_free(&l->all[i].client);
		call_release(&l->all[i].call);
	}
}

void listeners_release(struct listeners *l)
{
	listeners_close(l);
	mem_free(l->all);
}

static void on_message(struct call *c)
{
	struct listeners *l = CONTAINER_OF(c, struct listener, call)->all;
	int64_t now = now_ns();

	if (c->n_messages == 1) {
		l->greeted++;
		if (l->greets)
			histogram_add(l->greets, now - l->began_ns);
		return;
	}
	l->wanted--;
	l->told_ns = now;
	if (l->wakes)
		histogram_add(l->wakes, now - l->sent_ns);
}

static void on_done(struct call *c)
{
	CONTAINER_OF(c, struct listener, call)->all->lost++;
}

static int open_one(struct listeners *l, size_t i)
{
	struct listener *one = &l->all[i];
	int r;

	memset(one, 0, sizeof(*one));
	one->all = l;
	one->call.request = &l->requests[i % l->n_requests];
	one->call.on_message = on_message;
	one->call.on_done = on_done;
	r = client_new(l->net, CLIENT_HTTP2, &one->client);
	if (r < 0)
		l->fault = "a listener cannot connect";
	return r < 0 ? r : client_submit(one->client, &one->call);
}

int listeners_open(struct listeners *l, size_t at_once)
{
	size_t opened = 0;
	int r = 0;

	l->greeted = l->lost = 0;
	l->began_ns = now_ns();
	while (r == 0 && l->greeted < l->n && l->lost == 0) {
		for (; r == 0 && opened < l->n && opened < l->greeted + at_once;
			opened++)
			r = open_one(l, opened);
		if (r == 0)
			r = net_turn(l->net, now_ns() + NS_PER_S);
		if (now_ns() < l->began_ns + OPEN_S * NS_PER_S)
			continue;
		l->fault = "listeners are not greeted in time";
		r = ERR_SYS;
	}
	if (l->lost == 0)
		return r;
	l->fault = "a listener was ended before all were greeted";
	return ERR_SYS;
}

int listeners_stay(struct listeners *l, int64_t wait_ns, int64_t ping_ns)
{
	int64_t began = now_ns(), due = began + wait_ns;
	int64_t step = ping_ns > 0 ? ping_ns / (int64_t)l->n : wait_ns;
	int64_t pings = 0;
	int r = 0;

	while (r == 0 && now_ns() < began + wait_ns) {
		for (; r == 0 && ping_ns > 0 && began + pings * step < now_ns();
			pings++)
			r = client_ping(l->all[pings % (int64_t)l->n].client);
		due = ping_ns > 0 ? began + pings * step : due;
		if (r == 0)
			r = net_turn(l->net, MIN(due, began + wait_ns));
	}
	return r;
}

/* The call of the writer. */
struct write {
	struct call call;
	int64_t done_ns; /* 0 until then */
};

static void on_written(struct call *c)
{
	CONTAINER_OF(c, struct write, call)->done_ns = now_ns();
}

int listeners_tell(struct listeners *l, struct client *writer,
	const struct request *request, size_t wanted, struct histogram *rpc,
	struct histogram *last)
{
	struct write w = {.call.request = request, .call.on_done = on_written};
	int64_t until = now_ns() + TELL_S * NS_PER_S;
	int r;

	l->wanted = (int64_t)wanted;
	l->sent_ns = now_ns();
	r = client_submit(writer, &w.call);
	while (r == 0 && (w.done_ns == 0 || l->wanted > 0) && now_ns() < until)
		r = net_turn(l->net, until);
	if (w.done_ns == 0)
		list_remove(&w.call.node);
	else
		histogram_add(rpc, w.done_ns - l->sent_ns);
	if (r == 0 && (l->wanted != 0 || w.call.status != 0 ||
			      !w.call.answered || l->lost > 0))
		r = ERR_SYS;
	if (r == 0)
		histogram_add(last, l->told_ns - w.done_ns);
	call_release(&w.call);
	return r;
}
