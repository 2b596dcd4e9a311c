/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"

#include "lib/unit.h"

#define PATIENCE_MS 20000

static struct loop *loop;
static struct listener *listener;
static struct errmsg why;
static int accepted[128], n_accepted;
static struct address peer; /* of the last */

static void on_accept(int fd, const struct address *from, void *ctx)
{
	ck_assert_ptr_eq(ctx, &n_accepted);
	ck_assert_int_lt(n_accepted, (int)ARRAY_LEN(accepted));
	peer = *from;
	accepted[n_accepted++] = fd;
}

static struct config_address address_of(const char *text)
{
	struct config_address a = {.addr_len = sizeof(struct sockaddr_in)};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a.addr;

	(void)snprintf(a.text, sizeof(a.text), "%s", text);
	v4->sin_family = AF_INET;
	v4->sin_port =
		htons((uint16_t)strtoul(strchr(text, ':') + 1, NULL, 10));
	v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static void set_up(void)
{
	struct config_address any = address_of("127.0.0.1:0");

	ck_assert_int_eq(loop_new(&clock_system, &loop), 0);
	ck_assert_int_eq(listener_new(loop, &any, on_accept, &n_accepted,
				 &listener, &why),
		0);
}

static void tear_down(void)
{
	while (n_accepted > 0)
		close(accepted[--n_accepted]);
	listener_free(&listener);
	listener_free(&listener);
	loop_free(&loop);
}

static int port_in_use(void)
{
	char name[LISTENER_NAME_MAX];

	listener_name(listener, name);
	ck_assert(!strncmp(name, "127.0.0.1:", 10));
	return (int)strtol(name + 10, NULL, 10);
}

static int knock(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port_in_use()),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void wait_for(int n)
{
	while (n_accepted < n) {
		int before = n_accepted;

		ck_assert_int_eq(loop_turn(loop, PATIENCE_MS), 0);
		ck_assert_int_gt(n_accepted, before);
	}
}

TEST(listener, port_0_becomes_a_real_one)
{
	set_up();
	ck_assert_int_gt(port_in_use(), 0);
	close(knock());
	tear_down();
}

TEST(listener, hands_out_sockets_ready_for_a_loop)
{
	socklen_t len = sizeof(int);
	int fd, on = 0;
	char text[ADDRESS_TEXT_MAX];

	set_up();
	fd = knock();
	wait_for(1);
	address_format(&peer, text);
	ck_assert_str_eq(text, "127.0.0.1");
	ck_assert(fcntl(accepted[0], F_GETFL) & O_NONBLOCK);
	ck_assert(fcntl(accepted[0], F_GETFD) & FD_CLOEXEC);
	ck_assert_int_eq(
		getsockopt(accepted[0], IPPROTO_TCP, TCP_NODELAY, &on, &len),
		0);
	ck_assert_int_ne(on, 0);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	close(fd);
	tear_down();
}

static int option_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

TEST(listener, its_sockets_notice_dead_peers)
{
	int fd;

	set_up();
	fd = knock();
	wait_for(1);
	ck_assert_int_eq(option_of(accepted[0], SOL_SOCKET, SO_KEEPALIVE), 1);
	ck_assert_int_eq(option_of(accepted[0], IPPROTO_TCP, TCP_KEEPIDLE),
		LISTENER_KEEPALIVE_IDLE_S);
	ck_assert_int_eq(option_of(accepted[0], IPPROTO_TCP, TCP_KEEPINTVL),
		LISTENER_KEEPALIVE_EVERY_S);
	ck_assert_int_eq(option_of(accepted[0], IPPROTO_TCP, TCP_KEEPCNT),
		LISTENER_KEEPALIVE_COUNT);
	ck_assert_int_eq(option_of(accepted[0], IPPROTO_TCP, TCP_USER_TIMEOUT),
		LISTENER_USER_TIMEOUT_MS);
	close(fd);
	tear_down();
}

TEST(listener, everybody_who_knocks_gets_in)
{
	enum { N = 100 }; /* more than are accepted in one turn */
	int fds[N];

	set_up();
	for (int i = 0; i < N; i++)
		fds[i] = knock();
	wait_for(N);
	for (int i = 0; i < N; i++)
		close(fds[i]);
	tear_down();
}

TEST(listener, an_address_in_use_is_told)
{
	struct config_address taken;
	struct listener *second = NULL;
	char text[32], expected[ERRMSG_MAX];

	set_up();
	(void)snprintf(text, sizeof(text), "127.0.0.1:%d", port_in_use());
	taken = address_of(text);
	ck_assert_int_eq(listener_new(loop, &taken, on_accept, &n_accepted,
				 &second, &why),
		ERR_SYS);
	(void)snprintf(expected, sizeof(expected), "cannot listen at %s: %s",
		text, strerror(EADDRINUSE));
	ck_assert_str_eq(why.text, expected);
	ck_assert_ptr_null(second);
	/* Free again, it can be taken at once. */
	listener_free(&listener);
	ck_assert_int_eq(listener_new(loop, &taken, on_accept, &n_accepted,
				 &listener, &why),
		0);
	listener_name(listener, expected);
	ck_assert_str_eq(expected, text);
	tear_down();
}

TEST(listener, ipv6_without_a_host_takes_both_families)
{
	struct config_address any = {
		.text = ":0", .addr_len = sizeof(struct sockaddr_in6)};
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char name[LISTENER_NAME_MAX];
	int fd, port;

	any.addr.ss_family = AF_INET6;
	ck_assert_int_eq(loop_new(&clock_system, &loop), 0);
	if (listener_new(loop, &any, on_accept, &n_accepted, &listener, &why) <
		0) {
		unit_skip("no IPv6 here");
		loop_free(&loop);
		return;
	}
	listener_name(listener, name);
	ck_assert_int_eq(name[0], ':');
	port = (int)strtol(name + 1, NULL, 10);
	to.sin_port = htons((uint16_t)port);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	wait_for(1);
	close(fd);
	tear_down();
}

TEST(listener, a_socket_handed_over_names_itself)
{
	struct sockaddr_in6 at = {
		.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	int held = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	char name[LISTENER_NAME_MAX];

	if (bind(held, (struct sockaddr *)&at, sizeof(at)) < 0) {
		unit_skip("no IPv6 here");
		close(held);
		return;
	}
	ck_assert_int_eq(listen(held, 1), 0);
	ck_assert_int_eq(loop_new(&clock_system, &loop), 0);
	ck_assert_int_eq(listener_adopt(loop, held, on_accept, &n_accepted,
				 &listener, &why),
		0);
	listener_name(listener, name);
	ck_assert_int_eq(strncmp(name, "[::1]:", 6), 0);
	ck_assert_int_gt(strtol(name + 6, NULL, 10), 0);
	tear_down();
}

TEST(listener, who_waits_when_it_ends_gets_in)
{
	enum { N = 100 }; /* more than are accepted in one turn */
	int fds[N];

	set_up();
	for (int i = 0; i < N; i++)
		fds[i] = knock();
	listener_take_rest(listener);
	ck_assert_int_eq(n_accepted, N);
	for (int i = 0; i < N; i++)
		close(fds[i]);
	tear_down();
}

TEST(listener, a_socket_handed_over_keeps_who_waits_in_it)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int held = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), fd;

