/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/protobuf.h"

#include "base/codec.h"
#include "base/err.h"

#define FIELD_NUMBER_MAX ((1u << 29) - 1)

struct wire_field {
	uint32_t number;
	enum pb_wire_type type;
	uint64_t varint;    /* PB_VARINT */
	struct slice bytes; /* the others: contents, without length */
};

/* Takes a varint off the front; false when there is none. */
static bool take_varint(struct slice *in, uint64_t *ret_value)
{
	uint64_t value = 0;
	size_t i;
	uint8_t b;

	for (i = 0; i < PB_VARINT_MAX && i < in->len; i++) {
		b = in->ptr[i];
		if (i == PB_VARINT_MAX - 1 && b > 1)
			return false; /* over 64 bits */
		value |= (uint64_t)(b & 0x7f) << (7 * i);
		if (b < 0x80) {
			*ret_value = value;
			*in = slice_from(*in, i + 1);
			return true;
		}
	}
	return false;
}

static bool take_bytes(struct slice *in, uint64_t len, struct slice *ret_bytes)
{
	if (len > in->len)
		return false;
	*ret_bytes = slice_of(in->ptr, (size_t)len);
	*in = slice_from(*in, (size_t)len);
	return true;
}

static bool take_field(struct slice *in, struct wire_field *ret, int depth);

/* Skips fields up to the end of group `number`. */
static bool skip_group(struct slice *in, uint32_t number, int depth)
{
	struct wire_field inner;

	while (take_field(in, &inner, depth)) {
		if (inner.type == PB_GROUP_END)
			return inner.number == number;
	}
	return false;
}

static bool take_tag(struct slice *in, struct wire_field *ret)
{
	uint64_t tag, number;

	if (!take_varint(in, &tag))
		return false;
	number = tag >> 3;
	if (number < 1 || number > FIELD_NUMBER_MAX)
		return false;
	ret->number = (uint32_t)number;
	ret->type = (enum pb_wire_type)(tag & 7);
	return true;
}

/* A group is taken whole, as the field that starts it. */
static bool take_field(struct slice *in, struct wire_field *ret, int depth)
{
	uint64_t len;

	if (depth > PB_DEPTH_MAX || !take_tag(in, ret))
		return false;
	switch (ret->type) {
	case PB_VARINT: return take_varint(in, &ret->varint);
	case PB_FIXED64: return take_bytes(in, 8, &ret->bytes);
	case PB_FIXED32: return take_bytes(in, 4, &ret->bytes);
	case PB_BYTES:
		return take_varint(in, &len) &&
		       take_bytes(in, len, &ret->bytes);
	case PB_GROUP_START: return skip_group(in, ret->number, depth + 1);
	case PB_GROUP_END: return true;
	default: return false;
	}
}

static int put_varint(struct buf *out, uint64_t value)
{
	uint8_t bytes[PB_VARINT_MAX];

	return buf_append(
		out, bytes, (size_t)(pb_put_varint(bytes, value) - bytes));
}

static int put_tag(struct buf *out, uint32_t number, enum pb_wire_type type)
{
	return put_varint(out, (uint64_t)number << 3 | type);
}

static int put_bytes(struct buf *out, uint32_t number, struct slice bytes)
{
	int r = put_tag(out, number, PB_BYTES);

	if (r == 0)
		r = put_varint(out, bytes.len);
	return r == 0 ? buf_append(out, bytes.ptr, bytes.len) : r;
}

/* What Go makes of a varint that is wider than the field. */
static uint64_t fit_varint(ProtobufCType type, uint64_t value)
{
	switch (type) {
	case PROTOBUF_C_TYPE_UINT32: return (uint32_t)value;
	case PROTOBUF_C_TYPE_BOOL: return value != 0;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_ENUM:
		return (uint64_t)(int64_t)(int32_t)(uint32_t)value;
	default: return value;
	}
}

