/* SPDX-License-Identifier: Apache-2.0 */
#include "app/cli/sequence.h"

#include <string.h>

int sequence_init(struct sequence *s)
{
	*s = (struct sequence){.state = SEQUENCE_EMPTY};
	s->sha256 = EVP_MD_CTX_new();
	if (s->sha256 && EVP_DigestInit_ex(s->sha256, EVP_sha256(), NULL) == 1)
		return 0;
	return ERR_NOMEM;
}

void sequence_release(struct sequence *s)
{
	EVP_MD_CTX_free(s->sha256); /* NULL is fine */
	s->sha256 = NULL;
}

static int bad(struct errmsg *reterr, const char *why)
{
	return errmsg_set(reterr, ERR_INVALID, "%s", why);
}

static int take_user(
	struct sequence *s, const struct line *line, struct errmsg *reterr)
{
	if (s->has_user &&
		memcmp(&s->user, &line->user, sizeof(line->user)) >= 0)
		return bad(reterr, "users are not in the order of their ids");
	if (line->counter > SEQUENCE_COUNTER_MAX)
		return bad(reterr, "a counter is above 2^53 - 1");
	s->has_user = true;
	s->user = line->user;
	s->counter = line->counter;
	s->revision = 0;
	s->id_len = 0;
	s->totals.users++;
	return 0;
}

/* As bytes, as both databases sort ids. */
static bool id_is_above(const struct sequence *s, struct slice id)
{
	int order = memcmp(id.ptr, s->id, MIN(id.len, s->id_len));

	return order > 0 || (order == 0 && id.len > s->id_len);
}

static int take_record(
	struct sequence *s, const struct line *line, struct errmsg *reterr)
{
	const struct store_record *r = &line->record;

	if (!s->has_user ||
		memcmp(&s->user, &line->user, sizeof(line->user)) != 0)
		return bad(reterr, "a record is not its user's");
	if (r->revision == 0 || r->revision > s->counter)
		return bad(reterr, "a revision is not from 1 to the user's "
				   "counter");
	if (r->revision < s->revision ||
		(r->revision == s->revision && !id_is_above(s, r->id)))
		return bad(reterr, "records are not in the order of their "
				   "revisions");
	if (r->id.len > sizeof(s->id))
		return bad(reterr, "a record id is too long");
	s->revision = r->revision;
	memcpy(s->id, r->id.ptr, r->id.len);
	s->id_len = r->id.len;
	s->totals.records++;
	s->totals.bytes += r->data.len;
	return 0;
}

int sequence_trailer(const struct sequence *s, struct line *ret_line)
{
	struct line line = {.kind = LINE_TRAILER, .totals = s->totals};
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_MD_CTX_copy_ex(ctx, s->sha256) == 1 &&
		  EVP_DigestFinal_ex(ctx, line.sha256, NULL) == 1;

	EVP_MD_CTX_free(ctx);
	if (!ok)
		return ERR_NOMEM;
	*ret_line = line;
	return 0;
}

static int take_trailer(
	struct sequence *s, const struct line *line, struct errmsg *reterr)
{
	struct line ours;

	if (sequence_trailer(s, &ours) < 0)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	if (memcmp(&ours.totals, &line->totals, sizeof(ours.totals)) != 0)
		return bad(reterr, "the trailer counts other lines: some are "
				   "missing, or too many");
	if (memcmp(ours.sha256, line->sha256, sizeof(ours.sha256)) != 0)
		return bad(reterr, "the checksum is another: a line has been "
				   "changed");
	s->state = SEQUENCE_CLOSED;
	return 0;
}

static int take(
	struct sequence *s, const struct line *line, struct errmsg *reterr)
{
	if (s->state == SEQUENCE_CLOSED)
		return bad(reterr, "it comes after the trailer");
	if ((line->kind == LINE_HEADER) != (s->state == SEQUENCE_EMPTY))
		return bad(reterr, s->state == SEQUENCE_EMPTY
					   ? "an export begins with its header"
					   : "a header in the middle");
	s->state = SEQUENCE_OPEN;
	switch (line->kind) {
	case LINE_HEADER: return 0;
	case LINE_USER: return take_user(s, line, reterr);
	case LINE_RECORD: return take_record(s, line, reterr);
	case LINE_TRAILER: return take_trailer(s, line, reterr);
	}
	return 0;
}

int sequence_take(struct sequence *s, const struct line *line,
	struct slice text, struct errmsg *reterr)
{
	int r = take(s, line, reterr);

	if (r == 0 && EVP_DigestUpdate(s->sha256, text.ptr, text.len) != 1)
		r = errmsg_set(reterr, ERR_NOMEM, "out of memory");
	return r;
}
