/* SPDX-License-Identifier: Apache-2.0 */
/* load — drives a server of sync.Syncer through one scenario and prints what
 * came of it as one JSON object. See docs/PERFORMANCE.md. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "bench/options.h"
#include "bench/run.h"
#include "bench/signer.h"

static double us(int64_t ns)
{
	return (double)ns / 1000;
}

static void print_histogram(const char *name, const struct histogram *h)
{
	if (h->n == 0)
		return;
	(void)printf(",\n \"%s\": {\"n\": %llu, \"p50\": %.1f, \"p90\": %.1f,"
		     " \"p99\": %.1f, \"p99.9\": %.1f, \"max\": %.1f}",
		name, (unsigned long long)h->n, us(histogram_at(h, 0.5)),
		us(histogram_at(h, 0.9)), us(histogram_at(h, 0.99)),
		us(histogram_at(h, 0.999)), us(h->max_ns));
}

static void print_usage(const struct figures *f)
{
	(void)printf(",\n \"server\": {\"cpu_us\": %.1f, \"written_bytes\":"
		     " %lld, \"rss_idle\": %lld, \"rss_before\": %lld,"
		     " \"rss\": %lld, \"peak\": %lld}",
		us(f->after.cpu_ns - f->before.cpu_ns),
		(long long)(f->after.written_bytes - f->before.written_bytes),
		(long long)f->idle.rss_bytes, (long long)f->before.rss_bytes,
		(long long)f->after.rss_bytes, (long long)f->after.peak_bytes);
}

static void print(const struct figures *f)
{
	(void)printf("{\"good\": %llu, \"bad\": %llu, \"took_us\": %.1f,"
		     " \"own_cpu_us\": %.1f, \"connections\": %u",
		(unsigned long long)f->good, (unsigned long long)f->bad,
		us(f->took_ns), us(f->own_cpu_ns), f->connections);
	print_histogram("latency_us", &f->latency);
	print_histogram("wakes_us", &f->wakes);
	print_histogram("last_us", &f->last);
	if (f->looked)
		print_usage(f);
	(void)printf("}\n");
}

/* For who fills a database with their records. */
static int print_users(const struct options *o, struct signer *signer)
{
	char hex[USER_ID_HEX + 1];
	struct user_id id;
	uint32_t i;
	int r = 0;

	for (i = 0; r == 0 && i < o->users; i++) {
		r = signer_user_id(signer, o->first_user + i, &id);
		if (r < 0)
			continue;
		user_id_hex(&id, hex);
		(void)printf("%s\n", hex);
	}
	return r;
}

/* A file for each connection, as many as we may. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit); /* then fewer */
	}
}

static int run_and_print(
	const struct options *o, struct signer *signer, struct errmsg *reterr)
{
	CLEANUP(mem_free_ptr)
	struct figures *figures = mem_zalloc(sizeof(*figures));
	int r;

	if (!figures)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	r = run(o, signer, figures, reterr);
	if (r == 0 && o->scenario != SCENARIO_EACH) /* which did so itself */
		print(figures);
	return r;
}

int main(int argc, char **argv)
{
	CLEANUP(signer_free)
	struct signer *signer = NULL;
	struct errmsg why = {""};
	struct options o;
	int r = options_read(argc, argv, &o, &why);

	if (r == 0 && signer_new(&signer) < 0)
		r = errmsg_set(&why, ERR_NOMEM, "out of memory");
	raise_limit();
	if (r == 0 && o.scenario == SCENARIO_USERS)
		r = print_users(&o, signer);
	else if (r == 0)
		r = run_and_print(&o, signer, &why);
	if (r < 0)
		(void)fprintf(stderr, "load: %s\n", why.text);
	return r < 0 ? 1 : 0;
}
