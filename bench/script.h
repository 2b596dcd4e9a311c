/* SPDX-License-Identifier: Apache-2.0 */
/* script — the requests of a scenario, all signed before the first is sent. */
#pragma once

#include <stddef.h>

#include "base/attr.h"
#include "bench/options.h"
#include "bench/request.h"
#include "bench/signer.h"

struct script {
	struct request *requests; /* own */
	size_t n;
	bool in_turn; /* see struct load_plan */
};

void script_release(struct script *s);

/* What has to be stored before the scenario; may be nothing.
 * Returns (all): 0, ERR_NOMEM, ERR_INVALID. */
MUSTCHECK int script_before(const struct options *o, struct signer *signer,
	struct script *ret_script);

/* The calls themselves, the writes of a fan-out included. */
MUSTCHECK int script_calls(const struct options *o, struct signer *signer,
	struct script *ret_script);

/* One ListenChanges for each user. */
MUSTCHECK int script_listens(const struct options *o, struct signer *signer,
	struct script *ret_script);

/* One call of a method, for scenarios that make them one by one. */
MUSTCHECK int script_of(const struct question *question, size_t n,
	struct signer *signer, struct script *ret_script);
