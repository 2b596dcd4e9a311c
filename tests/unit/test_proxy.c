/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/unit.h"
#include "net/proxy.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

/* Its versions differ over braces in macros. */
/* clang-format off */
#define BYTES(text) { (const uint8_t *)(text), sizeof(text) - 1 }
/* clang-format on */

/* What follows a header and is not the parser's. */
#define REST "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

struct sample {
	struct slice header;
	const char *peer; /* NULL: it names none */
};

/* Those of version 1 are the specification's (section 2.1): the examples, and
 * its worst cases of IPv4, IPv6 and UNKNOWN. */
static const struct sample good[] = {
	{BYTES("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
		"255.255.255.255"},
	{BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	{BYTES("PROXY UNKNOWN\r\n"), NULL},
	{BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
		NULL},
	{BYTES("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"),
		"192.168.0.1"},
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 0 0\r\n"), "192.0.2.1"},
	{BYTES("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"), "2001:db8::1"},
	{BYTES("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n"), "192.0.2.7"},
	/* Version 2: command, family, length, addresses, ports. */
	{BYTES(SIGNATURE "\x21\x11\0\x0c"
			 "\xc0\0\x02\x01\xc0\0\x02\x02\x12\x34\x01\xbb"),
		"192.0.2.1"},
	{BYTES(SIGNATURE "\x21\x21\0\x24"
			 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
			 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"
			 "\x12\x34\x01\xbb"),
		"2001:db8::1"},
	/* With TLVs: ALPN "h2" and three bytes of padding. */
	{BYTES(SIGNATURE "\x21\x11\0\x17"
			 "\xc0\0\x02\x01\xc0\0\x02\x02\x12\x34\x01\xbb"
			 "\x01\0\x02h2\x04\0\x03\0\0\0"),
		"192.0.2.1"},
	/* LOCAL: without and with addresses, which mean nothing. */
	{BYTES(SIGNATURE "\x20\0\0\0"), NULL},
	{BYTES(SIGNATURE "\x20\x11\0\x0c"
			 "\xc0\0\x02\x01\xc0\0\x02\x02\x12\x34\x01\xbb"),
		NULL},
	/* Unspecified, UDP, Unix: no peer of a TCP connection. */
	{BYTES(SIGNATURE "\x21\0\0\0"), NULL},
	{BYTES(SIGNATURE "\x21\x12\0\x0c"
			 "\xc0\0\x02\x01\xc0\0\x02\x02\x12\x34\x01\xbb"),
		NULL},
	{BYTES(SIGNATURE "\x21\x31\0\x02zz"), NULL},
};

static const struct slice bad[] = {
	BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
	BYTES("GET / HTTP/1.1\r\n\r\n"),
	BYTES("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
	BYTES("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
	BYTES("PROXY\r\n"),
	BYTES("PROXY \r\n"),
	BYTES("PROXY TCP4\r\n"),
	BYTES("PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n"),
	BYTES("PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
	BYTES("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n"),
	BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n"),
	BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"),
	BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n"),
	BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"),
	BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n"),
	BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n"),
	BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n"),
	BYTES("PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n"),
	BYTES("PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n"),
	BYTES("PROXY TCP4 ::1 ::1 1 2\r\n"),
	BYTES("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n"),
	BYTES("PROXY TCP6 2001:db8::1 2001:db8::g 1 2\r\n"),
	BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX"),
	BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n"),
	BYTES("PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n"),
	/* Version 3; a command, family and transport that are reserved. */
	BYTES(SIGNATURE "\x31\x11\0\x0c"),
	BYTES(SIGNATURE "\x22\x11\0\x0c"),
	BYTES(SIGNATURE "\x21\x41\0\x0c"),
	BYTES(SIGNATURE "\x21\x13\0\x0c"),
	/* Addresses that the length does not cover. */
	BYTES(SIGNATURE "\x21\x11\0\x0b"
			"\xc0\0\x02\x01\xc0\0\x02\x02\x12\x34\x01"),
	BYTES(SIGNATURE "\x21\x21\0\x0c"
			"\xc0\0\x02\x01\xc0\0\x02\x02\x12\x34\x01\xbb"),
	BYTES("\r\n\r\n\0\r\nQUIX\n"),
};

/* The bytes in memory of their own, so that a look beyond them shows. */
static int parse_exactly(
	struct slice bytes, size_t n, struct proxy_header *header)
{
	uint8_t *copy = malloc(n > 0 ? n : 1);
	int r;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes.ptr, n);
	r = proxy_parse(slice_of(copy, n), header);
	free(copy);
	return r;
}

static void is_sample(
	const struct sample *sample, const struct proxy_header *header)
{
	char text[ADDRESS_TEXT_MAX];

	ck_assert_uint_eq(header->len, sample->header.len);
	ck_assert_int_eq(header->has_peer, sample->peer != NULL);
	if (!sample->peer)
		return;
	address_format(&header->peer, text);
	ck_assert_str_eq(text, sample->peer);
}

TEST(proxy, headers_are_read_and_what_follows_is_left)
{
	struct proxy_header header;
	uint8_t bytes[512];
	size_t i, n;

	for (i = 0; i < ARRAY_LEN(good); i++) {
		n = good[i].header.len;
		ck_assert_int_eq(parse_exactly(good[i].header, n, &header), 0);
		is_sample(&good[i], &header);
		memcpy(bytes, good[i].header.ptr, n);
		memcpy(bytes + n, REST, sizeof(REST));
		ck_assert_int_eq(
			proxy_parse(slice_of(bytes, n + sizeof(REST)), &header),
			0);
		is_sample(&good[i], &header);
	}
}

TEST(proxy, every_part_of_a_header_asks_for_more)
{
	struct proxy_header header = {.len = 77};
	size_t i, n;

	for (i = 0; i < ARRAY_LEN(good); i++) {
		for (n = 0; n < good[i].header.len; n++)
			ck_assert_int_eq(
				parse_exactly(good[i].header, n, &header),
				PROXY_MORE);
	}
	ck_assert_uint_eq(header.len, 77);
}

TEST(proxy, what_is_no_header_is_refused)
{
	struct proxy_header header;
	size_t i, n;
	int r;

	for (i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_msg(
			parse_exactly(bad[i], bad[i].len, &header) == ERR_PROTO,
			"sample %zu", i);
		/* Nor is any part of it taken for a whole one. */
		for (n = 0; n < bad[i].len; n++) {
			r = parse_exactly(bad[i], n, &header);
			ck_assert_msg(r == PROXY_MORE || r == ERR_PROTO,
				"sample %zu to %zu: %d", i, n, r);
		}
	}
}

TEST(proxy, other_protocols_are_refused_at_their_first_bytes)
{
	struct proxy_header header;

	ck_assert_int_eq(proxy_parse(slice_str("PRI"), &header), ERR_PROTO);
	ck_assert_int_eq(proxy_parse(slice_str("G"), &header), ERR_PROTO);
	ck_assert_int_eq(proxy_parse(slice_str("\x16"), &header), ERR_PROTO);
}

static void put(uint8_t *at, struct slice text)
{
	memcpy(at, text.ptr, text.len);
}

TEST(proxy, a_line_has_a_length_limit)
{
	struct proxy_header header;
	uint8_t line[PROXY_LINE_MAX + 8];
	size_t n;

	memset(line, 'x', sizeof(line));
	put(line, slice_str("PROXY UNKNOWN "));
	put(line + PROXY_LINE_MAX - 2, slice_str("\r\n"));
	for (n = 14; n < PROXY_LINE_MAX; n++)
		ck_assert_int_eq(
			proxy_parse(slice_of(line, n), &header), PROXY_MORE);
	ck_assert_int_eq(proxy_parse(slice_of(line, sizeof(line)), &header), 0);
	ck_assert_uint_eq(header.len, PROXY_LINE_MAX);

	put(line + PROXY_LINE_MAX - 2, slice_str("x\r\n"));
	ck_assert_int_eq(
		proxy_parse(slice_of(line, sizeof(line)), &header), ERR_LIMIT);
	line[PROXY_LINE_MAX - 1] = 'x';
	ck_assert_int_eq(proxy_parse(slice_of(line, PROXY_LINE_MAX), &header),
		ERR_LIMIT);
	ck_assert_int_eq(
		proxy_parse(slice_of(line, PROXY_LINE_MAX - 1), &header),
		PROXY_MORE);
}

TEST(proxy, a_binary_header_has_a_length_limit)
{
	static const struct slice start = BYTES(SIGNATURE "\x21\x11");
	uint8_t bytes[PROXY_HEADER_MAX] = {0};
	struct proxy_header header;

	memcpy(bytes, start.ptr, start.len);
	bytes[14] = (PROXY_HEADER_MAX - 16) >> 8;
	bytes[15] = (PROXY_HEADER_MAX - 16) & 0xff;
	ck_assert_int_eq(
		proxy_parse(slice_of(bytes, sizeof(bytes)), &header), 0);
	ck_assert_uint_eq(header.len, PROXY_HEADER_MAX);
	ck_assert_int_eq(
		proxy_parse(slice_of(bytes, sizeof(bytes) - 1), &header),
		PROXY_MORE);
	bytes[15]++;
	ck_assert_int_eq(proxy_parse(slice_of(bytes, 16), &header), ERR_LIMIT);
	bytes[14] = bytes[15] = 0xff;
	ck_assert_int_eq(proxy_parse(slice_of(bytes, 16), &header), ERR_LIMIT);
}
