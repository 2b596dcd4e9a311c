/* SPDX-License-Identifier: Apache-2.0 */
#include "app/server.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/crl_fetch.h"
#include "app/metrics_port.h"
#include "app/notify.h"
#include "app/process.h"
#include "app/shard.h"
#include "app/tls_watch.h"
#include "app/watchdog.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/limits.h"
#include "loop/loop.h"
#include "net/activation.h"
#include "net/listener.h"
#include "store/store.h"

/* Who connects as soon as we listen should find a store that answers. */
#define STORE_WAIT_MS 5000

/* One listening port. */
struct door {
	struct server *server;	   /* ref */
	struct listener *listener; /* own */
};

struct server {
	const struct config *config; /* ref */
	struct store *store;	     /* own */
	struct loop *loop;	     /* own */
	struct door doors[PORTS];
	struct activation handed;	   /* own; what no door has yet */
	struct metrics_port *metrics_port; /* own; NULL: nobody is told */
	struct process process;
	struct crl_fetch *crl_fetch; /* own; NULL without CRL_URL */
	struct tls_watch *tls_watch; /* own; NULL without TLS */
	struct tls_context *tls;     /* own reference, until shards have it */
	struct peers *peers;	     /* own; NULL without a cap */
	struct quotas *quotas;	     /* own */
	struct shard **shards;	     /* own, each and all */
	size_t n_shards;
	struct notify notify;
	struct watchdog *watchdog; /* own; NULL when nobody asks */
	atomic_bool reloading;	   /* the service manager waits for the end */
	struct log_seldom full;	   /* there are too many connections */
	struct watch signals;
	struct timer janitor;
	struct timer drain_timer;
	bool draining;
	atomic_size_t undrained;
};

/* ---- connections ---- */

static void on_accept(int fd, const struct address *peer, void *ctx)
{
	const struct door *door = ctx;
	struct server *s = door->server;
	struct shard *best = s->shards[0];
	size_t total = 0, i, n;

	for (i = 0; i < s->n_shards; i++) {
		n = shard_connections(s->shards[i]);
		total += n;
		if (n < shard_connections(best))
			best = s->shards[i];
	}
	if (total >= s->config->max_connections) {
		metrics_reject(loop_metrics(s->loop), METRIC_LIMIT_CONNECTIONS);
		if (log_seldom(&s->full, loop_now_ns(s->loop)))
			log_warn(NULL, "accept.too_many_connections",
				F_U64("max", s->config->max_connections));
		close(fd);
		return;
	}
	shard_accept(best, (enum port)(door - s->doors), fd, peer);
}

/* Each connection is a descriptor; the hard limit is what the operator
 * allows. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_warn(NULL, "start.descriptor_limit_stays");
}

/* ---- the end ---- */

static void close_doors(struct server *s)
{
	size_t port;

	for (port = 0; port < PORTS; port++)
		listener_free(&s->doors[port].listener);
}

static void on_shard_drained(void *ctx)
{
	struct server *s = ctx;

	if (atomic_fetch_sub(&s->undrained, 1) == 1)
		loop_stop(s->loop);
}

static void on_drain_timeout(struct timer *t)
{
	struct server *s = CONTAINER_OF(t, struct server, drain_timer);

	log_warn(NULL, "drain.timeout");
	loop_stop(s->loop);
}

static void drain(struct server *s)
{
	size_t i, port;

	log_info(NULL, "drain.started",
		F_U64("timeout_s", s->config->drain_timeout_s));
	notify_stopping(&s->notify, s->config->drain_timeout_s);
	s->draining = true;
	for (port = 0; port < PORTS; port++)
		listener_take_rest(s->doors[port].listener);
	close_doors(s);
	if (timer_set(&s->drain_timer, s->loop,
		    loop_now_ns(s->loop) +
			    s->config->drain_timeout_s * NS_PER_S) < 0)
		loop_stop(s->loop);
	for (i = 0; i < s->n_shards; i++)
		shard_drain(s->shards[i]);
}

static void on_hangup(struct server *s)
{
	if (s->tls_watch) {
		atomic_store(&s->reloading, true);
		notify_reloading(&s->notify, loop_now_ns(s->loop));
		tls_watch_reload(s->tls_watch);
		return;
	}
	log_info(NULL, "signal.ignored", F_STR("signal", "SIGHUP"),
		F_STR("reason", "there is no TLS to load again"));
}

