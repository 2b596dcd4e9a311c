/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_lookup.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/epoll.h>

#include "base/log.h"

int pg_lookup_set_up(void)
{
	return ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS ? 0
								    : ERR_SYS;
}

/* The next moment at which c-ares wants to be called; at once when done. */
static void set_timer(struct pg_lookup *l)
{
	struct timeval longest = {.tv_sec = 1}, left;
	int64_t ns = 0;

	if (!l->answered) {
		(void)ares_timeout(l->channel, &longest, &left);
		ns = left.tv_sec * NS_PER_S + left.tv_usec * NS_PER_US;
	}
	if (timer_set(&l->timer, l->loop, loop_now_ns(l->loop) + ns) < 0)
		l->answered = true; /* the caller's own timer ends it */
}

static void process(
	struct pg_lookup *l, ares_socket_t read_fd, ares_socket_t write_fd)
{
	ares_process_fd(l->channel, read_fd, write_fd);
	set_timer(l);
}

static void on_timer(struct timer *t)
{
	struct pg_lookup *l = CONTAINER_OF(t, struct pg_lookup, timer);

	if (!l->answered) {
		process(l, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
		return;
	}
	pg_lookup_stop(l);
	l->on_done(l);
}

static void on_ready(struct watch *w, uint32_t ready)
{
	struct pg_lookup_socket *s =
		CONTAINER_OF(w, struct pg_lookup_socket, watch);
	bool reads = ready & (EPOLLIN | EPOLLERR | EPOLLHUP);

	process(s->lookup, reads ? w->fd : ARES_SOCKET_BAD,
		ready & EPOLLOUT ? w->fd : ARES_SOCKET_BAD);
}

static struct pg_lookup_socket *find_socket(
	struct pg_lookup *l, ares_socket_t fd)
{
	struct pg_lookup_socket *unused = NULL;
	size_t i;

	for (i = 0; i < PG_LOOKUP_SOCKETS_MAX; i++) {
		if (!l->sockets[i].watch.loop)
			unused = &l->sockets[i];
		else if (l->sockets[i].watch.fd == fd)
			return &l->sockets[i];
	}
	return unused;
}

/* c-ares tells what it waits for; neither means that it closes the socket. One
 * that cannot be watched is as one that never answers: c-ares's own time-out
 * goes on to the next server, or the caller's ends it all. */
static void on_socket(void *ctx, ares_socket_t fd, int reads, int writes)
{
	struct pg_lookup *l = ctx;
	struct pg_lookup_socket *s = find_socket(l, fd);
	int r = 0;
	uint32_t events = (reads ? (uint32_t)EPOLLIN : 0) |
			  (writes ? (uint32_t)EPOLLOUT : 0);

	if (!s)
		return;
	if (events == 0) {
		watch_stop(&s->watch);
	} else if (s->watch.loop) {
		r = watch_change(&s->watch, events);
	} else {
		s->lookup = l;
		s->watch.on_ready = on_ready;
		r = watch_start(&s->watch, l->loop, fd, events);
	}
	if (r < 0)
		log_warn(NULL, "database.lookup_not_watched");
}

static void keep_address(struct pg_lookup *l, const struct sockaddr *address)
{
	const struct sockaddr_in6 *v6 = (const void *)address;
	const struct sockaddr_in *v4 = (const void *)address;
	const void *bytes = address->sa_family == AF_INET6
				    ? (const void *)&v6->sin6_addr
				    : (const void *)&v4->sin_addr;

	if (l->n_addresses < PG_ADDRESSES_MAX &&
		ares_inet_ntop(address->sa_family, bytes,
			l->addresses[l->n_addresses], PG_ADDRESS_MAX))
		l->n_addresses++;
}

/* Also called by ares_destroy(). */
static void on_answer(
	void *ctx, int status, int timeouts UNUSED, struct ares_addrinfo *found)
{
	struct pg_lookup *l = ctx;
	struct ares_addrinfo_node *node;

	if (status == ARES_EDESTRUCTION)
		return;
	for (node = found ? found->nodes : NULL; node; node = node->ai_next)
		keep_address(l, node->ai_addr);
	if (found)
		ares_freeaddrinfo(found);
	l->answered = true;
}

int pg_lookup_start(struct pg_lookup *l, struct loop *loop, const char *name)
{
	const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = ARES_AI_NOSORT};
	struct ares_options options = {.sock_state_cb = on_socket,
		.sock_state_cb_data = l,
		.timeout = 1000, /* ms; the caller gives up after some s */
		.tries = 2};

	l->loop = loop;
	l->n_addresses = 0;
	l->answered = false;
	l->timer.on_due = on_timer;
	if (ares_init_options(&l->channel, &options,
		    ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS |
			    ARES_OPT_TRIES) != ARES_SUCCESS) {
		l->channel = NULL;
		return ERR_NOMEM;
	}
	ares_getaddrinfo(l->channel, name, NULL, &hints, on_answer, l);
	set_timer(l);
	return 0;
}

void pg_lookup_stop(struct pg_lookup *l)
{
	if (l->channel)
		ares_destroy(l->channel); /* stops the watches, too */
	l->channel = NULL;
	timer_clear(&l->timer);
}
