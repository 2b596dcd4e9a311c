/* SPDX-License-Identifier: Apache-2.0 */
/* status_map — the one place where the store's outcomes become gRPC statuses.
 * The sentences say nothing of paths, SQL or hosts: those go to the log. */
#pragma once

#include "rpc/status.h"
#include "store/store.h"

struct outcome_status {
	enum rpc_status status;
	const char *text; /* static */
};

/* For every outcome that is not a reply of its own (OK, CONFLICT). */
struct outcome_status status_of_outcome(enum store_outcome outcome);
