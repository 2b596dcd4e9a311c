/* SPDX-License-Identifier: Apache-2.0 */
/* request — calls of sync.Syncer, signed and framed before anybody counts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/slice.h"
#include "bench/signer.h"

enum method {
	METHOD_SET_RECORD,
	METHOD_LIST_CHANGES,
	METHOD_GET_LOCK,
	METHOD_SET_LOCK,
	METHOD_LISTEN_CHANGES,
	METHOD_HEALTH_CHECK, /* grpc.health.v1, unsigned */
};

/* ":path" of the method. */
const char *method_path(enum method method);

/* What is asked; what a method has no use for is not looked at. */
struct question {
	enum method method;
	uint32_t user;
	uint32_t record;	 /* its id is made of it */
	uint64_t revision;	 /* that the record is said to have */
	uint64_t since_revision; /* of ListChanges */
	uint32_t n_changes;	 /* that ListChanges is to find */
	struct slice data;
	uint32_t lock;
	uint32_t instance; /* who holds the lock */
	bool acquire;
};

struct request {
	struct question question;
	uint8_t *bytes; /* own */
	size_t len;	/* of the message with gRPC's prefix of 5 bytes */
	struct signature signature;
};

/* Signed as of now: good for some five minutes.
 * Returns: 0, ERR_NOMEM, ERR_INVALID (no such key). */
MUSTCHECK int request_init(struct request *r, const struct question *question,
	struct signer *signer);
void request_release(struct request *r);

/* The names that a request gives its record and its client. */
void request_record_id(const struct question *q, char *ret_text, size_t size);
void request_client_id(const struct question *q, char *ret_text, size_t size);

/* Whether a message, without its prefix, is the right answer. */
bool request_is_answered(const struct request *r, struct slice message);
