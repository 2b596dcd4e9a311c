/* SPDX-License-Identifier: Apache-2.0 */
#include "middleware/auth.h"

#include <openssl/sha.h>
#include <secp256k1_recovery.h>
#include <stdio.h>

#include "base/mem.h"
#include "certs.h"
#include "middleware/signature.h"
#include "middleware/zbase32.h"

#include "lib/unit.h"

#define NOW CERT_START_S

static struct config config;
static struct cert ca;
static struct auth *auth;
static char hash[API_KEY_HASH_HEX + 1];
static struct errmsg why;

static void use_ca(void)
{
	struct slice der;

	ca = cert_make_ca("our CA");
	der = cert_der(&ca);
	memcpy(config.ca_cert, der.ptr, der.len);
	config.ca_cert_len = der.len;
}

static void set_up(void)
{
	ck_assert_int_eq(auth_new(&config, &auth, &why), 0);
}

static void tear_down(void)
{
	auth_free(&auth);
	ck_assert_ptr_null(auth);
	auth_free(&auth);
	cert_release(&ca);
}

static struct crl *list(const char *serials)
{
	struct crl *crl;

	ck_assert_int_eq(crl_parse(slice_str(serials), &crl), 0);
	return crl;
}

TEST(auth, without_a_ca_nobody_needs_an_api_key)
{
	set_up();
	auth_set_crl(auth, list("1"));
	ck_assert_int_eq(
		auth_api_key(auth, slice_of(NULL, 0), NOW, hash, &why), 0);
	ck_assert_str_eq(hash, "");
	ck_assert_int_eq(
		auth_api_key(auth, slice_str("Basic x"), NOW, hash, &why), 0);
	ck_assert_str_eq(hash, "");
	tear_down();
}

TEST(auth, with_a_ca_everybody_does)
{
	struct cert key;

	use_ca();
	set_up();
	ck_assert_int_eq(auth_api_key(auth, slice_of(NULL, 0), NOW, hash, &why),
		AUTH_DENIED);
	ck_assert_str_eq(why.text, "invalid auth header");
	key = cert_make(&ca, &(struct cert_wish){.serial = "5"});
	ck_assert_int_eq(
		auth_api_key(auth, bearer(cert_der(&key)), NOW, hash, &why), 0);
	ck_assert_uint_eq(strlen(hash), 64);
	cert_release(&key);
	tear_down();
}

TEST(auth, a_new_list_counts_at_once)
{
	struct slice header;
	struct cert key;

	use_ca();
	set_up();
	key = cert_make(&ca, &(struct cert_wish){.serial = "5"});
	header = bearer(cert_der(&key));
	auth_set_crl(auth, list("4"));
	ck_assert_int_eq(auth_api_key(auth, header, NOW, hash, &why), 0);
	auth_set_crl(auth, list("4,5"));
	ck_assert_int_eq(
		auth_api_key(auth, header, NOW, hash, &why), AUTH_DENIED);
	ck_assert_str_eq(why.text, "certificate verification error");
	auth_set_crl(auth, list(""));
	ck_assert_int_eq(auth_api_key(auth, header, NOW, hash, &why), 0);
	auth_set_crl(auth, NULL);
	ck_assert_int_eq(auth_api_key(auth, header, NOW, hash, &why), 0);
	cert_release(&key);
	tear_down();
}

TEST(auth, before_the_first_list_the_start_policy_decides)
{
	struct slice header;
	struct cert key;

	use_ca();
	(void)snprintf(config.crl_url, sizeof(config.crl_url), "http://x/");
	config.crl_start = CRL_START_CLOSED;
	set_up();
	key = cert_make(&ca, &(struct cert_wish){.serial = "5"});
	header = bearer(cert_der(&key));
	ck_assert_int_eq(
		auth_api_key(auth, header, NOW, hash, &why), AUTH_DENIED);
	ck_assert_ptr_nonnull(strstr(why.text, "no revocation list yet"));
	auth_set_crl(auth, list(""));
	ck_assert_int_eq(auth_api_key(auth, header, NOW, hash, &why), 0);
	auth_free(&auth);
	config.crl_start = CRL_START_OPEN;
	set_up();
	ck_assert_int_eq(auth_api_key(auth, header, NOW, hash, &why), 0);
	auth_free(&auth);
	/* Without an URL there is no list to wait for. */
	config.crl_start = CRL_START_CLOSED;
	config.crl_url[0] = '\0';
	set_up();
	ck_assert_int_eq(auth_api_key(auth, header, NOW, hash, &why), 0);
	cert_release(&key);
	tear_down();
}

