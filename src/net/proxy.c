/* SPDX-License-Identifier: Apache-2.0 */
#include "net/proxy.h"

#include <string.h>

#define LINE_START "PROXY "

/* Version 2: signature, version and command, family and transport, length of
 * what follows. */
static const uint8_t signature[12] = {
	'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

#define V2_START	 16 /* bytes before the addresses */
#define V2_LOCAL	 0x20
#define V2_PROXY	 0x21
#define V2_TCP4		 0x11
#define V2_TCP6		 0x21

#define V2_FAMILY_MAX	 3 /* unspecified, IPv4, IPv6, Unix */
#define V2_TRANSPORT_MAX 2 /* unspecified, stream, datagram */

/* Source and destination address, then both ports. */
#define V2_TCP4_LEN 12
#define V2_TCP6_LEN 36

static bool begins_like(struct slice bytes, const void *start, size_t len)
{
	return !memcmp(bytes.ptr, start, MIN(bytes.len, len));
}

/* ---- version 1 ---- */

/* The word before the next space, off the front with it. A line has exactly
 * one space between words, so an empty word is a fault of its own. */
static struct slice take_word(struct slice *rest)
{
	const uint8_t *space =
		rest->len > 0 ? memchr(rest->ptr, ' ', rest->len) : NULL;
	struct slice word = slice_of(
		rest->ptr, space ? (size_t)(space - rest->ptr) : rest->len);

	*rest = slice_from(*rest, word.len + 1);
	return word;
}

static bool read_ip(int family, struct slice word, uint8_t *ret_ip)
{
	char text[ADDRESS_TEXT_MAX];

	if (word.len == 0 || word.len >= sizeof(text) ||
		slice_has_byte(word, '\0'))
		return false;
	memcpy(text, word.ptr, word.len);
	text[word.len] = '\0';
	return inet_pton(family, text, ret_ip) == 1;
}

/* Decimal, 0 to 65535, without leading zeros. */
static bool is_port(struct slice word)
{
	unsigned value = 0;
	size_t i;

	if (word.len == 0 || word.len > 5 ||
		(word.len > 1 && word.ptr[0] == '0'))
		return false;
	for (i = 0; i < word.len; i++) {
		if (word.ptr[i] < '0' || word.ptr[i] > '9')
			return false;
		value = value * 10 + (unsigned)(word.ptr[i] - '0');
	}
	return value <= UINT16_MAX;
}

/* `rest` follows "TCP4 " or "TCP6 ". */
static int parse_endpoints(
	int family, struct slice rest, struct proxy_header *header)
{
	uint8_t from[16], to[16];

	if (!read_ip(family, take_word(&rest), from) ||
		!read_ip(family, take_word(&rest), to) ||
		!is_port(take_word(&rest)) || !is_port(rest))
		return ERR_PROTO;
	header->has_peer = true;
	header->peer =
		family == AF_INET ? address_of_v4(from) : address_of_v6(from);
	return 0;
}

/* `line` is without its CRLF and begins with LINE_START. */
static int parse_line(struct slice line, struct proxy_header *header)
{
	struct slice family;

	line = slice_from(line, strlen(LINE_START));
	family = take_word(&line);
	if (slice_eq_str(family, "TCP4"))
		return parse_endpoints(AF_INET, line, header);
	if (slice_eq_str(family, "TCP6"))
		return parse_endpoints(AF_INET6, line, header);
	/* What follows UNKNOWN, up to the end of the line, is to be ignored. */
	return slice_eq_str(family, "UNKNOWN") ? 0 : ERR_PROTO;
}

static int parse_v1(struct slice bytes, struct proxy_header *header)
{
	struct slice line =
		slice_of(bytes.ptr, MIN(bytes.len, (size_t)PROXY_LINE_MAX));
	const uint8_t *end = memchr(line.ptr, '\r', line.len);

	if (!end)
		return bytes.len < PROXY_LINE_MAX ? PROXY_MORE : ERR_LIMIT;
	line.len = (size_t)(end - line.ptr);
	if (line.len + 1 >= PROXY_LINE_MAX)
		return ERR_LIMIT;
	if (line.len + 1 == bytes.len)
		return PROXY_MORE;
	if (end[1] != '\n' || line.len < strlen(LINE_START))
		return ERR_PROTO;
	header->len = line.len + 2;
	return parse_line(line, header);
}

/* ---- version 2 ---- */

static int read_v2_peer(const uint8_t *start, size_t len, uint8_t family,
	struct proxy_header *header)
{
	const uint8_t *addresses = start + V2_START;

	if (family == V2_TCP4) {
		if (len < V2_TCP4_LEN)
			return ERR_PROTO;
		header->peer = address_of_v4(addresses);
		header->has_peer = true;
	} else if (family == V2_TCP6) {
		if (len < V2_TCP6_LEN)
			return ERR_PROTO;
		header->peer = address_of_v6(addresses);
		header->has_peer = true;
	}
	/* Others are legal, but are not who is at the end of a TCP socket. */
	return 0;
}

static int parse_v2(struct slice bytes, struct proxy_header *header)
{
	uint8_t command, family;
	size_t len;

	if (bytes.len < V2_START)
		return PROXY_MORE;
	command = bytes.ptr[12];
	family = bytes.ptr[13];
	len = (size_t)bytes.ptr[14] << 8 | bytes.ptr[15];
	/* Reserved values must be refused (section 2.2). */
	if ((command != V2_LOCAL && command != V2_PROXY) ||
		family >> 4 > V2_FAMILY_MAX ||
		(family & 0xf) > V2_TRANSPORT_MAX)
		return ERR_PROTO;
	if (V2_START + len > PROXY_HEADER_MAX)
		return ERR_LIMIT;
	if (bytes.len < V2_START + len)
		return PROXY_MORE;
	header->len = V2_START + len;
	/* The addresses of LOCAL mean nothing. */
	return command == V2_LOCAL
		       ? 0
		       : read_v2_peer(bytes.ptr, len, family, header);
}

int proxy_parse(struct slice bytes, struct proxy_header *ret_header)
{
	struct proxy_header header = {.len = 0};
	int r = ERR_PROTO;

	if (bytes.len == 0)
		return PROXY_MORE;
	if (begins_like(bytes, LINE_START, strlen(LINE_START)))
		r = parse_v1(bytes, &header);
	else if (begins_like(bytes, signature, sizeof(signature)))
		r = parse_v2(bytes, &header);
	if (r == 0)
		*ret_header = header;
	return r;
}
