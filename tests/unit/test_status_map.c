/* SPDX-License-Identifier: Apache-2.0 */
#include "syncer/status_map.h"

#include <string.h>

#include "lib/unit.h"

static void check(
	enum store_outcome outcome, enum rpc_status status, const char *text)
{
	struct outcome_status s = status_of_outcome(outcome);

	ck_assert_int_eq(s.status, status);
	ck_assert_str_eq(s.text, text);
}

/* data-sync's own is FAILED_PRECONDITION; the others are told so that a
 * client can tell what may be tried again. */
TEST(status_map, every_outcome_has_its_status)
{
	check(STORE_LOCK_HELD, RPC_FAILED_PRECONDITION,
		"lock held by another instance");
	check(STORE_BUSY, RPC_RESOURCE_EXHAUSTED,
		"server is overloaded, try again later");
	check(STORE_FULL, RPC_RESOURCE_EXHAUSTED, "storage is full");
	check(STORE_TOO_MANY_RECORDS, RPC_RESOURCE_EXHAUSTED,
		"this user has as many records as are allowed");
	check(STORE_TOO_MUCH_DATA, RPC_RESOURCE_EXHAUSTED,
		"this user has as much data as is allowed");
	check(STORE_NO_NEW_USER, RPC_RESOURCE_EXHAUSTED,
		"too many new users, try again later");
	check(STORE_UNAVAILABLE, RPC_UNAVAILABLE,
		"storage is unavailable, try again later");
	check(STORE_UNKNOWN, RPC_UNAVAILABLE,
		"storage was lost while it answered: the change may or may "
		"not be stored");
	check(STORE_FAILED, RPC_INTERNAL, "internal error");
	/* Replies of their own, never to be mapped: nobody is told "OK". */
	check(STORE_OK, RPC_INTERNAL, "internal error");
	check(STORE_CONFLICT, RPC_INTERNAL, "internal error");
}

TEST(status_map, outcomes_nobody_knows_are_faults_of_ours)
{
	check((enum store_outcome)1000, RPC_INTERNAL, "internal error");
	check((enum store_outcome) - 1, RPC_INTERNAL, "internal error");
}