/* "realtimesync:l-1", signed by the key of 32 ones. */
static void sign_text(
	const char *whole, char ret_text[104], struct user_id *ret_user)
{
	secp256k1_context *ctx =
		secp256k1_context_create(SECP256K1_CONTEXT_SIGN);
	uint8_t key[32], digest[32], bytes[SIGNATURE_BYTES];
	secp256k1_ecdsa_recoverable_signature s;
	size_t len = USER_ID_BYTES;
	secp256k1_pubkey public;
	int id;

	memset(key, 1, sizeof(key));
	SHA256((const uint8_t *)whole, strlen(whole), digest);
	SHA256(digest, sizeof(digest), digest);
	ck_assert(secp256k1_ecdsa_sign_recoverable(
		ctx, &s, digest, key, NULL, NULL));
	secp256k1_ecdsa_recoverable_signature_serialize_compact(
		ctx, bytes + 1, &id, &s);
	bytes[0] = (uint8_t)(31 + id);
	zbase32_encode(slice_of(bytes, sizeof(bytes)), ret_text);
	ck_assert(secp256k1_ec_pubkey_create(ctx, &public, key));
	(void)secp256k1_ec_pubkey_serialize(
		ctx, ret_user->bytes, &len, &public, SECP256K1_EC_COMPRESSED);
	secp256k1_context_destroy(ctx);
}

TEST(auth, the_signature_names_the_user)
{
	struct user_id id, who;
	char text[104];

	set_up();
	sign_text("realtimesync:l-1", text, &id);
	signed_text_get_lock(auth_begin_text(auth), slice_str("l"), 1);
	ck_assert_int_eq(
		auth_recover(auth, slice_of(text, 104), &who, &why), 0);
	ck_assert_mem_eq(who.bytes, id.bytes, USER_ID_BYTES);
	/* Of another text it names another, if anybody. */
	signed_text_get_lock(auth_begin_text(auth), slice_str("m"), 1);
	if (auth_recover(auth, slice_of(text, 104), &who, &why) == 0)
		ck_assert_mem_ne(who.bytes, id.bytes, USER_ID_BYTES);
	tear_down();
}

TEST(auth, a_bad_signature_is_denied_and_spoils_nothing)
{
	struct user_id id, who;
	char text[104], bad[104];

	set_up();
	sign_text("realtimesync:l-1", text, &id);
	signed_text_get_lock(auth_begin_text(auth), slice_str("l"), 1);
	ck_assert_int_eq(
		auth_recover(auth, slice_str("v"), &who, &why), AUTH_DENIED);
	ck_assert_str_eq(why.text,
		"failed to decode signature: illegal z-base-32 data at input "
		"byte 0");
	memset(bad, 'y', sizeof(bad));
	signed_text_get_lock(auth_begin_text(auth), slice_str("l"), 1);
	ck_assert_int_eq(auth_recover(auth, slice_of(bad, 104), &who, &why),
		AUTH_DENIED);
	ck_assert_str_eq(why.text, "invalid signature");
	signed_text_get_lock(auth_begin_text(auth), slice_str("l"), 1);
	ck_assert_int_eq(
		auth_recover(auth, slice_of(text, 104), &who, &why), 0);
	ck_assert_mem_eq(who.bytes, id.bytes, USER_ID_BYTES);
	tear_down();
}

TEST(auth, a_ca_cert_that_is_none_is_refused_at_start)
{
	memset(config.ca_cert, 'x', 100);
	config.ca_cert_len = 100;
	ck_assert_int_eq(auth_new(&config, &auth, &why), ERR_INVALID);
	ck_assert_str_eq(why.text, "CA_CERT is not a certificate");
	ck_assert_ptr_null(auth);
}

TEST(auth, survives_every_failing_allocation)
{
	bool happened = true;
	int r, failures = 0;

	use_ca();
	while (happened) {
		(void)mem_fail_after(failures);
		r = auth_new(&config, &auth, &why);
		happened = mem_fail_after(-1);
		ck_assert_int_eq(r, happened ? ERR_NOMEM : 0);
		failures += happened;
	}
	ck_assert_int_ge(failures, 4);
	tear_down();
}