static void on_signal(struct watch *w, uint32_t ready UNUSED)
{
	struct server *s = CONTAINER_OF(w, struct server, signals);
	struct signalfd_siginfo info;

	if (read(w->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		on_hangup(s);
		return;
	}
	if (s->draining)
		_exit(EXIT_FAILURE);
	drain(s);
}

/* ---- the janitor ---- */

static void on_janitor(struct timer *t)
{
	struct server *s = CONTAINER_OF(t, struct server, janitor);

	store_sweep_locks(s->store);
	if (timer_set(t, s->loop,
		    loop_now_ns(s->loop) + LOCK_SWEEP_S * NS_PER_S) < 0)
		log_error(NULL, "janitor.stopped"); /* expired locks stay
						     * expired, only longer */
}

/* ---- metrics ---- */

/* Whoever has counted, or knows how something is now. Nobody is waited for. */
static void gather(void *ctx, struct metrics_sum *sum)
{
	const struct server *s = ctx;
	size_t i;

	metrics_sum_add(sum, loop_metrics(s->loop));
	for (i = 0; i < s->n_shards; i++)
		shard_metrics(s->shards[i], sum);
	store_metrics(s->store, sum);
	if (s->crl_fetch)
		crl_fetch_metrics(s->crl_fetch, sum);
	if (s->tls_watch)
		tls_watch_metrics(s->tls_watch, sum);
	process_metrics(&s->process, sum);
	sum->value[METRIC_LOG_DROPPED] = log_lost();
	sum->value[METRIC_SHARDS] = s->n_shards;
	sum->value[METRIC_BUILD] = 1;
}

/* Nobody has asked for the default address: that another tallyd on the host has
 * it is no reason not to serve. An address that was set is relied on. */
static int open_metrics_port(struct server *s, struct errmsg *reterr)
{
	const struct config_address *address = &s->config->metrics_address;
	int r, handed_fd = activation_socket(&s->handed, "metrics");
	struct errmsg why;

	if (address->addr_len == 0 && handed_fd < 0)
		return 0;
	process_init(&s->process);
	r = metrics_port_new(
		s->loop, address, handed_fd, gather, s, &s->metrics_port, &why);
	if (r == 0)
		return 0;
	if (s->config->metrics_wanted || handed_fd >= 0)
		return errmsg_set(reterr, r, "%s", why.text);
	log_warn(NULL, "metrics.not_served", F_STR("reason", why.text));
	return 0;
}

/* ---- the start ---- */

/* On the fetcher's thread. */
static void on_crl(void *ctx, struct crl *crl)
{
	struct server *s = ctx;
	size_t i;

	for (i = 0; i < s->n_shards; i++)
		shard_set_crl(s->shards[i], crl);
	crl_unref(crl);
}

/* On the watch's thread. */
static void on_tls(void *ctx, struct tls_context *tls)
{
	struct server *s = ctx;
	size_t i;

	for (i = 0; tls && i < s->n_shards; i++)
		shard_set_tls(s->shards[i], tls);
	tls_context_unref(tls);
	/* What it serves with now is what there is, new or old. */
	if (atomic_exchange(&s->reloading, false))
		notify_ready(&s->notify, "Serving");
}

static int start_signals(struct server *s)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return ERR_SYS;
	s->signals.on_ready = on_signal;
	s->signals.fd = fd;
	return watch_start(&s->signals, s->loop, fd, EPOLLIN);
}

static int start_shards(struct server *s, struct errmsg *reterr)
{
	const struct shard_shared shared = {
		.config = s->config,
		.store = s->store,
		.tls = s->tls,
		.peers = s->peers,
		.quotas = s->quotas,
	};
	size_t i, n = s->config->shards;
	int r;

	s->shards = mem_zalloc(n * sizeof(struct shard *));
	if (!s->shards)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	atomic_store(&s->undrained, n);
	for (i = 0; i < n; i++) {
		r = shard_start((unsigned)i, &shared, on_shard_drained, s,
			&s->shards[i], reterr);
		if (r < 0)
			return r;
		s->n_shards++;
	}
	/* The shards have theirs: after a reload this one may go. */
	tls_context_unref(s->tls);
	s->tls = NULL;
	return 0;
}

/* What connections need before there are any. */
static int start_guards(struct server *s, struct errmsg *reterr)
{
	const struct config *config = s->config;
	int r = quotas_new(config, &s->quotas);

	if (r == 0 && config->max_connections_per_peer > 0)
		r = peers_new(config->max_connections_per_peer, &s->peers);
	if (r < 0)
		return errmsg_set(reterr, r, "%s", err_text(r));
	if (config->tls_cert_file[0])
		r = tls_watch_new(config, &s->tls_watch, &s->tls, reterr);
	return r;
}

/* What changes while it serves. */
static int start_watchers(struct server *s, struct errmsg *reterr)
{
	int r = 0;

	if (s->config->crl_url[0])
		r = crl_fetch_start(
			s->config, on_crl, s, &s->crl_fetch, reterr);
	if (r == 0 && s->tls_watch)
		r = tls_watch_start(s->tls_watch, on_tls, s, reterr);
	return r;
}

