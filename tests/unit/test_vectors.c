/* SPDX-License-Identifier: Apache-2.0 */
/* Signed requests made by an independent implementation (tests/vectors), and
 * what becomes of them when they are damaged. */
#include <jansson.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/codec.h"
#include "middleware/signature.h"
#include "middleware/signed_text.h"
#include "middleware/zbase32.h"

#include "lib/unit.h"

/* The order of the group, n. */
static const char order_hex[] =
	"fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

static struct signature_verifier *verifier;
static struct signed_text *text;

static json_t *load(void)
{
	json_error_t why;
	json_t *all = json_load_file(VECTORS_FILE, 0, &why);

	ck_assert_msg(all != NULL, "%s", why.text);
	ck_assert_int_eq(signature_verifier_new(&verifier), 0);
	ck_assert_int_eq(signed_text_new(&text), 0);
	return all;
}

static void unload(json_t *all)
{
	json_decref(all);
	signature_verifier_free(&verifier);
	signed_text_free(&text);
}

static const char *string(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	ck_assert_ptr_nonnull(value);
	return value;
}

/* Numbers too large for JavaScript are written as strings. */
static uint64_t number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_string(value))
		return strtoull(json_string_value(value), NULL, 10);
	return (uint64_t)json_integer_value(value);
}

static struct slice hex_bytes(const char *hex, uint8_t *out)
{
	ck_assert_int_eq(hex_decode(slice_str(hex), out), 0);
	return slice_of(out, strlen(hex) / 2);
}

