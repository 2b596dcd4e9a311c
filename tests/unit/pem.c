/* SPDX-License-Identifier: Apache-2.0 */
#include "pem.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <time.h>

#include "lib/unit.h"

#define DAY_S 86400

static FILE *create(const char *path)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	return file;
}

void pem_init(struct pem *p, const char *dir, const char *name,
	const struct pem *issuer, const char *password)
{
	const struct cert_wish wish = {
		.name = name,
		.until_s = time(NULL) + PEM_VALID_DAYS * DAY_S,
		.constraints = issuer ? NULL : "critical,CA:TRUE",
	};
	FILE *file;

	p->cert = cert_make(issuer ? &issuer->cert : NULL, &wish);
	(void)snprintf(
		p->cert_file, sizeof(p->cert_file), "%s/%s.pem", dir, name);
	(void)snprintf(
		p->key_file, sizeof(p->key_file), "%s/%s.key", dir, name);

	file = create(p->cert_file);
	ck_assert_int_eq(PEM_write_X509(file, p->cert.x509), 1);
	ck_assert_int_eq(fclose(file), 0);
	file = create(p->key_file);
	ck_assert_int_eq(PEM_write_PKCS8PrivateKey(file, p->cert.key,
				 password ? EVP_aes_128_cbc() : NULL, NULL, 0,
				 NULL, (void *)(uintptr_t)password),
		1);
	ck_assert_int_eq(fclose(file), 0);
}

void pem_release(struct pem *p)
{
	cert_release(&p->cert);
}
