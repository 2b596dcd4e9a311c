/* SPDX-License-Identifier: Apache-2.0 */
/* tls — the server's side of TLS, on OpenSSL: bytes of the wire in, bytes of
 * the peer out, and the other way.
 *
 * Sockets are the stream's: OpenSSL reads what tls_feed() lends it and writes
 * to the buffer its caller names. So it never waits to write, whatever the
 * socket takes, and holds back nothing it was fed: when tls_read() says that
 * there is no more, there is none.
 *
 * TLS 1.2 and 1.3 with the suites HTTP/2 allows (RFC 9113 section 9.2); no
 * compression, no renegotiation, no early data. Sessions are resumed by
 * tickets, whose keys are the context's: after a reload a peer makes one full
 * handshake.
 *
 * Threads: a context is shared; a struct tls is its connection's thread's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* What one tls_write() of n bytes adds to them at most: a header, nonce and
 * tag per record of 16 KiB, and answers that were owed. */
#define TLS_OVERHEAD_MAX 4096

struct tls_context;

/* PEM files, read once. */
struct tls_files {
	const char *cert; /* the chain, ours first */
	const char *key;  /* not encrypted */
	/* Who may connect: peers with a certificate of one of these. NULL or
	 * "": anybody. */
	const char *client_ca;
};

/* Reads the files; blocks on the disk. Returns: 0; ERR_INVALID (they cannot be
 * used; says which and why), ERR_NOMEM. */
MUSTCHECK int tls_context_new(const struct tls_files *files,
	struct tls_context **ret_context, struct errmsg *reterr);

/* Returns `context`. */
struct tls_context *tls_context_ref(struct tls_context *context);
/* NULL is fine. Connections keep theirs until they end. */
void tls_context_unref(struct tls_context *context);

/* Days until the certificate is over, negative when it is. */
int tls_context_valid_days(const struct tls_context *context);

/* The moment itself, by the wall clock; 0 when it cannot be told. */
int64_t tls_context_expiry_ns(const struct tls_context *context);

/* Whether it was not valid yet when it was read. */
bool tls_context_is_early(const struct tls_context *context);

/* What a peer that names protocols (ALPN) must name one of, else it is sent
 * away; one that names none is taken to know. */
enum tls_alpn {
	TLS_ALPN_H2,	/* h2 */
	TLS_ALPN_H2_H1, /* h2 rather than http/1.1 */
};

struct tls;

/* One connection, before its first byte. Keeps a reference to `context`.
 * Returns: 0, ERR_NOMEM. */
MUSTCHECK int tls_new(
	struct tls_context *context, enum tls_alpn alpn, struct tls **ret_tls);
void tls_free(struct tls **tls);

/* Lends bytes of the wire until tls_read() has said that there is no more. */
void tls_feed(struct tls *t, struct slice wire);

/* The most a record carries (RFC 8446 section 5.1). */
#define TLS_RECORD_MAX (16 * 1024)

/* Something was read. */
#define TLS_DATA 1

/* Appends what the peer said to `plain`, a record at a time (its ceiling must
 * leave room for TLS_RECORD_MAX), and what must be said to it for that, the
 * handshake or an alert, to `out`. To be called until it does not return
 * TLS_DATA.
 * Returns: TLS_DATA; 0 when all that was fed is used up; ERR_CLOSED (the peer
 * said that it ends here); ERR_LIMIT, ERR_NOMEM (`plain`); ERR_PROTO (the
 * peer's fault, or `out` took no more). Also when it failed `out` should still
 * be sent. */
MUSTCHECK int tls_read(struct tls *t, struct buf *plain, struct buf *out);

/* tls_write() may be called: the handshake is done. For a moment it may be so
 * no more, while a peer changes its key (RFC 8446 section 4.6.3). */
bool tls_established(const struct tls *t);

/* Appends to `out` what takes `plain` to the peer: all of it.
 * Returns: 0; ERR_PROTO (`out` took no more): the connection cannot go on. */
MUSTCHECK int tls_write(struct tls *t, struct slice plain, struct buf *out);

/* Appends to `out`, once, that nothing will follow; a peer can tell this from
 * a connection that was cut. Nothing before the handshake is done. */
void tls_end(struct tls *t, struct buf *out);

/* Why it failed, for the log; NULL while it has not. Static text. */
const char *tls_failure(const struct tls *t);
