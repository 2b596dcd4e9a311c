/* SPDX-License-Identifier: Apache-2.0 */
#include "net/address.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* ::ffff:0:0/96 (RFC 4291 section 2.5.5.2). */
static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

struct address address_of_v4(const uint8_t ip[4])
{
	struct address a;

	memcpy(a.ip, v4_prefix, sizeof(v4_prefix));
	memcpy(a.ip + sizeof(v4_prefix), ip, 4);
	return a;
}

struct address address_of_v6(const uint8_t ip[16])
{
	struct address a;

	memcpy(a.ip, ip, sizeof(a.ip));
	return a;
}

struct address address_of_socket(const struct sockaddr_storage *addr)
{
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	if (addr->ss_family == AF_INET) {
		memcpy(&v4, addr, sizeof(v4));
		return address_of_v4((const uint8_t *)&v4.sin_addr);
	}
	if (addr->ss_family == AF_INET6) {
		memcpy(&v6, addr, sizeof(v6));
		return address_of_v6(v6.sin6_addr.s6_addr);
	}
	return (struct address){0};
}

bool address_is_v4(const struct address *a)
{
	return !memcmp(a->ip, v4_prefix, sizeof(v4_prefix));
}

void address_format(const struct address *a, char ret_text[ADDRESS_TEXT_MAX])
{
	static const struct address unknown;
	const char *text;

	if (!memcmp(a, &unknown, sizeof(unknown)))
		text = NULL;
	else if (address_is_v4(a))
		text = inet_ntop(AF_INET, a->ip + sizeof(v4_prefix), ret_text,
			ADDRESS_TEXT_MAX);
	else
		text = inet_ntop(AF_INET6, a->ip, ret_text, ADDRESS_TEXT_MAX);
	if (!text)
		(void)snprintf(ret_text, ADDRESS_TEXT_MAX, "unknown");
}
