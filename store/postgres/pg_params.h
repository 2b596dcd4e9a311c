/* SPDX-License-Identifier: Apache-2.0 */
/* pg_params — the parameters of one statement, in PostgreSQL's binary formats.
 *
 * A want of memory sticks: what is added after it is ignored, and the sending
 * says so. Threads: one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "store/postgres/pg_limits.h"

#define PG_PARAMS_MAX 10

/* A group's records, and as much again for ids and lengths. */
#define PG_PARAMS_BYTES_MAX ((size_t)2 * PG_GROUP_BYTES_MAX)

/* Object ids of pg_type, fixed for good. */
enum pg_type { PG_BOOL = 16, PG_BYTEA = 17, PG_INT8 = 20, PG_TEXT = 25 };

struct pg_params {
	struct buf bytes;	   /* own; the values one after another */
	size_t at[PG_PARAMS_MAX];  /* where each begins in bytes */
	int length[PG_PARAMS_MAX]; /* and how long it is */
	int n;
	bool failed; /* there was no memory */
};

void pg_params_init(struct pg_params *p);
void pg_params_release(struct pg_params *p);
/* No parameters; keeps the memory. */
void pg_params_reset(struct pg_params *p);

void pg_params_text(struct pg_params *p, struct slice text);
void pg_params_int8(struct pg_params *p, int64_t value);

/* An array of `n` elements, n > 0, which the next `n` calls of the functions
 * below add. */
void pg_params_array(struct pg_params *p, enum pg_type type, size_t n);
void pg_params_element(struct pg_params *p, struct slice bytes);
void pg_params_element_int8(struct pg_params *p, int64_t value);
void pg_params_element_bool(struct pg_params *p, bool value);
