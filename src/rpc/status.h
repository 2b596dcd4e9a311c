/* SPDX-License-Identifier: Apache-2.0 */
/* status — the status codes of gRPC (grpc/grpc doc/statuscodes.md). */
#pragma once

#define RPC_STATUS_MAP(X)                                                      \
	X(OK, 0)                                                               \
	X(CANCELLED, 1)                                                        \
	X(UNKNOWN, 2)                                                          \
	X(INVALID_ARGUMENT, 3)                                                 \
	X(DEADLINE_EXCEEDED, 4)                                                \
	X(NOT_FOUND, 5)                                                        \
	X(ALREADY_EXISTS, 6)                                                   \
	X(PERMISSION_DENIED, 7)                                                \
	X(RESOURCE_EXHAUSTED, 8)                                               \
	X(FAILED_PRECONDITION, 9)                                              \
	X(ABORTED, 10)                                                         \
	X(OUT_OF_RANGE, 11)                                                    \
	X(UNIMPLEMENTED, 12)                                                   \
	X(INTERNAL, 13)                                                        \
	X(UNAVAILABLE, 14)                                                     \
	X(DATA_LOSS, 15)                                                       \
	X(UNAUTHENTICATED, 16)

enum rpc_status {
#define X(name, code) RPC_##name = (code),
	RPC_STATUS_MAP(X)
#undef X
};

/* "OK", "CANCELLED", …; static. */
const char *rpc_status_name(enum rpc_status status);
