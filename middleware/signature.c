/* SPDX-License-Identifier: Apache-2.0 */
#include "middleware/signature.h"

#include <secp256k1.h>
#include <secp256k1_recovery.h>

#include "base/mem.h"
#include "middleware/zbase32.h"

#define HEADER_COMPRESSED  31 /* 27 + 4; the recovery id is added */
#define RECOVERY_IDS	   4
#define SIGNATURE_TEXT_LEN ZBASE32_ENCODED_LEN(SIGNATURE_BYTES)

struct signature_verifier {
	secp256k1_context *ctx; /* own */
};

int signature_verifier_new(struct signature_verifier **ret_verifier)
{
	CLEANUP(signature_verifier_free)
	struct signature_verifier *v = mem_zalloc(sizeof(*v));

	if (!v)
		return ERR_NOMEM;
	v->ctx = secp256k1_context_create(SECP256K1_CONTEXT_VERIFY);
	if (!v->ctx)
		return ERR_NOMEM;
	*ret_verifier = TAKE_PTR(v);
	return 0;
}

void signature_verifier_free(struct signature_verifier **verifier)
{
	struct signature_verifier *v = *verifier;

	if (!v)
		return;
	secp256k1_context_destroy(v->ctx);
	mem_free(v);
	*verifier = NULL;
}

int signature_recover(const struct signature_verifier *v,
	const uint8_t digest[32], const uint8_t signature[SIGNATURE_BYTES],
	struct user_id *ret_user)
{
	secp256k1_ecdsa_recoverable_signature parsed;
	int id = signature[0] - HEADER_COMPRESSED;
	size_t len = USER_ID_BYTES;
	secp256k1_pubkey key;

	if (id < 0 || id >= RECOVERY_IDS)
		return ERR_INVALID;
	/* Refuses r and s of n and above; recovery refuses 0, and an r that
	 * is no point's coordinate. */
	if (!secp256k1_ecdsa_recoverable_signature_parse_compact(
		    v->ctx, &parsed, signature + 1, id) ||
		!secp256k1_ecdsa_recover(v->ctx, &key, &parsed, digest))
		return ERR_INVALID;
	/* Cannot fail: the key is valid and the room is right. */
	(void)secp256k1_ec_pubkey_serialize(
		v->ctx, ret_user->bytes, &len, &key, SECP256K1_EC_COMPRESSED);
	return 0;
}

int signature_parse(struct slice text, uint8_t ret_signature[SIGNATURE_BYTES],
	struct errmsg *reterr)
{
	size_t at;

	if (zbase32_check(text, &at) < 0)
		return errmsg_set(reterr, ERR_INVALID,
			"failed to decode signature: illegal z-base-32 data at "
			"input byte %zu",
			at);
	if (text.len != SIGNATURE_TEXT_LEN ||
		zbase32_decode(text, ret_signature, &at) < 0)
		return errmsg_set(reterr, ERR_INVALID, "invalid signature");
	return 0;
}
