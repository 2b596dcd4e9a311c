/* SPDX-License-Identifier: Apache-2.0 */
/* limits — what the parts of a request cost by themselves, on this machine and
 * now: nothing built of them can be faster. One JSON object on standard
 * output. Usage:
 *
 *   limits recover              signatures to users, nothing else
 *   limits disk DIRECTORY       append 4 KiB, fdatasync
 *   limits fanout LISTENERS     tell so many sockets, read what they were told
 *   limits store DIRECTORY|URL RECOVER CALLERS REQUESTS DATA_BYTES USERS FIRST
 *          RECORDS              SetRecord of new ids through store.h, without
 *                               a network, by USERS users from number FIRST
 *                               on; RECOVER is 1 to recover each one's user.
 *                               If RECORDS is not 0 each has so many, and they
 *                               are listed instead */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "bench/fanout_floor.h"
#include "bench/histogram.h"
#include "bench/process.h"
#include "bench/script.h"
#include "config/limits.h"
#include "store/store.h"

#define SIGNATURES  256 /* more than caches would remember */
#define RECOVER_NS  (NS_PER_S / 4)
#define DISK_NS	    (NS_PER_S / 2)
#define BLOCK_BYTES 4096
#define ROUNDS	    100
#define PAGE_BYTES  (1024 * 1024)
#define FILE_BYTES  (64 * 1024 * 1024) /* then from its start again */

static int64_t now_ns(void)
{
	return clock_mono_ns(&clock_system);
}

static double us(int64_t ns)
{
	return (double)ns / 1000;
}

static void print_histogram(const struct histogram *h)
{
	(void)printf("{\"n\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
		(unsigned long long)h->n, us(histogram_at(h, 0.5)),
		us(histogram_at(h, 0.99)));
}

typedef int script_fn(const struct options *o, struct signer *signer,
	struct script *ret_script);

static int make_script(
	const struct options *o, script_fn *make, struct script *ret_script)
{
	CLEANUP(signer_free)
	struct signer *signer = NULL;
	int r = signer_new(&signer);

	return r == 0 ? make(o, signer, ret_script) : r;
}

/* ---- recover ---- */

static int recover(void)
{
	CLEANUP(signature_verifier_free)
	struct signature_verifier *v = NULL;
	CLEANUP(script_release)
	struct script s = {0};
	struct options o = {.scenario = SCENARIO_GET_LOCK,
		.users = SIGNATURES,
		.requests = SIGNATURES};
	struct process_usage before = {0}, after = {0};
	const struct signature *one;
	struct user_id user;
	uint64_t n = 0;
	int64_t began;
	int r = signature_verifier_new(&v);

	if (r == 0)
		r = make_script(&o, script_calls, &s);
	if (r == 0)
		r = process_look(getpid(), &before);
	began = now_ns();
	for (; r == 0 && now_ns() < began + RECOVER_NS; n++) {
		one = &s.requests[n % SIGNATURES].signature;
		r = signature_recover(v, one->digest, one->bytes, &user);
	}
	if (r == 0)
		r = process_look(getpid(), &after);
	if (r == 0)
		(void)printf("{\"n\": %llu, \"cpu_us\": %.2f}\n",
			(unsigned long long)n,
			us(after.cpu_ns - before.cpu_ns) / (double)n);
	return r;
}

/* ---- disk ---- */

