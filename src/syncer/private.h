/* SPDX-License-Identifier: Apache-2.0 */
/* private — what the methods of sync.Syncer share. */
#pragma once

#include "hub/hub.h"
#include "hub/recent.h"
#include "middleware/auth.h"
#include "sync_wire.pb-c.h"
#include "syncer/service.h"
#include "syncer/validate.h"

struct syncer {
	const struct config *config; /* ref */
	struct loop *loop;	     /* ref */
	struct auth *auth;	     /* own */
	struct hub *hub;	     /* own */
	struct recent *recent;	     /* own */
	struct store_port *port;     /* own */
	struct quotas *quotas;	     /* ref */
	struct rpc_service service;
	size_t in_flight;
	/* The application of the call that is being started, for rates.h. */
	uint64_t api_key;
};

/* A method's store operation, in its call's arena. */
struct store_call {
	struct store_op op;
	struct call *call;
	uint64_t api_key;   /* SetRecord: whose new user it would be */
	bool may_make_user; /* and that one was taken for it */
};

/* Each fails the call with the right status and returns NULL or false when
 * the request does not pass. */

/* The store_call with everything but the arguments filled in. */
MUSTCHECK struct store_call *store_call_new(struct call *c,
	enum store_kind kind, void (*done)(struct store_op *op));

/* The request's message; `type` is &sync__…__descriptor. */
MUSTCHECK void *request_decode(
	struct call *c, const ProtobufCMessageDescriptor *type);

/* `fault`: what a validate_…() returned. */
MUSTCHECK bool request_valid(struct call *c, const char *fault);

MUSTCHECK bool request_in_time(struct call *c, uint32_t request_time);

/* Checks the API key and begins the signed text, which the method puts
 * together before auth_signature(). *ret_user lives as long as the call. */
MUSTCHECK struct signed_text *auth_begin(struct call *c);
MUSTCHECK bool auth_signature(struct call *c, ProtobufCBinaryData signature,
	struct user_id *ret_user);

/* The call is refused for a limit, of which metrics and log are told. */
void turn_away(struct call *c, enum metric_limit limit);

/* Submits; the call is held until `done` has called store_call_end(). */
void store_call_submit(struct store_call *sc);

/* The same for a read: it is dropped, if it has not begun, when its call is
 * over before. */
void store_call_submit_read(struct store_call *sc);

/* First thing in `done`. Returns the call, or NULL when nobody waits for the
 * answer or it was a failure, of which the client has been told: then there is
 * nothing to do but store_call_end(). */
MUSTCHECK struct call *store_call_answer(struct store_call *sc);
void store_call_end(struct store_call *sc);

/* The methods. */
void set_record_start(struct call *c);
void list_changes_start(struct call *c);
void listen_changes_start(struct call *c);
void set_lock_start(struct call *c);
void get_lock_start(struct call *c);
