/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/metrics.h"

#include "lib/unit.h"

static struct metrics one, two;
static char text[METRICS_TEXT_MAX + 1];

static void set_up(void)
{
	memset(&one, 0, sizeof(one));
	memset(&two, 0, sizeof(two));
}

/* What is asked for now, as text. */
static void write_text(void)
{
	static struct metrics_sum sum;
	struct buf out;

	memset(&sum, 0, sizeof(sum));
	metrics_sum_add(&sum, &one);
	metrics_sum_add(&sum, &two);
	buf_init(&out, METRICS_TEXT_MAX);
	ck_assert_int_eq(metrics_write(&sum, &out), 0);
	memcpy(text, buf_slice(&out).ptr, buf_len(&out));
	text[buf_len(&out)] = '\0';
	buf_release(&out);
}

static void assert_line(const char *line)
{
	char whole[256];

	(void)snprintf(whole, sizeof(whole), "\n%s\n", line);
	ck_assert_msg(strstr(text, whole) != NULL, "no line: %s", line);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

TEST(metrics, series_have_names_of_their_own)
{
	static char *names[4096];
	char *line, *end;
	size_t n = 0, i;

	set_up();
	for (i = 0; i < METRIC_N; i++)
		metrics_set(&one, i, INT64_MAX);
	write_text();
	for (line = text; *line; line = end + 1) {
		end = strchr(line, '\n');
		*end = '\0';
		if (line[0] == '#')
			continue;
		ck_assert_uint_lt(n, ARRAY_LEN(names));
		*strrchr(line, ' ') = '\0';
		names[n++] = line;
	}
	/* A histogram has one line more than slots: its count. */
	ck_assert_uint_gt(n, METRIC_N);
	qsort(names, n, sizeof(names[0]), compare);
	for (i = 1; i < n; i++)
		ck_assert_str_ne(names[i - 1], names[i]);
}

TEST(metrics, threads_counts_add_up)
{
	set_up();
	metrics_call(&one, METRIC_METHOD_SET_RECORD, METRIC_CODE_OK);
	metrics_call(&two, METRIC_METHOD_SET_RECORD, METRIC_CODE_OK);
	metrics_call(&two, METRIC_METHOD_GET_LOCK, METRIC_CODE_UNAUTHENTICATED);
	metrics_reject(&one, METRIC_LIMIT_STORE_QUEUE);
	metrics_add(&one, METRIC_STREAMS, 3);
	metrics_add(&two, METRIC_STREAMS, -2);
	metrics_add(&two, METRIC_LISTENERS, -1);
	write_text();
	assert_line("# TYPE tallyd_calls_total counter");
	assert_line("tallyd_calls_total{method=\"sync.Syncer/SetRecord\","
		    "code=\"OK\"} 2");
	assert_line("tallyd_calls_total{method=\"sync.Syncer/GetLock\","
		    "code=\"UNAUTHENTICATED\"} 1");
	assert_line("tallyd_calls_total{method=\"other\",code=\"OK\"} 0");
	assert_line("tallyd_rejected_total{limit=\"store_queue\"} 1");
	assert_line("tallyd_streams 1");
	assert_line("tallyd_listeners -1");
}

TEST(metrics, a_bucket_holds_what_is_not_above_its_bound)
{
	size_t slot = metrics_call_time(METRIC_METHOD_GET_LOCK);

	set_up();
	metrics_duration(&one, slot, -5);
	metrics_duration(&one, slot, 10 * NS_PER_US);
	metrics_duration(&two, slot, 10 * NS_PER_US + 1);
	metrics_duration(&two, slot, 60 * NS_PER_S);
	metrics_amount(&one, METRIC_BATCH_SIZE, 3);
	metrics_amount(&one, METRIC_BATCH_SIZE, 513);
	write_text();
#define SERIES(suffix)                                                         \
	"tallyd_call_duration_seconds_" suffix "{method=\"sync.Syncer/GetLock\""
	assert_line(SERIES("bucket") ",le=\"0.00001\"} 2");
	assert_line(SERIES("bucket") ",le=\"0.000025\"} 3");
	assert_line(SERIES("bucket") ",le=\"10\"} 3");
	assert_line(SERIES("bucket") ",le=\"+Inf\"} 4");
	assert_line(SERIES("sum") "} 60.000020001");
	assert_line(SERIES("count") "} 4");
#undef SERIES
	assert_line("tallyd_store_batch_operations_bucket{le=\"2\"} 0");
	assert_line("tallyd_store_batch_operations_bucket{le=\"4\"} 1");
	assert_line("tallyd_store_batch_operations_bucket{le=\"+Inf\"} 2");
	assert_line("tallyd_store_batch_operations_sum 516");
	assert_line("tallyd_store_batch_operations_count 2");
}

/* Both sides of every bound. */
TEST(metrics, every_duration_finds_its_bucket)
{
	static const int64_t steps[] = {10, 25, 50};
	int64_t bound = 0, decade = NS_PER_US;
	size_t i;

	set_up();
	for (i = 0; i < METRIC_DURATION_BOUNDS; i++) {
		bound = steps[i % 3] * decade;
		if (i % 3 == 2)
			decade *= 10;
		metrics_duration(&one, METRIC_SIGNATURE_TIME, bound);
		ck_assert_uint_eq(
			metrics_value(&one, METRIC_SIGNATURE_TIME + i), 1);
		metrics_duration(&two, METRIC_SIGNATURE_TIME, bound + 1);
		ck_assert_uint_eq(
			metrics_value(&two, METRIC_SIGNATURE_TIME + i + 1), 1);
	}
	metrics_duration(&two, METRIC_SIGNATURE_TIME, INT64_MAX);
	ck_assert_uint_eq(metrics_value(&two, METRIC_SIGNATURE_TIME + i), 2);
	metrics_duration(&one, METRIC_CALL_TIME, INT64_MIN);
	ck_assert_uint_eq(metrics_value(&one, METRIC_CALL_TIME), 1);
}

TEST(metrics, what_is_not_there_has_no_time)
{
	set_up();
	write_text();
	ck_assert_ptr_null(strstr(text, "\ntallyd_crl_fetched_timestamp"));
	ck_assert_ptr_null(strstr(text, "\ntallyd_store_info"));
	metrics_set(&one, METRIC_CRL_STAMP, 1700000000 * NS_PER_S + 5);
	metrics_set(&one, metric_at(METRIC_STORE, METRIC_BACKEND_SQLITE), 1);
	write_text();
	assert_line(
		"tallyd_crl_fetched_timestamp_seconds 1700000000.000000005");
	assert_line("tallyd_store_info{backend=\"sqlite\"} 1");
	ck_assert_ptr_null(strstr(text, "postgresql\"} 0"));
}

TEST(metrics, a_text_without_room_or_memory_is_an_error)
{
	static struct metrics_sum sum;
	struct buf out;
	int r;

	buf_init(&out, 1000);
	ck_assert_int_eq(metrics_write(&sum, &out), ERR_LIMIT);
	buf_release(&out);
	buf_init(&out, METRICS_TEXT_MAX);
	(void)mem_fail_after(0);
	r = metrics_write(&sum, &out);
	ck_assert(mem_fail_after(-1));
	ck_assert_int_eq(r, ERR_NOMEM);
	buf_release(&out);
}
