/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite_port — what a loop submits in one turn goes to the threads together:
 * they are woken once, and find more to do in one transaction. On a machine
 * with few cores each wake-up in the middle of a turn costs more than a read.
 *
 * Threads: the port's loop's, but where said. */
#pragma once

#include "base/attr.h"
#include "store/ports.h"

struct sqlite_writer;
struct sqlite_readers;

/* As store_attach(). `writer` and `readers` outlive the port's use. */
MUSTCHECK int sqlite_port_attach(struct ports *ports, struct store *store,
	struct sqlite_writer *writer, struct sqlite_readers *readers,
	struct loop *loop, const struct store_listener *listener,
	struct store_port **ret_port);

void sqlite_port_submit(struct store_port *port, struct store_op *op);

/* When the loop does not run any more, any thread: what was submitted since
 * its last turn goes, too. */
void sqlite_port_close(struct ports_port *pp);
