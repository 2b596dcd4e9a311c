/* SPDX-License-Identifier: Apache-2.0 */
/* interop-server — gRPC's interoperability test service on src/rpc, src/http,
 * src/net and src/loop: nothing of sync.Syncer is in it. Listens on a free
 * port of the loopback, writes "listening at ADDRESS" to standard output, and
 * ends at SIGTERM or SIGINT. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/conn.h"
#include "loop/loop.h"
#include "net/listener.h"
#include "rpc/server.h"
#include "service.h"

/* Clients send 271828 bytes; compressed messages may claim more. */
#define MESSAGE_MAX (512 * 1024)

/* Every time limit but the clients' own is out of the way. */
#define LONG_NS (60 * NS_PER_S)

struct server {
	struct loop *loop;
	struct listener *listener;
	struct rpc_server rpc;
	struct conn_options options;
	struct conn_host host;
	struct stream_scratch scratch;
	struct http_budget budget;
	struct watch signals;
};

static const struct rpc_service *const services[] = {&interop_service};

static void on_accept(int fd, const struct address *peer, void *ctx)
{
	conn_host_accept(&((struct server *)ctx)->host, fd, peer);
}

static void on_conn_closed(void *ctx UNUSED)
{
}

static void on_signal(struct watch *w, uint32_t ready UNUSED)
{
	loop_stop(w->loop);
	watch_stop(w);
}

/* Returns: 0, ERR_SYS. */
static int watch_signals(struct server *s)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL); /* the set is a valid one */
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return ERR_SYS;
	s->signals.on_ready = on_signal;
	return watch_start(&s->signals, s->loop, fd, EPOLLIN);
}

static void set_up(struct server *s)
{
	s->rpc = (struct rpc_server){
		.loop = s->loop,
		.services = services,
		.n_services = ARRAY_LEN(services),
		.message_max = MESSAGE_MAX,
		.stall_timeout_ns = LONG_NS,
	};
	s->options = (struct conn_options){
		.h2 = {.max_streams = 100},
		.write_timeout_ns = LONG_NS,
		.keepalive_ns = LONG_NS,
		.keepalive_timeout_ns = LONG_NS,
	};
	s->host = (struct conn_host){
		.loop = s->loop,
		.protocols = CONN_H2,
		.server = {.on_request = grpc_on_request, .ctx = &s->rpc},
		.options = &s->options,
		.on_conn_closed = on_conn_closed,
		.ctx = s,
		.budget = &s->budget,
		.scratch = &s->scratch,
	};
	stream_scratch_init(&s->scratch);
	conn_host_init(&s->host);
}

static int start(struct server *s, struct errmsg *why)
{
	struct config_address address = {
		.addr_len = sizeof(struct sockaddr_in)};
	struct sockaddr_in *in = (struct sockaddr_in *)&address.addr;
	char name[LISTENER_NAME_MAX];
	int r = loop_new(&clock_system, &s->loop);

	if (r < 0)
		return errmsg_set(why, r, "no loop");
	set_up(s);
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	(void)snprintf(address.text, sizeof(address.text), "127.0.0.1:0");
	r = listener_new(s->loop, &address, on_accept, s, &s->listener, why);
	if (r < 0)
		return r;
	r = watch_signals(s);
	if (r < 0)
		return errmsg_set(why, r, "signals cannot be watched");
	listener_name(s->listener, name);
	(void)printf("listening at %s\n", name);
	(void)fflush(stdout);
	return 0;
}

/* Returns as loop_run(). */
static int stop(struct server *s)
{
	int r;

	watch_stop(&s->signals);
	close(s->signals.fd);
	listener_free(&s->listener);
	conn_host_release(&s->host);
	stream_scratch_release(&s->scratch);
	/* What ended above is told to its hooks at the end of a turn. */
	r = loop_turn(s->loop, 0);
	loop_free(&s->loop);
	return r;
}

int main(void)
{
	static struct server s;
	struct errmsg why;
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_WARN); /* not a line per call, which nobody reads */
	r = start(&s, &why);
	if (r < 0) {
		(void)fprintf(stderr, "interop-server: %s\n", why.text);
		return EXIT_FAILURE;
	}
	r = loop_run(s.loop);
	if (stop(&s) < 0)
		r = ERR_SYS;
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
