/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fake_clock.h"
#include "lib/fake_exchange.h"
#include "reflection_wire.pb-c.h"
#include "rpc/protobuf.h"
#include "rpc/reflection.h"

#include "lib/unit.h"

#define V1	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
#define V1ALPHA "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

/* Fields of ServerReflectionRequest. */
enum { BY_NAME = 3, BY_SYMBOL = 4, EXTENSION = 5, NUMBERS = 6, LIST = 7 };

typedef Grpc__Reflection__V1__ServerReflectionResponse response;

static struct fake_clock clock_;
static struct rpc_server server;
static struct reflection *reflection;
static const struct rpc_service other = {.name = "test.Other"};
static const struct rpc_service *services[3];
static struct fake_exchange fake;
static struct arena arena;

static bool is_text(const ProtobufCMessageDescriptor *message UNUSED,
	const ProtobufCFieldDescriptor *field UNUSED)
{
	return false;
}

static void set_up(const char *path)
{
	fake_clock_init(&clock_);
	arena_init(&arena, 1 << 20);
	server = (struct rpc_server){
		.services = services,
		.n_services = ARRAY_LEN(services),
		.message_max = 65536,
		.stall_timeout_ns = 30 * NS_PER_S,
	};
	ck_assert_int_eq(loop_new(&clock_.clock, &server.loop), 0);
	ck_assert_int_eq(
		reflection_new(&server, &descriptor_set, &reflection), 0);
	services[0] = &other;
	services[1] = reflection_v1(reflection);
	services[2] = reflection_v1alpha(reflection);
	fake_open(&fake, &server, path);
}

static void tear_down(void)
{
	fake_close(&fake);
	ck_assert_int_eq(loop_turn(server.loop, 0), 0);
	reflection_free(&reflection);
	loop_free(&server.loop);
	arena_release(&arena);
}

/* Asks one thing and reads the answer. */
static response *ask(unsigned field, struct slice text)
{
	uint8_t request[128] = {0, 0, 0, 0, (uint8_t)(2 + text.len),
		(uint8_t)(field << 3 | 2), (uint8_t)text.len};
	ProtobufCMessage *m;
	struct slice answer;
	response *r;

	ck_assert_uint_lt(text.len, 100);
	memcpy(request + 7, text.ptr, text.len);
	fake_body(&fake, slice_of(request, 7 + text.len));
	ck_assert(fake_message(&fake, &answer));
	ck_assert_int_eq(
		pb_decode(
			&grpc__reflection__v1__server_reflection_response__descriptor,
			is_text, answer, &arena, &m),
		0);
	r = (response *)m;
	ck_assert_ptr_nonnull(r->original_request);
	ck_assert_uint_eq(
		(unsigned)r->original_request->message_request_case, field);
	fake_read(&fake);
	return r;
}

/* Whether the answer is that file, byte for byte. */
static bool is_file(const response *r, const char *name)
{
	const struct descriptor_file *f = descriptor_set.files;
	struct slice found;

	if (r->message_response_case !=
		GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE)
		return false;
	while (strcmp(f->name, name) != 0)
		f++;
	ck_assert_uint_eq(
		r->file_descriptor_response->n_file_descriptor_proto, 1);
	found = pb_slice(r->file_descriptor_response->file_descriptor_proto[0]);
	return slice_eq(found, slice_of(f->bytes, f->len));
}

static bool is_not_found(const response *r)
{
	return r->message_response_case ==
		       GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE &&
	       r->error_response->error_code == RPC_NOT_FOUND;
}

TEST(reflection, names_the_services_that_are_registered)
{
	const response *r;

	set_up(V1);
	r = ask(LIST, slice_str("*"));
	ck_assert_uint_eq(r->list_services_response->n_service, 3);
	for (size_t i = 0; i < 3; i++)
		ck_assert(slice_eq_str(
			pb_slice(r->list_services_response->service[i]->name),
			services[i]->name));
	tear_down();
}

