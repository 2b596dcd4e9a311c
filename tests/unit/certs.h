/* SPDX-License-Identifier: Apache-2.0 */
/* certs — certificates made as a test needs them. What cannot be made ends the
 * test. */
#pragma once

#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* What a certificate says; what is left out is that of a good API key. */
struct cert_wish {
	const char *name;	 /* of the subject; "app" */
	const char *serial;	 /* decimal; "1" */
	int64_t from_s, until_s; /* start - a day, start + a year */
	const char *usage;	 /* extended key usage in OpenSSL's words */
	const char *constraints; /* basic constraints in OpenSSL's words */
	const EVP_MD *digest;	 /* SHA-256 */
};

struct cert {
	X509 *x509;    /* own */
	EVP_PKEY *key; /* own */
};

/* The moment that validity is counted from. */
#define CERT_START_S INT64_C(1700000000)

/* Signed by `issuer`'s key in its name; NULL: by itself. */
struct cert cert_make(const struct cert *issuer, const struct cert_wish *wish);
struct cert cert_make_ca(const char *name);
void cert_release(struct cert *c);

/* DER; valid until the next call. */
struct slice cert_der(const struct cert *c);

/* "Bearer " and the bytes in base64; valid until the next call. */
struct slice bearer(struct slice bytes);
