/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"

#include "base/mem.h"
#include "rpc/protobuf.h"

const uint8_t output_zeros[OUTPUT_SIZE_MAX];

struct reply {
	size_t size;
	int64_t interval_ns;
	enum { AS_IT_IS, PLAIN, COMPRESSED } compressed;
};

struct output {
	struct call *call; /* ref */
	struct call_hooks hooks;
	struct reply *replies; /* own */
	size_t n_replies, next;
	struct timer timer; /* before the next reply */
	bool waited;	    /* and it has run */
	bool running;
	struct deferred run;
	void (*on_done)(struct output *o);
};

static void run(struct deferred *d);

struct output *output_of(const struct call *c)
{
	return call_ctx(c);
}

struct call *output_call(const struct output *o)
{
	return o->call;
}

void output_run(struct output *o)
{
	o->running = true;
	loop_defer(call_loop(o->call), &o->run);
}

static void on_sent(struct call *c)
{
	struct output *o = output_of(c);

	if (o->running)
		loop_defer(call_loop(c), &o->run);
}

static void on_interval(struct timer *t)
{
	struct output *o = CONTAINER_OF(t, struct output, timer);

	o->waited = true;
	run(&o->run);
}

static void on_over(struct call *c)
{
	struct output *o = output_of(c);

	timer_clear(&o->timer);
	deferred_cancel(&o->run);
	mem_free(o->replies);
	o->replies = NULL;
	o->n_replies = 0;
}

static void send_reply(struct output *o, const struct reply *r)
{
	Grpc__Testing__StreamingOutputCallResponse message =
		GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
	Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;

	payload.body = pb_bytes(slice_of(output_zeros, r->size));
	message.payload = &payload;
	if (r->compressed != AS_IT_IS)
		call_compress(o->call, r->compressed == COMPRESSED);
	call_send(o->call, &message.base);
}

/* Returns whether the reply's time has come; else a timer runs. */
static bool is_time(struct output *o, const struct reply *r)
{
	struct loop *loop = call_loop(o->call);

	if (r->interval_ns == 0 || o->waited)
		return true;
	if (!timer_is_set(&o->timer) &&
		timer_set(&o->timer, loop, loop_now_ns(loop) + r->interval_ns) <
			0)
		call_fail(o->call, RPC_RESOURCE_EXHAUSTED,
			"server is out of memory");
	return false;
}

static void run(struct deferred *d)
{
	struct output *o = CONTAINER_OF(d, struct output, run);
	const struct reply *r;

	while (o->next < o->n_replies && !call_is_over(o->call)) {
		r = &o->replies[o->next];
		if (!call_all_sent(o->call) || !is_time(o, r))
			return; /* on_sent, on_interval */
		o->waited = false;
		o->next++;
		send_reply(o, r);
	}
	if (call_is_over(o->call) || !o->running)
		return;
	o->next = o->n_replies = 0;
	o->running = false;
	o->on_done(o);
}

struct output *output_start(struct call *c, const struct call_hooks *hooks,
	void (*on_done)(struct output *o))
{
	struct output *o = arena_zalloc(call_arena(c), sizeof(*o));

	if (!o) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
		return NULL;
	}
	o->call = c;
	o->hooks = *hooks;
	o->hooks.on_sent = on_sent;
	o->hooks.on_over = on_over;
	o->timer.on_due = on_interval;
	o->run.run = run;
	list_init(&o->run.node);
	o->on_done = on_done;
	call_set_hooks(c, &o->hooks, o);
	return o;
}

/* Returns whether the parameters make sense. */
static bool read_reply(
	const Grpc__Testing__ResponseParameters *p, struct reply *ret_reply)
{
	if (p->size < 0 || p->size > OUTPUT_SIZE_MAX || p->interval_us < 0)
		return false;
	*ret_reply = (struct reply){
		.size = (size_t)p->size,
		.interval_ns = p->interval_us * NS_PER_US,
		.compressed = !p->compressed	     ? AS_IT_IS
			      : p->compressed->value ? COMPRESSED
						     : PLAIN,
	};
	return true;
}

bool output_add(struct output *o,
	const Grpc__Testing__StreamingOutputCallRequest *request)
{
	size_t n = request->n_response_parameters, i;
	struct reply *all;

	if (n > OUTPUT_REPLIES_MAX - o->n_replies) {
		call_fail(o->call, RPC_INVALID_ARGUMENT, "too many replies");
		return false;
	}
	all = mem_realloc(o->replies, (o->n_replies + n) * sizeof(*all));
	if (!all) {
		call_fail(o->call, RPC_RESOURCE_EXHAUSTED,
			"server is out of memory");
		return false;
	}
	o->replies = all;
	for (i = 0; i < n; i++) {
		if (read_reply(request->response_parameters[i],
			    &o->replies[o->n_replies])) {
			o->n_replies++;
			continue;
		}
		call_fail(o->call, RPC_INVALID_ARGUMENT, "bad parameters");
		return false;
	}
	return true;
}
