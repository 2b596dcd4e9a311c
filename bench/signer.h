/* SPDX-License-Identifier: Apache-2.0 */
/* signer — users with keys, who sign as wallets do.
 *
 * The key of user n is a hash of n, so that a run can be repeated and its
 * users be known to who fills a database beforehand. Threads: one. */
#pragma once

#include <stdint.h>

#include "base/attr.h"
#include "base/user_id.h"
#include "middleware/signature.h"
#include "middleware/signed_text.h"
#include "middleware/zbase32.h"

#define SIGNER_TEXT_LEN ZBASE32_ENCODED_LEN(SIGNATURE_BYTES)

struct signer;

/* Returns: 0, ERR_NOMEM. */
MUSTCHECK int signer_new(struct signer **ret_signer);
void signer_free(struct signer **signer);

/* Begins a text; the caller puts its fields (middleware/signed_text.h). */
struct signed_text *signer_begin(struct signer *s);

/* Ends the text: its digest, and `user`'s signature of it, bytes and text.
 * Returns: 0, ERR_NOMEM, ERR_INVALID (no signature). */
struct signature {
	uint8_t digest[SIGNED_DIGEST_BYTES];
	uint8_t bytes[SIGNATURE_BYTES];
	char text[SIGNER_TEXT_LEN];
};
MUSTCHECK int signer_end(
	struct signer *s, uint32_t user, struct signature *ret_signature);

/* Returns: 0, ERR_INVALID (no key). */
MUSTCHECK int signer_user_id(
	struct signer *s, uint32_t user, struct user_id *ret_id);
