/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"

/* One line of the text: the longest name, labels, value and help fit. */
#define TEXT_LINE_MAX 256

/* ---- the table, as data ---- */

enum kind {
#define X(id, slots) KIND_##id,
	METRIC_KINDS(X)
#undef X
};

enum label {
#define X(id, name) LABEL_##id,
	METRIC_LABELS(X)
#undef X
};

#define VALUE(label, id, text) text,
#define X(id, name)                                                            \
	static const char *const values_##id[] = {METRIC_##id##_MAP(VALUE)};
METRIC_LABELS(X)
#undef X

static const struct {
	const char *name; /* "": no label, of one value */
	const char *const *values;
	size_t n;
} labels[] = {
#define X(id, text) {text, values_##id, ARRAY_LEN(values_##id)},
	METRIC_LABELS(X)
#undef X
};

static const struct family {
	const char *name;
	const char *help;
	size_t slot; /* of its first series */
	enum kind kind;
	enum label label;
	enum label label2;
} families[] = {
#define X(id, kind, label, label2, name, help)                                 \
	{name, help, METRIC_##id, KIND_##kind, LABEL_##label, LABEL_##label2},
	METRICS(X)
#undef X
};

/* ---- histograms ---- */

struct bound {
	int64_t max;
	const char *text;
};

/* From a call that is refused at once to one that a client has given up. */
static const struct bound durations[METRIC_DURATION_BOUNDS] = {
	{10 * NS_PER_US, "0.00001"},
	{25 * NS_PER_US, "0.000025"},
	{50 * NS_PER_US, "0.00005"},
	{100 * NS_PER_US, "0.0001"},
	{250 * NS_PER_US, "0.00025"},
	{500 * NS_PER_US, "0.0005"},
	{1 * NS_PER_MS, "0.001"},
	{2500 * NS_PER_US, "0.0025"},
	{5 * NS_PER_MS, "0.005"},
	{10 * NS_PER_MS, "0.01"},
	{25 * NS_PER_MS, "0.025"},
	{50 * NS_PER_MS, "0.05"},
	{100 * NS_PER_MS, "0.1"},
	{250 * NS_PER_MS, "0.25"},
	{500 * NS_PER_MS, "0.5"},
	{1 * NS_PER_S, "1"},
	{2500 * NS_PER_MS, "2.5"},
	{5 * NS_PER_S, "5"},
	{10 * NS_PER_S, "10"},
};

static const struct bound amounts[METRIC_AMOUNT_BOUNDS] = {
	{1, "1"},
	{2, "2"},
	{4, "4"},
	{8, "8"},
	{16, "16"},
	{32, "32"},
	{64, "64"},
	{128, "128"},
	{256, "256"},
	{512, "512"},
};

/* How many of these bounds are below 2 to the power of the place, so that a
 * time is compared with two of them, not with all. */
static const uint8_t durations_below[] = {
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	1,
	2,
	3,
	4,
	5,
	6,
	7,
	7,
	8,
	9,
	10,
	11,
	12,
	13,
	14,
	15,
	16,
	16,
	17,
	18,
	19,
};

/* A series' slots: a bucket for each of `n` bounds, one for what is above, the
 * sum. `i` is the first bound that may hold the value. */
static inline void observe(struct metrics *m, size_t slot, size_t i,
	const struct bound *bounds, size_t n, int64_t value)
{
	while (i < n && value > bounds[i].max)
		i++;
	metrics_add(m, slot + i, 1);
	metrics_add(m, slot + n + 1, value);
}

void metrics_duration(struct metrics *m, size_t slot, int64_t ns)
{
	int power = ns > 1 ? 63 - __builtin_clzll((uint64_t)ns) : 0;

	observe(m, slot,
		durations_below[MIN(
			power, (int)ARRAY_LEN(durations_below) - 1)],
		durations, ARRAY_LEN(durations), MAX(ns, 0));
}

void metrics_amount(struct metrics *m, size_t slot, size_t amount)
{
	observe(m, slot, 0, amounts, ARRAY_LEN(amounts), (int64_t)amount);
}

/* ---- the sum ---- */

void metrics_sum_add(struct metrics_sum *sum, const struct metrics *m)
{
	size_t i;

	for (i = 0; i < METRIC_N; i++)
		sum->value[i] += metrics_value(m, i);
}

/* ---- the text ----
 *
 * https://prometheus.io/docs/instrumenting/exposition_formats/. Values of
 * labels are ours and hold nothing to be escaped. */

static int put(struct buf *out, const char *fmt, ...) PRINTF_LIKE(2, 3);

static int put(struct buf *out, const char *fmt, ...)
{
	char line[TEXT_LINE_MAX];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(line))
		return ERR_LIMIT;
	return buf_append(out, line, (size_t)n);
}

