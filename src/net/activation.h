/* SPDX-License-Identifier: Apache-2.0 */
/* activation — listening sockets that a service manager opened before us and
 * hands over: sd_listen_fds(3), whose protocol is three variables and
 * descriptors from 3 on.
 *
 * Whoever connects while no process serves waits in the kernel's queue of such
 * a socket, so that a restart refuses nobody. Not libsystemd's: what is wanted
 * of it is little, and on Debian 12 it brings four compression and encryption
 * libraries into the process. Threads: the main one, before there are others:
 * the environment is changed. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"

/* One for each port there can be; a manager that hands over more has been told
 * of ports that we do not have. */
#define ACTIVATION_SOCKETS_MAX 8
#define ACTIVATION_NAME_MAX    16 /* "grpc", "web", with its NUL */

struct activation {
	struct activation_socket {
		char name[ACTIVATION_NAME_MAX];
		int fd; /* own; -1: taken */
	} sockets[ACTIVATION_SOCKETS_MAX];
	size_t n_sockets;
};

/* Finds what LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES hand over, makes it
 * close-on-exec and non-blocking, and unsets the variables, so that no child
 * takes them for its own. Nothing is handed over when they are not set, or
 * meant for another process.
 * Returns: 0; ERR_INVALID with a sentence when one of them makes no sense, when
 * a descriptor is not a listening TCP socket, or when two have one name. Then
 * nothing is owned. */
MUSTCHECK int activation_take(
	struct activation *ret_activation, struct errmsg *reterr);

/* The same for `n` descriptors from `first` on with names between colons: what
 * activation_take() does once it has read the variables. */
MUSTCHECK int activation_adopt(int first, size_t n, const char *names,
	struct activation *ret_activation, struct errmsg *reterr);

/* The socket of this name, now the caller's; -1 when there is none. */
MUSTCHECK int activation_socket(struct activation *a, const char *name);

/* The name of a socket that nobody asked for; NULL when there is none. */
MUSTCHECK const char *activation_left(const struct activation *a);

/* Closes what is left. Twice is fine. */
void activation_release(struct activation *a);