TEST(reflection, finds_the_file_of_every_kind_of_symbol)
{
	static const struct {
		const char *symbol, *file;
	} rows[] = {
		{"sync.Syncer", "sync.proto"},
		{"sync.Syncer.SetRecord", "sync.proto"},
		{"sync.Record", "sync.proto"},
		{"sync.Record.schema_version", "sync.proto"},
		{"grpc.health.v1.HealthCheckResponse.ServingStatus",
			"grpc/health/v1/health.proto"},
		{"grpc.health.v1.HealthCheckResponse.NOT_SERVING",
			"grpc/health/v1/health.proto"},
		{"grpc.reflection.v1.ServerReflection",
			"grpc/reflection/v1/reflection.proto"},
		{"grpc.reflection.v1alpha.ServerReflectionRequest."
		 "message_request",
			"grpc/reflection/v1alpha/reflection.proto"},
	};

	set_up(V1ALPHA);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ck_assert_msg(is_file(ask(BY_SYMBOL, slice_str(rows[i].symbol)),
				      rows[i].file),
			"%s", rows[i].symbol);
	tear_down();
}

TEST(reflection, finds_every_symbol_it_knows_and_each_file_by_name)
{
	const struct descriptor_set *set = &descriptor_set;

	set_up(V1);
	for (size_t i = 0; i < set->n_symbols; i++) {
		ck_assert(i == 0 || strcmp(set->symbols[i - 1].name,
					    set->symbols[i].name) < 0);
		ck_assert(
			is_file(ask(BY_SYMBOL, slice_str(set->symbols[i].name)),
				set->files[set->symbols[i].file].name));
	}
	for (size_t i = 0; i < set->n_files; i++)
		ck_assert(is_file(ask(BY_NAME, slice_str(set->files[i].name)),
			set->files[i].name));
	tear_down();
}

TEST(reflection, what_it_does_not_know_is_an_answer_too)
{
	static const struct {
		const char *name;
		size_t len;
	} rows[] = {
		{"", 0},
		{"sync", 4},
		{"sync.Synce", 10},
		{"sync.Syncer.", 12},
		{"sync.Syncer\0", 12},
		{"sync.Syncer\0.SetRecord", 22},
		{"sync.syncer", 11},
		{".sync.Syncer", 12},
		{"zzz", 3},
	};

	set_up(V1);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct slice name = slice_of(rows[i].name, rows[i].len);

		ck_assert_msg(is_not_found(ask(BY_SYMBOL, name)), "row %zu", i);
		ck_assert_msg(is_not_found(ask(BY_NAME, name)), "row %zu", i);
		ck_assert_msg(is_not_found(ask(NUMBERS, name)), "row %zu", i);
	}
	ck_assert(!fake.ended);
	ck_assert(is_not_found(ask(EXTENSION, slice_str(""))));
	ck_assert(is_not_found(ask(NUMBERS, slice_str("sync.Syncer"))));
	ck_assert(is_file(
		ask(BY_SYMBOL, slice_str("sync.Syncer")), "sync.proto"));
	tear_down();
}

TEST(reflection, messages_have_no_extensions)
{
	const response *r;

	set_up(V1);
	r = ask(NUMBERS, slice_str("sync.Record"));
	ck_assert_uint_eq(
		r->all_extension_numbers_response->n_extension_number, 0);
	ck_assert(slice_eq_str(
		pb_slice(r->all_extension_numbers_response->base_type_name),
		"sync.Record"));
	tear_down();
}

TEST(reflection, a_question_without_a_question_ends_it)
{
	set_up(V1);
	fake_body(&fake, slice_of("\0\0\0\0", 5));
	ck_assert_ptr_nonnull(strstr(fake.headers, "grpc-status: 3\n"));
	tear_down();
}

TEST(reflection, ends_when_the_client_has_asked_all)
{
	set_up(V1);
	(void)ask(LIST, slice_str(""));
	fake_half_close(&fake);
	ck_assert_int_eq(loop_turn(server.loop, 0), 0);
	ck_assert_str_eq(fake.trailers, "grpc-status: 0\ngrpc-message: \n");
	tear_down();
}
