/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz — what fuzz targets share: one stack from HTTP bytes to a service,
 * in memory, with a clock that stands still.
 *
 * A target is a file with LLVMFuzzerTestOneInput(). Linked with libFuzzer it
 * searches (script/fuzz), linked with replay.c it runs a corpus (script/test).
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "http/session.h"
#include "lib/fake_clock.h"
#include "loop/loop.h"
#include "net/stream.h"
#include "rpc/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process, and so fails, when what must hold does not. */
#define FUZZ_CHECK(expr)                                                       \
	do {                                                                   \
		if (!(expr))                                                   \
			fuzz_fail(#expr, __FILE__, __LINE__);                  \
	} while (0)

_Noreturn void fuzz_fail(const char *expr, const char *file, int line);

enum stack_kind { STACK_H1_WEB, STACK_H2_WEB, STACK_H2_GRPC };

struct stack {
	struct fake_clock clock;
	struct loop *loop;	 /* own */
	struct session *session; /* own */
	struct rpc_server server;
	struct http_budget budget;
	struct buf output; /* all that was sent */
	bool closed;	   /* the session gave up, or is done */
};

/* A server with the service "fuzz.Fuzz": Echo answers a GetLockRequest, Chat
 * each of many, Listen sends three notifications and stays open. */
void stack_begin(struct stack *s, enum stack_kind kind);

/* Gives the bytes to the session and takes what it sends. */
void stack_feed(struct stack *s, struct slice bytes);

void stack_end(struct stack *s);
