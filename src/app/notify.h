/* SPDX-License-Identifier: Apache-2.0 */
/* notify — tells a service manager how we are: sd_notify(3), a datagram to the
 * socket that NOTIFY_SOCKET names. Without one nothing is told.
 *
 * Not libsystemd's sd_notify(): that waits while the manager does not read,
 * and most of this is told by an event loop. Threads: notify_open() before
 * there are others, since the environment is changed; the rest any. */
#pragma once

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/* How long a manager may be busy before it is told that we are READY, which it
 * must not miss: it would end us. systemd itself reads within milliseconds. */
#define NOTIFY_WAIT_S 5

struct notify {
	struct sockaddr_un to;
	socklen_t to_len;
	int fd;		     /* own; -1: nobody is to be told */
	int64_t watchdog_ns; /* how often we must say that we are alive; 0: we
			      * need not */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and unsets them. What
 * makes no sense in them is logged and counts as not set: to serve is more
 * than to tell so. */
void notify_open(struct notify *n);

/* Twice is fine. */
void notify_release(struct notify *n);

/* It serves, or has loaded its files again. Not for an event loop: may wait
 * for NOTIFY_WAIT_S. `status` is for people. */
void notify_ready(const struct notify *n, const char *status);

/* The rest never waits; what the manager has no room for is dropped.
 *
 * Files are about to be loaded again; `now_ns` is CLOCK_MONOTONIC. */
void notify_reloading(const struct notify *n, int64_t now_ns);

/* It ends, within `timeout_s`. */
void notify_stopping(const struct notify *n, uint32_t timeout_s);

/* It is alive. */
void notify_alive(const struct notify *n);
