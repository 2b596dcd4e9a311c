/* SPDX-License-Identifier: Apache-2.0 */
#include "app/shard.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/places.h"
#include "config/limits.h"
#include "http/conn.h"
#include "http/h2_memory.h"
#include "loop/loop.h"
#include "loop/thread.h"
#include "proto/descriptors.h"
#include "rpc/health.h"
#include "rpc/reflection.h"
#include "rpc/server.h"
#include "syncer/service.h"

/* How long a stopping shard waits at a time for the store's last answers. */
#define STOP_TURN_MS 100

/* How often a shard looks whether the store can be used, for who asks about
 * our health: load balancers ask every few seconds. */
#define HEALTH_NS (1 * NS_PER_S)

struct shard {
	struct loop *loop;   /* own */
	struct store *store; /* ref */
	struct timer health_timer;
	struct message health_message;
	struct syncer *syncer;	       /* own */
	struct health *health;	       /* own */
	struct reflection *reflection; /* own */
	const struct rpc_service *services[4];
	struct rpc_server rpc;
	struct conn_options conn_options;
	struct stream_scratch scratch;
	struct http_budget budget;
	struct places places; /* of HTTP/2's sessions */
	struct conn_host ports[PORTS];
	int64_t drain_spread_ns;
	pthread_t thread;
	unsigned number;

	shard_drained_fn on_drained;
	void *ctx;
	struct message drain_message;
	atomic_bool drain_posted;
	bool draining;

	/* Counted by who hands over, discounted here: the acceptor sees a
	 * burst's sockets before this thread does. */
	atomic_size_t n_conns;
};

/* ---- messages ---- */

struct accept_message {
	struct message message;
	struct shard *shard;
	enum port port;
	int fd;
	struct address peer;
};

static void deliver_accept(struct message *msg)
{
	struct accept_message *m =
		CONTAINER_OF(msg, struct accept_message, message);

	conn_host_accept(&m->shard->ports[m->port], m->fd, &m->peer);
	mem_free(m);
}

void shard_accept(
	struct shard *s, enum port port, int fd, const struct address *peer)
{
	struct accept_message *m = mem_zalloc(sizeof(*m));

	if (!m) {
		close(fd);
		return;
	}
	m->message.deliver = deliver_accept;
	m->shard = s;
	m->port = port;
	m->fd = fd;
	m->peer = *peer;
	atomic_fetch_add(&s->n_conns, 1);
	mailbox_post(loop_mailbox(s->loop), &m->message);
}

size_t shard_connections(const struct shard *s)
{
	return atomic_load(&s->n_conns);
}

void shard_metrics(const struct shard *s, struct metrics_sum *sum)
{
	int64_t stuck_ns = loop_stuck_ns(s->loop);

	metrics_sum_add(sum, loop_metrics(s->loop));
	if (stuck_ns > (int64_t)sum->value[METRIC_TURN_NOW])
		sum->value[METRIC_TURN_NOW] = (uint64_t)stuck_ns;
}

struct crl_message {
	struct message message;
	struct shard *shard;
	struct crl *crl; /* own */
};

static void deliver_crl(struct message *msg)
{
	struct crl_message *m = CONTAINER_OF(msg, struct crl_message, message);

	syncer_set_crl(m->shard->syncer, m->crl);
	mem_free(m);
}

void shard_set_crl(struct shard *s, struct crl *crl)
{
	struct crl_message *m = mem_zalloc(sizeof(*m));

	if (!m) {
		/* The list this shard has stays in force until the next. */
		log_error(NULL, "crl.not_handed_over");
		return;
	}
	m->message.deliver = deliver_crl;
	m->shard = s;
	m->crl = crl_ref(crl);
	mailbox_post(loop_mailbox(s->loop), &m->message);
}

struct tls_message {
	struct message message;
	struct shard *shard;
	struct tls_context *tls; /* own reference */
};

static void deliver_tls(struct message *msg)
{
	struct tls_message *m = CONTAINER_OF(msg, struct tls_message, message);
	size_t port;

	for (port = 0; port < PORTS; port++)
		conn_host_set_tls(&m->shard->ports[port], m->tls);
	tls_context_unref(m->tls);
	mem_free(m);
}

