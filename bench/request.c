/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/request.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "sync_wire.pb-c.h"

#define PREFIX_BYTES   5       /* gRPC over HTTP/2, "Length-Prefixed-Message" */
#define LOCK_TTL_S     30      /* so that locks outlive the run */
#define TAG_CHANGES    0x0a    /* ListChangesReply.changes, length-delimited */
#define SCHEMA_VERSION "0.2.6" /* of some wallet */
#define NAME_BYTES     48

/* A request's texts while it is made. */
struct names {
	char record[NAME_BYTES], client[NAME_BYTES], lock[NAME_BYTES];
	char instance[NAME_BYTES];
};

const char *method_path(enum method method)
{
	switch (method) {
	case METHOD_SET_RECORD: return "/sync.Syncer/SetRecord";
	case METHOD_LIST_CHANGES: return "/sync.Syncer/ListChanges";
	case METHOD_GET_LOCK: return "/sync.Syncer/GetLock";
	case METHOD_SET_LOCK: return "/sync.Syncer/SetLock";
	case METHOD_LISTEN_CHANGES: return "/sync.Syncer/ListenChanges";
	case METHOD_HEALTH_CHECK: return "/grpc.health.v1.Health/Check";
	}
	return "";
}

void request_record_id(const struct question *q, char *ret_text, size_t size)
{
	(void)snprintf(ret_text, size, "payment:%08x-5f3a-4c11-9d7e-%012x",
		q->record, q->user);
}

void request_client_id(const struct question *q, char *ret_text, size_t size)
{
	(void)snprintf(
		ret_text, size, "c0ffee00-0000-4000-8000-%012x", q->user);
}

static void make_names(const struct question *q, struct names *ret_names)
{
	request_record_id(q, ret_names->record, NAME_BYTES);
	request_client_id(q, ret_names->client, NAME_BYTES);
	(void)snprintf(ret_names->lock, NAME_BYTES, "lock-%08x", q->lock);
	(void)snprintf(ret_names->instance, NAME_BYTES,
		"1057a9ce-0000-4000-8000-%012x", q->instance);
}

static ProtobufCBinaryData bytes_of(struct slice s)
{
	/* protobuf-c only reads what it packs. */
	return (ProtobufCBinaryData){.len = s.len, .data = (uint8_t *)s.ptr};
}

static ProtobufCBinaryData bytes_of_text(const char *text)
{
	return bytes_of(slice_str(text));
}

static int frame(struct request *r, const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);

	r->bytes = mem_alloc(PREFIX_BYTES + len);
	if (!r->bytes)
		return ERR_NOMEM;
	r->bytes[0] = 0; /* not compressed */
	r->bytes[1] = (uint8_t)(len >> 24);
	r->bytes[2] = (uint8_t)(len >> 16);
	r->bytes[3] = (uint8_t)(len >> 8);
	r->bytes[4] = (uint8_t)len;
	(void)protobuf_c_message_pack(message, r->bytes + PREFIX_BYTES);
	r->len = PREFIX_BYTES + len;
	return 0;
}

/* Ends the text, whose signature goes into `field` of the message. */
static int sign(struct request *r, struct signer *signer,
	const ProtobufCMessage *message, ProtobufCBinaryData *field)
{
	int result = signer_end(signer, r->question.user, &r->signature);

	*field = bytes_of(slice_of(r->signature.text, SIGNER_TEXT_LEN));
	return result < 0 ? result : frame(r, message);
}

static int set_record(struct request *r, struct signer *signer, uint32_t now_s,
	const struct names *names)
{
	const struct question *q = &r->question;
	Sync__SetRecordRequest m = SYNC__SET_RECORD_REQUEST__INIT;
	Sync__Record record = SYNC__RECORD__INIT;

	record.id = bytes_of_text(names->record);
	record.revision = q->revision;
	record.schema_version = bytes_of_text(SCHEMA_VERSION);
	record.data = bytes_of(q->data);
	m.record = &record;
	m.request_time = now_s;
	m.optional_client_id_case =
		SYNC__SET_RECORD_REQUEST__OPTIONAL_CLIENT_ID_CLIENT_ID;
	m.client_id = bytes_of_text(names->client);
	signed_text_set_record(signer_begin(signer), slice_str(names->record),
		q->data, q->revision, slice_str(SCHEMA_VERSION), now_s);
	return sign(r, signer, &m.base, &m.signature);
}

static int list_changes(
	struct request *r, struct signer *signer, uint32_t now_s)
{
	Sync__ListChangesRequest m = SYNC__LIST_CHANGES_REQUEST__INIT;

