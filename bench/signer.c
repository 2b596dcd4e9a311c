/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/signer.h"

#include <openssl/sha.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"

#define HEADER_COMPRESSED 31 /* 27 + 4; the recovery id is added */

struct signer {
	secp256k1_context *ctx;	  /* own */
	struct signed_text *text; /* own */
};

int signer_new(struct signer **ret_signer)
{
	CLEANUP(signer_free)
	struct signer *s = mem_zalloc(sizeof(*s));

	if (!s)
		return ERR_NOMEM;
	s->ctx = secp256k1_context_create(
		SECP256K1_CONTEXT_SIGN | SECP256K1_CONTEXT_VERIFY);
	if (!s->ctx || signed_text_new(&s->text) < 0)
		return ERR_NOMEM;
	*ret_signer = TAKE_PTR(s);
	return 0;
}

void signer_free(struct signer **signer)
{
	struct signer *s = *signer;

	if (!s)
		return;
	signed_text_free(&s->text);
	if (s->ctx)
		secp256k1_context_destroy(s->ctx);
	mem_free(s);
	*signer = NULL;
}

static void key_of(uint32_t user, uint8_t ret_key[32])
{
	char name[32];
	int len = snprintf(name, sizeof(name), "bench user %u", user);

	SHA256((const uint8_t *)name, (size_t)len, ret_key);
}

struct signed_text *signer_begin(struct signer *s)
{
	signed_text_begin(s->text);
	return s->text;
}

int signer_end(struct signer *s, uint32_t user, struct signature *ret_signature)
{
	secp256k1_ecdsa_recoverable_signature made;
	uint8_t key[32];
	int id, r = signed_text_end(s->text, ret_signature->digest);

	if (r < 0)
		return r;
	key_of(user, key);
	if (!secp256k1_ecdsa_sign_recoverable(
		    s->ctx, &made, ret_signature->digest, key, NULL, NULL))
		return ERR_INVALID;
	(void)secp256k1_ecdsa_recoverable_signature_serialize_compact(
		s->ctx, ret_signature->bytes + 1, &id, &made);
	ret_signature->bytes[0] = (uint8_t)(HEADER_COMPRESSED + id);
	zbase32_encode(slice_of(ret_signature->bytes, SIGNATURE_BYTES),
		ret_signature->text);
	return 0;
}

int signer_user_id(struct signer *s, uint32_t user, struct user_id *ret_id)
{
	size_t len = USER_ID_BYTES;
	secp256k1_pubkey public_key;
	uint8_t key[32];

	key_of(user, key);
	if (!secp256k1_ec_pubkey_create(s->ctx, &public_key, key))
		return ERR_INVALID;
	(void)secp256k1_ec_pubkey_serialize(s->ctx, ret_id->bytes, &len,
		&public_key, SECP256K1_EC_COMPRESSED);
	return 0;
}
