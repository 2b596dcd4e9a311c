/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli/batch.h"
#include "app/cli/command.h"
#include "app/cli/progress.h"
#include "app/cli/sequence.h"
#include "store/store_admin.h"

#define READ_BYTES ((size_t)64 * 1024)

/* One reading of the input. */
struct import {
	struct line_room room;
	struct sequence sequence;
	struct batch batch;
	struct buf in;
	size_t looked; /* bytes of it that have no newline */
	uint64_t n_lines;
	struct progress progress;
};

static void import_release(struct import *m)
{
	line_room_release(&m->room);
	sequence_release(&m->sequence);
	batch_release(&m->batch);
	buf_release(&m->in);
}

static void report(struct import *m, const char *what)
{
	(void)fprintf(stderr, "tallyd import: %s%llu users, %llu records\n",
		what, (unsigned long long)m->sequence.totals.users,
		(unsigned long long)m->sequence.totals.records);
}

/* ---- lines ---- */

static int take_line(struct import *m, size_t len, struct errmsg *reterr)
{
	struct slice text = slice_of(buf_slice(&m->in).ptr, len);
	struct errmsg why = {.text = ""};
	struct line line;
	int r;

	m->n_lines++;
	r = line_read(&m->room, slice_of(text.ptr, len - 1), &line, &why);
	if (r == 0)
		r = sequence_take(&m->sequence, &line, text, &why);
	if (r == 0)
		r = batch_take(&m->batch, &line, &why);
	if (r < 0)
		return errmsg_set(reterr, r, "line %llu: %s",
			(unsigned long long)m->n_lines, why.text);
	buf_consume(&m->in, len);
	if (progress_is_due(&m->progress))
		report(m, m->batch.admin ? "" : "checked ");
	return 0;
}

/* All whole lines that have been read. */
static int take_lines(struct import *m, struct errmsg *reterr)
{
	const uint8_t *start, *newline;
	int r = 0;

	while (r == 0) {
		start = buf_slice(&m->in).ptr;
		newline = memchr(
			start + m->looked, '\n', buf_len(&m->in) - m->looked);
		if (!newline) {
			m->looked = buf_len(&m->in);
			return 0;
		}
		m->looked = 0;
		r = take_line(m, (size_t)(newline - start) + 1, reterr);
	}
	return r;
}

/* Reads some more. Returns how many bytes, 0 at the end, or ERR_*. */
static ssize_t read_some(struct import *m, struct errmsg *reterr)
{
	uint8_t *room;
	ssize_t n;
	int r;

	if (buf_len(&m->in) > LINE_BYTES_MAX)
		return errmsg_set(reterr, ERR_INVALID,
			"line %llu: it is too long",
			(unsigned long long)m->n_lines + 1);
	r = buf_reserve(&m->in, READ_BYTES, &room);
	if (r < 0)
		return errmsg_set(reterr, r, "%s", err_text(r));
	do
		n = read(STDIN_FILENO, room, READ_BYTES);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errmsg_set(
			reterr, ERR_IO, "standard input: %s", strerror(errno));
	buf_commit(&m->in, (size_t)n);
	return n;
}

static int read_all(struct import *m, struct errmsg *reterr)
{
	ssize_t n;
	int r;

	while ((n = read_some(m, reterr)) > 0) {
		r = take_lines(m, reterr);
		if (r < 0)
			return r;
	}
	if (n < 0)
		return (int)n;
	if (!sequence_is_whole(&m->sequence) || buf_len(&m->in) > 0)
		return errmsg_set(reterr, ERR_INVALID,
			"line %llu: the input ends before its trailer",
			(unsigned long long)m->n_lines + 1);
	return 0;
}

/* ---- readings ---- */

/* Reads it all, and stores it in `admin` unless that is NULL. */
static int read_through(struct store_admin *admin, const char *said,
	struct line_totals *ret_totals, struct errmsg *reterr)
{
	CLEANUP(import_release)
	struct import m = {0};
	int r;

	buf_init(&m.in, LINE_BYTES_MAX + READ_BYTES);
	progress_init(&m.progress);
	if (sequence_init(&m.sequence) < 0 || batch_init(&m.batch, admin) < 0)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	r = read_all(&m, reterr);
	if (r < 0)
		return r;
	*ret_totals = m.sequence.totals;
	report(&m, said);
	return 0;
}

/* A file is read twice, so that nothing of one that is damaged is stored. */
static int check_file(struct errmsg *reterr)
{
	struct line_totals totals = {0};
	off_t start;
	struct stat st;
	int r;

	if (fstat(STDIN_FILENO, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	start = lseek(STDIN_FILENO, 0, SEEK_CUR);
	r = read_through(NULL, "checked ", &totals, reterr);
	if (r == 0 && (start < 0 || lseek(STDIN_FILENO, start, SEEK_SET) < 0))
		r = errmsg_set(
			reterr, ERR_IO, "standard input: %s", strerror(errno));
	return r;
}

/* No error: several stores may go into one. But it is worth a word. */
static int tell_of_others(struct store_admin *admin,
	const struct line_totals *totals, struct errmsg *reterr)
{
	uint64_t users = 0;
	int r = store_admin_count_users(admin, &users, reterr);

	if (r == 0 && users > totals->users)
		(void)fprintf(stderr,
			"tallyd import: the store has %llu more users, which "
			"were left alone\n",
			(unsigned long long)(users - totals->users));
	return r;
}

int import_run(const struct command_call *call, struct errmsg *reterr)
{
	CLEANUP(store_admin_close)
	struct store_admin *admin = NULL;
	struct line_totals totals = {0};
	int r;

	if (call->options & OPTION_DRY_RUN)
		return read_through(
			NULL, "nothing stored; checked ", &totals, reterr);
	r = check_file(reterr);
	if (r == 0)
		r = store_admin_open(
			call->config, STORE_ADMIN_FILL, &admin, reterr);
	if (r == 0)
		r = read_through(admin, "done, ", &totals, reterr);
	return r == 0 ? tell_of_others(admin, &totals, reterr) : r;
}
