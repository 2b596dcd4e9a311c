/* SPDX-License-Identifier: Apache-2.0 */
/* pem — certificates in files, as the server is given them. */
#pragma once

#include "certs.h"

#define PEM_PATH_MAX   128
#define PEM_VALID_DAYS 30 /* from now: OpenSSL goes by the real clock */

struct pem {
	struct cert cert; /* own */
	char cert_file[PEM_PATH_MAX];
	char key_file[PEM_PATH_MAX];
};

/* Makes DIR/NAME.pem and DIR/NAME.key. Without `issuer` it signs itself and
 * may sign others. A `password` encrypts the key's file. */
void pem_init(struct pem *p, const char *dir, const char *name,
	const struct pem *issuer, const char *password);

/* The files are their directory's to remove. */
void pem_release(struct pem *p);
