/* SPDX-License-Identifier: Apache-2.0 */
/* What damage does to signatures of whole requests is in test_vectors.c. */
#include "middleware/signature.h"

#include <openssl/sha.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <stdio.h>

#include "base/mem.h"
#include "middleware/zbase32.h"

#include "lib/unit.h"

static secp256k1_context *signer;
static struct signature_verifier *verifier;

static void set_up(void)
{
	signer = secp256k1_context_create(
		SECP256K1_CONTEXT_SIGN | SECP256K1_CONTEXT_VERIFY);
	ck_assert_int_eq(signature_verifier_new(&verifier), 0);
}

static void tear_down(void)
{
	secp256k1_context_destroy(signer);
	signature_verifier_free(&verifier);
	signature_verifier_free(&verifier);
}

/* A user's key, the same for the same number. */
static void make_key(unsigned number, uint8_t key[32], struct user_id *ret_id)
{
	size_t len = USER_ID_BYTES;
	secp256k1_pubkey public;

	SHA256((const uint8_t *)&number, sizeof(number), key);
	ck_assert(secp256k1_ec_pubkey_create(signer, &public, key));
	ck_assert(secp256k1_ec_pubkey_serialize(
		signer, ret_id->bytes, &len, &public, SECP256K1_EC_COMPRESSED));
}

static void sign(const uint8_t key[32], const uint8_t digest[32],
	uint8_t ret_signature[SIGNATURE_BYTES])
{
	secp256k1_ecdsa_recoverable_signature s;
	int id;

	ck_assert(secp256k1_ecdsa_sign_recoverable(
		signer, &s, digest, key, NULL, NULL));
	secp256k1_ecdsa_recoverable_signature_serialize_compact(
		signer, ret_signature + 1, &id, &s);
	ret_signature[0] = (uint8_t)(31 + id);
}

TEST(signature, names_the_key_that_made_it)
{
	uint8_t key[32], digest[32], signature[SIGNATURE_BYTES];
	bool seen[2] = {false, false};
	struct user_id id, who;

	set_up();
	for (unsigned i = 0; i < 200; i++) {
		make_key(i, key, &id);
		SHA256(key, sizeof(key), digest);
		sign(key, digest, signature);
		ck_assert_int_eq(
			signature_recover(verifier, digest, signature, &who),
			0);
		ck_assert_mem_eq(who.bytes, id.bytes, USER_ID_BYTES);
		seen[(signature[0] - 31) & 1] = true;
	}
	ck_assert(seen[0] && seen[1]);
	tear_down();
}

TEST(signature, no_changed_bit_leaves_the_user)
{
	uint8_t key[32], digest[32], signature[SIGNATURE_BYTES];
	struct user_id id, who;

	set_up();
	make_key(7, key, &id);
	SHA256(key, sizeof(key), digest);
	sign(key, digest, signature);
	for (unsigned bit = 0; bit < 8 * SIGNATURE_BYTES; bit++) {
		signature[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (signature_recover(verifier, digest, signature, &who) == 0)
			ck_assert_mem_ne(who.bytes, id.bytes, USER_ID_BYTES);
		signature[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (unsigned bit = 0; bit < 8 * sizeof(digest); bit++) {
		digest[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (signature_recover(verifier, digest, signature, &who) == 0)
			ck_assert_mem_ne(who.bytes, id.bytes, USER_ID_BYTES);
		digest[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert_int_eq(
		signature_recover(verifier, digest, signature, &who), 0);
	ck_assert_mem_eq(who.bytes, id.bytes, USER_ID_BYTES);
	tear_down();
}

TEST(signature, a_failure_leaves_the_user_untouched)
{
	uint8_t digest[32] = {1}, signature[SIGNATURE_BYTES] = {31};
	struct user_id who;

	set_up();
	memset(&who, 0xee, sizeof(who));
	ck_assert_int_eq(signature_recover(verifier, digest, signature, &who),
		ERR_INVALID);
	for (size_t i = 0; i < USER_ID_BYTES; i++)
		ck_assert_uint_eq(who.bytes[i], 0xee);
	tear_down();
}

TEST(signature, its_text_is_104_letters)
{
	uint8_t bytes[SIGNATURE_BYTES], back[SIGNATURE_BYTES];
	char text[ZBASE32_ENCODED_LEN(SIGNATURE_BYTES)];
	struct errmsg why = {"untouched"};

	ck_assert_uint_eq(sizeof(text), 104);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 41 + 31);
	zbase32_encode(slice_of(bytes, sizeof(bytes)), text);
	ck_assert_int_eq(
		signature_parse(slice_of(text, sizeof(text)), back, &why), 0);
	ck_assert_mem_eq(back, bytes, sizeof(bytes));
	ck_assert_str_eq(why.text, "untouched");
	memset(back, 0xee, sizeof(back));
	ck_assert_int_eq(
		signature_parse(slice_of(text, 103), back, &why), ERR_INVALID);
	ck_assert_str_eq(why.text, "invalid signature");
	for (size_t i = 0; i < sizeof(back); i++)
		ck_assert_uint_eq(back[i], 0xee);
	ck_assert_int_eq(
		signature_parse(slice_of(NULL, 0), back, &why), ERR_INVALID);
	ck_assert_str_eq(why.text, "invalid signature");
}

TEST(signature, a_foreign_letter_is_named_before_the_length)
{
	uint8_t bytes[SIGNATURE_BYTES];
	struct errmsg why;

	ck_assert_int_eq(
		signature_parse(slice_str("!!!!"), bytes, &why), ERR_INVALID);
	ck_assert_str_eq(why.text,
		"failed to decode signature: illegal z-base-32 data at input "
		"byte 0");
	ck_assert_int_eq(signature_parse(slice_of("yyyy\0", 5), bytes, &why),
		ERR_INVALID);
	ck_assert_str_eq(why.text,
		"failed to decode signature: illegal z-base-32 data at input "
		"byte 4");
}

TEST(signature, a_verifier_without_memory_fails_cleanly)
{
	(void)mem_fail_after(0);
	ck_assert_int_eq(signature_verifier_new(&verifier), ERR_NOMEM);
	ck_assert(mem_fail_after(-1));
	ck_assert_ptr_null(verifier);
}
