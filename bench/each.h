/* SPDX-License-Identifier: Apache-2.0 */
/* each — a fixed run of every RPC, one call at a time on one connection, for
 * who counts the server's instructions.
 *
 * Before and after each part there is a grpc.health Check, at which callgrind
 * can be told to write down what it has counted since the last. */
#pragma once

#include "base/attr.h"
#include "base/err.h"
#include "bench/client.h"
#include "bench/options.h"
#include "bench/signer.h"

/* Prints the name of each part that went well and its number of calls, one a
 * line. The client's streams may stay open: it is not used any more. Returns:
 * 0, ERR_PROTO (a call went wrong), ERR_SYS, ERR_NOMEM. */
MUSTCHECK int each_run(struct net *net, struct client *client,
	const struct options *o, struct signer *signer);
