/* SPDX-License-Identifier: Apache-2.0 */
#include "net/activation.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/unit.h"

/* Descriptors in a row that nobody has. */
#define FIRST 500

static struct activation activation;
static struct errmsg why;

static void put(int at, int family, int type)
{
	int fd = socket(family, type, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(dup2(fd, at), at);
	close(fd);
}

static void put_listening(int at)
{
	put(at, AF_INET, SOCK_STREAM);
	ck_assert_int_eq(listen(at, 1), 0);
}

static void check_refused(size_t n, const char *names, const char *sentence)
{
	memset(&activation, 0, sizeof(activation));
	ck_assert_int_eq(activation_adopt(FIRST, n, names, &activation, &why),
		ERR_INVALID);
	ck_assert_str_eq(why.text, sentence);
	ck_assert_uint_eq(activation.n_sockets, 0);
}

TEST(activation, sockets_are_found_by_name)
{
	put_listening(FIRST);
	put_listening(FIRST + 1);
	ck_assert_int_eq(
		activation_adopt(FIRST, 2, "web:grpc", &activation, &why), 0);
	ck_assert_int_eq(activation_socket(&activation, "grpc"), FIRST + 1);
	ck_assert_int_eq(activation_socket(&activation, "grpc"), -1);
	ck_assert_int_eq(activation_socket(&activation, "metrics"), -1);
	ck_assert_str_eq(activation_left(&activation), "web");
	ck_assert_int_eq(activation_socket(&activation, "web"), FIRST);
	ck_assert_ptr_null(activation_left(&activation));
	close(FIRST);
	close(FIRST + 1);
}

TEST(activation, sockets_become_fit_for_a_loop)
{
	put_listening(FIRST);
	ck_assert_int_eq(
		activation_adopt(FIRST, 1, "grpc", &activation, &why), 0);
	ck_assert(fcntl(FIRST, F_GETFD) & FD_CLOEXEC);
	ck_assert(fcntl(FIRST, F_GETFL) & O_NONBLOCK);
	activation_release(&activation);
	activation_release(&activation);
	ck_assert_int_eq(fcntl(FIRST, F_GETFD), -1);
}

TEST(activation, only_listening_tcp_sockets_are_taken)
{
	static const char sentence[] = "socket activation: descriptor 500 is "
				       "not a listening TCP socket";

	put(FIRST, AF_INET, SOCK_STREAM);
	check_refused(1, "grpc", sentence);
	put(FIRST, AF_INET, SOCK_DGRAM);
	check_refused(1, "grpc", sentence);
	put(FIRST, AF_UNIX, SOCK_STREAM);
	check_refused(1, "grpc", sentence);
	close(FIRST);
	check_refused(1, "grpc", sentence);
	ck_assert_int_eq(dup2(STDIN_FILENO, FIRST), FIRST);
	check_refused(1, "grpc", sentence);
	close(FIRST);
}

TEST(activation, one_name_is_one_socket)
{
	put_listening(FIRST);
	put_listening(FIRST + 1);
	check_refused(
		2, "grpc:grpc", "socket activation: two sockets have one name");
	check_refused(2, "", "socket activation: two sockets have one name");
	close(FIRST);
	close(FIRST + 1);
}

TEST(activation, a_name_that_is_too_long_is_nobodys)
{
	put_listening(FIRST);
	ck_assert_int_eq(
		activation_adopt(FIRST, 1, "grpc-and-more-than-fits:web",
			&activation, &why),
		0);
	ck_assert_str_eq(activation_left(&activation), "grpc-and-more-t");
	ck_assert_int_eq(activation_socket(&activation, "grpc"), -1);
	activation_release(&activation);
}

TEST(activation, more_than_there_are_ports_are_refused)
{
	check_refused(ACTIVATION_SOCKETS_MAX + 1, "a:b",
		"socket activation: more than 8 sockets");
}

static void set_variables(const char *pid, const char *n)
{
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", n, 1);
	setenv("LISTEN_FDNAMES", "grpc", 1);
}

static void check_forgotten(void)
{
	ck_assert_ptr_null(getenv("LISTEN_PID"));
	ck_assert_ptr_null(getenv("LISTEN_FDS"));
	ck_assert_ptr_null(getenv("LISTEN_FDNAMES"));
}

TEST(activation, nothing_is_taken_that_is_not_offered)
{
	ck_assert_int_eq(activation_take(&activation, &why), 0);
	ck_assert_uint_eq(activation.n_sockets, 0);
}

TEST(activation, what_is_for_another_process_is_let_be)
{
	set_variables("1", "1");
	ck_assert_int_eq(activation_take(&activation, &why), 0);
	ck_assert_uint_eq(activation.n_sockets, 0);
	check_forgotten();
}

TEST(activation, variables_without_sense_are_refused)
{
	static const char *const bad[] = {
		"", " 1", "-1", "+1", "1x", "9", "99999999999999999999"};
	char pid[16];
	size_t i;

	(void)snprintf(pid, sizeof(pid), "%d", getpid());
	for (i = 0; i < ARRAY_LEN(bad); i++) {
		set_variables(pid, bad[i]);
		ck_assert_int_eq(
			activation_take(&activation, &why), ERR_INVALID);
		ck_assert_str_eq(
			why.text, "LISTEN_FDS must be a number from 0 to 8");
		check_forgotten();
	}
	set_variables("me", "1");
	ck_assert_int_eq(activation_take(&activation, &why), ERR_INVALID);
	ck_assert_str_eq(why.text, "LISTEN_PID must be a process id");
	check_forgotten();
	ck_assert_uint_eq(activation.n_sockets, 0);
}
