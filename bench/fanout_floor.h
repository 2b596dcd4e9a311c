/* SPDX-License-Identifier: Apache-2.0 */
/* fanout_floor — what the kernel alone takes to tell many sockets. */
#pragma once

#include <stddef.h>

#include "base/attr.h"
#include "bench/histogram.h"

/* Connects `n` sockets over the loopback and tells all of them `rounds` times:
 * a thread for each core writes one message to each of its share, and this one
 * reads. Each time, from the first write on to the last read, is added to
 * `rounds_ns`. Returns: 0, ERR_NOMEM, ERR_SYS. */
MUSTCHECK int fanout_floor(
	size_t n, size_t rounds, struct histogram *rounds_ns);
