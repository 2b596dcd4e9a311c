/* SPDX-License-Identifier: Apache-2.0 */
#include "store/page.h"

void page_begin(struct store_list_changes *list)
{
	list->n_records = 0;
	list->truncated = false;
	list->last_revision = list->since;
}

int page_append(
	struct store_list_changes *list, const struct store_record *record)
{
	size_t before = buf_len(&list->page);
	int r;

	if (list->n_records == list->max_records) {
		list->truncated = true;
		return 0;
	}
	r = list->encode(&list->page, record);
	if (list->n_records > 0 &&
		(r == ERR_LIMIT || buf_len(&list->page) > list->max_bytes)) {
		list->page.end = list->page.start + before;
		list->truncated = true;
		return 0;
	}
	if (r < 0)
		return r;
	list->n_records++;
	list->last_revision = record->revision;
	return 1;
}
