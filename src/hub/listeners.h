/* SPDX-License-Identifier: Apache-2.0 */
/* listeners — how many each user has in this process, so that there are not too
 * many. Under a mutex that is taken once when a listener begins and once when
 * it ends; its memory is bounded by that of the listeners. Threads: any. */
#pragma once

#include <stdint.h>

#include "base/attr.h"
#include "base/user_id.h"

struct listeners;

/* `max` for each user. Returns: 0, ERR_NOMEM. */
MUSTCHECK int listeners_new(uint32_t max, struct listeners **ret_listeners);

/* All have been removed. NULL inside is fine. */
void listeners_free(struct listeners **listeners);

/* One more. Returns: 0, LISTENERS_FULL (not counted), ERR_NOMEM. */
#define LISTENERS_FULL 1
MUSTCHECK int listeners_add(struct listeners *l, const struct user_id *user);

/* One that was added is no more. */
void listeners_remove(struct listeners *l, const struct user_id *user);
