/* SPDX-License-Identifier: Apache-2.0 */
/* api_key — whether the application may speak to us: a certificate that our
 * CA issued, sent as a bearer token.
 *
 * Verdicts are Go's crypto/x509's with default options, since keys were made
 * for it. Keys that passed are remembered for a while, because looking at a
 * certificate costs more than the rest of the request. Threads: one. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/slice.h"
#include "middleware/crl.h"

#define API_KEY_HASH_HEX 64 /* SHA-256 of the key as sent; all we ever log */

struct api_key_verifier;

/* `ca` is one DER certificate. Returns: 0; ERR_INVALID, ERR_NOMEM with a
 * sentence for the operator. */
MUSTCHECK int api_key_verifier_new(struct slice ca,
	struct api_key_verifier **ret_verifier, struct errmsg *reterr);
void api_key_verifier_free(struct api_key_verifier **verifier);

/* Days until the CA's certificate is over, negative when it is. */
int api_key_verifier_valid_days(const struct api_key_verifier *v);

/* Forgets what passed: the revocation list has changed. */
void api_key_forget(struct api_key_verifier *v);

/* Checks the value of an `authorization` header (ptr NULL: there is none)
 * against the CA, the time and the list (NULL: none). *ret_hash is written
 * also for a key that is refused; "" when there is none that could be one.
 * Returns: 0; ERR_INVALID with the sentence for the client. */
MUSTCHECK int api_key_verify(struct api_key_verifier *v,
	struct slice authorization, const struct crl *crl, int64_t now_s,
	char ret_hash[API_KEY_HASH_HEX + 1], struct errmsg *reterr);