	m.since_revision = r->question.since_revision;
	m.request_time = now_s;
	signed_text_list_changes(
		signer_begin(signer), r->question.since_revision, now_s);
	return sign(r, signer, &m.base, &m.signature);
}

static int get_lock(struct request *r, struct signer *signer, uint32_t now_s,
	const struct names *names)
{
	Sync__GetLockRequest m = SYNC__GET_LOCK_REQUEST__INIT;

	m.lock_name = bytes_of_text(names->lock);
	m.request_time = now_s;
	signed_text_get_lock(
		signer_begin(signer), slice_str(names->lock), now_s);
	return sign(r, signer, &m.base, &m.signature);
}

static int set_lock(struct request *r, struct signer *signer, uint32_t now_s,
	const struct names *names)
{
	Sync__SetLockRequest m = SYNC__SET_LOCK_REQUEST__INIT;
	bool acquire = r->question.acquire;

	m.lock_name = bytes_of_text(names->lock);
	m.instance_id = bytes_of_text(names->instance);
	m.acquire = acquire;
	m.optional_ttl_seconds_case =
		SYNC__SET_LOCK_REQUEST__OPTIONAL_TTL_SECONDS_TTL_SECONDS;
	m.ttl_seconds = LOCK_TTL_S;
	m.request_time = now_s;
	signed_text_set_lock(signer_begin(signer), slice_str(names->lock),
		slice_str(names->instance), acquire, false, now_s);
	return sign(r, signer, &m.base, &m.signature);
}

static int listen_changes(
	struct request *r, struct signer *signer, uint32_t now_s)
{
	Sync__ListenChangesRequest m = SYNC__LISTEN_CHANGES_REQUEST__INIT;

	m.request_time = now_s;
	signed_text_listen_changes(signer_begin(signer), now_s);
	return sign(r, signer, &m.base, &m.signature);
}

/* An empty HealthCheckRequest has no bytes, like every empty message. */
static int health_check(struct request *r)
{
	r->bytes = mem_zalloc(PREFIX_BYTES);
	r->len = PREFIX_BYTES;
	return r->bytes ? 0 : ERR_NOMEM;
}

int request_init(struct request *r, const struct question *question,
	struct signer *signer)
{
	uint32_t now_s = (uint32_t)(clock_wall_ns(&clock_system) / NS_PER_S);
	struct names names;

	*r = (struct request){.question = *question};
	make_names(question, &names);
	switch (question->method) {
	case METHOD_SET_RECORD: return set_record(r, signer, now_s, &names);
	case METHOD_LIST_CHANGES: return list_changes(r, signer, now_s);
	case METHOD_GET_LOCK: return get_lock(r, signer, now_s, &names);
	case METHOD_SET_LOCK: return set_lock(r, signer, now_s, &names);
	case METHOD_LISTEN_CHANGES: return listen_changes(r, signer, now_s);
	case METHOD_HEALTH_CHECK: return health_check(r);
	}
	return ERR_INVALID;
}

void request_release(struct request *r)
{
	mem_free(r->bytes);
	r->bytes = NULL;
}

/* The records of a page, by stepping over them: unpacking megabytes would be
 * the load generator's time and nobody's proof. ERR_INVALID if it is none. */
static int count_changes(struct slice page, uint32_t *ret_n)
{
	uint32_t n = 0;

	while (page.len > 0) {
		size_t at = 1, len = 0;
		unsigned shift = 0;
		bool more = true;

		for (; more && at < page.len && shift < 32; shift += 7) {
			len |= (size_t)(page.ptr[at] & 0x7f) << shift;
			more = page.ptr[at++] & 0x80;
		}
		if (page.ptr[0] != TAG_CHANGES || more || page.len - at < len)
			return ERR_INVALID;
		page = slice_from(page, at + len);
		n++;
	}
	*ret_n = n;
	return 0;
}

static bool is_stored(struct slice message)
{
	Sync__SetRecordReply *reply =
		sync__set_record_reply__unpack(NULL, message.len, message.ptr);
	bool stored = reply &&
		      reply->status == SYNC__SET_RECORD_STATUS__SUCCESS &&
		      reply->new_revision > 0;

	sync__set_record_reply__free_unpacked(reply, NULL);
	return stored;
}

bool request_is_answered(const struct request *r, struct slice message)
{
	uint32_t n;

	switch (r->question.method) {
	case METHOD_SET_RECORD: return is_stored(message);
	case METHOD_LIST_CHANGES:
		return count_changes(message, &n) == 0 &&
		       n == r->question.n_changes;
	case METHOD_GET_LOCK:
	case METHOD_SET_LOCK:
	case METHOD_LISTEN_CHANGES:
	case METHOD_HEALTH_CHECK: return true;
	}
	return false;
}
