/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "app/cli/command.h"
#include "app/cli/progress.h"
#include "app/cli/sequence.h"
#include "store/store_admin.h"

/* Lines are written when there are so many bytes of them. */
#define WRITE_BYTES ((size_t)128 * 1024)

struct export
{
	struct line_room room;
	struct sequence sequence;
	struct buf out;
	struct user_id user; /* of the records that come */
	struct progress progress;
};

static void export_release(struct export *e)
{
	line_room_release(&e->room);
	sequence_release(&e->sequence);
	buf_release(&e->out);
}

/* All that waits. */
static int write_out(struct export *e, struct errmsg *reterr)
{
	ssize_t n;

	while (buf_len(&e->out) > 0) {
		n = write(STDOUT_FILENO, buf_slice(&e->out).ptr,
			buf_len(&e->out));
		if (n < 0 && errno != EINTR)
			return errmsg_set(reterr, ERR_IO, "standard output: %s",
				strerror(errno));
		if (n > 0)
			buf_consume(&e->out, (size_t)n);
	}
	return 0;
}

static void report(struct export *e)
{
	if (progress_is_due(&e->progress))
		(void)fprintf(stderr,
			"tallyd export: %llu users, %llu records\n",
			(unsigned long long)e->sequence.totals.users,
			(unsigned long long)e->sequence.totals.records);
}

static int add(struct export *e, const struct line *line, struct errmsg *reterr)
{
	size_t before = buf_len(&e->out);
	int r = line_write(&e->room, line, &e->out, reterr);

	if (r == 0)
		r = sequence_take(&e->sequence, line,
			slice_from(buf_slice(&e->out), before), reterr);
	if (r == 0 && buf_len(&e->out) >= WRITE_BYTES)
		r = write_out(e, reterr);
	report(e);
	return r;
}

static int on_user(void *ctx, const struct user_id *user, uint64_t counter,
	struct errmsg *reterr)
{
	const struct line line = {
		.kind = LINE_USER, .user = *user, .counter = counter};
	struct export *e = ctx;

	e->user = *user;
	return add(e, &line, reterr);
}

static int on_record(
	void *ctx, const struct store_record *record, struct errmsg *reterr)
{
	struct export *e = ctx;
	const struct line line = {
		.kind = LINE_RECORD, .user = e->user, .record = *record};
	char hex[USER_ID_HEX + 1];
	struct errmsg why;
	int r = add(e, &line, &why);

	/* Sentences are about the line; which one it is has to be said. */
	if (r == ERR_INVALID) {
		user_id_hex(&e->user, hex);
		return errmsg_set(reterr, r, "user %s, revision %llu: %s", hex,
			(unsigned long long)record->revision, why.text);
	}
	return r < 0 ? errmsg_set(reterr, r, "%s", why.text) : 0;
}

/* What is not a file has nothing to flush. */
static int flush(struct errmsg *reterr)
{
	if (fsync(STDOUT_FILENO) == 0 || errno == EINVAL || errno == EROFS)
		return 0;
	return errmsg_set(
		reterr, ERR_IO, "standard output: %s", strerror(errno));
}

static int export_all(
	struct export *e, struct store_admin *admin, struct errmsg *reterr)
{
	const struct store_visitor visitor = {on_user, on_record, e};
	struct line line = {.kind = LINE_HEADER};
	int r = add(e, &line, reterr);

	if (r == 0)
		r = store_admin_visit(admin, &visitor, reterr);
	if (r == 0 && sequence_trailer(&e->sequence, &line) < 0)
		r = errmsg_set(reterr, ERR_NOMEM, "out of memory");
	if (r == 0)
		r = add(e, &line, reterr);
	if (r == 0)
		r = write_out(e, reterr);
	return r == 0 ? flush(reterr) : r;
}

int export_run(const struct command_call *call, struct errmsg *reterr)
{
	CLEANUP(store_admin_close)
	struct store_admin *admin = NULL;
	CLEANUP(export_release)
	struct export e = {0};
	int r;

	buf_init(&e.out, WRITE_BYTES + LINE_BYTES_MAX);
	progress_init(&e.progress);
	if (sequence_init(&e.sequence) < 0)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	r = store_admin_open(call->config, STORE_ADMIN_READ, &admin, reterr);
	if (r == 0)
		r = export_all(&e, admin, reterr);
	if (r == 0)
		(void)fprintf(stderr,
			"tallyd export: done, %llu users, %llu records, "
			"%llu bytes\n",
			(unsigned long long)e.sequence.totals.users,
			(unsigned long long)e.sequence.totals.records,
			(unsigned long long)e.sequence.totals.bytes);
	return r;
}
