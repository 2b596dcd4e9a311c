/* SPDX-License-Identifier: Apache-2.0 */
#include "middleware/signed_text.h"

#include <openssl/evp.h>

#include "base/codec.h"
#include "base/err.h"
#include "base/mem.h"

#define HEX_STEP 512 /* data bytes turned into hex at a time, on the stack */

struct signed_text {
	EVP_MD *sha256;	 /* own; fetched once, looking it up costs as much as
			  * hashing a small request */
	EVP_MD_CTX *ctx; /* own */
	bool failed;
};

int signed_text_new(struct signed_text **ret_text)
{
	CLEANUP(signed_text_free)
	struct signed_text *t = mem_zalloc(sizeof(*t));

	if (!t)
		return ERR_NOMEM;
	t->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	t->ctx = EVP_MD_CTX_new();
	if (!t->sha256 || !t->ctx)
		return ERR_NOMEM;
	*ret_text = TAKE_PTR(t);
	return 0;
}

void signed_text_free(struct signed_text **text)
{
	struct signed_text *t = *text;

	if (!t)
		return;
	EVP_MD_CTX_free(t->ctx);
	EVP_MD_free(t->sha256);
	mem_free(t);
	*text = NULL;
}

static void put(struct signed_text *t, struct slice bytes)
{
	if (EVP_DigestUpdate(t->ctx, bytes.ptr, bytes.len) != 1)
		t->failed = true;
}

static void put_str(struct signed_text *t, const char *text)
{
	put(t, slice_str(text));
}

void signed_text_begin(struct signed_text *t)
{
	t->failed = EVP_DigestInit_ex2(t->ctx, t->sha256, NULL) != 1;
	put_str(t, "realtimesync:");
}

static void put_number(struct signed_text *t, uint64_t value)
{
	char digits[20], *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	put(t, slice_of(p, (size_t)(digits + sizeof(digits) - p)));
}

static void put_bool(struct signed_text *t, bool value)
{
	put_str(t, value ? "true" : "false");
}

static void put_hex(struct signed_text *t, struct slice data)
{
	char digits[2 * HEX_STEP];
	size_t n;

	while (data.len > 0) {
		n = MIN(data.len, (size_t)HEX_STEP);
		hex_encode(slice_of(data.ptr, n), digits);
		put(t, slice_of(digits, 2 * n));
		data = slice_from(data, n);
	}
}

void signed_text_set_record(struct signed_text *t, struct slice id,
	struct slice data, uint64_t revision, struct slice schema_version,
	uint32_t request_time)
{
	put(t, id);
	put_str(t, "-");
	put_hex(t, data);
	put_str(t, "-");
	put_number(t, revision);
	put_str(t, "-");
	put(t, schema_version);
	put_str(t, "-");
	put_number(t, request_time);
}

void signed_text_list_changes(
	struct signed_text *t, uint64_t since, uint32_t request_time)
{
	put_number(t, since);
	put_str(t, "-");
	put_number(t, request_time);
}

void signed_text_listen_changes(struct signed_text *t, uint32_t request_time)
{
	put_number(t, request_time);
}

void signed_text_set_lock(struct signed_text *t, struct slice lock_name,
	struct slice instance_id, bool acquire, bool exclusive,
	uint32_t request_time)
{
	put(t, lock_name);
	put_str(t, "-");
	put(t, instance_id);
	put_str(t, "-");
	put_bool(t, acquire);
	put_str(t, "-");
	put_bool(t, exclusive);
	put_str(t, "-");
	put_number(t, request_time);
}

void signed_text_get_lock(
	struct signed_text *t, struct slice lock_name, uint32_t request_time)
{
	put(t, lock_name);
	put_str(t, "-");
	put_number(t, request_time);
}

int signed_text_end(
	struct signed_text *t, uint8_t ret_digest[SIGNED_DIGEST_BYTES])
{
	uint8_t first[SIGNED_DIGEST_BYTES];

	if (t->failed || EVP_DigestFinal_ex(t->ctx, first, NULL) != 1 ||
		EVP_DigestInit_ex2(t->ctx, t->sha256, NULL) != 1 ||
		EVP_DigestUpdate(t->ctx, first, sizeof(first)) != 1 ||
		EVP_DigestFinal_ex(t->ctx, ret_digest, NULL) != 1)
		return ERR_NOMEM;
	return 0;
}
