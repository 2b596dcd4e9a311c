/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_params.h"

#include <endian.h>

void pg_params_init(struct pg_params *p)
{
	*p = (struct pg_params){0};
	buf_init(&p->bytes, PG_PARAMS_BYTES_MAX);
}

void pg_params_release(struct pg_params *p)
{
	buf_release(&p->bytes);
}

void pg_params_reset(struct pg_params *p)
{
	buf_reset(&p->bytes);
	p->n = 0;
	p->failed = false;
}

/* To the value that was begun last. */
static void append(struct pg_params *p, const void *bytes, size_t len)
{
	if (p->failed)
		return;
	if (buf_append(&p->bytes, bytes, len) < 0)
		p->failed = true;
	else
		p->length[p->n - 1] += (int)len;
}

static void append_int4(struct pg_params *p, uint32_t value)
{
	value = htobe32(value);
	append(p, &value, sizeof(value));
}

static void append_int8(struct pg_params *p, int64_t value)
{
	uint64_t bits = htobe64((uint64_t)value);

	append(p, &bits, sizeof(bits));
}

static void begin(struct pg_params *p)
{
	p->at[p->n] = buf_len(&p->bytes);
	p->length[p->n++] = 0;
}

void pg_params_text(struct pg_params *p, struct slice text)
{
	begin(p);
	append(p, text.ptr, text.len);
}

void pg_params_int8(struct pg_params *p, int64_t value)
{
	begin(p);
	append_int8(p, value);
}

/* As array_recv() of the server reads it: dimensions, whether there are NULLs,
 * type; for each dimension its size and lower bound; then the elements. */
void pg_params_array(struct pg_params *p, enum pg_type type, size_t n)
{
	begin(p);
	append_int4(p, 1);
	append_int4(p, 0);
	append_int4(p, type);
	append_int4(p, (uint32_t)n);
	append_int4(p, 1);
}

void pg_params_element(struct pg_params *p, struct slice bytes)
{
	append_int4(p, (uint32_t)bytes.len);
	append(p, bytes.ptr, bytes.len);
}

void pg_params_element_int8(struct pg_params *p, int64_t value)
{
	append_int4(p, sizeof(value));
	append_int8(p, value);
}

void pg_params_element_bool(struct pg_params *p, bool value)
{
	const uint8_t byte = value;

	append_int4(p, sizeof(byte));
	append(p, &byte, sizeof(byte));
}
