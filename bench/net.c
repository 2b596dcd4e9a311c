/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define EVENTS_MAX 512

/* ---- set-up ---- */

static void free_addresses(struct addrinfo **list)
{
	if (*list)
		freeaddrinfo(*list);
}

static int resolve(struct net *n, const char *address, struct errmsg *reterr)
{
	CLEANUP(free_addresses)
	struct addrinfo *list = NULL;
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	const char *colon = strrchr(address, ':');
	int code;

	if (!colon || (size_t)(colon - address) >= sizeof(n->host))
		return errmsg_set(
			reterr, ERR_INVALID, "%s is not HOST:PORT", address);
	(void)snprintf(n->host, sizeof(n->host), "%.*s", (int)(colon - address),
		address);
	code = getaddrinfo(n->host, colon + 1, &hints, &list);
	if (code != 0)
		return errmsg_set(
			reterr, ERR_SYS, "%s: %s", address, gai_strerror(code));
	memcpy(&n->addr, list->ai_addr, list->ai_addrlen);
	n->addr_len = list->ai_addrlen;
	return 0;
}

static int trust(struct net *n, const char *ca_file, const char *alpn,
	struct errmsg *reterr)
{
	uint8_t names[32];
	size_t len = strlen(alpn);

	n->tls = SSL_CTX_new(TLS_client_method());
	if (!n->tls || SSL_CTX_load_verify_file(n->tls, ca_file) != 1)
		return errmsg_set(
			reterr, ERR_INVALID, "cannot trust %s", ca_file);
	SSL_CTX_set_verify(n->tls, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(n->tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
					 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					 SSL_MODE_RELEASE_BUFFERS);
	names[0] = (uint8_t)len;
	memcpy(names + 1, alpn, MIN(len, sizeof(names) - 1));
	/* Unlike its sisters this one returns 0 when all is well. */
	if (SSL_CTX_set_alpn_protos(n->tls, names, (unsigned)len + 1) != 0)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	return 0;
}

int net_init(struct net *n, const char *address, const char *ca_file,
	const char *alpn, struct errmsg *reterr)
{
	int r;

	memset(n, 0, sizeof(*n));
	list_init(&n->dirty);
	n->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	n->room = mem_alloc(NET_READ_BYTES);
	if (n->epoll_fd < 0 || !n->room)
		return errmsg_set(reterr, ERR_SYS, "no epoll");
	r = resolve(n, address, reterr);
	return r == 0 && ca_file ? trust(n, ca_file, alpn, reterr) : r;
}

void net_release(struct net *n)
{
	SSL_CTX_free(n->tls);
	mem_free(n->room);
	if (n->epoll_fd >= 0)
		(void)close(n->epoll_fd);
}

/* ---- one connection ---- */

static int watch_for(struct wire *w, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = w};
	int op = w->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (events == w->events)
		return 0;
	if (epoll_ctl(w->net->epoll_fd, op, w->fd, &event) < 0)
		return ERR_SYS;
	w->events = events;
	return 0;
}

static int start_tls(struct wire *w)
{
	w->ssl = SSL_new(w->net->tls);
	if (!w->ssl || SSL_set_fd(w->ssl, w->fd) != 1)
		return ERR_NOMEM;
	(void)SSL_set_tlsext_host_name(w->ssl, w->net->host); /* a hint */
	SSL_set_connect_state(w->ssl);
	return 0;
}

int wire_open(struct wire *w, struct net *net, const struct wire_ops *ops)
{
	const int one = 1;
	int r;

	memset(w, 0, sizeof(*w));
	w->ops = ops;
	w->net = net;
	list_init(&w->dirty);
	buf_init(&w->out, NET_OUT_MAX);
	w->fd = socket(net->addr.ss_family,
		SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (w->fd < 0)
		return ERR_SYS;
	(void)setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(w->fd, (const struct sockaddr *)&net->addr, net->addr_len) <
			0 &&
		errno != EINPROGRESS) {
		wire_close(w);
		return ERR_SYS;
	}
	r = net->tls ? start_tls(w) : 0;
	if (r == 0)
		r = watch_for(w, EPOLLIN | EPOLLOUT);
	if (r < 0)
		wire_close(w);
	return r;
}

void wire_touch(struct wire *w)
{
	if (w->fd >= 0 && list_empty(&w->dirty))
		list_append(&w->net->dirty, &w->dirty);
}

void wire_close(struct wire *w)
{
	list_remove(&w->dirty);
	SSL_free(w->ssl);
	w->ssl = NULL;
	if (w->fd >= 0)
		(void)close(w->fd);
	w->fd = -1;
	buf_release(&w->out);
}

