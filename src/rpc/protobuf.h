/* SPDX-License-Identifier: Apache-2.0 */
/* protobuf — messages of the wire, read as Go reads them, with protobuf-c.
 *
 * protobuf-c differs from the protobuf of Go, Java and C++ where clients can
 * tell: it refuses a known field of another wire type and unknown groups,
 * which the others skip, and takes text that is not UTF-8, which they refuse.
 * So a message is first copied with only what protobuf-c will understand:
 * known fields of the right wire type, in shortest form.
 *
 * All memory comes from the call's arena: a request cannot blow up into more
 * than the arena's ceiling. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/attr.h"
#include "base/buf.h"
#include "base/slice.h"

/* https://protobuf.dev/programming-guides/encoding/ */
enum pb_wire_type {
	PB_VARINT = 0,
	PB_FIXED64 = 1,
	PB_BYTES = 2,
	PB_GROUP_START = 3,
	PB_GROUP_END = 4,
	PB_FIXED32 = 5,
};

#define PB_VARINT_MAX 10 /* bytes of the largest */

static inline size_t pb_varint_len(uint64_t value)
{
	return (size_t)(63 - __builtin_clzll(value | 1)) / 7 + 1;
}

/* Writes pb_varint_len() bytes; returns what is behind them. */
static inline uint8_t *pb_put_varint(uint8_t *at, uint64_t value)
{
	while (value >= 0x80) {
		*at++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*at++ = (uint8_t)value;
	return at;
}

/* Whether a `bytes` field of the compiled copy is `string` in the contract
 * (proto/wire_copy.py makes all of them bytes). */
typedef bool (*pb_is_text_fn)(const ProtobufCMessageDescriptor *message,
	const ProtobufCFieldDescriptor *field);

/* Decodes into the arena. Nested deeper than PB_DEPTH_MAX is malformed.
 * Returns: 0, ERR_PROTO (malformed), ERR_INVALID (text is not UTF-8),
 * ERR_NOMEM (also: more than the arena's ceiling). */
#define PB_DEPTH_MAX 100 /* as protobuf implementations have it */
MUSTCHECK int pb_decode(const ProtobufCMessageDescriptor *type,
	pb_is_text_fn is_text, struct slice bytes, struct arena *a,
	ProtobufCMessage **ret_message);

/* Appends the encoding. Returns: 0, ERR_LIMIT (over the ceiling), ERR_NOMEM. */
MUSTCHECK int pb_encode(const ProtobufCMessage *message, struct buf *out);

static inline struct slice pb_slice(ProtobufCBinaryData data)
{
	return slice_of(data.data ? data.data : (const uint8_t *)"", data.len);
}

/* For encoding only: protobuf-c's struct lacks the const. */
static inline ProtobufCBinaryData pb_bytes(struct slice s)
{
	return (ProtobufCBinaryData){
		.len = s.len, .data = (uint8_t *)(uintptr_t)s.ptr};
}
