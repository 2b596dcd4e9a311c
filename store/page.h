/* SPDX-License-Identifier: Apache-2.0 */
/* page — a page of ListChanges as it fills. For back-ends. Threads: whichever
 * has the operation. */
#pragma once

#include "base/attr.h"
#include "store/store.h"

/* Sets the results to those of an empty page. */
void page_begin(struct store_list_changes *list);

/* Appends the next record. Returns: 1, 0 (it does not fit: the page ends before
 * it, and is truncated), ERR_NOMEM, ERR_LIMIT (the first one does not fit,
 * which its sizes exclude). */
MUSTCHECK int page_append(
	struct store_list_changes *list, const struct store_record *record);
