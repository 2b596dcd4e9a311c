/* SPDX-License-Identifier: Apache-2.0 */
/* web_text — the base64 of gRPC-Web's "-text" (grpc/grpc doc/PROTOCOL-WEB.md):
 * any number of encoded pieces one behind the other, each padded or not only
 * at the very end, cut by the network wherever it likes. Line breaks are
 * skipped, as data-sync does. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/slice.h"
#include "rpc/message.h"

/* Zeroed at first. */
struct web_text {
	uint8_t quad[4]; /* characters that make no whole group yet */
	size_t n;
};

/* Decodes and hands on. Returns: as message_reader_take(); ERR_INVALID when it
 * is not base64. */
MUSTCHECK int web_text_take(
	struct web_text *w, struct slice text, struct message_reader *m);

/* The text has ended. Returns as web_text_take(). */
MUSTCHECK int web_text_end(struct web_text *w, struct message_reader *m);

/* Appends `bytes` as one padded piece. Returns: 0, ERR_LIMIT, ERR_NOMEM. */
MUSTCHECK int web_text_encode(struct slice bytes, struct buf *out);
