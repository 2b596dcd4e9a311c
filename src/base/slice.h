/* SPDX-License-Identifier: Apache-2.0 */
/* slice — a borrowed view of bytes: pointer and length, nothing owned. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const uint8_t
		*ptr; /* borrow(until the owner says); NULL only if len 0 */
	size_t len;
};

static inline struct slice slice_of(const void *ptr, size_t len)
{
	return (struct slice){.ptr = ptr, .len = len};
}

static inline struct slice slice_str(const char *text)
{
	return slice_of(text, strlen(text));
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || !memcmp(a.ptr, b.ptr, a.len));
}

static inline bool slice_eq_str(struct slice a, const char *text)
{
	return slice_eq(a, slice_str(text));
}

static inline bool slice_starts_with(struct slice s, const char *prefix)
{
	size_t n = strlen(prefix);

	return s.len >= n && !memcmp(s.ptr, prefix, n);
}

static inline struct slice slice_from(struct slice s, size_t start)
{
	return start >= s.len ? slice_of("", 0)
			      : slice_of(s.ptr + start, s.len - start);
}

static inline bool slice_has_byte(struct slice s, uint8_t byte)
{
	return s.len > 0 && memchr(s.ptr, byte, s.len);
}

/* For printf's "%.*s": SLICE_FMT(s) gives the two arguments. */
#define SLICE_FMT(s) (int)(s).len, (const char *)(s).ptr
