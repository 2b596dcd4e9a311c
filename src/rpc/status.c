/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/status.h"

const char *rpc_status_name(enum rpc_status status)
{
	switch (status) {
#define X(name, code)                                                          \
	case RPC_##name: return #name;
		RPC_STATUS_MAP(X)
#undef X
	}
	return "UNKNOWN";
}
