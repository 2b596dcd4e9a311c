/* SPDX-License-Identifier: Apache-2.0 */
#include "app/metrics_port.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "http/conn.h"
#include "http/page.h"

#define TEXT_TYPE  "text/plain; charset=utf-8"
#define TABLE_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics_port {
	struct loop *loop;	   /* ref */
	struct listener *listener; /* own */
	metrics_gather_fn gather;
	void *ctx; /* gather's */
	struct conn_options options;
	struct http_budget budget;
	struct stream_scratch scratch;
	struct conn_host host;
	struct log_seldom full; /* there are too many connections */
};

/* ---- answers ---- */

static void reply_text(struct exchange *x, unsigned status, const char *text)
{
	const struct reply_header headers[] = {
		{"content-type", slice_str(TEXT_TYPE)},
		{"allow", slice_str("GET, HEAD")},
	};

	page_reply(x, status, headers, status == 405 ? 2 : 1, slice_str(text));
}

static void reply_metrics(const struct metrics_port *p, struct exchange *x)
{
	static const struct reply_header type = {"content-type",
		{(const uint8_t *)TABLE_TYPE, sizeof(TABLE_TYPE) - 1}};
	struct metrics_sum *sum = mem_zalloc(sizeof(*sum));
	struct buf text;
	int r = sum ? 0 : ERR_NOMEM;

	buf_init(&text, METRICS_TEXT_MAX);
	if (r == 0) {
		p->gather(p->ctx, sum);
		r = metrics_write(sum, &text);
	}
	if (r == 0)
		page_reply(x, 200, &type, 1, buf_slice(&text));
	else
		reply_text(x, 503, "server is out of memory\n");
	buf_release(&text);
	mem_free(sum);
}

/* Without what stands behind a question mark. */
static bool is_metrics(struct slice path)
{
	const uint8_t *end = path.len ? memchr(path.ptr, '?', path.len) : NULL;

	if (end)
		path.len = (size_t)(end - path.ptr);
	return slice_eq_str(path, "/metrics");
}

static void answer(struct exchange *x, void *ctx)
{
	if (!is_metrics(x->path))
		reply_text(x, 404, "not found: what there is is /metrics\n");
	else if (!slice_eq_str(x->method, "GET") &&
		 !slice_eq_str(x->method, "HEAD"))
		reply_text(x, 405, "method not allowed\n");
	else
		reply_metrics(ctx, x);
}

static void on_request(void *ctx, struct exchange *x)
{
	struct metrics_port *p = ctx;

	page_start(x, p->loop, answer, p);
}

/* ---- connections ---- */

static void on_accept(int fd, const struct address *peer, void *ctx)
{
	struct metrics_port *p = ctx;

	if (p->host.n_conns < METRICS_CONNECTIONS_MAX) {
		conn_host_accept(&p->host, fd, peer);
		return;
	}
	if (log_seldom(&p->full, loop_now_ns(p->loop)))
		log_warn(NULL, "metrics.too_many_connections",
			F_U64("max", METRICS_CONNECTIONS_MAX));
	close(fd);
}

static void on_conn_closed(void *ctx UNUSED)
{
}

/* ---- life ---- */

static void set_up_host(struct metrics_port *p)
{
	p->options.write_timeout_ns = METRICS_WRITE_S * NS_PER_S;
	p->host = (struct conn_host){
		.loop = p->loop,
		.protocols = CONN_H1,
		.port = METRIC_PORT_METRICS,
		.server = {.on_request = on_request, .ctx = p},
		.options = &p->options,
		.on_conn_closed = on_conn_closed,
		.budget = &p->budget,
		.scratch = &p->scratch,
	};
	stream_scratch_init(&p->scratch);
	conn_host_init(&p->host);
}

int metrics_port_new(struct loop *loop, const struct config_address *address,
	int handed_fd, metrics_gather_fn gather, void *ctx,
	struct metrics_port **ret_port, struct errmsg *reterr)
{
	CLEANUP(metrics_port_free)
	struct metrics_port *p = mem_zalloc(sizeof(*p));
	int r;

	if (!p) {
		if (handed_fd >= 0)
			close(handed_fd);
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	}
	p->loop = loop;
	p->gather = gather;
	p->ctx = ctx;
	set_up_host(p);
	r = listener_open(
		loop, address, handed_fd, on_accept, p, &p->listener, reterr);
	if (r < 0)
		return r;
	*ret_port = TAKE_PTR(p);
	return 0;
}

void metrics_port_free(struct metrics_port **port)
{
	struct metrics_port *p = *port;

	if (!p)
		return;
	listener_free(&p->listener);
	conn_host_release(&p->host);
	stream_scratch_release(&p->scratch);
	mem_free(p);
	*port = NULL;
}

void metrics_port_name(
	const struct metrics_port *port, char ret_name[LISTENER_NAME_MAX])
{
	listener_name(port->listener, ret_name);
}
