/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite/sqlite_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A look at the lock takes microseconds, on a busy machine perhaps some turns
 * of the scheduler. */
#define LOCK_TRIES  10
#define LOCK_TRY_MS 10

void sqlite_dir_file(const char *dir, char ret_path[SQLITE_PATH_BYTES])
{
	(void)snprintf(ret_path, SQLITE_PATH_BYTES, "%s/db.sqlite", dir);
}

static void lock_path(const char *dir, char out[SQLITE_PATH_BYTES])
{
	(void)snprintf(out, SQLITE_PATH_BYTES, "%s/tallyd.lock", dir);
}

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

/* Who only looks whether it is taken has it for a moment. */
static bool lock_soon(int fd)
{
	int tries;

	for (tries = 0; tries < LOCK_TRIES; tries++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return true;
		(void)poll(NULL, 0, LOCK_TRY_MS);
	}
	return false;
}

/* Two processes on one file would each answer without the other's notices. The
 * kernel lets go of the lock when we die, however we die. */
static int lock_directory(
	const char *dir, int *ret_lock_fd, struct errmsg *reterr)
{
	char path[SQLITE_PATH_BYTES];
	int fd;

	lock_path(dir, path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return errmsg_set(reterr, ERR_SYS,
			"SQLITE_DIR_PATH cannot be written to: %s",
			strerror(errno));
	if (!lock_soon(fd)) {
		close(fd);
		return errmsg_set(reterr, ERR_BUSY,
			"SQLITE_DIR_PATH is in use by another tallyd");
	}
	*ret_lock_fd = fd;
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

int sqlite_dir_take(const char *dir, int *ret_lock_fd, struct errmsg *reterr)
{
	char path[SQLITE_PATH_BYTES];
	int r, fd = -1;

	r = make_directory(dir, reterr);
	if (r == 0)
		r = lock_directory(dir, &fd, reterr);
	if (r < 0)
		return r;
	sqlite_dir_file(dir, path);
	r = make_file(path, reterr);
	if (r < 0)
		close(fd);
	else
		*ret_lock_fd = fd;
	return r;
}

int sqlite_dir_flush(const char *dir, struct errmsg *reterr)
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

bool sqlite_dir_is_taken(const char *dir)
{
	char path[SQLITE_PATH_BYTES];
	bool taken;
	int fd;

	lock_path(dir, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	taken = flock(fd, LOCK_SH | LOCK_NB) < 0;
	close(fd);
	return taken;
}
