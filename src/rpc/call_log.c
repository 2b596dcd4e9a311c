/* SPDX-License-Identifier: Apache-2.0 */
/* What the log says of a call: one line when it is closed. */
#include <assert.h>
#include <string.h>

#include "base/codec.h"
#include "rpc/call_private.h"

/* Hexadecimal, without leading zeros. Returns its length. */
static size_t put_number(char *out, uint64_t number)
{
	static const char digits[] = "0123456789abcdef";
	char text[16];
	size_t at = sizeof(text);

	do {
		text[--at] = digits[number & 15];
		number >>= 4;
	} while (number > 0);
	memcpy(out, text + at, sizeof(text) - at);
	return sizeof(text) - at;
}

static struct slice make_id(struct call *c)
{
	struct request_ids *ids = &c->server->request_ids;
	char *id = c->log.made_id;
	size_t n = 2 * REQUEST_ID_RANDOM;

	hex_encode(slice_of(ids->random, REQUEST_ID_RANDOM), id);
	id[n++] = '-';
	n += put_number(id + n, ++ids->n_made);
	return slice_of(id, n);
}

static bool may_be_id(struct slice id)
{
	size_t i;

	for (i = 0; i < id.len; i++) {
		if (id.ptr[i] <= ' ' || id.ptr[i] > '~')
			return false;
	}
	return id.len > 0 && id.len <= REQUEST_ID_MAX;
}

/* A copy that lives as long as the call, of what the log will have of it, and
 * one byte more, if there is one, so that it shows that it was cut. */
static struct slice keep(struct call *c, struct slice text)
{
	size_t len = MIN(text.len, (size_t)LOG_VALUE_MAX + 1);
	const char *copy = arena_dup(call_arena(c), slice_of(text.ptr, len));

	return copy ? slice_of(copy, len) : slice_of("", 0);
}

void call_log_begin(struct call *c)
{
	const struct exchange *x = c->exchange;
	struct slice id = exchange_header(x, REQUEST_ID_HEADER);
	struct call_log *log = &c->log;

	id = may_be_id(id) ? keep(c, id) : make_id(c);
	log->id.parent = x->log;
	log->id.field = F_SLICE("request_id", id);
	log->method.parent = &log->id;
	log->method.field = F_SLICE("method", keep(c, x->path));
	log->begun_ns = loop_now_ns(c->server->loop);
	/* Unless it ends otherwise. */
	log->status = RPC_CANCELLED;
}

void call_log_add(struct call *c, struct log_field field)
{
	struct call_log *log = &c->log;

	assert(log->n_added < CALL_LOG_FIELDS_MAX);
	log->added[log->n_added++] = field;
}

/* Browsers keep a page from setting user-agent. */
static struct slice user_agent(const struct exchange *x)
{
	struct slice agent = exchange_header(x, "x-user-agent");

	return agent.ptr ? agent : exchange_header(x, "user-agent");
}

void call_log_keep(struct call *c)
{
	c->log.user_agent = keep(c, user_agent(c->exchange));
}

void call_log_end(struct call *c)
{
	enum log_level level =
		c->service && c->service->quiet ? LOG_DEBUG : LOG_INFO;
	const struct call_log *log = &c->log;
	struct log_field fields[CALL_LOG_FIELDS_MAX + 8];
	int64_t took_ns;
	size_t n = 0;

	if (!log_enabled(level))
		return;
	took_ns = loop_clock_ns(c->server->loop) - log->begun_ns;
	fields[n++] = F_STR("status", rpc_status_name(log->status));
	memcpy(fields + n, log->added, log->n_added * sizeof(fields[0]));
	n += log->n_added;
	fields[n++] = F_SLICE("user_agent", log->user_agent.ptr
						    ? log->user_agent
						    : user_agent(c->exchange));
	fields[n++] = F_I64("duration_us", took_ns / NS_PER_US);
	fields[n++] = F_U64("request_bytes", log->received_bytes);
	fields[n++] = F_U64("reply_bytes", log->sent_bytes);
	if (c->method && c->method->client_streaming)
		fields[n++] = F_U64("received", log->n_received);
	if (c->method && c->method->server_streaming)
		fields[n++] = F_U64("sent", log->n_sent);
	fields[n] = (struct log_field){.key = NULL};
	log_emit(level, call_log(c), "call", fields);
}
