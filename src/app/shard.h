/* SPDX-License-Identifier: Apache-2.0 */
/* shard — one thread, one loop, and all that lives on it: connections, calls,
 * the service. Shards share nothing but the store.
 *
 * Threads: made and freed by the main thread; the functions in between may be
 * called from any, and act on the shard's own by way of its mailbox. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "config/config.h"
#include "loop/mailbox.h"
#include "middleware/crl.h"
#include "net/address.h"
#include "net/peers.h"
#include "net/tls.h"
#include "store/store.h"
#include "syncer/quotas.h"

struct shard;

/* What all shards share; outlives them. */
struct shard_shared {
	const struct config *config; /* ref */
	struct store *store;	     /* ref */
	struct tls_context *tls; /* ref; the first; NULL: in clear, always */
	struct peers *peers;	 /* ref; NULL: no cap */
	struct quotas *quotas;	 /* ref */
};

enum port {
	PORT_NATIVE, /* gRPC over HTTP/2 */
	PORT_WEB,    /* gRPC-Web, over HTTP/1.1 or HTTP/2 */
	PORTS,
};

/* Called on the shard's thread when a drain has closed its last connection. */
typedef void (*shard_drained_fn)(void *ctx);

/* Starts the thread. Returns: 0; ERR_* with a sentence. */
MUSTCHECK int shard_start(unsigned number, const struct shard_shared *shared,
	shard_drained_fn on_drained, void *ctx, struct shard **ret_shard,
	struct errmsg *reterr);

/* Cuts off what is left, and waits for the store's last answers and the
 * thread's end. */
void shard_stop(struct shard *s);

/* After every shard has stopped and the store is closed: until then their
 * threads may be about to wake this one. NULL inside is fine. */
void shard_free(struct shard **shard);

/* Hands over an accepted socket; closed when there is no memory. */
void shard_accept(
	struct shard *s, enum port port, int fd, const struct address *peer);

/* Connections it has, those on their way to it included. */
size_t shard_connections(const struct shard *s);

/* Any thread: adds what it has counted. */
void shard_metrics(const struct shard *s, struct metrics_sum *sum);

/* A new revocation list; the shard takes a reference of its own. */
void shard_set_crl(struct shard *s, struct crl *crl);

/* What new connections' TLS is made of from now on; the shard takes a
 * reference of its own. */
void shard_set_tls(struct shard *s, struct tls_context *tls);

/* Any thread, once: looks now whether the store can be used, for health. What
 * is handed over afterwards finds it looked at. */
void shard_look_at_health(struct shard *s);

/* Any thread: has `msg` delivered on the shard's, as mailbox_post() says. */
void shard_post(struct shard *s, struct message *msg);

/* Ends listeners, tells peers to go, lets calls finish. */
void shard_drain(struct shard *s);
