/* SPDX-License-Identifier: Apache-2.0 */
/* change — a record as ListChangesReply has it. Not by protobuf-c, which takes
 * six times as many instructions: a page is up to a thousand of them. */
#pragma once

#include "base/attr.h"
#include "base/buf.h"
#include "store/store.h"

/* Appends a reply of this one record: replies laid end to end are one reply of
 * many, as protobuf merges repeated fields.
 * Returns: 0, ERR_LIMIT (over the ceiling), ERR_NOMEM. */
MUSTCHECK int change_encode(
	struct buf *page, const struct store_record *record);
