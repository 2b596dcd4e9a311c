/* SPDX-License-Identifier: Apache-2.0 */
/* signature — from a compact signature to the key that made it.
 *
 * 65 bytes: header, r, s. The header is 27 + 4 (compressed key) + recovery id;
 * headers without the 4 name uncompressed keys, which are no users here. A
 * high s is taken: libraries differ, and clients exist. Threads: any that has
 * a verifier of its own. */
#pragma once

#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/slice.h"
#include "base/user_id.h"

#define SIGNATURE_BYTES 65

struct signature_verifier;

/* Returns: 0, ERR_NOMEM. */
MUSTCHECK int signature_verifier_new(struct signature_verifier **ret_verifier);
void signature_verifier_free(struct signature_verifier **verifier);

/* Recovers the key from the signature over a 32-byte digest.
 * Returns: 0, ERR_INVALID (no key could have made it). */
MUSTCHECK int signature_recover(const struct signature_verifier *v,
	const uint8_t digest[32], const uint8_t signature[SIGNATURE_BYTES],
	struct user_id *ret_user);

/* From z-base-32 to the 65 bytes.
 * Returns: 0; ERR_INVALID with the sentence for the client. */
MUSTCHECK int signature_parse(struct slice text,
	uint8_t ret_signature[SIGNATURE_BYTES], struct errmsg *reterr);
