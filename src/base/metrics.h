/* SPDX-License-Identifier: Apache-2.0 */
/* metrics — what the server counts, and how Prometheus reads it. What there is
 * stands in metrics_table.h.
 *
 * Each thread that counts has a block of its own and is the only one to write
 * it, so counting takes no lock and no locked instruction: a load, an addition
 * and a store. Who asks adds the blocks up. A loop has its block with it
 * (loop_metrics()); so a call counts in loop_metrics(call_loop(c)).
 *
 * To turn somebody away for a limit of its own, a module adds a line to
 * METRIC_LIMIT_MAP and says metrics_reject(m, METRIC_LIMIT_…).
 *
 * Threads: a block is written by one; metrics_sum_add() reads it from any. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/metrics_table.h"

/* The values of the labels: METRIC_METHOD_SET_RECORD, …; and how many there
 * are: METRIC_METHOD_N. */
#define METRIC_VALUE(label, id, text) METRIC_##label##_##id,
#define METRIC_VALUES(label)                                                   \
	METRIC_##label##_MAP(METRIC_VALUE) METRIC_##label##_N
enum metric_none { METRIC_VALUES(NONE) };
enum metric_method { METRIC_VALUES(METHOD) };
enum metric_code { METRIC_VALUES(CODE) };
enum metric_port { METRIC_VALUES(PORT) };
enum metric_limit { METRIC_VALUES(LIMIT) };
enum metric_nudge { METRIC_VALUES(NUDGE) };
enum metric_op { METRIC_VALUES(OP) };
enum metric_outcome { METRIC_VALUES(OUTCOME) };
enum metric_queue { METRIC_VALUES(QUEUE) };
enum metric_backend { METRIC_VALUES(BACKEND) };
enum metric_result { METRIC_VALUES(RESULT) };
enum metric_slot { METRIC_VALUES(SLOT) };
enum metric_settled { METRIC_VALUES(SETTLED) };
enum metric_version { METRIC_VALUES(VERSION) };

/* How many slots a series has. */
#define X(id, slots) METRIC_SLOTS_##id = (slots),
enum { METRIC_KINDS(X) };
#undef X

/* The first slot of each metric, METRIC_CALLS, …: a series' place is that plus
 * its label's value. The second constant of each is its last slot, from which
 * the next goes on. */
#define X(id, kind, label, label2, name, help)                                 \
	METRIC_##id,                                                           \
		METRIC_##id##_LAST = METRIC_##id - 1 +                         \
				     METRIC_SLOTS_##kind *                     \
					     METRIC_##label##_N *              \
					     METRIC_##label2##_N,
enum metric { METRICS(X) METRIC_N };
#undef X

/* One thread's counts. Zeroed before use. */
struct metrics {
	_Atomic uint64_t value[METRIC_N];
};

static inline uint64_t metrics_value(const struct metrics *m, size_t slot)
{
	return atomic_load_explicit(&m->value[slot], memory_order_relaxed);
}

/* The slot of a series with one label: metric_at(METRIC_NUDGES,
 * METRIC_NUDGE_LOST). */
static inline size_t metric_at(enum metric metric, size_t value)
{
	return (size_t)metric + value;
}

/* `slot`: METRIC_…, or metric_at() if it has a label. `n` may be negative for
 * gauges, and a thread may take off what another has added. */
static inline void metrics_add(struct metrics *m, size_t slot, int64_t n)
{
	atomic_store_explicit(&m->value[slot],
		metrics_value(m, slot) + (uint64_t)n, memory_order_relaxed);
}

static inline void metrics_set(struct metrics *m, size_t slot, int64_t value)
{
	atomic_store_explicit(
		&m->value[slot], (uint64_t)value, memory_order_relaxed);
}

/* Somebody was turned away. */
static inline void metrics_reject(struct metrics *m, enum metric_limit limit)
{
	metrics_add(m, metric_at(METRIC_REJECTED, limit), 1);
}

/* Into a histogram of the kind DURATION; `slot` is that of its series. A
 * negative time counts as none. */
void metrics_duration(struct metrics *m, size_t slot, int64_t ns);

/* Into a histogram of the kind AMOUNT. */
void metrics_amount(struct metrics *m, size_t slot, size_t amount);

/* A call is over. */
static inline void metrics_call(
	struct metrics *m, enum metric_method method, enum metric_code code)
{
	metrics_add(m,
		metric_at(METRIC_CALLS, (size_t)method * METRIC_CODE_N + code),
		1);
}

/* The slot of a method's latencies. */
static inline size_t metrics_call_time(enum metric_method method)
{
	return metric_at(
		METRIC_CALL_TIME, (size_t)method * METRIC_SLOTS_DURATION);
}

/* What all threads have counted, at about one moment. Zeroed before use. */
struct metrics_sum {
	uint64_t value[METRIC_N];
};

/* Adds a block. Any thread. */
void metrics_sum_add(struct metrics_sum *sum, const struct metrics *m);

/* The text is no longer than this: some 700 lines, of 130 bytes at most. */
#define METRICS_TEXT_MAX (128 * 1024)

/* Appends all of it as text, in Prometheus' format 0.0.4.
 * Returns: 0, ERR_NOMEM, ERR_LIMIT (`out` is smaller than METRICS_TEXT_MAX). */
MUSTCHECK int metrics_write(const struct metrics_sum *sum, struct buf *out);
