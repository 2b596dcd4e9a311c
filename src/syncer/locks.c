/* SPDX-License-Identifier: Apache-2.0 */
/* SetLock and GetLock. */
#include "base/err.h"
#include "syncer/private.h"

static void set_lock_done(struct store_op *op)
{
	struct store_call *sc = CONTAINER_OF(op, struct store_call, op);
	Sync__SetLockReply reply = SYNC__SET_LOCK_REPLY__INIT;
	struct call *c = store_call_answer(sc);

	if (c)
		call_reply(c, &reply.base);
	store_call_end(sc);
}

static bool set_lock_authenticate(struct call *c,
	const Sync__SetLockRequest *request, struct user_id *ret_user)
{
	struct signed_text *text = auth_begin(c);

	if (!text)
		return false;
	/* The instance id is signed as the client wrote it. */
	signed_text_set_lock(text, pb_slice(request->lock_name),
		pb_slice(request->instance_id), request->acquire,
		request->exclusive, request->request_time);
	return auth_signature(c, request->signature, ret_user);
}

void set_lock_start(struct call *c)
{
	const Sync__SetLockRequest *request =
		request_decode(c, &sync__set_lock_request__descriptor);
	char instance[UUID_TEXT_LEN], *canonical;
	struct store_set_lock *set;
	struct store_call *sc;

	if (!request ||
		!request_valid(
			c, validate_lock_name(pb_slice(request->lock_name))) ||
		!request_valid(
			c, validate_instance_id(
				   pb_slice(request->instance_id), instance)) ||
		!request_in_time(c, request->request_time))
		return;
	sc = store_call_new(c, STORE_SET_LOCK, set_lock_done);
	if (!sc || !set_lock_authenticate(c, request, &sc->op.user))
		return;
	set = &sc->op.set_lock;
	if (!request_valid(c,
		    validate_ttl(
			    request->optional_ttl_seconds_case ==
				    SYNC__SET_LOCK_REQUEST__OPTIONAL_TTL_SECONDS_TTL_SECONDS,
			    request->ttl_seconds, &set->ttl_seconds)))
		return;
	canonical = arena_dup(call_arena(c), slice_of(instance, UUID_TEXT_LEN));
	if (!canonical) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
		return;
	}
	set->name = pb_slice(request->lock_name);
	set->instance_id = slice_of(canonical, UUID_TEXT_LEN);
	set->acquire = request->acquire;
	set->exclusive = request->exclusive;
	store_call_submit(sc);
}

static void get_lock_done(struct store_op *op)
{
	struct store_call *sc = CONTAINER_OF(op, struct store_call, op);
	Sync__GetLockReply reply = SYNC__GET_LOCK_REPLY__INIT;
	struct call *c = store_call_answer(sc);

	if (c) {
		reply.locked = op->get_lock.locked;
		call_reply(c, &reply.base);
	}
	store_call_end(sc);
}

void get_lock_start(struct call *c)
{
	const Sync__GetLockRequest *request =
		request_decode(c, &sync__get_lock_request__descriptor);
	struct signed_text *text;
	struct store_call *sc;

	if (!request ||
		!request_valid(
			c, validate_lock_name(pb_slice(request->lock_name))) ||
		!request_in_time(c, request->request_time))
		return;
	sc = store_call_new(c, STORE_GET_LOCK, get_lock_done);
	text = sc ? auth_begin(c) : NULL;
	if (!text)
		return;
	signed_text_get_lock(
		text, pb_slice(request->lock_name), request->request_time);
	if (!auth_signature(c, request->signature, &sc->op.user))
		return;
	sc->op.get_lock.name = pb_slice(request->lock_name);
	store_call_submit_read(sc);
}
