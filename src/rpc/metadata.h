/* SPDX-License-Identifier: Apache-2.0 */
/* metadata — the texts in gRPC's headers (grpc/grpc doc/PROTOCOL-HTTP2.md).
 * Pure functions. The sentences of errors are grpc-go's. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/attr.h"
#include "base/err.h"
#include "base/slice.h"

/* "100m": up to 8 digits and a unit. Zero and negative values, which some
 * clients send for a deadline that has passed, give 0; longer than 292 years
 * gives INT64_MAX. Returns: 0, ERR_INVALID. */
MUSTCHECK int grpc_timeout_parse(
	struct slice text, int64_t *ret_ns, struct errmsg *reterr);

/* Checks the value of a header whose name ends in "-bin": base64, padded or
 * not, several joined by commas. Returns: 0, ERR_INVALID with the offset of
 * the offending byte. */
MUSTCHECK int grpc_bin_check(struct slice value, size_t *ret_error_at);

/* The bytes of the first value in a header that passed grpc_bin_check().
 * `out` has BASE64_DECODED_MAX(value.len) bytes. Returns how many were used.
 */
size_t grpc_bin_decode(struct slice value, uint8_t *out);

/* The longest status message we send: with every byte escaped it stays below
 * the 8 KiB of headers that most clients take. */
#define GRPC_MESSAGE_MAX 1024

/* The message, cut and percent-encoded as grpc-message wants it, in at most
 * `max` bytes; NULL when there is no memory. */
MUSTCHECK char *grpc_message_encode(
	struct arena *a, struct slice message, size_t max);
