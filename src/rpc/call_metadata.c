/* SPDX-License-Identifier: Apache-2.0 */
/* What a call and its peer tell each other beside the messages. */
#include <assert.h>
#include <string.h>

#include "base/codec.h"
#include "base/err.h"
#include "rpc/call_private.h"
#include "rpc/metadata.h"

struct slice call_metadata(const struct call *c, const char *name)
{
	return c->exchange ? exchange_header(c->exchange, name)
			   : slice_of(NULL, 0);
}

struct slice call_metadata_bin(struct call *c, const char *name)
{
	struct slice text = call_metadata(c, name);
	uint8_t *bytes;

	if (!text.ptr)
		return text;
	bytes = arena_alloc(call_arena(c), BASE64_DECODED_MAX(text.len));
	return bytes ? slice_of(bytes, grpc_bin_decode(text, bytes))
		     : slice_of(NULL, 0);
}

static bool is_binary(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && !strcmp(name + n - 4, "-bin");
}

/* What gRPC lets through in ASCII metadata. */
static bool is_printable(struct slice value)
{
	size_t i;

	for (i = 0; i < value.len; i++) {
		if (value.ptr[i] < ' ' || value.ptr[i] > '~')
			return false;
	}
	return true;
}

/* The value as it goes over the wire, in the arena; base64 without padding, as
 * the specification wishes. ptr NULL: no memory. */
static struct slice encode(struct call *c, bool binary, struct slice value)
{
	size_t len = BASE64_ENCODED_LEN(value.len);
	char *text;

	if (!binary)
		return slice_of(arena_dup(call_arena(c), value), value.len);
	text = arena_alloc(call_arena(c), len);
	if (!text)
		return slice_of(NULL, 0);
	base64_encode(value, text);
	while (len > 0 && text[len - 1] == '=')
		len--;
	return slice_of(text, len);
}

static int add(struct call *c, struct call_fields **fields, const char *name,
	struct slice value)
{
	bool binary = is_binary(name);
	struct call_fields *f = *fields;
	struct slice text;

	assert(strncmp(name, "grpc-", 5) != 0 && name[0] != ':');
	if (call_is_over(c))
		return 0;
	if (!f)
		f = *fields = arena_zalloc(call_arena(c), sizeof(*f));
	if (!f)
		return ERR_NOMEM;
	if (!binary && !is_printable(value))
		return ERR_INVALID;
	if (f->n == CALL_METADATA_FIELDS_MAX ||
		value.len > CALL_METADATA_BYTES_MAX)
		return ERR_LIMIT;
	text = encode(c, binary, value);
	if (!text.ptr)
		return ERR_NOMEM;
	if (strlen(name) + text.len > CALL_METADATA_BYTES_MAX - f->bytes)
		return ERR_LIMIT;
	f->bytes += strlen(name) + text.len;
	f->fields[f->n++] = (struct reply_header){name, text};
	return 0;
}

int call_set_initial_metadata(
	struct call *c, const char *name, struct slice value)
{
	return add(c, &c->initial, name, value);
}

int call_set_trailing_metadata(
	struct call *c, const char *name, struct slice value)
{
	return add(c, &c->trailing, name, value);
}

size_t call_fields_put(const struct call_fields *f, struct reply_header *out)
{
	if (!f)
		return 0;
	memcpy(out, f->fields, f->n * sizeof(*out));
	return f->n;
}

size_t call_fields_size(const struct call_fields *f)
{
	return f ? f->bytes + f->n * 32 : 0;
}
