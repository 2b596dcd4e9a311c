/* SPDX-License-Identifier: Apache-2.0 */
/* reflection — the service grpc.reflection.v1.ServerReflection (grpc/grpc
 * doc/server-reflection.md), and the same by its older name, v1alpha: tells
 * what services there are and how their messages look, byte for byte as
 * protoc described them at build time.
 *
 * A name that a peer asks for is compared as bytes and echoed in the answer's
 * original_request, nothing else. Threads: the shard's loop. */
#pragma once

#include "base/attr.h"
#include "proto/descriptors.h"
#include "rpc/call.h"
#include "rpc/server.h"

struct reflection;

/* Tells of the services of `server` from `set`; both outlive it.
 * Returns: 0, ERR_NOMEM. */
MUSTCHECK int reflection_new(const struct rpc_server *server,
	const struct descriptor_set *set, struct reflection **ret_reflection);

/* Every call is closed. NULL inside is fine. */
void reflection_free(struct reflection **reflection);

/* To be registered with the rpc_server; live as long as the reflection. */
const struct rpc_service *reflection_v1(const struct reflection *r);
const struct rpc_service *reflection_v1alpha(const struct reflection *r);
