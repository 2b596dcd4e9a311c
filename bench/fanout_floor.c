/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/fanout_floor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "loop/thread.h"

#define THREADS_MAX   64
#define EVENTS_MAX    256
#define WAIT_MS	      5000
#define MESSAGE_BYTES 96 /* as long as a notice, with its frames */

struct floor {
	int *writers, *readers; /* own; of each connection its two ends */
	size_t n_open;
	pthread_barrier_t round;
	size_t rounds, n_threads;
	int epoll_fd;
};

struct teller {
	struct floor *floor;
	size_t number;
	pthread_t thread;
	int r;
};

static int64_t now_ns(void)
{
	return clock_mono_ns(&clock_system);
}

static void *tell_all(void *arg)
{
	static const uint8_t message[MESSAGE_BYTES];
	struct teller *t = arg;
	const struct floor *f = t->floor;
	size_t round, i;

	for (round = 0; round < f->rounds; round++) {
		(void)pthread_barrier_wait(&t->floor->round);
		for (i = t->number; i < f->n_open; i += f->n_threads) {
			if (send(f->writers[i], message, sizeof(message),
				    MSG_NOSIGNAL) != sizeof(message))
				t->r = ERR_SYS;
		}
	}
	return NULL;
}

static int read_one(int fd)
{
	uint8_t bytes[2 * MESSAGE_BYTES];

	return read(fd, bytes, sizeof(bytes)) == MESSAGE_BYTES ? 0 : ERR_SYS;
}

/* Until all were told once. */
static int hear_all(const struct floor *f)
{
	struct epoll_event events[EVENTS_MAX];
	size_t heard = 0;
	int n, i, r = 0;

	while (r == 0 && heard < f->n_open) {
		n = epoll_wait(f->epoll_fd, events, EVENTS_MAX, WAIT_MS);
		if (n <= 0)
			return ERR_SYS;
		for (i = 0; r == 0 && i < n; i++)
			r = read_one(events[i].data.fd);
		heard += (size_t)n;
	}
	return r;
}

static int run_rounds(struct floor *f, struct histogram *rounds_ns)
{
	size_t round;
	int64_t began;
	int r = 0;

	/* Who reads no more still lets the tellers come to their end. */
	for (round = 0; round < f->rounds; round++) {
		began = now_ns();
		(void)pthread_barrier_wait(&f->round);
		if (r == 0)
			r = hear_all(f);
		histogram_add(rounds_ns, now_ns() - began);
	}
	return r;
}

static int tell_and_hear(struct floor *f, struct histogram *rounds_ns)
{
	struct teller tellers[THREADS_MAX] = {0};
	size_t started, i;
	int r = 0;

	if (pthread_barrier_init(&f->round, NULL, (unsigned)f->n_threads + 1) !=
		0)
		return ERR_SYS;
	for (started = 0; r == 0 && started < f->n_threads; started++) {
		tellers[started] =
			(struct teller){.floor = f, .number = started};
		r = thread_start(&tellers[started].thread, "teller", tell_all,
			&tellers[started]);
	}
	/* Then the others wait at the barrier for ever: the program ends. */
	if (r < 0)
		return r;
	r = run_rounds(f, rounds_ns);
	for (i = 0; i < started; i++) {
		thread_join(tellers[i].thread);
		r = r < 0 ? r : tellers[i].r;
	}
	(void)pthread_barrier_destroy(&f->round);
	return r;
}

static int open_listener(struct sockaddr_in *ret_address)
{
	socklen_t len = sizeof(*ret_address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret_address = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd >= 0 && bind(fd, (const void *)ret_address, len) == 0 &&
		listen(fd, SOMAXCONN) == 0 &&
		getsockname(fd, (void *)ret_address, &len) == 0)
		return fd;
	if (fd >= 0)
		(void)close(fd);
	return ERR_SYS;
}

/* What is opened half is closed with the others. */
static int open_pair(
	struct floor *f, int listener, const struct sockaddr_in *to)
{
	size_t i = f->n_open++;
	struct epoll_event event = {.events = EPOLLIN};
	int on = 1;

	f->readers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (f->readers[i] < 0 ||
		connect(f->readers[i], (const void *)to, sizeof(*to)) < 0)
		return ERR_SYS;
	f->writers[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (f->writers[i] < 0 || setsockopt(f->writers[i], IPPROTO_TCP,
					 TCP_NODELAY, &on, sizeof(on)) < 0)
		return ERR_SYS;
	event.data.fd = f->readers[i];
	return epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, f->readers[i], &event) < 0
		       ? ERR_SYS
		       : 0;
}

static int open_all(struct floor *f, size_t n)
{
	struct sockaddr_in address;
	int listener = open_listener(&address), r = 0;

	if (listener < 0)
		return listener;
	while (r == 0 && f->n_open < n)
		r = open_pair(f, listener, &address);
	(void)close(listener);
	return r;
}

static void close_if_open(int fd)
{
	if (fd > 0)
		(void)close(fd);
}

static void close_all(struct floor *f)
{
	size_t i;

	for (i = 0; i < f->n_open; i++) {
		close_if_open(f->readers[i]);
		close_if_open(f->writers[i]);
	}
	mem_free(f->readers);
	mem_free(f->writers);
	close_if_open(f->epoll_fd);
}

int fanout_floor(size_t n, size_t rounds, struct histogram *rounds_ns)
{
	struct floor f = {.readers = mem_zalloc(n * sizeof(*f.readers)),
		.writers = mem_zalloc(n * sizeof(*f.writers)),
		.rounds = rounds,
		.n_threads = MIN((size_t)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1),
			(size_t)THREADS_MAX),
		.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	int r = f.readers && f.writers ? 0 : ERR_NOMEM;

	if (r == 0 && f.epoll_fd < 0)
		r = ERR_SYS;
	if (r == 0)
		r = open_all(&f, n);
	if (r == 0)
		r = tell_and_hear(&f, rounds_ns);
	close_all(&f);
	return r;
}
