/* SPDX-License-Identifier: Apache-2.0 */
/* compress — gzip as a message encoding (grpc/grpc doc/compression.md). */
#pragma once

#include "base/attr.h"
#include "base/buf.h"
#include "base/slice.h"

/* Appends the inflated bytes to `out`.
 * Returns: 0; ERR_LIMIT as soon as they would pass out's ceiling, so that a
 * small bomb costs no more than a large message; ERR_INVALID (not gzip, or
 * damaged); ERR_NOMEM. */
MUSTCHECK int gzip_inflate(struct slice in, struct buf *out);

/* Appends the compressed bytes to `out`.
 * Returns: 0, ERR_LIMIT (no smaller than out's room), ERR_NOMEM. */
MUSTCHECK int gzip_deflate(struct slice in, struct buf *out);