static bool truth(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

static void put_request(const char *method, const json_t *r)
{
	uint32_t time = (uint32_t)number(r, "request_time");
	const json_t *record = json_object_get(r, "record");
	uint8_t data[256];

	signed_text_begin(text);
	if (!strcmp(method, "SetRecord"))
		signed_text_set_record(text, slice_str(string(record, "id")),
			hex_bytes(string(record, "data_hex"), data),
			number(record, "revision"),
			slice_str(string(record, "schema_version")), time);
	else if (!strcmp(method, "ListChanges"))
		signed_text_list_changes(
			text, number(r, "since_revision"), time);
	else if (!strcmp(method, "ListenChanges"))
		signed_text_listen_changes(text, time);
	else if (!strcmp(method, "SetLock"))
		signed_text_set_lock(text, slice_str(string(r, "lock_name")),
			slice_str(string(r, "instance_id")),
			truth(r, "acquire"), truth(r, "exclusive"), time);
	else
		signed_text_get_lock(
			text, slice_str(string(r, "lock_name")), time);
}

/* Calls fn(vector, digest, the 65 bytes, user id in hex) for every vector. */
static void each_vector(void (*fn)(const json_t *v, const uint8_t *digest,
	const uint8_t *signature, const char *user))
{
	uint8_t digest[SIGNED_DIGEST_BYTES], signature[SIGNATURE_BYTES];
	json_t *all = load(), *v;
	size_t i;

	ck_assert_uint_gt(json_array_size(json_object_get(all, "vectors")), 20);
	json_array_foreach(json_object_get(all, "vectors"), i, v)
	{
		(void)hex_bytes(string(v, "digest"), digest);
		(void)hex_bytes(string(v, "compact"), signature);
		fn(v, digest, signature, string(v, "user_id"));
	}
	unload(all);
}

/* The user in hex, or "" when no key could have made the signature. */
static const char *recovered(const uint8_t *digest, const uint8_t *signature)
{
	static char hex[USER_ID_HEX + 1];
	struct user_id user;

	hex[0] = '\0';
	if (signature_recover(verifier, digest, signature, &user) == 0)
		user_id_hex(&user, hex);
	return hex;
}

static void check_vector(const json_t *v, const uint8_t *digest,
	const uint8_t *signature, const char *user)
{
	uint8_t ours[SIGNED_DIGEST_BYTES], parsed[SIGNATURE_BYTES];
	struct errmsg why;

	put_request(string(v, "method"), json_object_get(v, "request"));
	ck_assert_int_eq(signed_text_end(text, ours), 0);
	ck_assert_mem_eq(ours, digest, sizeof(ours));
	ck_assert_int_eq(signature_parse(slice_str(string(v, "signature")),
				 parsed, &why),
		0);
	ck_assert_mem_eq(parsed, signature, sizeof(parsed));
	ck_assert_str_eq(recovered(digest, signature), user);
}

TEST(vectors, every_request_gives_its_digest_and_its_user)
{
	each_vector(check_vector);
}

/* Whether libsecp256k1's ordinary verification takes the signature (with s
 * made low, as it wants it) for this key. */
static bool verifies(
	const uint8_t *digest, const uint8_t *signature, const char *user)
{
	secp256k1_context *ctx =
		secp256k1_context_create(SECP256K1_CONTEXT_VERIFY);
	secp256k1_ecdsa_signature sig;
	uint8_t bytes[USER_ID_BYTES];
	secp256k1_pubkey key;
	bool good;

	(void)hex_bytes(user, bytes);
	good = secp256k1_ec_pubkey_parse(ctx, &key, bytes, sizeof(bytes)) &&
	       secp256k1_ecdsa_signature_parse_compact(
		       ctx, &sig, signature + 1);
	if (good) {
		(void)secp256k1_ecdsa_signature_normalize(ctx, &sig, &sig);
		good = secp256k1_ecdsa_verify(ctx, &sig, digest, &key);
	}
	secp256k1_context_destroy(ctx);
	return good;
}

static void check_headers(const json_t *v UNUSED, const uint8_t *digest,
	const uint8_t *signature, const char *user)
{
	uint8_t twin[SIGNATURE_BYTES];
	const char *who;

	memcpy(twin, signature, sizeof(twin));
	for (int header = 0; header < 256; header++) {
		twin[0] = (uint8_t)header;
		who = recovered(digest, twin);
		if (header < 31 || header > 34)
			ck_assert_str_eq(who, "");
		else if (header == signature[0])
			ck_assert_str_eq(who, user);
		else if (who[0]) /* another user, who could have signed it */
			ck_assert(verifies(digest, twin, who) &&
				  strcmp(who, user) != 0);
	}
	twin[0] = signature[0] == 31 ? 32 : 31;
	ck_assert_str_ne(recovered(digest, twin), "");
}

TEST(vectors, of_all_header_bytes_four_can_name_a_key)
{
	each_vector(check_headers);
}

/* value + by, for a big-endian number of 32 bytes. */
static void add_small(uint8_t value[32], int by)
{
	for (int i = 31; i >= 0 && by != 0; i--) {
		int sum = value[i] + by;

		value[i] = (uint8_t)sum;
		by = sum < 0 ? -1 : sum > 255;
	}
}

static void check_scalars(const json_t *v UNUSED, const uint8_t *digest,
	const uint8_t *signature, const char *user UNUSED)
{
	uint8_t twin[SIGNATURE_BYTES], n[32];

	(void)hex_bytes(order_hex, n);
	for (int at = 1; at <= 33; at += 32) { /* r, then s */
		memcpy(twin, signature, sizeof(twin));
		memset(twin + at, 0, 32);
		ck_assert_str_eq(recovered(digest, twin), "");
		memset(twin + at, 0xff, 32);
		ck_assert_str_eq(recovered(digest, twin), "");
		memcpy(twin + at, n, 32);
		ck_assert_str_eq(recovered(digest, twin), "");
		add_small(twin + at, 1);
		ck_assert_str_eq(recovered(digest, twin), "");
	}
	/* s = n - 1 is a scalar like others: some key made it. */
	memcpy(twin, signature, sizeof(twin));
	memcpy(twin + 33, n, 32);
	add_small(twin + 33, -1);
	ck_assert(verifies(digest, twin, recovered(digest, twin)));
	/* An r that stands for r + n must not reach past the field's end. */
	memcpy(twin, signature, sizeof(twin));
	twin[0] = 33;
	ck_assert_str_eq(recovered(digest, twin), "");
}

TEST(vectors, r_and_s_outside_the_group_are_no_signature)
{
	each_vector(check_scalars);
}

static void check_high_s(const json_t *v UNUSED, const uint8_t *digest,
	const uint8_t *signature, const char *user)
{
	uint8_t twin[SIGNATURE_BYTES], n[32];
	int borrow = 0;

	(void)hex_bytes(order_hex, n);
	memcpy(twin, signature, sizeof(twin));
	for (int i = 31; i >= 0; i--) {
		int digit = n[i] - signature[33 + i] - borrow;

		borrow = digit < 0;
		twin[33 + i] = (uint8_t)(digit + (borrow ? 256 : 0));
	}
	twin[0] = (uint8_t)(31 + ((signature[0] - 31) ^ 1));
	ck_assert_str_eq(recovered(digest, twin), user);
}

TEST(vectors, the_twin_with_a_high_s_is_the_same_user)
{
	each_vector(check_high_s);
}

static void check_texts(const json_t *v, const uint8_t *digest UNUSED,
	const uint8_t *signature UNUSED, const char *user UNUSED)
{
	const char *good = string(v, "signature");
	char twin[201], expected[ERRMSG_MAX];
	uint8_t bytes[SIGNATURE_BYTES];
	struct errmsg why;
	size_t n = strlen(good), len, at;

	ck_assert(n > 0 && n < sizeof(twin));
	for (len = 0; len <= 200; len++) {
		for (at = 0; at < len; at++)
			twin[at] = good[at % n];
		if (len == n) {
			ck_assert_int_eq(signature_parse(slice_of(twin, len),
						 bytes, &why),
				0);
			continue;
		}
		ck_assert_int_eq(
			signature_parse(slice_of(twin, len), bytes, &why),
			ERR_INVALID);
		ck_assert_str_eq(why.text, "invalid signature");
	}
	for (at = 0; at < n; at++) {
		memcpy(twin, good, n + 1);
		twin[at] = "lv20!Y\n"[at % 7];
		ck_assert_int_eq(
			signature_parse(slice_of(twin, n), bytes, &why),
			ERR_INVALID);
		(void)snprintf(expected, sizeof(expected),
			"failed to decode signature: illegal z-base-32 data at "
			"input byte %zu",
			at);
		ck_assert_str_eq(why.text, expected);
	}
}

TEST(vectors, only_104_letters_of_the_alphabet_are_a_signature)
{
	each_vector(check_texts);
}

TEST(vectors, zbase32_goes_both_ways)
{
	uint8_t bytes[64], back[64];
	char encoded[ZBASE32_ENCODED_LEN(64)];
	size_t at;

	for (size_t len = 0; len <= sizeof(bytes); len++) {
		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)(i * 37 + len);
		zbase32_encode(slice_of(bytes, len), encoded);
		ck_assert_int_eq(
			zbase32_decode(
				slice_of(encoded, ZBASE32_ENCODED_LEN(len)),
				back, &at),
			0);
		ck_assert_mem_eq(back, bytes, len);
	}
}
