/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/reflection.h"

#include "base/err.h"
#include "base/mem.h"
#include "reflection_wire.pb-c.h"

/* The generated names are longer than a line. */
typedef Grpc__Reflection__V1__ServerReflectionRequest request;
typedef Grpc__Reflection__V1__ServerReflectionResponse response;
typedef Grpc__Reflection__V1__FileDescriptorResponse file_response;
typedef Grpc__Reflection__V1__ExtensionNumberResponse extension_response;
typedef Grpc__Reflection__V1__ListServiceResponse list_response;
typedef Grpc__Reflection__V1__ServiceResponse list_entry;
typedef Grpc__Reflection__V1__ErrorResponse error_response;

#define ASKED(name)                                                            \
	GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define ANSWER(name)                                                           \
	GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

struct reflection {
	const struct rpc_server *server;  /* ref */
	const struct descriptor_set *set; /* ref; static */
	struct rpc_service v1;
	struct rpc_service v1alpha;
};

static bool is_text(const ProtobufCMessageDescriptor *message UNUSED,
	const ProtobufCFieldDescriptor *field UNUSED)
{
	return true;
}

/* ---- looking up ---- */

static const struct descriptor_file *find_file(
	const struct descriptor_set *set, struct slice name)
{
	size_t i;

	for (i = 0; i < set->n_files; i++) {
		if (slice_eq_str(name, set->files[i].name))
			return &set->files[i];
	}
	return NULL;
}

/* As strcmp(), which sorted the symbols; the name may hold anything. */
static int compare(struct slice name, const char *symbol)
{
	size_t len = strlen(symbol);
	int order = name.len ? memcmp(name.ptr, symbol, MIN(name.len, len)) : 0;

	if (order != 0)
		return order;
	return name.len < len ? -1 : name.len > len;
}