	ck_assert_int_eq(loop_new(&clock_system, &loop), 0);
	ck_assert_int_eq(bind(held, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(held, 1), 0);
	for (int turn = 0; turn < 2; turn++) {
		ck_assert_int_eq(listener_adopt(loop, dup(held), on_accept,
					 &n_accepted, &listener, &why),
			0);
		ck_assert_int_gt(port_in_use(), 0);
		fd = knock();
		if (turn == 0) { /* who came waits for the next one */
			listener_take_rest(listener);
			ck_assert_int_eq(n_accepted, 0);
			listener_free(&listener);
		} else {
			wait_for(2);
		}
		close(fd);
	}
	ck_assert_int_ne(option_of(accepted[0], IPPROTO_TCP, TCP_NODELAY), 0);
	close(held);
	tear_down();
}

TEST(listener, once_freed_nobody_gets_in)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd;

	set_up();
	to.sin_port = htons((uint16_t)port_in_use());
	listener_free(&listener);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), -1);
	ck_assert_int_eq(errno, ECONNREFUSED);
	close(fd);
	tear_down();
}

/* Lets this process open no more descriptors than it has. */
static void close_the_table(void)
{
	int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct rlimit limit;

	close(next);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)next;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void check_hung_up(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	char byte;

	ck_assert_int_eq(poll(&pfd, 1, PATIENCE_MS), 1);
	ck_assert_int_le(read(fd, &byte, 1), 0);
}

static int count_lines(FILE *file)
{
	int n = 0, c;

	rewind(file);
	while ((c = fgetc(file)) != EOF)
		n += c == '\n';
	return n;
}

TEST(listener, without_descriptors_the_caller_is_hung_up_on)
{
	FILE *log = tmpfile();
	int fds[3], real = dup(STDERR_FILENO);
	struct rlimit limit;

	set_up();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = knock();
	ck_assert_int_eq(dup2(fileno(log), STDERR_FILENO), STDERR_FILENO);
	close_the_table();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(loop_turn(loop, 0), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(dup2(real, STDERR_FILENO), STDERR_FILENO);
	close(real);
	ck_assert_int_eq(n_accepted, 0);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		check_hung_up(fds[i]);
		close(fds[i]);
	}
	ck_assert_uint_eq(
		metrics_value(loop_metrics(loop),
			metric_at(METRIC_REJECTED, METRIC_LIMIT_DESCRIPTORS)),
		ARRAY_LEN(fds));
	/* One line a caller: the log is no place for a storm. */
	ck_assert_int_eq(count_lines(log), (int)ARRAY_LEN(fds));
	(void)fclose(log);
	/* And with descriptors again it works again. */
	fds[0] = knock();
	wait_for(1);
	close(fds[0]);
	tear_down();
}

TEST(listener, survives_every_failing_allocation)
{
	struct config_address any = address_of("127.0.0.1:0");
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(loop_new(&clock_system, &loop), 0);
	(void)mem_fail_after(0);
	ck_assert_int_eq(listener_new(loop, &any, on_accept, &n_accepted,
				 &listener, &why),
		ERR_NOMEM);
	ck_assert(mem_fail_after(-1));
	ck_assert_ptr_null(listener);
	(void)mem_fail_after(0);
	ck_assert_int_eq(listener_adopt(loop, fd, on_accept, &n_accepted,
				 &listener, &why),
		ERR_NOMEM);
	ck_assert(mem_fail_after(-1));
	ck_assert_ptr_null(listener);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1); /* it was the listener's */
	tear_down();
}
