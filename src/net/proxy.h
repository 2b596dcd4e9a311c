/* SPDX-License-Identifier: Apache-2.0 */
/* proxy — reads the header by which a proxy in front of us says whose
 * connection it passes on: the PROXY protocol, versions 1 (a line of text) and
 * 2 (binary), of haproxy's doc/proxy-protocol.txt.
 *
 * Does not: read sockets. Threads: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/slice.h"
#include "net/address.h"

/* What a sender may count on to arrive in one piece (section 2, the smallest
 * MTU of the Internet less headers); addresses of IP take 52 of it, the rest
 * are TLVs. */
#define PROXY_HEADER_MAX 536

/* A version 1 line, its CRLF included (section 2.1). */
#define PROXY_LINE_MAX 107

/* So far it is right, but there is more to it. */
#define PROXY_MORE 1

struct proxy_header {
	size_t len; /* bytes of it: what follows is the peer's */
	/* Whether it names the peer. If not (LOCAL: the proxy itself, for a
	 * health check; UNKNOWN; no IP over TCP) it is who the socket says. */
	bool has_peer;
	struct address peer;
};

/* Looks at the first bytes of a connection, up to PROXY_HEADER_MAX of them.
 * Whatever cannot become a header is refused at its first wrong byte.
 * Returns: 0, PROXY_MORE, ERR_PROTO, ERR_LIMIT (longer than the maximum). */
MUSTCHECK int proxy_parse(struct slice bytes, struct proxy_header *ret_header);
