/* SPDX-License-Identifier: Apache-2.0 */
/* recent — the last few writes of users who are active now, for the overlap
 * rule of ListChanges.
 *
 * Some clients, after a push of their own, take the revision they were given
 * as the point up to which they know everything. What another device wrote
 * just before, whose notice is still on its way, they would never ask for
 * again. So when somebody asks from exactly a revision that client X wrote,
 * and other clients' writes lie just below it, or among those that X wrote one
 * after the other before, the answer starts below those.
 *
 * Of what lies below, the answer leaves out what X wrote: who asks is X, which
 * knows its own writes, or was given X's revision by a list, and with it all
 * below. A record that comes a second time is not without danger: some clients
 * write it over a change of theirs that they have not pushed yet.
 *
 * Owns: its table, bounded by users and by writes per user. Threads: one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/slice.h"
#include "base/user_id.h"
#include "config/limits.h"

struct recent;

/* Remembers at most `max_users` users, and no more of their writes than
 * `max_writes` have room for. Returns: 0, ERR_NOMEM. */
MUSTCHECK int recent_new(
	size_t max_users, size_t max_writes, struct recent **ret_recent);
void recent_free(struct recent **recent);

/* A write was committed; `client_id` NULL when it came without one. For want
 * of memory it may be forgotten. */
void recent_note(struct recent *r, const struct user_id *user,
	uint64_t revision, const struct slice *client_id, int64_t now_ns);

/* Where a list that was asked for above `since` should start: `since`, or
 * lower. Then ret_own has a character for each revision from there up to
 * `since`: 'x' for those that the writer of `since` wrote, to be left out, '.'
 * for the others. */
uint64_t recent_start(struct recent *r, const struct user_id *user,
	uint64_t since, int64_t now_ns, char ret_own[OVERLAP_REVISIONS + 1]);
