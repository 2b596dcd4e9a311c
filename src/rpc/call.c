/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/call.h"

#include <assert.h>

#include "base/err.h"
#include "config/limits.h"
#include "net/pace.h"
#include "rpc/call_private.h"
#include "rpc/compress.h"

#define BIT(state) (1u << (state))

/* Where a state may go. */
static const struct {
	const char *name;
	unsigned next;
} states[] = {
	[CALL_RECEIVING] = {"receiving",
		BIT(CALL_RUNNING) | BIT(CALL_ENDING) | BIT(CALL_CLOSED)},
	[CALL_RUNNING] = {"running",
		BIT(CALL_STREAMING) | BIT(CALL_ENDING) | BIT(CALL_CLOSED)},
	[CALL_STREAMING] = {"streaming", BIT(CALL_ENDING) | BIT(CALL_CLOSED)},
	[CALL_ENDING] = {"ending", BIT(CALL_CLOSED)},
	[CALL_CLOSED] = {"closed", 0},
};

/* What nobody serves is one: else peers could make up names. */
static enum metric_method method_of(const struct call *c)
{
	return c->method ? c->method->metric : METRIC_METHOD_OTHER;
}

/* Of a streaming call only the wait for its first message: the rest is up to
 * its client. By a clock that was read anyway: at the turn's start, or since,
 * when a signature was recovered or another socket was read. */
static void count_time(const struct call *c)
{
	struct loop *loop = c->server->loop;

	metrics_duration(loop_metrics(loop), metrics_call_time(method_of(c)),
		loop_latest_ns(loop) - c->log.begun_ns);
}

static void count_end(const struct call *c, enum rpc_status status)
{
	static_assert((int)METRIC_CODE_UNAUTHENTICATED == RPC_UNAUTHENTICATED,
		"the codes are gRPC's numbers");
	metrics_call(call_metrics(c), method_of(c), (enum metric_code)status);
}

void call_set_state(struct call *c, enum call_state state)
{
	assert(states[c->state].next & BIT(state));
	if (c->state < CALL_STREAMING && state >= CALL_STREAMING)
		count_time(c);
	log_debug(&c->log.method, "call.state",
		F_STR("from", states[c->state].name),
		F_STR("to", states[state].name));
	c->state = state;
	if (state >= CALL_ENDING)
		timer_clear(&c->deadline);
	/* Told later, so that no hook runs inside a service's own call. */
	if (state >= CALL_ENDING && c->hooks && c->hooks->on_over)
		loop_defer(c->server->loop, &c->over);
	intake_wake(c);
}

bool call_is_over(const struct call *c)
{
	return c->state >= CALL_ENDING;
}

/* The call is in its own arena, so the arena goes last. */
static void free_if_unheld(struct call *c)
{
	struct arena arena;

	if (c->state != CALL_CLOSED || c->holds > 0 ||
		!list_empty(&c->over.node))
		return;
	leftover_end(&c->leftover);
	message_reader_release(&c->request);
	arena_release(&c->asked);
	arena = c->arena;
	arena_release(&arena);
}

void call_hold(struct call *c)
{
	c->holds++;
}

void call_release(struct call *c)
{
	assert(c->holds > 0);
	c->holds--;
	free_if_unheld(c);
}

static void run_over(struct deferred *d)
{
	struct call *c = CONTAINER_OF(d, struct call, over);
	const struct call_hooks *hooks = c->hooks;

	/* Once: a call that ends and then closes is over only once. */
	c->hooks = NULL;
	if (hooks)
		hooks->on_over(c);
	free_if_unheld(c);
}

static void tell_of_drain(struct call *c)
{
	if (c->hooks && c->hooks->on_drain && !call_is_over(c))
		c->hooks->on_drain(c);
}

void call_set_hooks(struct call *c, const struct call_hooks *hooks, void *ctx)
{
	assert(!c->hooks);
	c->hooks = hooks;
	c->ctx = ctx;
	if (call_is_over(c) && hooks->on_over)
		loop_defer(c->server->loop, &c->over);
	if (c->draining)
		tell_of_drain(c);
}

void *call_ctx(const struct call *c)
{
	return c->ctx;
}

void *call_service(const struct call *c)
{
	return c->service->ctx;
}

struct loop *call_loop(const struct call *c)
{
	return c->server->loop;
}

struct metrics *call_metrics(const struct call *c)
{
	return loop_metrics(c->server->loop);
}

struct arena *call_arena(struct call *c)
{
	return c->exchange ? &c->exchange->arena : &c->arena;
}

const struct log_ctx *call_log(const struct call *c)
{
	return &c->log.method;
}

