/* SPDX-License-Identifier: Apache-2.0 */
#include "certs.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "lib/unit.h"

#define DAY_S 86400
#define V3    2 /* as X.509 counts */

static void set_serial(X509 *x, const char *decimal)
{
	BIGNUM *number = NULL;

	ck_assert(BN_dec2bn(&number, decimal) > 0);
	ck_assert_ptr_nonnull(
		BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)));
	BN_free(number);
}

static void add_extension(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e;

	if (!value)
		return;
	e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	ck_assert_ptr_nonnull(e);
	ck_assert_int_eq(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
}

static void set_names(X509 *x, const struct cert *issuer, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(x);

	ck_assert_int_eq(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
				 (const uint8_t *)name, -1, -1, 0),
		1);
	ck_assert_int_eq(
		X509_set_issuer_name(x,
			issuer ? X509_get_subject_name(issuer->x509) : subject),
		1);
}

struct cert cert_make(const struct cert *issuer, const struct cert_wish *wish)
{
	int64_t from = wish->from_s ? wish->from_s : CERT_START_S - DAY_S;
	int64_t until =
		wish->until_s ? wish->until_s : CERT_START_S + 365 * DAY_S;
	struct cert c = {.x509 = X509_new(), .key = EVP_EC_gen("P-256")};

	ck_assert(c.x509 && c.key);
	ck_assert_int_eq(X509_set_version(c.x509, V3), 1);
	set_serial(c.x509, wish->serial ? wish->serial : "1");
	set_names(c.x509, issuer, wish->name ? wish->name : "app");
	ck_assert_ptr_nonnull(
		ASN1_TIME_set(X509_getm_notBefore(c.x509), (time_t)from));
	ck_assert_ptr_nonnull(
		ASN1_TIME_set(X509_getm_notAfter(c.x509), (time_t)until));
	ck_assert_int_eq(X509_set_pubkey(c.x509, c.key), 1);
	add_extension(c.x509, NID_basic_constraints, wish->constraints);
	add_extension(c.x509, NID_ext_key_usage, wish->usage);
	ck_assert_int_gt(X509_sign(c.x509, issuer ? issuer->key : c.key,
				 wish->digest ? wish->digest : EVP_sha256()),
		0);
	return c;
}

struct cert cert_make_ca(const char *name)
{
	return cert_make(NULL, &(struct cert_wish){.name = name,
				       .constraints = "critical,CA:TRUE"});
}

void cert_release(struct cert *c)
{
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
	*c = (struct cert){NULL, NULL};
}

struct slice cert_der(const struct cert *c)
{
	static uint8_t der[8192];
	uint8_t *end = der;
	int len = i2d_X509(c->x509, NULL);

	ck_assert(len > 0 && (size_t)len <= sizeof(der));
	return slice_of(der, (size_t)i2d_X509(c->x509, &end));
}

struct slice bearer(struct slice bytes)
{
	static char text[65536];
	size_t len = (size_t)snprintf(text, sizeof(text), "Bearer ");

	ck_assert_uint_le(len + bytes.len / 3 * 4 + 5, sizeof(text));
	len += (size_t)EVP_EncodeBlock(
		(uint8_t *)text + len, bytes.ptr, (int)bytes.len);
	return slice_of(text, len);
}
