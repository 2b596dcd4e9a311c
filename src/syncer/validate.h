/* SPDX-License-Identifier: Apache-2.0 */
/* validate — whether a request's fields are what the contract allows. Pure
 * functions: each returns NULL, or the sentence for the client, who did send
 * an invalid argument. Texts and order are data-sync's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/slice.h"

MUSTCHECK const char *validate_record(
	struct slice id, struct slice data, struct slice schema_version);

MUSTCHECK const char *validate_lock_name(struct slice name);

/* `now_ns` is wall time. */
MUSTCHECK const char *validate_request_time(
	uint32_t request_time, int64_t now_ns);

#define UUID_TEXT_LEN 36

/* Any form that google/uuid parses: with and without hyphens, in braces,
 * "urn:uuid:", either case. Writes the canonical form, lower case with
 * hyphens, so that one UUID is one instance however it is written. */
MUSTCHECK const char *validate_instance_id(
	struct slice text, char ret_canonical[UUID_TEXT_LEN]);

/* `given`: the client chose one. Clamped at the maximum. */
MUSTCHECK const char *validate_ttl(
	bool given, uint32_t seconds, uint32_t *ret_ttl_s);