int64_t *call_rate_bucket(const struct call *c)
{
	return c->exchange ? c->exchange->rate_bucket : NULL;
}

int64_t call_deadline_ns(const struct call *c)
{
	return c->deadline_ns;
}

/* ---- answering ---- */

/* The reply cannot even be failed properly: the peer sees a reset stream. */
static void break_off(struct call *c)
{
	log_warn(&c->log.method, "call.broken_off");
	exchange_reset(c->exchange);
}

/* Returns: 0, ERR_NOMEM. */
static int watch_for_stall(struct call *c)
{
	c->stalled_unsent = c->exchange->unsent;
	c->stalled_due =
		pace_due(c->exchange->unsent, c->server->stall_timeout_ns);
	return timer_set(&c->stalled, c->server->loop,
		loop_now_ns(c->server->loop) + c->server->stall_timeout_ns);
}

/* More was given to the exchange, of which `before` bytes waited. What is added
 * is no sign that the peer takes nothing. Returns: 0, ERR_NOMEM. */
static int watch_more(struct call *c, size_t before)
{
	size_t more = c->exchange->unsent - before;

	if (more > 0 && !timer_is_set(&c->stalled))
		return watch_for_stall(c);
	c->stalled_unsent += more;
	return 0;
}

static void stop_waiting(struct call *c)
{
	if (c->go)
		timer_clear(&c->stalled);
	c->go = NULL;
}

static void finish(struct call *c, enum rpc_status status, const char *text)
{
	size_t before = c->exchange->unsent;

	stop_waiting(c);
	c->log.status = status;
	count_end(c, status);
	call_set_state(c, CALL_ENDING);
	if (c->codec->finish(c, status, text) < 0 || watch_more(c, before) < 0)
		break_off(c);
}

void call_fail(struct call *c, enum rpc_status status, const char *text)
{
	if (!call_is_over(c))
		finish(c, status, text);
}

/* Returns: 0, ERR_*. */
static int send_framed(struct call *c, struct buf *message)
{
	size_t before = c->exchange->unsent, len = buf_len(message);
	int r = c->codec->send(c, message);

	if (r < 0)
		return r;
	c->log.n_sent++;
	c->log.sent_bytes += len;
	return watch_more(c, before);
}

/* A message that compresses badly goes as it is, and so does a large one: the
 * loop would stand still, and records are ciphertext mostly. */
#define COMPRESS_MAX (64 * 1024)

static int compress(struct buf *message)
{
	struct slice plain = slice_from(buf_slice(message), MESSAGE_PREFIX_LEN);
	struct buf packed;
	int r = message_begin(&packed, plain.len);

	if (r == 0)
		r = gzip_deflate(plain, &packed);
	if (r == 0) {
		message_end(&packed, MESSAGE_COMPRESSED);
		buf_release(message);
		*message = packed;
		return 0;
	}
	buf_release(&packed);
	if (r == ERR_LIMIT) {
		message_end(message, MESSAGE_PLAIN);
		return 0;
	}
	return r;
}

static int frame_and_send(struct call *c, struct buf *message)
{
	int r = 0;

	if (c->compress && buf_len(message) <= COMPRESS_MAX)
		r = compress(message);
	else
		message_end(message, MESSAGE_PLAIN);
	return r == 0 ? send_framed(c, message) : r;
}

static void fail_to_send(struct call *c, int error)
{
	if (error != ERR_LIMIT) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
		return;
	}
	metrics_reject(call_metrics(c), METRIC_LIMIT_UNREAD);
	call_fail(
		c, RPC_RESOURCE_EXHAUSTED, "too many replies wait to be read");
}

bool call_reserve(struct call *c, size_t bytes,
	void (*go)(struct call *c, void *ctx), void *ctx)
{
	if (call_is_over(c))
		return false;
	if (exchange_reserve(c->exchange, bytes))
		return true;
	c->go = go;
	c->go_ctx = ctx;
	if (timer_set(&c->stalled, c->server->loop,
		    loop_now_ns(c->server->loop) +
			    c->server->stall_timeout_ns) < 0)
		fail_to_send(c, ERR_NOMEM);
	return false;
}

static int encode(const ProtobufCMessage *message, struct buf *out)
{
	int r = message_begin(out, protobuf_c_message_get_packed_size(message));

	return r == 0 ? pb_encode(message, out) : r;
}

void call_reply_encoded(struct call *c, struct buf *message)
{
	int r;

	if (!call_is_over(c)) {
		r = frame_and_send(c, message);
		if (r < 0)
			fail_to_send(c, r);
		else
			finish(c, RPC_OK, "");
	}
	buf_release(message);
}

