/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/thread.h"

#include <signal.h>
#include <stdio.h>

#include "base/err.h"

int thread_start(pthread_t *ret_thread, const char *name,
	void *(*main)(void *arg), void *arg)
{
	sigset_t all, before;
	pthread_t thread;
	char cut[16];
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, NULL, main, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return ERR_SYS;
	(void)snprintf(cut, sizeof(cut), "%s", name);
	(void)pthread_setname_np(thread, cut); /* only for people's eyes */
	*ret_thread = thread;
	return 0;
}

void thread_join(pthread_t thread)
{
	(void)pthread_join(
		thread, NULL); /* the thread exists and is joinable */
}
