/* SPDX-License-Identifier: Apache-2.0 */
/* service — grpc.testing.TestService, as grpc/grpc
 * doc/interop-test-descriptions.md wants a server to behave. Stateless but for
 * its calls. Threads: its loop's. */
#pragma once

#include "rpc/call.h"

extern const struct rpc_service interop_service;
