/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite/sqlite_store.h"

#include <sqlite3.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/ports.h"
#include "store/sqlite/sqlite_dir.h"
#include "store/sqlite/sqlite_port.h"
#include "store/sqlite/sqlite_readers.h"
#include "store/sqlite/sqlite_writer.h"

/* More threads than cores only wait for each other's cache. */
#define READERS_MAX 8

struct sqlite_store {
	struct store store;
	struct ports ports;
	struct sqlite_writer *writer;	/* own */
	struct sqlite_readers *readers; /* own */
	int lock_fd;			/* own; held while we live */
};

static struct sqlite_store *sqlite_store_of(struct store *store)
{
	return CONTAINER_OF(store, struct sqlite_store, store);
}

static int sqlite_attach(struct store *store, struct loop *loop,
	const struct store_listener *listener, struct store_port **ret_port)
{
	struct sqlite_store *s = sqlite_store_of(store);

	return sqlite_port_attach(&s->ports, store, s->writer, s->readers, loop,
		listener, ret_port);
}

static void sqlite_detach(struct store_port *port)
{
	ports_detach(&sqlite_store_of(port->store)->ports, port);
}

static void sqlite_nudge(struct store_port *port, const struct user_id *user)
{
	struct sqlite_store *s = sqlite_store_of(port->store);
	struct notice_batch *batch = notice_batch_new(1, 0);

	if (!batch) {
		ports_lost(&s->ports);
		return;
	}
	notice_batch_add(batch, user, 0, NULL);
	ports_notify(&s->ports, batch);
}

static void sqlite_sweep_locks(struct store *store)
{
	sqlite_writer_sweep(sqlite_store_of(store)->writer);
}

static bool sqlite_usable(const struct store *store)
{
	const struct sqlite_store *s =
		CONTAINER_OF(store, const struct sqlite_store, store);

	return sqlite_writer_usable(s->writer);
}

static void sqlite_metrics(const struct store *store, struct metrics_sum *sum)
{
	const struct sqlite_store *s =
		CONTAINER_OF(store, const struct sqlite_store, store);

	sqlite_writer_metrics(s->writer, sum);
	sum->value[metric_at(METRIC_STORE_QUEUED, METRIC_QUEUE_READS)] +=
		sqlite_readers_queued(s->readers);
}

static void sqlite_close(struct store *store)
{
	struct sqlite_store *s = sqlite_store_of(store);
	size_t i;

	for (i = 0; i < s->ports.n; i++)
		sqlite_port_close(s->ports.port[i]);
	/* Readers first: the writer's last checkpoint then has the file to
	 * itself. */
	sqlite_readers_stop(&s->readers);
	sqlite_writer_stop(&s->writer);
	ports_release(&s->ports);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	mem_free(s);
}

static const struct store_backend sqlite_backend = {
	.name = "sqlite",
	.metric = METRIC_BACKEND_SQLITE,
	.attach = sqlite_attach,
	.detach = sqlite_detach,
	.submit = sqlite_port_submit,
	.nudge = sqlite_nudge,
	.sweep_locks = sqlite_sweep_locks,
	.usable = sqlite_usable,
	.metrics = sqlite_metrics,
	.close = sqlite_close,
};

static int start(struct sqlite_store *s, const struct config *config,
	const struct clock *clock, struct errmsg *reterr)
{
	size_t n_readers = MIN(config->shards, (uint32_t)READERS_MAX);
	char path[SQLITE_PATH_BYTES];
	int r;

	r = sqlite_dir_take(config->sqlite_dir, &s->lock_fd, reterr);
	if (r < 0)
		return r;
	sqlite_dir_file(config->sqlite_dir, path);
	r = sqlite_writer_start(path, &s->ports, clock, &s->writer, reterr);
	if (r == 0)
		r = sqlite_dir_flush(config->sqlite_dir, reterr);
	if (r == 0)
		r = sqlite_readers_start(
			path, n_readers, s->writer, clock, &s->readers, reterr);
	return r;
}

int sqlite_store_open(const struct config *config, const struct clock *clock,
	struct store **ret_store, struct errmsg *reterr)
{
	struct sqlite_store *s = mem_zalloc(sizeof(*s));
	int r;

	if (!s)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	/* Counting its memory takes a lock that all threads share. Refused once
	 * SQLite runs, as when a second store is opened. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	s->store.backend = &sqlite_backend;
	s->lock_fd = -1;
	ports_init(&s->ports);
	r = start(s, config, clock, reterr);
	if (r < 0) {
		sqlite_close(&s->store);
		return r;
	}
	sqlite_writer_sweep(s->writer);
	*ret_store = &s->store;
	return 0;
}