static void lose(struct wire *w)
{
	if (w->fd < 0)
		return;
	wire_close(w);
	w->ops->lost(w);
}

/* What OpenSSL makes of a result that is not success: 0 to wait, or ERR_*. */
static int tls_wait(struct wire *w, int result)
{
	switch (SSL_get_error(w->ssl, result)) {
	case SSL_ERROR_WANT_READ: return 0;
	case SSL_ERROR_WANT_WRITE: return watch_for(w, EPOLLIN | EPOLLOUT);
	default: return ERR_CLOSED;
	}
}

/* Sends what it can. Returns bytes, 0 to wait, ERR_*. */
static ssize_t put(struct wire *w, struct slice bytes)
{
	ssize_t n;

	if (w->ssl) {
		n = SSL_write(w->ssl, bytes.ptr,
			(int)MIN(bytes.len, (size_t)NET_OUT_MAX));
		return n > 0 ? n : tls_wait(w, (int)n);
	}
	n = send(w->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN ? 0 : ERR_IO;
	return n;
}

/* Bytes, 0 for none yet, ERR_*. */
static ssize_t get(struct wire *w)
{
	ssize_t n;

	if (w->ssl) {
		n = SSL_read(w->ssl, w->net->room, NET_READ_BYTES);
		return n > 0 ? n : tls_wait(w, (int)n);
	}
	n = recv(w->fd, w->net->room, NET_READ_BYTES, 0);
	if (n < 0)
		return errno == EAGAIN ? 0 : ERR_IO;
	return n == 0 ? ERR_CLOSED : n;
}

static int flush(struct wire *w)
{
	int r = w->ops->fill(w);
	ssize_t n = 1;

	while (r == 0 && n > 0 && buf_len(&w->out) > 0) {
		n = put(w, buf_slice(&w->out));
		if (n > 0)
			buf_consume(&w->out, (size_t)n);
		r = n < 0 ? (int)n : 0;
	}
	if (r == 0)
		r = watch_for(
			w, buf_len(&w->out) > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
	return r;
}

/* Until it is open. Returns 1 when it is, 0 to wait, ERR_*. */
static int progress(struct wire *w, uint32_t ready)
{
	int result;

	if (!w->ssl)
		return ready & EPOLLOUT ? 1 : 0;
	result = SSL_do_handshake(w->ssl);
	if (result == 1)
		return 1;
	if (SSL_get_error(w->ssl, result) == SSL_ERROR_WANT_READ)
		return watch_for(w, EPOLLIN);
	return tls_wait(w, result);
}

static int read_all(struct wire *w)
{
	ssize_t n;
	int r = 0;

	do {
		n = get(w);
		if (n > 0)
			r = w->ops->take(w, slice_of(w->net->room, (size_t)n));
	} while (n > 0 && r == 0 && w->fd >= 0 &&
		 (w->ssl || n == NET_READ_BYTES));
	return n < 0 ? (int)n : r;
}

static void on_ready(struct wire *w, uint32_t ready)
{
	int r = 0;

	if (w->fd < 0)
		return;
	if (!w->open) {
		r = progress(w, ready);
		w->open = r > 0;
		r = MIN(r, 0);
		if (w->open)
			wire_touch(w);
	}
	if (r == 0 && w->open && ready & (EPOLLIN | EPOLLHUP | EPOLLERR))
		r = read_all(w);
	if (r == 0 && ready & EPOLLOUT)
		wire_touch(w);
	if (r < 0)
		lose(w);
}

static void flush_all(struct net *n)
{
	struct list *node;
	struct wire *w;

	while ((node = list_pop(&n->dirty))) {
		w = CONTAINER_OF(node, struct wire, dirty);
		if (w->open && flush(w) < 0)
			lose(w);
	}
}

int net_turn(struct net *n, int64_t deadline_ns)
{
	struct epoll_event events[EVENTS_MAX];
	struct timespec patience;
	int64_t left;
	int i, n_events;

	flush_all(n);
	left = deadline_ns - clock_mono_ns(&clock_system);
	left = MAX(left, 0);
	patience.tv_sec = left / NS_PER_S;
	patience.tv_nsec = left % NS_PER_S;
	n_events =
		epoll_pwait2(n->epoll_fd, events, EVENTS_MAX, &patience, NULL);
	if (n_events < 0)
		return errno == EINTR ? 0 : ERR_SYS;
	for (i = 0; i < n_events; i++)
		on_ready(events[i].data.ptr, events[i].events);
	return 0;
}
