/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli/command.h"
#include "app/cli/progress.h"
#include "store/store_admin.h"

#define PATH_BYTES CONFIG_TEXT_MAX

/* The new file, until it has its name. */
struct part {
	char path[PATH_BYTES + 16]; /* ""; or it is to be removed */
	const char *target;	    /* ref */
	struct progress progress;
};

static void part_remove(struct part *p)
{
	if (p->path[0])
		(void)unlink(p->path); /* half a copy is of no use */
	p->path[0] = '\0';
}

static int fault(struct errmsg *reterr)
{
	return errmsg_set(
		reterr, ERR_SYS, "FILE cannot be written: %s", strerror(errno));
}

static void directory_of(const char *path, char out[PATH_BYTES])
{
	char *slash;

	(void)snprintf(out, PATH_BYTES, "%s", path);
	slash = strrchr(out, '/');
	if (slash)
		slash[slash == out ? 1 : 0] = '\0';
	else
		(void)snprintf(out, PATH_BYTES, ".");
}

/* A server would write on in the file that was replaced, which nobody could
 * open again: no option allows that. */
static bool is_of_store(const char *path, const char *store_dir)
{
	const char *slash = strrchr(path, '/'),
		   *name = slash ? slash + 1 : path;
	char dir[PATH_BYTES];
	struct stat theirs, ours;

	if (strncmp(name, "db.sqlite", strlen("db.sqlite")) != 0 &&
		strcmp(name, "tallyd.lock") != 0)
		return false;
	directory_of(path, dir);
	return stat(dir, &theirs) == 0 && stat(store_dir, &ours) == 0 &&
	       theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

/* Those that would end us; not what was ignored from the start, as by nohup. */
static sigset_t ending_signals(void)
{
	static const int numbers[] = {SIGHUP, SIGINT, SIGTERM};
	struct sigaction action;
	sigset_t set;
	size_t i;

	(void)sigemptyset(&set); /* none of these can fail */
	for (i = 0; i < ARRAY_LEN(numbers); i++) {
		if (sigaction(numbers[i], NULL, &action) == 0 &&
			action.sa_handler != SIG_IGN)
			(void)sigaddset(&set, numbers[i]);
	}
	return set;
}

/* From now on signals wait for end_if_signalled(). */
static void hold_signals(void)
{
	sigset_t set = ending_signals();

	(void)sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Half a copy must not stay when somebody interrupts us. */
static void end_if_signalled(struct part *p)
{
	sigset_t set = ending_signals(), pending;

	(void)sigpending(&pending);
	if (sigandset(&set, &set, &pending) < 0 || sigisemptyset(&set))
		return;
	part_remove(p);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL); /* which ends us */
}

/* Beside the target, so that the rename stays on one file system; readable by
 * its owner alone. */
static int part_make(struct part *p, const char *target, struct errmsg *reterr)
{
	int fd;

	p->target = target;
	(void)snprintf(p->path, sizeof(p->path), "%s.XXXXXX", target);
	fd = mkostemp(p->path, O_CLOEXEC);
	if (fd < 0) {
		p->path[0] = '\0';
		return fault(reterr);
	}
	close(fd);
	return 0;
}

static int flush_directory_of(const char *path, struct errmsg *reterr)
{
	char dir[PATH_BYTES];
	int fd, r;

	directory_of(path, dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd >= 0 ? fsync(fd) : -1;
	if (fd >= 0)
		close(fd);
	return r < 0 ? fault(reterr) : 0;
}

/* Gives the file its name, in one step. Where nothing may be replaced, by a
 * link, since a rename would replace what came there meanwhile. */
static int part_finish(struct part *p, bool force, struct errmsg *reterr)
{
	if (force && rename(p->path, p->target) < 0)
		return fault(reterr);
	if (!force && link(p->path, p->target) < 0)
		return fault(reterr);
	if (force)
		p->path[0] = '\0';
	part_remove(p);
	return flush_directory_of(p->target, reterr);
}

static void on_progress(void *ctx, uint64_t done, uint64_t all)
{
	struct part *p = ctx;

	end_if_signalled(p);
	if (progress_is_due(&p->progress))
		(void)fprintf(stderr, "tallyd backup: %llu of %llu pages\n",
			(unsigned long long)done, (unsigned long long)all);
}

/* Whether the copy may have the name that it is to have. */
static int check_target(const struct command_call *call, struct errmsg *reterr)
{
	const char *target = call->operand;

	if (strlen(target) >= PATH_BYTES)
		return errmsg_set(reterr, ERR_INVALID, "FILE is too long");
	if (is_of_store(target, call->config->sqlite_dir))
		return errmsg_set(reterr, ERR_INVALID,
			"FILE is one of the database's own");
	if (!(call->options & OPTION_FORCE) && access(target, F_OK) == 0)
		return errmsg_set(reterr, ERR_INVALID,
			"FILE is there already; --force replaces it");
	return 0;
}

int backup_run(const struct command_call *call, struct errmsg *reterr)
{
	bool force = call->options & OPTION_FORCE;
	CLEANUP(store_admin_close)
	struct store_admin *admin = NULL;
	CLEANUP(part_remove)
	struct part part = {.path = ""};
	int r;

	if (call->config->database_url[0])
		return errmsg_set(reterr, ERR_UNSUPPORTED,
			"the database is PostgreSQL's: back it up with "
			"pg_dump -Fc");
	r = check_target(call, reterr);
	if (r == 0)
		r = store_admin_open(
			call->config, STORE_ADMIN_READ, &admin, reterr);
	hold_signals();
	if (r == 0)
		r = part_make(&part, call->operand, reterr);
	progress_init(&part.progress);
	if (r == 0)
		r = store_admin_copy(
			admin, part.path, on_progress, &part, reterr);
	if (r == 0)
		r = part_finish(&part, force, reterr);
	return r;
}
