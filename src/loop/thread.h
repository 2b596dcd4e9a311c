/* SPDX-License-Identifier: Apache-2.0 */
/* thread — a named thread that no signal reaches. */
#pragma once

#include <pthread.h>

#include "base/attr.h"

/* Starts `main(arg)` with all signals blocked, since the main loop takes them
 * from a signalfd. `name` is cut to 15 bytes (pthread_setname_np).
 * Returns: 0, ERR_SYS. */
MUSTCHECK int thread_start(pthread_t *ret_thread, const char *name,
	void *(*main)(void *arg), void *arg);

/* Waits for its end. */
void thread_join(pthread_t thread);
