/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/thread.h"

#include <signal.h>
#include <unistd.h>

#include "lib/unit.h"

static sigset_t blocked;

static void *look_around(void *arg)
{
	char byte;

	ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &blocked), 0);
	ck_assert_int_eq(read(*(int *)arg, &byte, 1), 1);
	return arg;
}

TEST(thread, no_signal_reaches_it_and_its_name_is_cut)
{
	sigset_t before, after;
	pthread_t thread;
	char name[16];
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
	ck_assert_int_eq(thread_start(&thread, "0123456789abcdefghij",
				 look_around, &fds[0]),
		0);
	ck_assert_int_eq(pthread_getname_np(thread, name, sizeof(name)), 0);
	ck_assert_str_eq(name, "0123456789abcde");
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	thread_join(thread);
	ck_assert_int_eq(sigismember(&blocked, SIGTERM), 1);
	ck_assert_int_eq(sigismember(&blocked, SIGINT), 1);
	ck_assert_int_eq(sigismember(&blocked, SIGALRM), 1);
	ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
	ck_assert_int_eq(
		sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
	close(fds[0]);
	close(fds[1]);
}
