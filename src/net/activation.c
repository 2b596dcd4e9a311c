/* SPDX-License-Identifier: Apache-2.0 */
#include "net/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* SD_LISTEN_FDS_START of sd_listen_fds(3). */
#define FIRST_FD 3

#define LISTENS	 "LISTEN_FDS"
#define NAMES	 "LISTEN_FDNAMES"
#define OWNER	 "LISTEN_PID"

/* Digits only: strtoul() takes signs and white space for numbers, too. */
static bool parse_number(
	const char *text, unsigned long max, unsigned long *ret_number)
{
	unsigned long number;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	number = strtoul(text, &end, 10);
	if (*end || errno || number > max)
		return false;
	*ret_number = number;
	return true;
}

static int option(int fd, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

static bool is_listening_tcp(int fd)
{
	int domain = option(fd, SO_DOMAIN);

	return (domain == AF_INET || domain == AF_INET6) &&
	       option(fd, SO_TYPE) == SOCK_STREAM &&
	       option(fd, SO_ACCEPTCONN) == 1;
}

/* accept() must not wait for a caller who has gone again. */
static bool make_ours(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
	       fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static struct activation_socket *find(struct activation *a, const char *name)
{
	size_t i;

	for (i = 0; i < a->n_sockets; i++) {
		if (a->sockets[i].fd >= 0 && !strcmp(a->sockets[i].name, name))
			return &a->sockets[i];
	}
	return NULL;
}

/* The names' next part, up to a colon. */
static const char *next_name(
	const char *names, char ret_name[ACTIVATION_NAME_MAX])
{
	size_t len = strcspn(names, ":");

	/* One that is too long is cut: it is nobody's either way. */
	(void)snprintf(ret_name, ACTIVATION_NAME_MAX, "%.*s",
		(int)MIN(len, (size_t)ACTIVATION_NAME_MAX - 1), names);
	return names + len + (names[len] == ':');
}

static int adopt_one(
	struct activation *a, int fd, const char *name, struct errmsg *reterr)
{
	struct activation_socket *socket = &a->sockets[a->n_sockets];

	if (!is_listening_tcp(fd))
		return errmsg_set(reterr, ERR_INVALID,
			"socket activation: descriptor %d is not a listening "
			"TCP socket",
			fd);
	if (find(a, name))
		return errmsg_set(reterr, ERR_INVALID,
			"socket activation: two sockets have one name");
	if (!make_ours(fd))
		return errmsg_set(reterr, ERR_SYS, "socket activation: %s",
			strerror(errno));
	(void)snprintf(socket->name, sizeof(socket->name), "%s", name);
	socket->fd = fd;
	a->n_sockets++;
	return 0;
}

int activation_adopt(int first, size_t n, const char *names,
	struct activation *ret_activation, struct errmsg *reterr)
{
	struct activation a = {.n_sockets = 0};
	char name[ACTIVATION_NAME_MAX];
	size_t i;
	int r;

	if (n > ACTIVATION_SOCKETS_MAX)
		return errmsg_set(reterr, ERR_INVALID,
			"socket activation: more than %d sockets",
			ACTIVATION_SOCKETS_MAX);
	for (i = 0; i < n; i++) {
		names = next_name(names, name);
		r = adopt_one(&a, first + (int)i, name, reterr);
		if (r < 0)
			return r;
	}
	*ret_activation = a;
	return 0;
}

/* How many descriptors the variables hand over to this very process. */
static int count(size_t *ret_n, struct errmsg *reterr)
{
	const char *owner = getenv(OWNER), *listens = getenv(LISTENS);
	unsigned long pid, n;

	*ret_n = 0;
	if (!owner || !listens)
		return 0;
	if (!parse_number(owner, INT32_MAX, &pid))
		return errmsg_set(
			reterr, ERR_INVALID, OWNER " must be a process id");
	if ((pid_t)pid != getpid())
		return 0;
	if (!parse_number(listens, ACTIVATION_SOCKETS_MAX, &n))
		return errmsg_set(reterr, ERR_INVALID,
			LISTENS " must be a number from 0 to %d",
			ACTIVATION_SOCKETS_MAX);
	*ret_n = n;
	return 0;
}

static void forget_variables(void)
{
	(void)unsetenv(OWNER);
	(void)unsetenv(LISTENS);
	(void)unsetenv(NAMES);
	(void)unsetenv("LISTEN_PIDFDID"); /* since systemd 259 */
}

int activation_take(struct activation *ret_activation, struct errmsg *reterr)
{
	const char *names = getenv(NAMES);
	size_t n;
	int r = count(&n, reterr);

	if (r == 0)
		r = activation_adopt(FIRST_FD, n, names ? names : "",
			ret_activation, reterr);
	forget_variables();
	return r;
}

int activation_socket(struct activation *a, const char *name)
{
	struct activation_socket *socket = find(a, name);
	int fd = socket ? socket->fd : -1;

	if (socket)
		socket->fd = -1;
	return fd;
}

const char *activation_left(const struct activation *a)
{
	size_t i;

	for (i = 0; i < a->n_sockets; i++) {
		if (a->sockets[i].fd >= 0)
			return a->sockets[i].name;
	}
	return NULL;
}

void activation_release(struct activation *a)
{
	size_t i;

	for (i = 0; i < a->n_sockets; i++) {
		if (a->sockets[i].fd >= 0)
			close(a->sockets[i].fd);
		a->sockets[i].fd = -1;
	}
}