static int open_doors(struct server *s, struct errmsg *reterr)
{
	const struct {
		const char *name; /* of a socket that is handed over */
		const struct config_address *address;
	} ports[PORTS] = {
		[PORT_NATIVE] = {"grpc", &s->config->grpc_address},
		[PORT_WEB] = {"web", &s->config->web_address},
	};
	struct door *door;
	size_t port;
	int r = 0;

	for (port = 0; port < PORTS && r == 0; port++) {
		door = &s->doors[port];
		door->server = s;
		r = listener_open(s->loop, ports[port].address,
			activation_socket(&s->handed, ports[port].name),
			on_accept, door, &door->listener, reterr);
	}
	if (r == 0)
		r = open_metrics_port(s, reterr);
	/* Nobody would ever accept from it. */
	if (r == 0 && activation_left(&s->handed))
		r = errmsg_set(reterr, ERR_INVALID,
			"socket activation: sockets must be named grpc, web or "
			"metrics");
	return r;
}

/* A database that is slow to come back is no reason not to start: until it is
 * there health says so. */
static void wait_for_store(struct server *s)
{
	size_t i;

	store_wait_usable(s->store, STORE_WAIT_MS);
	for (i = 0; i < s->n_shards; i++)
		shard_look_at_health(s->shards[i]);
}

/* Clients' tests wait for this line, whatever the log level. */
static void say_listening(const struct server *s)
{
	char name[LISTENER_NAME_MAX], web[LISTENER_NAME_MAX];
	char metrics[LISTENER_NAME_MAX] = "off";
	char line[LISTENER_NAME_MAX + 32];

	listener_name(s->doors[PORT_NATIVE].listener, name);
	listener_name(s->doors[PORT_WEB].listener, web);
	if (s->metrics_port)
		metrics_port_name(s->metrics_port, metrics);
	(void)snprintf(line, sizeof(line), "Server listening at %s", name);
	log_emit(LOG_INFO, NULL, line,
		(const struct log_field[]){F_STR("web", web),
			F_STR("metrics", metrics),
			F_STR("tls", s->tls_watch ? "on" : "off"),
			F_U64("shards", s->n_shards), {.key = NULL}});
}

static int start_watchdog(struct server *s, struct errmsg *reterr)
{
	int r = 0;

	if (s->notify.watchdog_ns > 0)
		r = watchdog_start(s->loop, &s->notify, s->shards, s->n_shards,
			&s->watchdog);
	return r < 0 ? errmsg_set(reterr, r, "%s", err_text(r)) : 0;
}

static int start(struct server *s, struct errmsg *reterr)
{
	int r;

	raise_descriptor_limit();
	notify_open(&s->notify);
	r = activation_take(&s->handed, reterr);
	if (r < 0)
		return r;
	r = loop_new(&clock_system, &s->loop);
	if (r == 0)
		r = start_signals(s);
	if (r < 0)
		return errmsg_set(reterr, r, "%s", err_text(r));
	r = start_guards(s, reterr);
	if (r == 0)
		r = store_open(s->config, &clock_system, &s->store, reterr);
	if (r == 0)
		r = start_shards(s, reterr);
	if (r == 0)
		r = start_watchers(s, reterr);
	if (r == 0)
		wait_for_store(s);
	if (r == 0)
		r = open_doors(s, reterr);
	if (r == 0)
		r = start_watchdog(s, reterr);
	if (r < 0)
		return r;
	s->janitor.on_due = on_janitor;
	s->drain_timer.on_due = on_drain_timeout;
	on_janitor(&s->janitor);
	say_listening(s);
	notify_ready(&s->notify, "Serving");
	return 0;
}

/* In the order of who uses whom. */
static void stop(struct server *s)
{
	size_t i;

	close_doors(s);
	activation_release(&s->handed);
	metrics_port_free(&s->metrics_port);
	crl_fetch_stop(&s->crl_fetch);
	tls_watch_free(&s->tls_watch);
	for (i = 0; i < s->n_shards; i++)
		shard_stop(s->shards[i]);
	store_close(&s->store);
	for (i = 0; i < s->n_shards; i++)
		shard_free(&s->shards[i]);
	watchdog_free(&s->watchdog);
	mem_free(s->shards);
	tls_context_unref(s->tls);
	peers_free(&s->peers);
	quotas_free(&s->quotas);
	watch_stop(&s->signals);
	if (s->signals.fd >= 0)
		close(s->signals.fd);
	loop_free(&s->loop);
	notify_release(&s->notify);
}

int server_run(const struct config *config, struct errmsg *reterr)
{
	struct server s = {.config = config, .signals.fd = -1, .notify.fd = -1};
	int r;

	r = start(&s, reterr);
	if (r < 0) {
		stop(&s);
		return r;
	}
	r = loop_run(s.loop);
	if (r < 0)
		(void)errmsg_set(reterr, r, "event loop failed");
	stop(&s);
	log_info(NULL, "stopped");
	return r;
}
