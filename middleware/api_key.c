/* SPDX-License-Identifier: Apache-2.0 */
#include "middleware/api_key.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#include "base/codec.h"
#include "base/mem.h"
#include "config/limits.h"

#define HASH_BYTES 32
/* Keys that passed, by place of their hash. Applications are few; two that
 * share a place only verify anew in turns. A power of two. */
#define PASSED_MAX 256

/* Go refuses SHA-1 signatures and short keys; so does OpenSSL from here on. */
#define AUTH_LEVEL 1

struct passed {
	uint8_t hash[HASH_BYTES];
	int64_t until_s; /* 0: the place is empty */
};

struct api_key_verifier {
	X509 *ca;	   /* own */
	X509_STORE *store; /* own; trusts the CA alone */
	struct passed passed[PASSED_MAX];
};

static const char not_verified[] = "certificate verification error";

/* The whole of the bytes as one certificate, or NULL. */
static X509 *parse(struct slice der)
{
	const uint8_t *end = der.ptr;
	X509 *cert = d2i_X509(NULL, &end, (long)der.len);

	if (cert && end != der.ptr + der.len) {
		X509_free(cert);
		return NULL;
	}
	return cert;
}

int api_key_verifier_new(struct slice ca,
	struct api_key_verifier **ret_verifier, struct errmsg *reterr)
{
	CLEANUP(api_key_verifier_free)
	struct api_key_verifier *v = mem_zalloc(sizeof(*v));

	if (!v)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	v->ca = parse(ca);
	if (!v->ca)
		return errmsg_set(
			reterr, ERR_INVALID, "CA_CERT is not a certificate");
	v->store = X509_STORE_new();
	if (!v->store || X509_STORE_add_cert(v->store, v->ca) != 1)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	*ret_verifier = TAKE_PTR(v);
	return 0;
}

void api_key_verifier_free(struct api_key_verifier **verifier)
{
	struct api_key_verifier *v = *verifier;

	if (!v)
		return;
	X509_STORE_free(v->store);
	X509_free(v->ca);
	mem_free(v);
	*verifier = NULL;
}

int api_key_verifier_valid_days(const struct api_key_verifier *v)
{
	int days = 0, seconds = 0;

	/* What cannot be told reads as over. */
	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(v->ca)) !=
		1)
		return -1;
	return seconds < 0 ? days - 1 : days;
}

void api_key_forget(struct api_key_verifier *v)
{
	memset(v->passed, 0, sizeof(v->passed));
}

/* An extended key usage, if there is one, must allow servers: Go's default,
 * which holds for every certificate of the chain. */
static bool usage_fits(X509 *cert)
{
	uint32_t usage = X509_get_extended_key_usage(cert);

	return usage == UINT32_MAX || (usage & (XKU_SSL_SERVER | XKU_ANYEKU));
}

static bool is_untrusted(int error)
{
	return error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
	       error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
	       error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE ||
	       error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
	       error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
	       error == X509_V_ERR_CERT_SIGNATURE_FAILURE;
}

/* Returns an X509_V_ code. */
static int verify_chain(
	const struct api_key_verifier *v, X509 *cert, int64_t now_s)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	int error = X509_V_ERR_OUT_OF_MEM;

	if (ctx && X509_STORE_CTX_init(ctx, v->store, cert, NULL) == 1) {
		param = X509_STORE_CTX_get0_param(ctx);
		X509_VERIFY_PARAM_set_time(param, (time_t)now_s);
		X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
		/* The CA is trusted as it is, whoever issued it. */
		(void)X509_VERIFY_PARAM_set_flags(
			param, X509_V_FLAG_PARTIAL_CHAIN);
		error = X509_verify_cert(ctx) == 1
				? X509_V_OK
				: X509_STORE_CTX_get_error(ctx);
		if (error == X509_V_OK &&
			sk_X509_num(X509_STORE_CTX_get0_chain(ctx)) > 2)
			error = X509_V_ERR_CERT_CHAIN_TOO_LONG;
	}
	X509_STORE_CTX_free(ctx);
	return error;
}

