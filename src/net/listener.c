/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* Handshakes the kernel completes for us: a reconnect storm of thousands must
 * not see refusals (the kernel caps it at net.core.somaxconn). */
#define LISTEN_BACKLOG 4096
/* Accepted per turn before established connections get theirs. */
#define ACCEPTS_PER_TURN 64

struct listener {
	struct watch watch;
	listener_accept_fn on_accept;
	void *ctx;
	int reserve_fd;	  /* own; given up when descriptors run out */
	bool handed_over; /* the socket lives on elsewhere */
	char name[LISTENER_NAME_MAX];
};

static int open_reserve(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Returns whether there was one to refuse: accept() says that descriptors are
 * short before it looks whether anybody waits. */
static bool refuse_one(struct listener *l)
{
	int fd;

	if (l->reserve_fd >= 0)
		close(l->reserve_fd);
	fd = accept4(l->watch.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	l->reserve_fd = open_reserve();
	if (fd < 0)
		return false;
	metrics_reject(loop_metrics(l->watch.loop), METRIC_LIMIT_DESCRIPTORS);
	log_warn(NULL, "accept.no_descriptors");
	return true;
}

/* Hands out one caller. Returns whether there may be more. */
static bool accept_one(struct listener *l)
{
	struct sockaddr_storage addr = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(addr);
	struct address peer;
	int fd = accept4(l->watch.fd, (struct sockaddr *)&addr, &len,
		SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0 && (errno == EMFILE || errno == ENFILE))
		return refuse_one(l);
	if (fd < 0) /* else EAGAIN; or memory short, then next turn */
		return errno == ECONNABORTED || errno == EINTR;
	peer = address_of_socket(&addr);
	l->on_accept(fd, &peer, l->ctx);
	return true;
}

static void accept_some(struct listener *l, int most)
{
	while (most-- > 0 && accept_one(l))
		;
}

static void on_ready(struct watch *w, uint32_t ready UNUSED)
{
	accept_some(CONTAINER_OF(w, struct listener, watch), ACCEPTS_PER_TURN);
}

void listener_take_rest(struct listener *l)
{
	if (!l->handed_over)
		accept_some(l, LISTEN_BACKLOG);
}

/* The socket's own address; ":0" for want of one. */
static void name_of_socket(int fd, char ret_name[LISTENER_NAME_MAX])
{
	struct sockaddr_storage bound = {0};
	socklen_t len = sizeof(bound);
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE] = "", port[] = "65535";
	bool found;

	found = getsockname(fd, (struct sockaddr *)&bound, &len) == 0 &&
		getnameinfo((struct sockaddr *)&bound, len, host, sizeof(host),
			port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) == 0;
	(void)snprintf(ret_name, LISTENER_NAME_MAX,
		strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
		found ? port : "0");
}

static void remember_name(struct listener *l, const char *configured)
{
	char bound[LISTENER_NAME_MAX];
	const char *colon = strrchr(configured, ':');

	(void)snprintf(l->name, sizeof(l->name), "%.*s", LISTENER_NAME_MAX - 1,
		configured);
	if (!colon || strcmp(colon, ":0") != 0)
		return;
	name_of_socket(l->watch.fd, bound);
	(void)snprintf(l->name, sizeof(l->name), "%.*s%.6s",
		(int)(colon - configured), configured, strrchr(bound, ':'));
}

/* Accepted sockets inherit these (tcp(7)): no system call for each. Failures
 * cost 40 ms a reply, or a dead peer's memory, and nothing else. */
static void set_accepted_options(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		/* Replies are small and awaited. */
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, LISTENER_KEEPALIVE_IDLE_S},
		{IPPROTO_TCP, TCP_KEEPINTVL, LISTENER_KEEPALIVE_EVERY_S},
		{IPPROTO_TCP, TCP_KEEPCNT, LISTENER_KEEPALIVE_COUNT},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, LISTENER_USER_TIMEOUT_MS},
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(options); i++)
		(void)setsockopt(fd, options[i].level, options[i].name,
			&options[i].value, sizeof(options[i].value));
}

static int bind_socket(int fd, const struct config_address *address)
{
	const int on = 1, off = 0;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->addr.ss_family == AF_INET6)
		(void)setsockopt(
			fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	set_accepted_options(fd);
	if (bind(fd, (const struct sockaddr *)&address->addr,
		    address->addr_len) < 0)
		return ERR_SYS;
	return listen(fd, LISTEN_BACKLOG) < 0 ? ERR_SYS : 0;
}

/* NULL for want of memory. */
static struct listener *make(listener_accept_fn on_accept, void *ctx)
{
	struct listener *l = mem_zalloc(sizeof(*l));

	if (!l)
		return NULL;
	l->watch.fd = -1;
	l->watch.on_ready = on_ready;
	l->on_accept = on_accept;
	l->ctx = ctx;
	l->reserve_fd = open_reserve();
	return l;
}

int listener_new(struct loop *loop, const struct config_address *address,
	listener_accept_fn on_accept, void *ctx, struct listener **ret_listener,
	struct errmsg *reterr)
{
	CLEANUP(listener_free)
	struct listener *l = make(on_accept, ctx);
	int fd;

	if (!l)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	l->watch.fd = fd = socket(address->addr.ss_family,
		SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind_socket(fd, address) < 0 ||
		watch_start(&l->watch, loop, fd, EPOLLIN) < 0)
		return errmsg_set(reterr, ERR_SYS, "cannot listen at %s: %s",
			address->text, strerror(errno));
	remember_name(l, address->text);
	*ret_listener = TAKE_PTR(l);
	return 0;
}

int listener_adopt(struct loop *loop, int fd, listener_accept_fn on_accept,
	void *ctx, struct listener **ret_listener, struct errmsg *reterr)
{
	CLEANUP(listener_free)
	struct listener *l = make(on_accept, ctx);

	if (!l) {
		close(fd);
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	}
	l->watch.fd = fd;
	l->handed_over = true;
	set_accepted_options(fd);
	name_of_socket(fd, l->name);
	if (watch_start(&l->watch, loop, fd, EPOLLIN) < 0)
		return errmsg_set(reterr, ERR_SYS, "cannot listen at %s: %s",
			l->name, strerror(errno));
	*ret_listener = TAKE_PTR(l);
	return 0;
}

int listener_open(struct loop *loop, const struct config_address *address,
	int handed_fd, listener_accept_fn on_accept, void *ctx,
	struct listener **ret_listener, struct errmsg *reterr)
{
	return handed_fd >= 0 ? listener_adopt(loop, handed_fd, on_accept, ctx,
					ret_listener, reterr)
			      : listener_new(loop, address, on_accept, ctx,
					ret_listener, reterr);
}

void listener_free(struct listener **listener)
{
	struct listener *l = *listener;

	if (!l)
		return;
	watch_stop(&l->watch);
	if (l->watch.fd >= 0)
		close(l->watch.fd);
	if (l->reserve_fd >= 0)
		close(l->reserve_fd);
	mem_free(l);
	*listener = NULL;
}

void listener_name(const struct listener *l, char ret_name[LISTENER_NAME_MAX])
{
	memcpy(ret_name, l->name, LISTENER_NAME_MAX);
}
