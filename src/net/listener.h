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
#include "net/address.h"

/* A peer that vanished without a word, its network or battery gone, is noticed
 * by the kernel: after so long a silence it asks, so often, … HTTP/2 asks by
 * itself and sooner; a listener over HTTP/1.1 would stay for ever. */
#define LISTENER_KEEPALIVE_IDLE_S  60
#define LISTENER_KEEPALIVE_EVERY_S 20
#define LISTENER_KEEPALIVE_COUNT   3
/* … and what was sent and is not acknowledged for as long as that takes in all
 * ends the connection too: keepalive alone does not look while data waits
 * (tcp(7), TCP_USER_TIMEOUT). Phones change networks in less. */
#define LISTENER_USER_TIMEOUT_MS                                               \
	(1000 * (LISTENER_KEEPALIVE_IDLE_S +                                   \
			LISTENER_KEEPALIVE_EVERY_S *                           \
				LISTENER_KEEPALIVE_COUNT))

struct listener;

/* `fd` is non-blocking, close-on-exec, without Nagle's delay, and notices dead
 * peers; the callee owns it. */
typedef void (*listener_accept_fn)(
	int fd, const struct address *peer, void *ctx);

/* Binds and listens. Returns: 0; ERR_SYS, ERR_NOMEM with a sentence. */
MUSTCHECK int listener_new(struct loop *loop,
	const struct config_address *address, listener_accept_fn on_accept,
	void *ctx, struct listener **ret_listener, struct errmsg *reterr);

/* The same on a socket that listens already (net/activation.h); the listener
 * owns it, also when this fails. Returns: 0; ERR_SYS, ERR_NOMEM with a
 * sentence. */
MUSTCHECK int listener_adopt(struct loop *loop, int fd,
	listener_accept_fn on_accept, void *ctx, struct listener **ret_listener,
	struct errmsg *reterr);

/* The one or the other: a socket that was handed over, or -1 for none. */
MUSTCHECK int listener_open(struct loop *loop,
	const struct config_address *address, int handed_fd,
	listener_accept_fn on_accept, void *ctx, struct listener **ret_listener,
	struct errmsg *reterr);

/* Hands out all who wait now: whoever is still in the queue of a socket that is
 * closed is cut off. Not those of a socket that was handed over, whose next
 * process has them. Not inside on_accept. */
void listener_take_rest(struct listener *l);

/* Stops listening; of a socket that was handed over only here. NULL inside is
 * fine. */
void listener_free(struct listener **listener);

#define LISTENER_NAME_MAX 80 /* "[v6 address]:port" fits */

/* The address in use, "127.0.0.1:8080": as configured but for port 0, which
 * became a real one; as the socket has it when it was handed over. */
void listener_name(const struct listener *l, char ret_name[LISTENER_NAME_MAX]);
