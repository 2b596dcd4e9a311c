/* SPDX-License-Identifier: Apache-2.0 */
/* address — who is at the other end of a connection, as 16 bytes of IPv6.
 *
 * IPv4 is kept as ::ffff:a.b.c.d, which is also how a socket that listens for
 * both families shows it: one peer has one form. Threads: any. */
#pragma once

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
	uint8_t ip[16]; /* all zero: not known */
};

#define ADDRESS_TEXT_MAX INET6_ADDRSTRLEN /* with its NUL */

struct address address_of_v4(const uint8_t ip[4]);
struct address address_of_v6(const uint8_t ip[16]);

/* Of other families than IP it is not known. */
struct address address_of_socket(const struct sockaddr_storage *addr);

bool address_is_v4(const struct address *a);

/* "192.0.2.1", "2001:db8::1"; "unknown". */
void address_format(const struct address *a, char ret_text[ADDRESS_TEXT_MAX]);
