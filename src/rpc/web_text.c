/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/web_text.h"

#include <stdbool.h>

#include "base/codec.h"
#include "base/err.h"

/* Characters decoded at once, on the stack. */
#define RUN_MAX 4096

/* What is good before a fault is taken first, so that it does not depend on
 * how the network cut the text which fault is met first. */
static int take_decoded(struct slice text, struct message_reader *m)
{
	uint8_t bytes[BASE64_DECODED_MAX(RUN_MAX)];
	size_t len, at;
	bool bad = base64_decode(text, bytes, &len, &at) < 0;
	int r;

	if (bad && base64_decode(slice_of(text.ptr, at / 4 * 4), bytes, &len,
			   &at) < 0)
		return ERR_INVALID;
	r = message_reader_take(m, slice_of(bytes, len));
	return r == 0 && bad ? ERR_INVALID : r;
}

static bool is_line_break(uint8_t c)
{
	return c == '\r' || c == '\n';
}

/* Whole groups at the front of `text`, without padding and line breaks. */
static size_t plain_run(struct slice text)
{
	size_t n = 0, max = MIN(text.len, (size_t)RUN_MAX);

	while (n < max && text.ptr[n] != '=' && !is_line_break(text.ptr[n]))
		n++;
	return n / 4 * 4;
}

int web_text_take(
	struct web_text *w, struct slice text, struct message_reader *m)
{
	size_t run;
	int r = 0;

	while (text.len > 0 && r == 0) {
		run = w->n == 0 ? plain_run(text) : 0;
		if (run > 0) {
			r = take_decoded(slice_of(text.ptr, run), m);
			text = slice_from(text, run);
			continue;
		}
		if (!is_line_break(text.ptr[0]))
			w->quad[w->n++] = text.ptr[0];
		text = slice_from(text, 1);
		if (w->n == 4) {
			w->n = 0;
			r = take_decoded(slice_of(w->quad, 4), m);
		}
	}
	return r;
}

int web_text_end(struct web_text *w, struct message_reader *m)
{
	if (w->n == 0)
		return 0;
	while (w->n < 4)
		w->quad[w->n++] = '=';
	w->n = 0;
	return take_decoded(slice_of(w->quad, 4), m);
}

int web_text_encode(struct slice bytes, struct buf *out)
{
	size_t len = BASE64_ENCODED_LEN(bytes.len);
	uint8_t *room;
	int r = buf_reserve(out, len, &room);

	if (r < 0)
		return r;
	base64_encode(bytes, (char *)room);
	buf_commit(out, len);
	return 0;
}
