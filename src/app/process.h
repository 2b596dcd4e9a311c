/* SPDX-License-Identifier: Apache-2.0 */
/* process — what the system knows of this process, for its metrics. Threads:
 * one. */
#pragma once

#include <stdint.h>

#include "base/metrics.h"

struct process {
	int64_t start_ns; /* on the wall clock; 0: not known */
};

void process_init(struct process *p);

/* What cannot be found out, as where there is no /proc, stays 0. Reads files of
 * the kernel's, none of a disk's. */
void process_metrics(const struct process *p, struct metrics_sum *sum);
