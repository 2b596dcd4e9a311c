/* SPDX-License-Identifier: Apache-2.0 */
#include "middleware/crl.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "config/limits.h"

struct crl {
	atomic_size_t refs;
	char *text;	       /* own; what the serials point into */
	struct slice *serials; /* own; in order of compare() */
	size_t n;
};

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trim(struct slice s)
{
	while (s.len > 0 && is_space(s.ptr[0]))
		s = slice_from(s, 1);
	while (s.len > 0 && is_space(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

static bool is_decimal(struct slice s)
{
	size_t i;

	for (i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
	}
	return s.len > 0;
}

static struct slice without_leading_zeros(struct slice s)
{
	while (s.len > 1 && s.ptr[0] == '0')
		s = slice_from(s, 1);
	return s;
}

static int compare(const void *a, const void *b)
{
	const struct slice *x = a, *y = b;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->ptr, y->ptr, x->len);
}

/* The entry before the next comma, off the front; empty ones are fine. */
static struct slice take_entry(struct slice *rest)
{
	const uint8_t *comma = memchr(rest->ptr, ',', rest->len);
	struct slice entry = slice_of(
		rest->ptr, comma ? (size_t)(comma - rest->ptr) : rest->len);

	*rest = slice_from(*rest, entry.len + 1);
	return trim(entry);
}

static int fill(struct crl *crl, struct slice text)
{
	size_t max = 1, i;

	for (i = 0; i < text.len; i++)
		max += text.ptr[i] == ',';
	crl->text = mem_dup(text.ptr, text.len);
	crl->serials = mem_zalloc(max * sizeof(*crl->serials));
	if (!crl->text || !crl->serials)
		return ERR_NOMEM;
	text = slice_of(crl->text, text.len);
	while (text.len > 0) {
		struct slice entry = take_entry(&text);

		if (entry.len == 0)
			continue;
		if (!is_decimal(entry))
			return ERR_INVALID;
		crl->serials[crl->n++] = without_leading_zeros(entry);
	}
	qsort(crl->serials, crl->n, sizeof(*crl->serials), compare);
	return 0;
}

int crl_parse(struct slice text, struct crl **ret_crl)
{
	struct crl *crl;
	int r;

	if (text.len > CRL_BYTES_MAX)
		return ERR_LIMIT;
	crl = mem_zalloc(sizeof(*crl));
	if (!crl)
		return ERR_NOMEM;
	atomic_init(&crl->refs, 1);
	r = fill(crl, text);
	if (r < 0) {
		crl_unref(crl);
		return r;
	}
	*ret_crl = crl;
	return 0;
}

struct crl *crl_ref(struct crl *crl)
{
	atomic_fetch_add(&crl->refs, 1);
	return crl;
}

void crl_unref(struct crl *crl)
{
	if (!crl || atomic_fetch_sub(&crl->refs, 1) > 1)
		return;
	mem_free(crl->serials);
	mem_free(crl->text);
	mem_free(crl);
}

bool crl_contains(const struct crl *crl, struct slice serial)
{
	return crl->n > 0 &&
	       bsearch(&serial, crl->serials, crl->n, sizeof(serial), compare);
}

size_t crl_count(const struct crl *crl)
{
	return crl->n;
}
