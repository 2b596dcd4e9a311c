/* SPDX-License-Identifier: Apache-2.0 */
/* listener — a listening TCP socket that hands out accepted ones.
 *
 * When the process has no descriptors left, a reserve one is given up to
 * accept and close the caller, so that a level-triggered loop does not spin
 * and the caller hears "closed" instead of waiting. Threads: its loop's. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "config/config.h"
#include "loop/loop.h"

struct listener;

/* `fd` is non-blocking, close-on-exec, without Nagle's delay; the callee owns
 * it. */
typedef void (*listener_accept_fn)(int fd, void *ctx);

/* Binds and listens. Returns: 0; ERR_SYS, ERR_NOMEM with a sentence. */
MUSTCHECK int listener_new(struct loop *loop,
	const struct config_address *address, listener_accept_fn on_accept,
	void *ctx, struct listener **ret_listener, struct errmsg *reterr);

/* Stops listening. NULL inside is fine. */
void listener_free(struct listener **listener);

#define LISTENER_NAME_MAX 80 /* "[v6 address]:port" fits */

/* The address in use, "127.0.0.1:8080": as configured but for port 0, which
 * became a real one. */
void listener_name(const struct listener *l, char ret_name[LISTENER_NAME_MAX]);
