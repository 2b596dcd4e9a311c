/* SPDX-License-Identifier: Apache-2.0 */
/* net — non-blocking connections to one address, in clear or over TLS.
 *
 * Not the server's: what is measured is not measured with itself. One thread,
 * one epoll. Output is gathered: each connection that has something to say
 * says it once a turn. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/slice.h"

#define NET_READ_BYTES (256 * 1024)
#define NET_OUT_MAX    (8 * 1024 * 1024) /* of one connection; a fault */

struct net {
	int epoll_fd;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	char host[256];
	SSL_CTX *tls; /* own; NULL: in clear */
	struct list dirty;
	uint8_t *room; /* own; what was read last */
};

struct wire;

struct wire_ops {
	/* Appends what is to be sent to w->out. Returns: 0, ERR_*. */
	int (*fill)(struct wire *w);
	/* Takes what has come. Returns: 0, ERR_*: the connection is lost. */
	int (*take)(struct wire *w, struct slice bytes);
	/* It is lost and closed; once, never inside the functions below. */
	void (*lost)(struct wire *w);
};

/* A connection; embedded. */
struct wire {
	const struct wire_ops *ops;
	struct net *net; /* ref */
	int fd;		 /* own; -1 when closed */
	SSL *ssl;	 /* own; NULL: in clear */
	bool open;	 /* connected, handshake done */
	uint32_t events; /* that epoll looks for */
	struct buf out;
	struct list dirty;
};

/* `address` is HOST:PORT; `ca_file` has the certificates to trust, NULL for no
 * TLS; `alpn` is the protocol to ask for then.
 * Returns: 0, ERR_* with *reterr. */
MUSTCHECK int net_init(struct net *n, const char *address, const char *ca_file,
	const char *alpn, struct errmsg *reterr);
void net_release(struct net *n);

/* Sends what waits, then waits for events until `deadline_ns` of
 * clock_system's monotonic clock. Returns: 0, ERR_SYS. */
MUSTCHECK int net_turn(struct net *n, int64_t deadline_ns);

/* Begins to connect. What is to be sent meanwhile waits.
 * Returns: 0, ERR_SYS, ERR_NOMEM. */
MUSTCHECK int wire_open(
	struct wire *w, struct net *net, const struct wire_ops *ops);

/* There is something to fill in with. */
void wire_touch(struct wire *w);

/* Closes without a word; nothing is called back. Its memory may be touched
 * until the turn is over. */
void wire_close(struct wire *w);