void call_reply(struct call *c, const ProtobufCMessage *message)
{
	struct buf framed;

	if (call_is_over(c))
		return;
	if (encode(message, &framed) < 0) {
		buf_release(&framed);
		fail_to_send(c, ERR_NOMEM);
		return;
	}
	call_reply_encoded(c, &framed);
}

void call_send(struct call *c, const ProtobufCMessage *message)
{
	struct buf framed;
	int r;

	if (call_is_over(c))
		return;
	if (c->state == CALL_RUNNING)
		call_set_state(c, CALL_STREAMING);
	r = encode(message, &framed);
	if (r == 0)
		r = frame_and_send(c, &framed);
	buf_release(&framed);
	if (r < 0)
		fail_to_send(c, r);
}

void call_end(struct call *c)
{
	if (!call_is_over(c))
		finish(c, RPC_OK, "");
}

void call_compress(struct call *c, bool wanted)
{
	if (!c->reply_started)
		c->reply_gzip = c->accepts_gzip;
	c->compress = wanted && c->reply_gzip;
}

bool call_all_sent(const struct call *c)
{
	return !c->exchange || c->exchange->unsent == 0;
}

/* ---- the exchange's events ---- */

static void on_sent(struct exchange *x)
{
	struct call *c = x->ctx;

	timer_clear(&c->stalled);
	intake_wake(c);
	if (c->hooks && c->hooks->on_sent && !call_is_over(c))
		c->hooks->on_sent(c);
}

static void on_room(struct exchange *x)
{
	struct call *c = x->ctx;
	void (*go)(struct call *, void *) = c->go;

	stop_waiting(c);
	if (go)
		go(c, c->go_ctx);
}

static void on_drain(struct exchange *x)
{
	struct call *c = x->ctx;

	c->draining = true;
	tell_of_drain(c);
}

static void on_closed(struct exchange *x)
{
	struct call *c = x->ctx;

	timer_clear(&c->stalled);
	intake_release(c);
	call_log_end(c);
	c->arena = x->arena;
	arena_init(&x->arena, 0);
	c->exchange = NULL;
	if (c->holds > 0)
		exchange_leave(x, &c->leftover);
	if (!call_is_over(c))
		count_end(c, RPC_CANCELLED); /* nobody waits for a status */
	call_set_state(c, CALL_CLOSED);
	/* A held call may live longer than its connection. */
	c->log.id.parent = NULL;
	free_if_unheld(c);
}

static const struct exchange_handler call_handler = {
	.on_body = intake_body,
	.on_body_end = intake_body_end,
	.on_sent = on_sent,
	.on_room = on_room,
	.on_drain = on_drain,
	.on_closed = on_closed,
};

static void on_deadline(struct timer *t)
{
	struct call *c = CONTAINER_OF(t, struct call, deadline);

	call_fail(c, RPC_DEADLINE_EXCEEDED, "context deadline exceeded");
}

/* A slow peer is given time as long as it keeps pace. */
static void on_stalled(struct timer *t)
{
	struct call *c = CONTAINER_OF(t, struct call, stalled);
	size_t taken = c->stalled_unsent - c->exchange->unsent;

	if (c->go) {
		fail_to_send(c, ERR_LIMIT);
		return;
	}
	if (taken >= c->stalled_due && watch_for_stall(c) == 0)
		return;
	metrics_add(call_metrics(c),
		metric_at(METRIC_CALLS_STALLED, method_of(c)), 1);
	log_info(&c->log.method, "call.peer_does_not_read");
	exchange_reset(c->exchange);
}

struct call *call_new(struct rpc_server *server, struct exchange *x,
	const struct call_codec *codec)
{
	struct call *c = arena_zalloc(&x->arena, sizeof(*c));

	if (!c)
		return NULL;
	c->server = server;
	c->codec = codec;
	c->http_status = 200;
	c->exchange = x;
	c->state = CALL_RECEIVING;
	call_log_begin(c);
	c->deadline.on_due = on_deadline;
	c->stalled.on_due = on_stalled;
	c->over.run = run_over;
	list_init(&c->over.node);
	list_init(&c->leftover.node);
	message_reader_init(&c->request, server->message_max);
	arena_init(&c->asked, CALL_ARENA_MAX);
	x->ctx = c;
	x->handler = &call_handler;
	return c;
}

void call_set_timeout(struct call *c, int64_t timeout_ns)
{
	int64_t now = loop_now_ns(c->server->loop);

	if (__builtin_add_overflow(now, timeout_ns, &c->deadline_ns))
		c->deadline_ns = INT64_MAX;
}
