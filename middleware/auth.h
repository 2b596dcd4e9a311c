/* SPDX-License-Identifier: Apache-2.0 */
/* auth — who asks: the API key of the application, then the user's key.
 *
 * One per shard, used by its thread alone: it holds the libsecp256k1 and
 * OpenSSL contexts, the digest in progress and a small cache of API keys that
 * were verified before. Knows nothing of HTTP or gRPC. */
#pragma once

#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/slice.h"
#include "base/user_id.h"
#include "config/config.h"
#include "middleware/api_key.h"
#include "middleware/crl.h"
#include "middleware/signed_text.h"

struct auth;

/* Expected outcome beside 0: refused; *reterr has the sentence for the
 * client, which never holds a library's words. */
#define AUTH_DENIED 1

/* Returns: 0, ERR_NOMEM, ERR_INVALID (CA_CERT is no certificate). */
MUSTCHECK int auth_new(const struct config *config, struct auth **ret_auth,
	struct errmsg *reterr);
void auth_free(struct auth **auth);

/* Replaces the revocation list; takes over the caller's reference. NULL: no
 * list was had yet, CRL_START_POLICY decides. Forgets cached verdicts. */
void auth_set_crl(struct auth *auth, struct crl *crl);

/* Checks the value of the `authorization` header (ptr NULL when absent).
 * `now_s` is wall time. *ret_hash is "" when no API key is asked for, or none
 * was sent; it is written also for one that is refused.
 * Returns: 0, AUTH_DENIED. */
MUSTCHECK int auth_api_key(struct auth *auth, struct slice authorization,
	int64_t now_s, char ret_hash[API_KEY_HASH_HEX + 1],
	struct errmsg *reterr);

/* The hasher for this request's signed text, begun anew by each call. */
struct signed_text *auth_begin_text(struct auth *auth);

/* Ends the text and recovers the key that signed it. Any well-formed
 * signature recovers some key: a wrong text yields another user, not an error.
 * Returns: 0, AUTH_DENIED. */
MUSTCHECK int auth_recover(struct auth *auth, struct slice signature,
	struct user_id *ret_user, struct errmsg *reterr);