static int put_ns(struct buf *out, uint64_t ns)
{
	return put(out, "%" PRIu64 ".%09" PRIu64 "\n", ns / NS_PER_S,
		ns % NS_PER_S);
}

/* One series: the family's labels and their values. */
struct series {
	const struct family *family;
	const uint64_t *value; /* of its first slot */
	size_t i, j;	       /* which values of label and label2 */
};

/* "name_suffix{label="value",le="bound"} ", without what there is none of. */
static int put_name(struct buf *out, const struct series *s, const char *suffix,
	const char *bound)
{
	const enum label of[2] = {s->family->label, s->family->label2};
	const size_t value[2] = {s->i, s->j};
	const char *before = "{";
	size_t k;
	int r = put(out, "%s%s", s->family->name, suffix);

	for (k = 0; k < 2 && r == 0; k++) {
		if (!labels[of[k]].name[0])
			continue;
		r = put(out, "%s%s=\"%s\"", before, labels[of[k]].name,
			labels[of[k]].values[value[k]]);
		before = ",";
	}
	if (r == 0 && bound) {
		r = put(out, "%sle=\"%s\"", before, bound);
		before = ",";
	}
	return r == 0 ? put(out, before[0] == ',' ? "} " : " ") : r;
}

static int put_count(struct buf *out, const struct series *s,
	const char *suffix, const char *bound, uint64_t count)
{
	int r = put_name(out, s, suffix, bound);

	return r == 0 ? put(out, "%" PRIu64 "\n", count) : r;
}

static int put_histogram(struct buf *out, const struct series *s,
	const struct bound *bounds, size_t n)
{
	uint64_t sum = s->value[n + 1], count = 0;
	size_t i;
	int r = 0;

	for (i = 0; i <= n && r == 0; i++) {
		count += s->value[i];
		r = put_count(out, s, "_bucket",
			i < n ? bounds[i].text : "+Inf", count);
	}
	if (r == 0)
		r = put_name(out, s, "_sum", NULL);
	if (r == 0 && s->family->kind == KIND_DURATION)
		r = put_ns(out, sum);
	else if (r == 0)
		r = put(out, "%" PRIu64 "\n", sum);
	return r == 0 ? put_count(out, s, "_count", NULL, count) : r;
}

static int put_series(struct buf *out, const struct series *s)
{
	enum kind kind = s->family->kind;
	int r;

	if (kind == KIND_DURATION)
		return put_histogram(out, s, durations, ARRAY_LEN(durations));
	if (kind == KIND_AMOUNT)
		return put_histogram(out, s, amounts, ARRAY_LEN(amounts));
	if ((kind == KIND_INFO || kind == KIND_STAMP_NS) && *s->value == 0)
		return 0;
	r = put_name(out, s, "", NULL);
	if (r < 0)
		return r;
	if (kind == KIND_COUNTER_NS || kind == KIND_GAUGE_NS ||
		kind == KIND_STAMP_NS)
		return put_ns(out, *s->value);
	if (kind == KIND_COUNTER)
		return put(out, "%" PRIu64 "\n", *s->value);
	return put(out, "%" PRId64 "\n", (int64_t)*s->value);
}

static const char *type_of(enum kind kind)
{
	switch (kind) {
	case KIND_COUNTER:
	case KIND_COUNTER_NS: return "counter";
	case KIND_DURATION:
	case KIND_AMOUNT: return "histogram";
	case KIND_GAUGE:
	case KIND_GAUGE_NS:
	case KIND_INFO:
	case KIND_STAMP_NS: break;
	}
	return "gauge";
}

static size_t slots_of(enum kind kind)
{
	switch (kind) {
	case KIND_DURATION: return METRIC_SLOTS_DURATION;
	case KIND_AMOUNT: return METRIC_SLOTS_AMOUNT;
	default: return 1;
	}
}

static int put_family(
	struct buf *out, const struct metrics_sum *sum, const struct family *f)
{
	struct series s = {.family = f, .value = sum->value + f->slot};
	int r = put(out, "# HELP %s %s\n", f->name, f->help);

	if (r == 0)
		r = put(out, "# TYPE %s %s\n", f->name, type_of(f->kind));
	for (s.i = 0; s.i < labels[f->label].n; s.i++) {
		for (s.j = 0; s.j < labels[f->label2].n && r == 0; s.j++) {
			r = put_series(out, &s);
			s.value += slots_of(f->kind);
		}
	}
	return r;
}

int metrics_write(const struct metrics_sum *sum, struct buf *out)
{
	size_t i;
	int r = 0;

	for (i = 0; i < ARRAY_LEN(families) && r == 0; i++)
		r = put_family(out, sum, &families[i]);
	return r;
}
