/* SPDX-License-Identifier: Apache-2.0 */
/* user_id — who a user is: the compressed secp256k1 key that was recovered
 * from a signature. In the database it is written as lower-case hex. */
#pragma once

#include <stdint.h>

#include "base/codec.h"
#include "base/slice.h"

#define USER_ID_BYTES 33		  /* SEC 1, section 2.3.3 */
#define USER_ID_HEX   (2 * USER_ID_BYTES) /* characters, without a NUL */

struct user_id {
	uint8_t bytes[USER_ID_BYTES];
};

static inline struct slice user_id_slice(const struct user_id *id)
{
	return slice_of(id->bytes, USER_ID_BYTES);
}

/* Writes USER_ID_HEX characters and a NUL. */
static inline void user_id_hex(
	const struct user_id *id, char out[USER_ID_HEX + 1])
{
	hex_encode(user_id_slice(id), out);
	out[USER_ID_HEX] = '\0';
}