void shard_set_tls(struct shard *s, struct tls_context *tls)
{
	struct tls_message *m = mem_zalloc(sizeof(*m));

	if (!m) {
		/* What this shard has stays in force until the next. */
		log_error(NULL, "tls.not_handed_over");
		return;
	}
	m->message.deliver = deliver_tls;
	m->shard = s;
	m->tls = tls_context_ref(tls);
	mailbox_post(loop_mailbox(s->loop), &m->message);
}

void shard_post(struct shard *s, struct message *msg)
{
	mailbox_post(loop_mailbox(s->loop), msg);
}

/* ---- health ---- */

static void look_at_health(struct shard *s)
{
	health_set_serving(s->health, !s->draining && store_usable(s->store));
}

static void on_health(struct timer *t)
{
	struct shard *s = CONTAINER_OF(t, struct shard, health_timer);

	look_at_health(s);
	if (timer_set(t, s->loop, loop_now_ns(s->loop) + HEALTH_NS) < 0)
		log_error(
			NULL, "health.not_watched", F_U64("shard", s->number));
}

static void deliver_health(struct message *msg)
{
	look_at_health(CONTAINER_OF(msg, struct shard, health_message));
}

void shard_look_at_health(struct shard *s)
{
	mailbox_post(loop_mailbox(s->loop), &s->health_message);
}

/* ---- drain ---- */

static void tell_if_drained(struct shard *s)
{
	if (s->draining && atomic_load(&s->n_conns) == 0)
		s->on_drained(s->ctx);
}

static void deliver_drain(struct message *msg)
{
	struct shard *s = CONTAINER_OF(msg, struct shard, drain_message);
	size_t port;

	s->draining = true;
	look_at_health(s);
	for (port = 0; port < PORTS; port++)
		conn_host_drain(&s->ports[port], s->drain_spread_ns);
	tell_if_drained(s);
}

void shard_drain(struct shard *s)
{
	if (!atomic_exchange(&s->drain_posted, true))
		mailbox_post(loop_mailbox(s->loop), &s->drain_message);
}

static void on_conn_closed(void *ctx)
{
	struct shard *s = ctx;

	atomic_fetch_sub(&s->n_conns, 1);
	tell_if_drained(s);
}

/* ---- life ---- */

/* Calls that wait for the store point into memory the store may still write:
 * nothing is freed before it has answered. */
static void wait_for_store(struct shard *s)
{
	while (syncer_in_flight(s->syncer) > 0) {
		if (loop_turn(s->loop, STOP_TURN_MS) < 0)
			return;
	}
}

static void release_connections(struct shard *s)
{
	size_t port;

	for (port = 0; port < PORTS; port++)
		conn_host_release(&s->ports[port]);
	stream_scratch_release(&s->scratch);
	places_release(&s->places);
}

static void *shard_main(void *arg)
{
	struct shard *s = arg;

	if (loop_run(s->loop) < 0)
		log_error(NULL, "shard.loop_failed", F_U64("shard", s->number));
	s->draining = false;
	timer_clear(&s->health_timer);
	release_connections(s);
	wait_for_store(s);
	/* What ended above is told to its hooks at the end of a turn. */
	if (loop_turn(s->loop, 0) < 0)
		log_error(NULL, "shard.loop_failed", F_U64("shard", s->number));
	return NULL;
}

static int64_t seconds(uint32_t s)
{
	return (int64_t)s * NS_PER_S;
}

static void set_up_host(struct shard *s, enum port port,
	const struct shard_shared *shared, enum conn_protocols protocols,
	void (*on_request)(void *server, struct exchange *x))
{
	static const enum metric_port metrics[PORTS] = {
		[PORT_NATIVE] = METRIC_PORT_GRPC,
		[PORT_WEB] = METRIC_PORT_WEB,
	};
	struct conn_host *host = &s->ports[port];

	*host = (struct conn_host){
		.loop = s->loop,
		.protocols = protocols,
		.port = metrics[port],
		.server = {.on_request = on_request, .ctx = &s->rpc},
		.options = &s->conn_options,
		.peers = shared->peers,
		.proxy_headers = shared->config->proxy_protocol,
		.on_conn_closed = on_conn_closed,
		.ctx = s,
		.budget = &s->budget,
		.scratch = &s->scratch,
	};
	conn_host_init(host);
	if (shared->tls)
		conn_host_set_tls(host, shared->tls);
}

/* Returns: 0, ERR_SYS. */
static int draw_request_ids(struct shard *s)
{
	uint8_t *random = s->rpc.request_ids.random;

	return getrandom(random, REQUEST_ID_RANDOM, 0) == REQUEST_ID_RANDOM
		       ? 0
		       : ERR_SYS;
}

