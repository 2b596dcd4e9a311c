/* SPDX-License-Identifier: Apache-2.0 */
/* zbase32 — human-oriented base 32 (Zooko Wilcox-O'Hearn, 2002), in which
 * clients write their signatures. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/slice.h"

/* Bytes that `len` characters decode to. */
#define ZBASE32_DECODED_LEN(len) (5 * (len) / 8)
/* Characters that `len` bytes encode to. */
#define ZBASE32_ENCODED_LEN(len) ((8 * (len) + 4) / 5)

/* Writes ZBASE32_DECODED_LEN(text.len) bytes to `out`; bits left over are
 * dropped. Returns: 0, or ERR_INVALID with the offset of the first character
 * that is not in the alphabet. */
MUSTCHECK int zbase32_decode(
	struct slice text, uint8_t *out, size_t *ret_error_at);

/* Writes ZBASE32_ENCODED_LEN(bytes.len) characters, no NUL. */
void zbase32_encode(struct slice bytes, char *out);

/* Whether all characters are in the alphabet; errors as zbase32_decode(). */
MUSTCHECK int zbase32_check(struct slice text, size_t *ret_error_at);
