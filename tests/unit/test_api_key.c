/* SPDX-License-Identifier: Apache-2.0 */
/* Sentences are data-sync's, as observed, and verdicts those of Go's
 * crypto/x509 with default options. */
#include "middleware/api_key.h"

#include <openssl/sha.h>
#include <stdio.h>

#include "base/mem.h"
#include "certs.h"
#include "config/limits.h"

#include "lib/unit.h"

#define NOW CERT_START_S

static const char unknown_authority[] =
	"certificate verification error: x509: certificate signed by unknown "
	"authority";
static const char not_verified[] = "certificate verification error";
static const char bad_header[] = "invalid auth header";

static struct cert ca;
static struct api_key_verifier *verifier;
static char hash[API_KEY_HASH_HEX + 1];

static void trust(const struct cert *c)
{
	api_key_verifier_free(&verifier);
	ck_assert_int_eq(api_key_verifier_new(cert_der(c), &verifier, NULL), 0);
}

static void set_up(void)
{
	ca = cert_make_ca("our CA");
	trust(&ca);
}

static void tear_down(void)
{
	api_key_verifier_free(&verifier);
	api_key_verifier_free(&verifier);
	cert_release(&ca);
}

/* "" for a pass, else the sentence. */
static const char *verdict_of(
	struct slice header, const struct crl *crl, int64_t now_s)
{
	static struct errmsg why;
	int r;

	(void)snprintf(hash, sizeof(hash), "left as it was");
	why.text[0] = '\0';
	r = api_key_verify(verifier, header, crl, now_s, hash, &why);
	if (r == 0) {
		ck_assert_str_eq(why.text, "");
		return "";
	}
	ck_assert_int_eq(r, ERR_INVALID);
	ck_assert_str_ne(why.text, "");
	/* Of what could be a key; or that there is none. */
	ck_assert(hash[0] == '\0' || strlen(hash) == API_KEY_HASH_HEX);
	return why.text;
}

static const char *verdict(const struct cert *c)
{
	return verdict_of(bearer(cert_der(c)), NULL, NOW);
}

/* The same for a key that the CA issues as wished. */
static const char *verdict_on(const struct cert_wish *wish)
{
	struct cert key = cert_make(&ca, wish);
	const char *text = verdict(&key);

	cert_release(&key);
	return text;
}

TEST(api_key, what_the_ca_issued_passes_and_is_named_by_its_hash)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	struct slice header;
	struct cert key;
	char hex[3];

	set_up();
	key = cert_make(&ca, &(struct cert_wish){.name = NULL});
	header = bearer(cert_der(&key));
	/* The second time from memory. */
	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(verdict_of(header, NULL, NOW), "");
		SHA256(header.ptr + 7, header.len - 7, digest);
		for (size_t k = 0; k < sizeof(digest); k++) {
			(void)snprintf(hex, sizeof(hex), "%02x", digest[k]);
			ck_assert_mem_eq(hash + 2 * k, hex, 2);
		}
		ck_assert_uint_eq(strlen(hash), 64);
	}
	cert_release(&key);
	tear_down();
}

TEST(api_key, other_headers_are_invalid)
{
	static const char *const bad[] = {"", "Bearer", "Bearer ", "Basic abc",
		"bearer AAAA", "BEARER AAAA", "AAAA", " Bearer AAAA",
		"Bearer\tAAAA"};

	set_up();
	ck_assert_str_eq(verdict_of(slice_of(NULL, 0), NULL, NOW), bad_header);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_str_eq(
			verdict_of(slice_str(bad[i]), NULL, NOW), bad_header);
	tear_down();
}

TEST(api_key, bad_base64_is_told_with_its_place)
{
	static const struct {
		const char *header, *text;
	} bad[] = {{"Bearer ????", "0"}, {"Bearer  AAAA", "0"},
		{"Bearer AA=A", "2"}, {"Bearer AAAA-AAA", "4"},
		{"Bearer AAAAA", "4"}};
	char expected[ERRMSG_MAX];

	set_up();
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		(void)snprintf(expected, sizeof(expected),
			"could not decode auth header: illegal base64 data at "
			"input byte %s",
			bad[i].text);
		ck_assert_str_eq(
			verdict_of(slice_str(bad[i].header), NULL, NOW),
			expected);
	}
	tear_down();
}

