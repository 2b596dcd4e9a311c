/* SPDX-License-Identifier: Apache-2.0 */
/* codec — bytes to text and back: hexadecimal, base64, UTF-8. No allocation,
 * no state. Threads: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/slice.h"

/* Writes 2 × bytes.len lower-case digits to `out`, no NUL. */
void hex_encode(struct slice bytes, char *out);

/* Decodes text.len / 2 bytes to `out`; either case.
 * Returns: 0, ERR_INVALID (odd length or a foreign character). */
MUSTCHECK int hex_decode(struct slice text, uint8_t *out);

/* Enough room for the bytes of `len` characters of base64. */
#define BASE64_DECODED_MAX(len) ((len) / 4 * 3 + 3)

/* RFC 4648 section 4, padded; line breaks inside are skipped as Go's
 * encoding/base64 does. `out` has BASE64_DECODED_MAX(text.len) bytes.
 * Returns: 0, or ERR_INVALID with the offset of the offending byte as Go
 * counts it in *ret_error_at. */
MUSTCHECK int base64_decode(
	struct slice text, uint8_t *out, size_t *ret_len, size_t *ret_error_at);

/* Characters that `len` bytes encode to, padding included. */
#define BASE64_ENCODED_LEN(len) (((len) + 2) / 3 * 4)

/* Writes BASE64_ENCODED_LEN(bytes.len) characters to `out`, no NUL. */
void base64_encode(struct slice bytes, char *out);

/* Whether the bytes are well-formed UTF-8 (RFC 3629: no surrogates, no
 * overlong forms, nothing above U+10FFFF). */
bool utf8_valid(struct slice text);