static void close_fd(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static int disk(const char *directory)
{
	static const uint8_t block[BLOCK_BYTES] = {1};
	CLEANUP(mem_free_ptr)
	struct histogram *h = mem_zalloc(sizeof(*h));
	CLEANUP(close_fd)
	int fd = -1;
	char path[4096];
	int64_t began = now_ns(), at;
	off_t offset = 0;
	int r = h ? 0 : ERR_NOMEM;

	(void)snprintf(path, sizeof(path), "%s/limits", directory);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return ERR_SYS;
	while (r == 0 && now_ns() < began + DISK_NS) {
		at = now_ns();
		if (pwrite(fd, block, sizeof(block), offset) !=
				(ssize_t)sizeof(block) ||
			fdatasync(fd) < 0)
			r = ERR_IO;
		histogram_add(h, now_ns() - at);
		offset = (offset + BLOCK_BYTES) % FILE_BYTES;
	}
	(void)unlink(path); /* in a directory of the caller's */
	if (r == 0)
		print_histogram(h);
	return r;
}

/* ---- fanout ---- */

static int fanout(size_t listeners)
{
	CLEANUP(mem_free_ptr)
	struct histogram *h = mem_zalloc(sizeof(*h));
	int r = h ? fanout_floor(listeners, ROUNDS, h) : ERR_NOMEM;

	if (r == 0)
		print_histogram(h);
	return r;
}

/* ---- store ---- */

/* Calls of a script, made in process. */
struct work {
	const struct script *script;	    /* ref */
	struct store_port *port;	    /* ref */
	const struct signature_verifier *v; /* ref; NULL: users are known */
	struct user_id *users;		    /* own */
	size_t next, under_way, good;
	int failed; /* ERR_*; 0 for none */
};

struct slot {
	struct store_op op;
	struct work *all;
	uint32_t n_changes; /* that a list is to find */
	char id[RECORD_ID_MAX + 1], client_id[64];
};

static void ask_next(struct slot *slot);

static bool is_good(const struct slot *slot)
{
	if (slot->op.outcome != STORE_OK)
		return false;
	return slot->op.kind == STORE_SET_RECORD ||
	       slot->op.list_changes.n_records == slot->n_changes;
}

static void on_done(struct store_op *op)
{
	struct slot *slot = CONTAINER_OF(op, struct slot, op);

	slot->all->under_way--;
	if (is_good(slot))
		slot->all->good++;
	if (op->kind == STORE_LIST_CHANGES)
		buf_release(&op->list_changes.page);
	ask_next(slot);
}

static void prepare_set(struct slot *slot, const struct question *q)
{
	slot->op.kind = STORE_SET_RECORD;
	request_record_id(q, slot->id, sizeof(slot->id));
	request_client_id(q, slot->client_id, sizeof(slot->client_id));
	slot->op.set_record = (struct store_set_record){
		.record = {.id = slice_str(slot->id),
			.schema_version = slice_str("0.2.6"),
			.data = q->data},
		.client_id = slice_str(slot->client_id),
		.has_client_id = true,
	};
}

/* The least that a page can do: to have the bytes. */
static int copy_record(struct buf *page, const struct store_record *record)
{
	int r = buf_append(page, record->id.ptr, record->id.len);

	return r < 0 ? r : buf_append(page, record->data.ptr, record->data.len);
}

static void prepare_list(struct slot *slot, const struct question *q)
{
	slot->op.kind = STORE_LIST_CHANGES;
	slot->n_changes = q->n_changes;
	slot->op.list_changes = (struct store_list_changes){
		.since = q->since_revision,
		.max_records = UINT32_MAX,
		.encode = copy_record,
		.max_bytes = PAGE_BYTES,
	};
	buf_init(&slot->op.list_changes.page, PAGE_BYTES);
}

static void ask_next(struct slot *slot)
{
	struct work *w = slot->all;
	const struct request *request;
	const struct question *q;

	if (w->next >= w->script->n || w->failed)
		return;
	request = &w->script->requests[w->next++];
	q = &request->question;
	memset(&slot->op, 0, sizeof(slot->op));
	slot->op.done = on_done;
	slot->op.user = w->users[q->user];
	if (w->v)
		w->failed = signature_recover(w->v, request->signature.digest,
			request->signature.bytes, &slot->op.user);
	if (q->method == METHOD_LIST_CHANGES)
		prepare_list(slot, q);
	else
		prepare_set(slot, q);
	w->under_way++;
	store_submit(w->port, &slot->op);
}

static void on_notice(
	void *ctx UNUSED, const struct store_notice *notice UNUSED)
{
}

static void on_lost(void *ctx UNUSED)
{
}

static int know_users(struct work *w, uint32_t n)
{
	CLEANUP(signer_free)
	struct signer *signer = NULL;
	uint32_t i;
	int r = signer_new(&signer);

	w->users = mem_zalloc(n * sizeof(*w->users));
	if (r == 0 && !w->users)
		return ERR_NOMEM;
	for (i = 0; r == 0 && i < n; i++)
		r = signer_user_id(signer, i, &w->users[i]);
	return r;
}

/* How many writes a transaction had, on average: what the histogram's buckets
 * count, and its sum behind them. */
static double mean_batch(const struct store *st, struct loop *loop)
{
	struct metrics_sum *sum = mem_zalloc(sizeof(*sum));
	const uint64_t *sizes;
	uint64_t n = 0;
	double mean;
	size_t i;

	if (!sum)
		return 0;
	store_metrics(st, sum);
	metrics_sum_add(sum, loop_metrics(loop));
	sizes = &sum->value[METRIC_BATCH_SIZE];
	for (i = 0; i <= METRIC_AMOUNT_BOUNDS; i++)
		n += sizes[i];
	mean = n > 0 ? (double)sizes[i] / (double)n : 0;
	mem_free(sum);
	return mean;
}

/* Makes the script's calls with so many under way. */
static int run(struct work *w, const struct script *script, struct loop *loop,
	uint32_t callers)
{
	struct slot *slots = mem_zalloc(callers * sizeof(*slots));
	uint32_t i;
	int r = slots ? 0 : ERR_NOMEM;

	w->script = script;
	w->next = w->good = 0;
	for (i = 0; r == 0 && i < callers; i++) {
		slots[i].all = w;
		ask_next(&slots[i]);
	}
	while (r == 0 && w->under_way > 0)
		r = loop_turn(loop, -1);
	mem_free(slots);
	return r == 0 && w->good < script->n ? ERR_IO : r;
}

static int measure(struct work *w, const struct script *script,
	const struct store *st, struct loop *loop, uint32_t callers)
{
	struct process_usage before = {0}, after = {0};
	int64_t began = now_ns(), took;
	int r = process_look(getpid(), &before);

	if (r == 0)
		r = run(w, script, loop, callers);
	took = now_ns() - began;
	if (r == 0)
		r = process_look(getpid(), &after);
	if (r == 0)
		(void)printf("{\"n\": %zu, \"rate\": %.0f, \"cpu_us\": %.2f,"
			     " \"written_bytes\": %.0f, \"batch\": %.1f}\n",
			w->good, (double)w->good * 1e9 / (double)took,
			us(after.cpu_ns - before.cpu_ns) / (double)w->good,
			(double)(after.written_bytes - before.written_bytes) /
				(double)w->good,
			mean_batch(st, loop));
	return r;
}

static int open_store(const char *where, struct loop *loop,
	struct store **ret_store, struct store_port **ret_port)
{
	static struct config config = {.shards = 1, .database_pool_size = 10};
	const struct store_listener listener = {
		.on_notice = on_notice, .on_lost = on_lost};
	bool postgres = strstr(where, "://");
	struct errmsg why = {""};
	int r;

	(void)snprintf(postgres ? config.database_url : config.sqlite_dir,
		CONFIG_TEXT_MAX, "%s", where);
	log_set_level(LOG_WARN);
	r = store_open(&config, &clock_system, ret_store, &why);
	if (r < 0) {
		(void)fprintf(stderr, "limits: %s\n", why.text);
		return r;
	}
	return store_attach(*ret_store, loop, &listener, ret_port);
}

static int store(const char *where, const struct options *o, bool with_recovery)
{
	CLEANUP(signature_verifier_free)
	struct signature_verifier *v = NULL;
	CLEANUP(script_release)
	struct script before = {0};
	CLEANUP(script_release)
	struct script calls = {0};
	struct work w = {0};
	struct loop *loop = NULL;
	struct store *st = NULL;
	int r = make_script(o, script_before, &before);

	if (r == 0)
		r = make_script(o, script_calls, &calls);
	if (r == 0)
		r = know_users(&w, o->first_user + o->users);
	if (r == 0)
		r = loop_new(&clock_system, &loop);
	if (r == 0)
		r = open_store(where, loop, &st, &w.port);
	if (r == 0)
		r = run(&w, &before, loop, o->callers);
	if (r == 0 && with_recovery)
		r = signature_verifier_new(&v);
	w.v = v;
	if (r == 0)
		r = measure(&w, &calls, st, loop, o->callers);
	if (w.port)
		store_detach(&w.port);
	if (st)
		store_close(&st);
	if (r == 0)
		r = loop_turn(loop, 0);
	loop_free(&loop);
	mem_free(w.users);
	return r;
}

static uint32_t number(const char *text)
{
	return (uint32_t)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
	struct options o = {.scenario = SCENARIO_SET_NEW};
	const char *what = argc > 1 ? argv[1] : "";
	int r = ERR_INVALID;

	if (!strcmp(what, "recover")) {
		r = recover();
	} else if (!strcmp(what, "disk") && argc == 3) {
		r = disk(argv[2]);
	} else if (!strcmp(what, "fanout") && argc == 3) {
		r = fanout(number(argv[2]));
	} else if (!strcmp(what, "store") && argc == 10) {
		o.callers = number(argv[4]);
		o.requests = number(argv[5]);
		o.data_bytes = number(argv[6]);
		o.users = number(argv[7]);
		o.first_user = number(argv[8]);
		o.records = o.find = number(argv[9]);
		if (o.records > 0)
			o.scenario = SCENARIO_LIST;
		r = store(argv[2], &o, number(argv[3]) == 1);
	}
	if (r < 0)
		(void)fprintf(stderr, "limits: %s\n", err_text(r));
	return r == 0 ? 0 : 1;
}
