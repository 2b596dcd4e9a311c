/* SPDX-License-Identifier: Apache-2.0 */
/* limits — what the parts of a request cost by themselves, on this machine and
 * now: nothing built of them can be faster. One JSON object on standard
 * output. Usage:
 *
 *   limits recover              signatures to users, nothing else
 *   limits disk DIRECTORY       append 4 KiB, fdatasync
 *   limits store DIRECTORY|URL RECOVER CALLERS REQUESTS DATA_BYTES USERS FIRST
 *                               SetRecord of new ids through store.h, without
 *                               a network, by USERS users from number FIRST
 *                               on; RECOVER is 1 to recover each one's user */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bench/histogram.h"
#include "bench/process.h"
#include "bench/script.h"
#include "config/limits.h"
#include "store/store.h"

#define SIGNATURES  256 /* more than caches would remember */
#define RECOVER_NS  (NS_PER_S / 4)
#define DISK_NS	    (NS_PER_S / 2)
#define BLOCK_BYTES 4096
#define FILE_BYTES  (64 * 1024 * 1024) /* then from its start again */

static int64_t now_ns(void)
{
	return clock_mono_ns(&clock_system);
}

static double us(int64_t ns)
{
	return (double)ns / 1000;
}

static int make_script(struct options *o, struct script *ret_script)
{
	CLEANUP(signer_free)
	struct signer *signer = NULL;
	int r = signer_new(&signer);

	return r == 0 ? script_calls(o, signer, ret_script) : r;
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
		r = make_script(&o, &s);
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
		(void)printf("{\"n\": %llu, \"p50_us\": %.1f, \"p99_us\":"
			     " %.1f}\n",
			(unsigned long long)h->n, us(histogram_at(h, 0.5)),
			us(histogram_at(h, 0.99)));
	return r;
}

/* ---- store ---- */

struct writes {
	const struct script *script;
	struct store_port *port;	    /* ref */
	const struct signature_verifier *v; /* ref; NULL: users are known */
	struct user_id *users;		    /* own */
	size_t next, under_way, good;
	int failed; /* ERR_*; 0 for none */
};

struct slot {
	struct store_op op;
	struct writes *all;
	char id[RECORD_ID_MAX + 1], client_id[64];
};

static void write_next(struct slot *slot);

static void on_done(struct store_op *op)
{
	struct slot *slot = CONTAINER_OF(op, struct slot, op);

	slot->all->under_way--;
	if (op->outcome == STORE_OK)
		slot->all->good++;
	write_next(slot);
}

static void write_next(struct slot *slot)
{
	struct writes *w = slot->all;
	const struct request *request;
	const struct question *q;

	if (w->next >= w->script->n || w->failed)
		return;
	request = &w->script->requests[w->next++];
	q = &request->question;
	memset(&slot->op, 0, sizeof(slot->op));
	slot->op.kind = STORE_SET_RECORD;
	slot->op.done = on_done;
	slot->op.user = w->users[q->user];
	if (w->v)
		w->failed = signature_recover(w->v, request->signature.digest,
			request->signature.bytes, &slot->op.user);
	request_record_id(q, slot->id, sizeof(slot->id));
	request_client_id(q, slot->client_id, sizeof(slot->client_id));
	slot->op.set_record = (struct store_set_record){
		.record = {.id = slice_str(slot->id),
			.schema_version = slice_str("0.2.6"),
			.data = q->data},
		.client_id = slice_str(slot->client_id),
		.has_client_id = true,
	};
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

static int know_users(struct writes *w, uint32_t n)
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

/* Runs the writes with so many under way. */
static int write_all(struct writes *w, struct loop *loop, uint32_t callers)
{
	struct slot *slots = mem_zalloc(callers * sizeof(*slots));
	struct process_usage before = {0}, after = {0};
	int64_t began = now_ns(), took;
	uint32_t i;
	int r = slots ? 0 : ERR_NOMEM;

	if (r == 0)
		r = process_look(getpid(), &before);
	for (i = 0; r == 0 && i < callers; i++) {
		slots[i].all = w;
		write_next(&slots[i]);
	}
	while (r == 0 && w->under_way > 0)
		r = loop_turn(loop, -1);
	took = now_ns() - began;
	if (r == 0)
		r = process_look(getpid(), &after);
	mem_free(slots);
	if (r == 0 && w->good < w->script->n)
		r = ERR_IO;
	if (r == 0)
		(void)printf("{\"n\": %zu, \"rate\": %.0f, \"cpu_us\": %.2f,"
			     " \"written_bytes\": %.0f}\n",
			w->good, (double)w->good * 1e9 / (double)took,
			us(after.cpu_ns - before.cpu_ns) / (double)w->good,
			(double)(after.written_bytes - before.written_bytes) /
				(double)w->good);
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

static int store(const char *where, struct options *o, bool with_recovery)
{
	CLEANUP(signature_verifier_free)
	struct signature_verifier *v = NULL;
	CLEANUP(script_release)
	struct script s = {0};
	struct writes w = {.script = &s};
	struct loop *loop = NULL;
	struct store *st = NULL;
	int r = make_script(o, &s);

	if (r == 0 && with_recovery)
		r = signature_verifier_new(&v);
	if (r == 0)
		r = know_users(&w, o->first_user + o->users);
	if (r == 0)
		r = loop_new(&clock_system, &loop);
	w.v = v;
	if (r == 0)
		r = open_store(where, loop, &st, &w.port);
	if (r == 0)
		r = write_all(&w, loop, o->callers);
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
	} else if (!strcmp(what, "store") && argc == 9) {
		o.callers = number(argv[4]);
		o.requests = number(argv[5]);
		o.data_bytes = number(argv[6]);
		o.users = number(argv[7]);
		o.first_user = number(argv[8]);
		r = store(argv[2], &o, number(argv[3]) == 1);
	}
	if (r < 0)
		(void)fprintf(stderr, "limits: %s\n", err_text(r));
	return r == 0 ? 0 : 1;
}
