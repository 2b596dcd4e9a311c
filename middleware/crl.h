/* SPDX-License-Identifier: Apache-2.0 */
/* crl — the serial numbers of revoked API keys.
 *
 * Immutable once parsed and counted by reference, so that shards share one
 * list without locks. Threads: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/slice.h"

struct crl;

/* Decimal serials joined by commas, white space around them ignored, up to
 * CRL_BYTES_MAX. Anything else is no list: the page of an error must not
 * replace what was known. *ret_crl has one reference.
 * Returns: 0, ERR_INVALID, ERR_LIMIT, ERR_NOMEM. */
MUSTCHECK int crl_parse(struct slice text, struct crl **ret_crl);

/* Returns `crl`. */
struct crl *crl_ref(struct crl *crl);
/* NULL is fine. */
void crl_unref(struct crl *crl);

/* `serial`: decimal digits without leading zeros. */
bool crl_contains(const struct crl *crl, struct slice serial);

size_t crl_count(const struct crl *crl);