/* The contracts served here use these types and no others. */
static bool is_varint_type(ProtobufCType type)
{
	return type == PROTOBUF_C_TYPE_UINT32 ||
	       type == PROTOBUF_C_TYPE_UINT64 ||
	       type == PROTOBUF_C_TYPE_INT32 || type == PROTOBUF_C_TYPE_INT64 ||
	       type == PROTOBUF_C_TYPE_BOOL || type == PROTOBUF_C_TYPE_ENUM;
}

static int copy_message(const ProtobufCMessageDescriptor *type,
	pb_is_text_fn is_text, struct slice in, struct buf *out, int depth);

/* A message within a message: copied behind the outer fields so far, then
 * given its tag and length. */
static int copy_inner(const ProtobufCFieldDescriptor *field,
	pb_is_text_fn is_text, struct slice bytes, struct buf *out, int depth)
{
	struct buf inner;
	int r;

	buf_init(&inner, out->cap);
	r = copy_message(field->descriptor, is_text, bytes, &inner, depth);
	if (r == 0)
		r = put_bytes(out, field->id, buf_slice(&inner));
	buf_release(&inner);
	return r;
}

static int copy_field(const ProtobufCMessageDescriptor *type,
	pb_is_text_fn is_text, const struct wire_field *f, struct buf *out,
	int depth)
{
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field(type, f->number);
	int r;

	if (!field)
		return 0;
	if (f->type == PB_VARINT && is_varint_type(field->type)) {
		r = put_tag(out, f->number, PB_VARINT);
		return r == 0 ? put_varint(
					out, fit_varint(field->type, f->varint))
			      : r;
	}
	if (f->type != PB_BYTES)
		return 0;
	if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		return copy_inner(field, is_text, f->bytes, out, depth + 1);
	if (field->type != PROTOBUF_C_TYPE_BYTES)
		return 0;
	if (is_text(type, field) && !utf8_valid(f->bytes))
		return ERR_INVALID;
	return put_bytes(out, f->number, f->bytes);
}

static int copy_message(const ProtobufCMessageDescriptor *type,
	pb_is_text_fn is_text, struct slice in, struct buf *out, int depth)
{
	struct wire_field f;
	int r = 0;

	if (depth > PB_DEPTH_MAX)
		return ERR_PROTO;
	while (in.len > 0 && r == 0) {
		if (!take_field(&in, &f, depth) || f.type == PB_GROUP_END)
			return ERR_PROTO;
		r = copy_field(type, is_text, &f, out, depth);
	}
	return r;
}

static void *alloc_in_arena(void *arena, size_t size)
{
	return arena_alloc(arena, size);
}

static void free_in_arena(void *arena UNUSED, void *ptr UNUSED)
{
}

int pb_decode(const ProtobufCMessageDescriptor *type, pb_is_text_fn is_text,
	struct slice bytes, struct arena *a, ProtobufCMessage **ret_message)
{
	ProtobufCAllocator allocator = {.alloc = alloc_in_arena,
		.free = free_in_arena,
		.allocator_data = a};
	ProtobufCMessage *message = NULL;
	struct buf copy;
	int r;

	/* Fields are left out or shortened; only a negative enum grows, from 5
	 * bytes to 10. */
	buf_init(&copy, 2 * bytes.len);
	r = copy_message(type, is_text, bytes, &copy, 0);
	if (r == 0)
		message = protobuf_c_message_unpack(
			type, &allocator, buf_len(&copy), buf_slice(&copy).ptr);
	buf_release(&copy);
	if (r < 0)
		return r;
	if (!message)
		return ERR_NOMEM; /* the copy is well-formed */
	*ret_message = message;
	return 0;
}

int pb_encode(const ProtobufCMessage *message, struct buf *out)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *room;
	int r = buf_reserve(out, len, &room);

	if (r < 0)
		return r;
	buf_commit(out, protobuf_c_message_pack(message, room));
	return 0;
}