static const struct descriptor_symbol *find_symbol(
	const struct descriptor_set *set, struct slice name)
{
	size_t low = 0, high = set->n_symbols, middle;
	int order;

	while (low < high) {
		middle = low + (high - low) / 2;
		order = compare(name, set->symbols[middle].name);
		if (order == 0)
			return &set->symbols[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* ---- answering ---- */

/* Each fills in the rest of `r`, whose original_request is set, and sends it.
 */

static void send_error(
	struct call *c, response r, enum rpc_status status, const char *text)
{
	error_response error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;

	error.error_code = (int32_t)status;
	error.error_message = pb_bytes(slice_str(text));
	r.message_response_case = ANSWER(ERROR_RESPONSE);
	r.error_response = &error;
	call_send(c, &r.base);
}

static void send_no_memory(struct call *c)
{
	call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
}

/* The file and all it needs; NULL: no such file. */
static void send_file(struct call *c, response r,
	const struct descriptor_set *set, const struct descriptor_file *file)
{
	file_response answer =
		GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
	const struct descriptor_file *needed;
	ProtobufCBinaryData *files;
	size_t i;

	if (!file) {
		send_error(c, r, RPC_NOT_FOUND, "not found");
		return;
	}
	files = arena_alloc(
		call_message_arena(c), file->n_needed * sizeof(*files));
	if (!files) {
		send_no_memory(c);
		return;
	}
	for (i = 0; i < file->n_needed; i++) {
		needed = &set->files[file->needed[i]];
		files[i] = pb_bytes(slice_of(needed->bytes, needed->len));
	}
	answer.n_file_descriptor_proto = file->n_needed;
	answer.file_descriptor_proto = files;
	r.message_response_case = ANSWER(FILE_DESCRIPTOR_RESPONSE);
	r.file_descriptor_response = &answer;
	call_send(c, &r.base);
}

static void send_services(
	struct call *c, response r, const struct rpc_server *server)
{
	list_response answer =
		GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
	size_t n = server->n_services, i;
	list_entry *entries, **refs;

	entries = arena_alloc(call_message_arena(c), n * sizeof(*entries));
	refs = arena_alloc(call_message_arena(c), n * sizeof(list_entry *));
	if (!entries || !refs) {
		send_no_memory(c);
		return;
	}
	for (i = 0; i < n; i++) {
		entries[i] = (list_entry)
			GRPC__REFLECTION__V1__SERVICE_RESPONSE__INIT;
		entries[i].name =
			pb_bytes(slice_str(server->services[i]->name));
		refs[i] = &entries[i];
	}
	answer.n_service = n;
	answer.service = refs;
	r.message_response_case = ANSWER(LIST_SERVICES_RESPONSE);
	r.list_services_response = &answer;
	call_send(c, &r.base);
}

/* proto3 has no extensions but of options, so a message has none. */
static void send_extensions(struct call *c, response r,
	const struct descriptor_set *set, ProtobufCBinaryData type)
{
	extension_response answer =
		GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;
	const struct descriptor_symbol *s = find_symbol(set, pb_slice(type));

	if (!s || !s->is_message) {
		send_error(c, r, RPC_NOT_FOUND, "not found");
		return;
	}
	answer.base_type_name = type;
	r.message_response_case = ANSWER(ALL_EXTENSION_NUMBERS_RESPONSE);
	r.all_extension_numbers_response = &answer;
	call_send(c, &r.base);
}

static void on_message(struct call *c)
{
	const struct reflection *self = call_service(c);
	const struct descriptor_set *set = self->set;
	response r = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
	void *message = call_decode(c,
		&grpc__reflection__v1__server_reflection_request__descriptor,
		is_text);
	request *q = message;
	const struct descriptor_symbol *s;

	if (!q)
		return;
	r.valid_host = q->host;
	r.original_request = q;
	switch (q->message_request_case) {
	case ASKED(FILE_BY_FILENAME):
		send_file(c, r, set,
			find_file(set, pb_slice(q->file_by_filename)));
		break;
	case ASKED(FILE_CONTAINING_SYMBOL):
		s = find_symbol(set, pb_slice(q->file_containing_symbol));
		send_file(c, r, set, s ? &set->files[s->file] : NULL);
		break;
	case ASKED(FILE_CONTAINING_EXTENSION):
		send_file(c, r, set, NULL);
		break;
	case ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE):
		send_extensions(c, r, set, q->all_extension_numbers_of_type);
		break;
	case ASKED(LIST_SERVICES): send_services(c, r, self->server); break;
	default:
		call_fail(c, RPC_INVALID_ARGUMENT,
			"request asks for nothing that is known");
	}
}

static void on_drain(struct call *c)
{
	call_fail(c, RPC_UNAVAILABLE, "server is shutting down");
}

static const struct call_hooks hooks = {
	.on_message = on_message,
	.on_half_closed = call_end,
	.on_drain = on_drain,
};

static void info_start(struct call *c)
{
	call_set_hooks(c, &hooks, NULL);
}

/* ---- life ---- */

static const struct rpc_method methods[] = {
	{.name = "ServerReflectionInfo",
		.metric = METRIC_METHOD_REFLECTION,
		.client_streaming = true,
		.server_streaming = true,
		.start = info_start},
};

static struct rpc_service service_named(struct reflection *r, const char *name)
{
	return (struct rpc_service){
		.name = name,
		.methods = methods,
		.n_methods = ARRAY_LEN(methods),
		.ctx = r,
		.quiet = true,
	};
}

int reflection_new(const struct rpc_server *server,
	const struct descriptor_set *set, struct reflection **ret_reflection)
{
	struct reflection *r = mem_zalloc(sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	r->server = server;
	r->set = set;
	r->v1 = service_named(r, "grpc.reflection.v1.ServerReflection");
	r->v1alpha =
		service_named(r, "grpc.reflection.v1alpha.ServerReflection");
	*ret_reflection = r;
	return 0;
}

void reflection_free(struct reflection **reflection)
{
	mem_free(*reflection);
	*reflection = NULL;
}

const struct rpc_service *reflection_v1(const struct reflection *r)
{
	return &r->v1;
}

const struct rpc_service *reflection_v1alpha(const struct reflection *r)
{
	return &r->v1alpha;
}