TEST(api_key, what_is_no_certificate_is_malformed)
{
	static const char malformed[] =
		"could not parse certificate: x509: malformed certificate";
	uint8_t der[4096];
	struct cert key;
	size_t len;

	set_up();
	ck_assert_str_eq(
		verdict_of(bearer(slice_str("hello")), NULL, NOW), malformed);
	ck_assert_str_eq(
		verdict_of(slice_str("Bearer \n"), NULL, NOW), malformed);
	key = cert_make(&ca, &(struct cert_wish){.name = NULL});
	len = cert_der(&key).len;
	memcpy(der, cert_der(&key).ptr, len);
	der[len] = 0;
	ck_assert_str_eq(verdict_of(bearer(slice_of(der, len + 1)), NULL, NOW),
		malformed);
	for (size_t n = 1; n < len; n += 7)
		ck_assert_str_eq(
			verdict_of(bearer(slice_of(der, n)), NULL, NOW),
			malformed);
	cert_release(&key);
	tear_down();
}

TEST(api_key, no_changed_bit_passes)
{
	uint8_t der[4096];
	struct cert key;
	size_t len;

	set_up();
	key = cert_make(&ca, &(struct cert_wish){.name = NULL});
	len = cert_der(&key).len;
	memcpy(der, cert_der(&key).ptr, len);
	for (size_t bit = 0; bit < 8 * len; bit += 3) {
		der[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (!*verdict_of(bearer(slice_of(der, len)), NULL, NOW))
			ck_abort_msg("bit %zu", bit);
		der[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert_str_eq(verdict_of(bearer(slice_of(der, len)), NULL, NOW), "");
	cert_release(&key);
	tear_down();
}

TEST(api_key, too_long_ones_are_not_looked_at)
{
	CLEANUP(mem_free_ptr)
	char *text = mem_alloc(API_KEY_MAX + 16);
	size_t len = (size_t)snprintf(text, 16, "Bearer ");

	set_up();
	memset(text + len, 'A', API_KEY_MAX + 1);
	ck_assert_str_eq(
		verdict_of(slice_of(text, len + API_KEY_MAX + 1), NULL, NOW),
		bad_header);
	ck_assert_str_eq(
		verdict_of(slice_of(text, len + API_KEY_MAX), NULL, NOW),
		"could not parse certificate: x509: malformed certificate");
	tear_down();
}

TEST(api_key, another_authority_is_unknown)
{
	struct cert other, key, alone, forged;

	set_up();
	other = cert_make_ca("another CA");
	key = cert_make(&other, &(struct cert_wish){.name = NULL});
	ck_assert_str_eq(verdict(&key), unknown_authority);
	ck_assert_str_eq(verdict(&other), unknown_authority);
	alone = cert_make(NULL, &(struct cert_wish){.name = "alone"});
	ck_assert_str_eq(verdict(&alone), unknown_authority);
	/* The CA's name is not enough. */
	cert_release(&other);
	other = cert_make_ca("our CA");
	forged = cert_make(&other, &(struct cert_wish){.name = NULL});
	ck_assert_str_eq(verdict(&forged), unknown_authority);
	ck_assert_str_eq(verdict(&other), unknown_authority);
	cert_release(&forged);
	cert_release(&alone);
	cert_release(&key);
	cert_release(&other);
	tear_down();
}

TEST(api_key, the_ca_itself_is_no_key)
{
	set_up();
	ck_assert_str_eq(verdict(&ca),
		"certificate verification error: invalid chain of trust");
	tear_down();
}

TEST(api_key, keys_are_issued_by_the_ca_directly)
{
	struct cert between, key;

	set_up();
	between = cert_make(&ca, &(struct cert_wish){.name = "between",
					 .constraints = "critical,CA:TRUE"});
	key = cert_make(&between, &(struct cert_wish){.name = NULL});
	ck_assert_str_eq(verdict(&key), unknown_authority);
	/* Who trusts the one between need not know who issued that. */
	trust(&between);
	ck_assert_str_eq(verdict(&key), "");
	cert_release(&key);
	cert_release(&between);
	tear_down();
}

TEST(api_key, time_must_be_within_its_validity)
{
	const struct cert_wish wish = {
		.from_s = NOW - 100, .until_s = NOW + 100};
	struct slice header;
	struct cert key;

	set_up();
	key = cert_make(&ca, &wish);
	header = bearer(cert_der(&key));
	ck_assert_str_eq(verdict_of(header, NULL, NOW - 101), not_verified);
	ck_assert_str_eq(verdict_of(header, NULL, NOW + 101), not_verified);
	ck_assert_str_eq(verdict_of(header, NULL, NOW - 100), "");
	/* That it passed once does not outlive it. */
	ck_assert_str_eq(verdict_of(header, NULL, NOW + 99), "");
	ck_assert_str_eq(verdict_of(header, NULL, NOW + 101), not_verified);
	cert_release(&key);
	tear_down();
}

TEST(api_key, a_key_does_not_outlive_its_ca)
{
	struct slice header;
	struct cert key;

	ca = cert_make(NULL, &(struct cert_wish){.name = "short CA",
				     .constraints = "critical,CA:TRUE",
				     .until_s = NOW + 50});
	trust(&ca);
	key = cert_make(&ca, &(struct cert_wish){.name = NULL});
	header = bearer(cert_der(&key));
	ck_assert_str_eq(verdict_of(header, NULL, NOW), "");
	ck_assert_str_eq(verdict_of(header, NULL, NOW + 51), not_verified);
	cert_release(&key);
	tear_down();
}

TEST(api_key, its_usage_must_allow_servers_as_go_wants_it)
{
	set_up();
	ck_assert_str_eq(
		verdict_on(&(struct cert_wish){.usage = "serverAuth"}), "");
	ck_assert_str_eq(
		verdict_on(&(struct cert_wish){.usage = "anyExtendedKeyUsage"}),
		"");
	ck_assert_str_eq(verdict_on(&(struct cert_wish){
				 .usage = "clientAuth,serverAuth"}),
		"");
	ck_assert_str_eq(verdict_on(&(struct cert_wish){.usage = "clientAuth"}),
		not_verified);
	tear_down();
}

TEST(api_key, weak_signatures_are_refused)
{
	set_up();
	ck_assert_str_ne(
		verdict_on(&(struct cert_wish){.digest = EVP_sha1()}), "");
	ck_assert_str_eq(
		verdict_on(&(struct cert_wish){.digest = EVP_sha512()}), "");
	tear_down();
}

TEST(api_key, a_certificate_that_may_not_sign_is_no_ca)
{
	struct cert key;

	ca = cert_make(NULL, &(struct cert_wish){.name = "no CA",
				     .constraints = "critical,CA:FALSE"});
	trust(&ca);
	key = cert_make(&ca, &(struct cert_wish){.name = NULL});
	ck_assert_str_ne(verdict(&key), "");
	cert_release(&key);
	tear_down();
}

static struct crl *revoke(const char *serials)
{
	struct crl *crl;

	ck_assert_int_eq(crl_parse(slice_str(serials), &crl), 0);
	return crl;
}

TEST(api_key, a_revoked_serial_is_refused_and_its_neighbours_are_not)
{
	static const char *const serials[] = {"77", "0", "255",
		"18446744073709551616",
		"730750818665451459101842416358141509827966271487"};
	struct crl *one, *others;
	struct slice header;
	struct cert key;

	set_up();
	others = revoke("7,76,78,777,1,254,256,18446744073709551615,"
			"730750818665451459101842416358141509827966271486");
	for (size_t i = 0; i < ARRAY_LEN(serials); i++) {
		key = cert_make(&ca, &(struct cert_wish){.serial = serials[i]});
		header = bearer(cert_der(&key));
		one = revoke(serials[i]);
		ck_assert_str_eq(verdict_of(header, one, NOW), not_verified);
		ck_assert_str_eq(verdict_of(header, others, NOW), "");
		crl_unref(one);
		cert_release(&key);
	}
	crl_unref(others);
	tear_down();
}

TEST(api_key, what_passed_is_remembered_until_told_to_forget)
{
	struct slice header;
	struct cert key;
	struct crl *crl;

	set_up();
	crl = revoke("77");
	key = cert_make(&ca, &(struct cert_wish){.serial = "77"});
	header = bearer(cert_der(&key));
	ck_assert_str_eq(verdict_of(header, NULL, NOW), "");
	api_key_forget(verifier);
	ck_assert_str_eq(verdict_of(header, crl, NOW), not_verified);
	ck_assert_str_eq(verdict_of(header, crl, NOW), not_verified);
	ck_assert_str_eq(verdict_of(header, NULL, NOW), "");
	crl_unref(crl);
	cert_release(&key);
	tear_down();
}

/* More keys than there are places to remember them. */
TEST(api_key, many_keys_do_not_confuse_it)
{
	enum { N = 400 };
	struct cert keys[N];

	set_up();
	for (int i = 0; i < N; i++)
		keys[i] = cert_make(&ca, &(struct cert_wish){.name = NULL});
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < N; i++)
			ck_assert_str_eq(verdict(&keys[i]), "");
	}
	for (int i = 0; i < N; i++)
		cert_release(&keys[i]);
	tear_down();
}

TEST(api_key, what_is_no_ca_certificate_is_told_to_the_operator)
{
	struct api_key_verifier *v = NULL;
	struct errmsg why;

	ck_assert_int_eq(api_key_verifier_new(slice_str("hello"), &v, &why),
		ERR_INVALID);
	ck_assert_str_eq(why.text, "CA_CERT is not a certificate");
	ck_assert_ptr_null(v);
	set_up();
	(void)mem_fail_after(0);
	ck_assert_int_eq(
		api_key_verifier_new(cert_der(&ca), &v, &why), ERR_NOMEM);
	(void)mem_fail_after(-1);
	ck_assert_ptr_null(v);
	tear_down();
}