/* Where a page is larger than what a session touches in the heap, places would
 * take more. */
static struct places *places_if_worth(struct places *p)
{
	places_init(p, H2_PLACE_BYTES);
	return p->size <= 2 * H2_PLACE_BYTES ? p : NULL;
}

/* Returns: 0, ERR_SYS. */
static int set_up(struct shard *s, const struct shard_shared *shared)
{
	const struct config *config = shared->config;

	s->services[0] = syncer_service(s->syncer);
	s->services[1] = health_service(s->health);
	s->services[2] = reflection_v1(s->reflection);
	s->services[3] = reflection_v1alpha(s->reflection);
	s->rpc = (struct rpc_server){
		.loop = s->loop,
		.services = s->services,
		.n_services = ARRAY_LEN(s->services),
		.message_max = REQUEST_MESSAGE_MAX,
		.stall_timeout_ns = seconds(config->listener_write_timeout_s),
	};
	s->conn_options = (struct conn_options){
		.h2 = {.max_streams = config->max_streams,
			.ping_min_ns = seconds(config->keepalive_min_time_s),
			.places = places_if_worth(&s->places)},
		.write_timeout_ns = seconds(config->listener_write_timeout_s),
		.keepalive_ns = seconds(config->keepalive_time_s),
		.keepalive_timeout_ns = seconds(config->keepalive_timeout_s),
		.max_age_ns = seconds(config->max_connection_age_s),
	};
	/* The other half is for calls to end in. */
	s->drain_spread_ns = seconds(config->drain_timeout_s) / 2;
	stream_scratch_init(&s->scratch);
	s->health_timer.on_due = on_health;
	on_health(&s->health_timer);
	s->budget.metrics = loop_metrics(s->loop);
	set_up_host(s, PORT_NATIVE, shared, CONN_H2, grpc_on_request);
	set_up_host(s, PORT_WEB, shared, CONN_H1_H2, web_on_request);
	return draw_request_ids(s);
}

/* Returns: 0; ERR_* with a sentence. */
static int make_services(struct shard *s, const struct shard_shared *shared,
	struct errmsg *reterr)
{
	int r = syncer_new(shared->config, shared->store, shared->quotas,
		s->loop, &s->syncer, reterr);

	if (r < 0)
		return r;
	r = health_new(&s->rpc, &s->health);
	if (r == 0)
		r = reflection_new(&s->rpc, &descriptor_set, &s->reflection);
	return r == 0 ? 0 : errmsg_set(reterr, r, "%s", err_text(r));
}

/* Twice is fine. */
static void free_services(struct shard *s)
{
	reflection_free(&s->reflection);
	health_free(&s->health);
	syncer_free(&s->syncer);
}

void shard_free(struct shard **shard)
{
	struct shard *s = *shard;

	if (!s)
		return;
	free_services(s); /* when it was not started */
	/* Frees notices that were on their way. */
	if (s->loop && loop_turn(s->loop, 0) < 0)
		log_error(NULL, "shard.loop_failed", F_U64("shard", s->number));
	loop_free(&s->loop);
	mem_free(s);
	*shard = NULL;
}

int shard_start(unsigned number, const struct shard_shared *shared,
	shard_drained_fn on_drained, void *ctx, struct shard **ret_shard,
	struct errmsg *reterr)
{
	CLEANUP(shard_free)
	struct shard *s = mem_zalloc(sizeof(*s));
	char name[16];
	int r;

	if (!s)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	s->number = number;
	s->store = shared->store;
	s->on_drained = on_drained;
	s->ctx = ctx;
	s->health_message.deliver = deliver_health;
	s->drain_message.deliver = deliver_drain;
	r = loop_new(&clock_system, &s->loop);
	if (r < 0)
		return errmsg_set(reterr, r, "%s", err_text(r));
	r = make_services(s, shared, reterr);
	if (r < 0)
		return r;
	r = set_up(s, shared);
	(void)snprintf(name, sizeof(name), "shard-%u", number);
	if (r == 0)
		r = thread_start(&s->thread, name, shard_main, s);
	if (r < 0) {
		release_connections(s);
		return errmsg_set(reterr, r, "cannot start a thread");
	}
	*ret_shard = TAKE_PTR(s);
	return 0;
}

void shard_stop(struct shard *s)
{
	loop_stop(s->loop);
	thread_join(s->thread);
	free_services(s);
}
