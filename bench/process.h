/* SPDX-License-Identifier: Apache-2.0 */
/* process — what a process has used, as the kernel counts it (/proc). */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"

struct process_usage {
	int64_t cpu_ns;	       /* of all its threads that still live */
	int64_t written_bytes; /* that it caused to go to the disk */
	int64_t rss_bytes;
	int64_t peak_bytes; /* of rss, since process_forget_peak() */
};

/* Returns: 0, ERR_SYS (no such process, or it is not ours to look at). */
MUSTCHECK int process_look(pid_t pid, struct process_usage *ret_usage);

/* Peak memory counts from now; where we may not say so, from the process's
 * beginning. */
void process_forget_peak(pid_t pid);
