/* SPDX-License-Identifier: Apache-2.0 */
/* signed_text — what a client signs: the digest of a request's text.
 *
 * SHA-256(SHA-256("realtimesync:" ‖ text)), hashed piece by piece so that the
 * text of a 64-KiB record, twice as long in hex, is never built. Fields are
 * joined by '-', numbers decimal, booleans true/false, data lower-case hex.
 * Threads: the one that owns the hasher. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/slice.h"

#define SIGNED_DIGEST_BYTES 32

struct signed_text;

/* Returns: 0, ERR_NOMEM. */
MUSTCHECK int signed_text_new(struct signed_text **ret_text);
void signed_text_free(struct signed_text **text);

/* Forgets what was put; the prefix is put again. */
void signed_text_begin(struct signed_text *t);

/* id-hexdata-revision-schema_version-request_time */
void signed_text_set_record(struct signed_text *t, struct slice id,
	struct slice data, uint64_t revision, struct slice schema_version,
	uint32_t request_time);
/* since_revision-request_time */
void signed_text_list_changes(
	struct signed_text *t, uint64_t since, uint32_t request_time);
/* request_time */
void signed_text_listen_changes(struct signed_text *t, uint32_t request_time);
/* lock_name-instance_id-acquire-exclusive-request_time; the instance id as
 * the client wrote it */
void signed_text_set_lock(struct signed_text *t, struct slice lock_name,
	struct slice instance_id, bool acquire, bool exclusive,
	uint32_t request_time);
/* lock_name-request_time */
void signed_text_get_lock(
	struct signed_text *t, struct slice lock_name, uint32_t request_time);

/* Ends the text. Returns: 0, ERR_NOMEM (a digest step failed). */
MUSTCHECK int signed_text_end(
	struct signed_text *t, uint8_t ret_digest[SIGNED_DIGEST_BYTES]);
