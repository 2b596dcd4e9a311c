/* SPDX-License-Identifier: Apache-2.0 */
/* call_private — a call as its codec and the server see it. */
#pragma once

#include "http/exchange.h"
#include "rpc/call.h"
#include "rpc/message.h"
#include "rpc/server.h"
#include "rpc/web_text.h"

/* How a call's reply is framed: gRPC, gRPC-Web. Each returns 0 or ERR_*. */
struct call_codec {
	/* A piece of the request's body, for c->request. Also ERR_LIMIT as
	 * message_reader_take(), ERR_INVALID when it is no encoding. Not asked
	 * for client streaming, where the body is the messages as they are. */
	int (*receive)(struct call *c, struct slice bytes);
	/* The body has ended; NULL when that says nothing more. */
	int (*receive_end)(struct call *c);
	/* Sends a framed message, after the reply's headers if it is the
	 * first; takes it over. */
	int (*send)(struct call *c, struct buf *message);
	/* Ends the reply. */
	int (*finish)(struct call *c, enum rpc_status status, const char *text);
	bool client_streaming; /* it can carry that */
};

/* Fields that a service gave; values in the arena. */
struct call_fields {
	struct reply_header fields[CALL_METADATA_FIELDS_MAX];
	size_t n;
	size_t bytes;
};

/* What the log says of the call. */
struct call_log {
	struct log_ctx id;     /* child of the connection's, until CLOSED */
	struct log_ctx method; /* its child, and the context of all lines */
	char made_id[REQUEST_ID_MADE_MAX];
	struct log_field added[CALL_LOG_FIELDS_MAX];
	size_t n_added;
	struct slice user_agent; /* when headers are gone; ptr NULL before */
	int64_t begun_ns;	 /* on the loop's clock */
	enum rpc_status status;	 /* that the call was ended with */
	uint64_t n_received;	 /* messages, and their bytes as they came */
	uint64_t received_bytes;
	uint64_t n_sent; /* and as they were sent, with their prefix */
	uint64_t sent_bytes;
};

struct intake;

struct call {
	struct rpc_server *server;	   /* ref */
	const struct rpc_service *service; /* ref; NULL until found */
	const struct rpc_method *method;   /* ref; NULL until found */
	const struct call_codec *codec;	   /* ref; static */
	struct exchange *exchange;	   /* borrow(until CLOSED); then NULL */

	struct arena arena; /* own, from CLOSED on; before, the exchange's */
	struct message_reader request; /* own */
	struct arena asked; /* own; a server-streaming call's request */
	struct call_log log;
	struct timer deadline;
	/* Waits for room for its reply; NULL: it does not. */
	void (*go)(struct call *c, void *ctx);
	void *go_ctx;
	struct timer stalled;  /* runs while sent bytes wait for the peer, or
				* there is no room for more */
	size_t stalled_unsent; /* as many if the peer took none since then */
	size_t stalled_due;    /* of these, so many must have gone by then */
	int64_t deadline_ns;
	const struct call_hooks *hooks; /* ref */
	void *ctx;			/* hooks' */
	struct deferred over;
	struct leftover leftover;     /* CLOSED, and still held */
	struct intake *intake;	      /* in the arena; NULL: one message */
	struct call_fields *initial;  /* in the arena; NULL: none */
	struct call_fields *trailing; /* in the arena; NULL: none */

	enum call_state state;
	unsigned holds;
	bool request_gzip;  /* the peer compresses its messages */
	bool accepts_gzip;  /* and takes compressed ones */
	bool reply_gzip;    /* our headers say that messages may be */
	bool compress;	    /* and the next one is to be */
	bool reply_started; /* headers are out */
	bool draining;
	unsigned http_status;	  /* of a reply that is only a status */
	const char *reply_type;	  /* content-type of the reply */
	struct web_text web_text; /* gRPC-Web's, if the body is base64 */
};

/* The call for an exchange, in its arena, RECEIVING; sets the exchange's
 * handler. NULL: no memory, and then no handler. */
struct call *call_new(struct rpc_server *server, struct exchange *x,
	const struct call_codec *codec);

/* Sets the deadline, from now. */
void call_set_timeout(struct call *c, int64_t timeout_ns);

/* The request's headers are accepted and the method is found; without it being
 * called, the request's message is not waited for. */
void call_accept(struct call *c);

/* call_log.c: the call begins; its headers go; it is closed, but its exchange
 * is still there. */
void call_log_begin(struct call *c);
void call_log_keep(struct call *c);
void call_log_end(struct call *c);

/* Of the client's choice, or made. In the exchange's arena or in the call. */
static inline struct slice call_request_id(const struct call *c)
{
	return c->log.id.field.text;
}

/* Moves on; what the table of states in call.c forbids is a bug. */
void call_set_state(struct call *c, enum call_state state);

/* Appends metadata to a reply's headers, or trailers; `f` may be NULL.
 * Returns how many fields. */
size_t call_fields_put(const struct call_fields *f, struct reply_header *out);

/* What they take up as peers count headers (RFC 9113 section 6.5.2). */
size_t call_fields_size(const struct call_fields *f);

/* intake.c: the exchange's on_body and on_body_end. */
void intake_body(struct exchange *x, struct slice bytes);
void intake_body_end(struct exchange *x);

/* Client streaming: something has changed that messages may have waited for,
 * so look again at the end of the turn. Nothing for other calls. */
void intake_wake(struct call *c);

/* The exchange is closing: frees what waits. */
void intake_release(struct call *c);