static int check_revoked(
	X509 *cert, const struct crl *crl, struct errmsg *reterr)
{
	BIGNUM *serial;
	char *decimal = NULL;
	bool revoked = true; /* unless we can tell it is not */

	if (!crl)
		return 0;
	serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	if (serial)
		decimal = BN_bn2dec(serial);
	if (decimal)
		revoked = crl_contains(crl, slice_str(decimal));
	OPENSSL_free(decimal);
	BN_free(serial);
	return revoked ? errmsg_set(reterr, ERR_INVALID, "%s", not_verified)
		       : 0;
}

static int check_certificate(const struct api_key_verifier *v, X509 *cert,
	const struct crl *crl, int64_t now_s, struct errmsg *reterr)
{
	int error = verify_chain(v, cert, now_s);

	if (is_untrusted(error))
		return errmsg_set(reterr, ERR_INVALID,
			"%s: x509: certificate signed by unknown authority",
			not_verified);
	if (error != X509_V_OK || !usage_fits(cert) || !usage_fits(v->ca))
		return errmsg_set(reterr, ERR_INVALID, "%s", not_verified);
	/* The CA's own certificate is a chain of one. */
	if (X509_cmp(cert, v->ca) == 0)
		return errmsg_set(reterr, ERR_INVALID,
			"%s: invalid chain of trust", not_verified);
	return check_revoked(cert, crl, reterr);
}

static int64_t seconds_of(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void remember(
	struct api_key_verifier *v, const uint8_t hash[HASH_BYTES], X509 *cert)
{
	struct passed *p = &v->passed[hash[0] % PASSED_MAX];

	memcpy(p->hash, hash, HASH_BYTES);
	p->until_s = MIN(seconds_of(X509_get0_notAfter(cert)),
		seconds_of(X509_get0_notAfter(v->ca)));
}

static bool passed_before(const struct api_key_verifier *v,
	const uint8_t hash[HASH_BYTES], int64_t now_s)
{
	const struct passed *p = &v->passed[hash[0] % PASSED_MAX];

	return now_s < p->until_s && !memcmp(p->hash, hash, HASH_BYTES);
}

/* The first time a key is seen. */
static int examine(const struct api_key_verifier *v, struct slice key,
	const struct crl *crl, int64_t now_s, X509 **ret_cert,
	struct errmsg *reterr)
{
	uint8_t der[BASE64_DECODED_MAX(API_KEY_MAX)];
	size_t len, at;
	X509 *cert;
	int r;

	if (base64_decode(key, der, &len, &at) < 0)
		return errmsg_set(reterr, ERR_INVALID,
			"could not decode auth header: illegal base64 data at "
			"input byte %zu",
			at);
	cert = parse(slice_of(der, len));
	if (!cert)
		return errmsg_set(reterr, ERR_INVALID,
			"could not parse certificate: x509: malformed "
			"certificate");
	r = check_certificate(v, cert, crl, now_s, reterr);
	if (r < 0)
		X509_free(cert);
	else
		*ret_cert = cert;
	return r;
}

int api_key_verify(struct api_key_verifier *v, struct slice authorization,
	const struct crl *crl, int64_t now_s,
	char ret_hash[API_KEY_HASH_HEX + 1], struct errmsg *reterr)
{
	static const char scheme[] = "Bearer ";
	struct slice key = slice_from(authorization, strlen(scheme));
	uint8_t hash[HASH_BYTES];
	X509 *cert = NULL;
	int r;

	ret_hash[0] = '\0';
	if (!authorization.ptr || !slice_starts_with(authorization, scheme) ||
		key.len == 0 || key.len > API_KEY_MAX)
		return errmsg_set(reterr, ERR_INVALID, "invalid auth header");
	if (EVP_Digest(key.ptr, key.len, hash, NULL, EVP_sha256(), NULL) != 1)
		return errmsg_set(reterr, ERR_INVALID, "%s", not_verified);
	hex_encode(slice_of(hash, HASH_BYTES), ret_hash);
	ret_hash[API_KEY_HASH_HEX] = '\0';
	if (!passed_before(v, hash, now_s)) {
		r = examine(v, key, crl, now_s, &cert, reterr);
		if (r < 0)
			return r;
		remember(v, hash, cert);
		X509_free(cert);
	}
	return 0;
}
