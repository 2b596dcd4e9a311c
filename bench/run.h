/* SPDX-License-Identifier: Apache-2.0 */
/* run — one scenario against one server, from the first connection to the
 * figures. */
#pragma once

#include "base/attr.h"
#include "base/err.h"
#include "bench/histogram.h"
#include "bench/options.h"
#include "bench/process.h"
#include "bench/signer.h"

struct figures {
	uint64_t good;
	uint64_t bad;
	int64_t took_ns;	   /* of the counted phase */
	struct histogram latency;  /* of calls; of greetings in a storm */
	struct histogram wakes;	   /* from a write to each notification */
	struct histogram last;	   /* from its answer to the last of them */
	bool looked;		   /* the three below are there */
	struct process_usage idle; /* of the server, before anybody connects */
	struct process_usage before; /* the counted phase */
	struct process_usage after;
	int64_t own_cpu_ns; /* of the load generator, in that phase */
	uint32_t connections;
};

/* Returns: 0 (calls that went wrong are counted), ERR_* with *reterr when
 * there was nothing to count. */
MUSTCHECK int run(const struct options *o, struct signer *signer,
	struct figures *ret_figures, struct errmsg *reterr);
