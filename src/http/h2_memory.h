/* SPDX-License-Identifier: Apache-2.0 */
/* h2_memory — what an nghttp2 session lives in.
 *
 * A session takes 16 KiB for frames to be sent, of which ours, headers and
 * little else, touch the first hundred bytes; the rest costs nothing as long as
 * nobody has touched it. In the heap somebody has: each TLS handshake takes
 * 22 KiB for a moment, and wipes them. So a session has a place of its own: on
 * its first page the session itself and where that buffer begins, on the others
 * the rest of it. All else is of the heap.
 *
 * Threads: the session's. */
#pragma once

#include <nghttp2/nghttp2.h>
#include <stddef.h>

#include "base/places.h"

/* The session, of some 3 KB, fits in front; behind it the buffer, of 16 KiB and
 * 10 bytes. What does not fit is of the heap, and works as well. */
#define H2_PLACE_BYTES (20 * 1024)

struct h2_memory {
	struct places *places; /* ref; NULL: the heap has all */
	char *place;	       /* own; NULL: none yet, or none any more */
	size_t used;	       /* bytes of it */
};

/* For nghttp2_session_server_new3(), which copies it. `m` is zeroed but for
 * places and outlives the session. */
nghttp2_mem h2_memory_hooks(struct h2_memory *m);

/* When the session is deleted. */
void h2_memory_release(struct h2_memory *m);
