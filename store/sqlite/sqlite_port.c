/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite/sqlite_port.h"

#include "store/sqlite/sqlite_readers.h"
#include "store/sqlite/sqlite_writer.h"

/* Operations that wait for the end of a turn: more go at once, since a turn
 * may last as long as there are connections to serve. With the signatures that
 * are recovered in between these take 0.7 ms to gather. */
#define TOGETHER_MAX 16

struct sqlite_port {
	struct ports_port ports_port;	/* first: it is freed as that */
	struct sqlite_writer *writer;	/* ref */
	struct sqlite_readers *readers; /* ref */
	struct message_chain writes, reads;
	struct deferred flush;
};

static struct sqlite_port *port_of(struct ports_port *pp)
{
	return CONTAINER_OF(pp, struct sqlite_port, ports_port);
}

static void flush(struct sqlite_port *p)
{
	sqlite_writer_submit(p->writer, &p->writes);
	sqlite_readers_submit(p->readers, &p->reads);
}

static void on_end_of_turn(struct deferred *d)
{
	flush(CONTAINER_OF(d, struct sqlite_port, flush));
}

static bool is_write(const struct store_op *op)
{
	return op->kind == STORE_SET_RECORD || op->kind == STORE_SET_LOCK;
}

void sqlite_port_submit(struct store_port *port, struct store_op *op)
{
	struct sqlite_port *p =
		port_of(CONTAINER_OF(port, struct ports_port, port));
	struct message_chain *chain = is_write(op) ? &p->writes : &p->reads;
	bool admitted = is_write(op) ? sqlite_writer_admit(p->writer)
				     : sqlite_readers_admit(p->readers);

	if (!admitted) {
		ports_answer_now(op, STORE_BUSY);
		return;
	}
	op->message.deliver = NULL; /* marks an operation */
	message_chain_add(chain, &op->message);
	if (chain->n == TOGETHER_MAX)
		flush(p);
	else
		loop_defer(port->loop, &p->flush);
}

int sqlite_port_attach(struct ports *ports, struct store *store,
	struct sqlite_writer *writer, struct sqlite_readers *readers,
	struct loop *loop, const struct store_listener *listener,
	struct store_port **ret_port)
{
	struct sqlite_port *p;
	int r = ports_attach(
		ports, sizeof(*p), store, loop, listener, ret_port);

	if (r < 0)
		return r;
	p = port_of(CONTAINER_OF(*ret_port, struct ports_port, port));
	p->writer = writer;
	p->readers = readers;
	list_init(&p->flush.node);
	p->flush.run = on_end_of_turn;
	return 0;
}

void sqlite_port_close(struct ports_port *pp)
{
	struct sqlite_port *p = port_of(pp);

	deferred_cancel(&p->flush);
	flush(p);
}
