/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite/sqlite_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/ports.h"
#include "store/sqlite/sqlite_port.h"
#include "store/sqlite/sqlite_readers.h"
#include "store/sqlite/sqlite_writer.h"

#define PATH_MAX_BYTES (CONFIG_TEXT_MAX + 32)

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

/* The directory and those above it, for its owner alone. */
static int make_directory(const char *path, struct errmsg *reterr)
{
	char part[CONFIG_TEXT_MAX];
	char *slash = part;

	(void)snprintf(part, sizeof(part), "%s", path);
	while (slash) {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return errmsg_set(reterr, ERR_SYS,
				"SQLITE_DIR_PATH cannot be made: %s",
				strerror(errno));
		if (slash)
			*slash = '/';
	}
	return 0;
}

/* Two processes on one file would each answer without the other's notices. The
 * kernel lets go of the lock when we die, however we die. */
static int lock_directory(
	struct sqlite_store *s, const char *dir, struct errmsg *reterr)
{
	char path[PATH_MAX_BYTES];

	(void)snprintf(path, sizeof(path), "%s/tallyd.lock", dir);
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return errmsg_set(reterr, ERR_SYS,
			"SQLITE_DIR_PATH cannot be written to: %s",
			strerror(errno));
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return errmsg_set(reterr, ERR_BUSY,
			"SQLITE_DIR_PATH is in use by another tallyd");
	return 0;
}

/* SQLite would make the file readable for everybody that the umask lets; its
 * WAL and shared memory take the mode over. Before SQLite has it open: closing
 * a descriptor lets go of a process's POSIX locks. */
static int make_file(const char *path, struct errmsg *reterr)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return errmsg_set(reterr, ERR_SYS,
			"SQLITE_DIR_PATH: db.sqlite cannot be opened: %s",
			strerror(errno));
	close(fd);
	return 0;
}

/* SQLite flushes its files, not the directory that names a new one. */
static int flush_directory(const char *dir, struct errmsg *reterr)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	r = fd >= 0 ? fsync(fd) : -1;
	if (fd >= 0)
		close(fd);
	return r < 0 ? errmsg_set(reterr, ERR_SYS,
			       "SQLITE_DIR_PATH cannot be flushed: %s",
			       strerror(errno))
		     : 0;
}

static int start(struct sqlite_store *s, const struct config *config,
	const struct clock *clock, struct errmsg *reterr)
{
	size_t n_readers = MIN(config->shards, (uint32_t)READERS_MAX);
	char path[PATH_MAX_BYTES];
	int r;

	r = make_directory(config->sqlite_dir, reterr);
	if (r == 0)
		r = lock_directory(s, config->sqlite_dir, reterr);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%s/db.sqlite", config->sqlite_dir);
	r = make_file(path, reterr);
	if (r == 0)
		r = sqlite_writer_start(
			path, &s->ports, clock, &s->writer, reterr);
	if (r == 0)
		r = flush_directory(config->sqlite_dir, reterr);
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
