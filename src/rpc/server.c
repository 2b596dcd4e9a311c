/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/server.h"

#include <stdio.h>
#include <string.h>

static const struct rpc_service *find_service(
	const struct rpc_server *server, struct slice name)
{
	size_t i;

	for (i = 0; i < server->n_services; i++) {
		if (slice_eq_str(name, server->services[i]->name))
			return server->services[i];
	}
	return NULL;
}

static const struct rpc_method *find_method(
	const struct rpc_service *service, struct slice name)
{
	size_t i;

	for (i = 0; i < service->n_methods; i++) {
		if (slice_eq_str(name, service->methods[i].name))
			return &service->methods[i];
	}
	return NULL;
}

/* "/service/method", split at the last slash; nothing else is cut off. */
const struct rpc_method *rpc_server_find(const struct rpc_server *server,
	struct slice path, const struct rpc_service **ret_service, char *reterr,
	size_t reterr_size)
{
	struct slice rest = slice_from(path, 1), service_name, method_name;
	const struct rpc_method *method;
	const struct rpc_service *service;
	const uint8_t *slash;

	slash = rest.len ? memrchr(rest.ptr, '/', rest.len) : NULL;
	if (!slash || path.ptr[0] != '/') {
		(void)snprintf(reterr, reterr_size,
			"malformed method name: \"%.*s\"", SLICE_FMT(path));
		return NULL;
	}
	service_name = slice_of(rest.ptr, (size_t)(slash - rest.ptr));
	method_name = slice_from(rest, service_name.len + 1);
	service = find_service(server, service_name);
	if (!service) {
		(void)snprintf(reterr, reterr_size, "unknown service %.*s",
			SLICE_FMT(service_name));
		return NULL;
	}
	method = find_method(service, method_name);
	if (!method) {
		(void)snprintf(reterr, reterr_size,
			"unknown method %.*s for service %.*s",
			SLICE_FMT(method_name), SLICE_FMT(service_name));
		return NULL;
	}
	*ret_service = service;
	return method;
}
