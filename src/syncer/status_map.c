/* SPDX-License-Identifier: Apache-2.0 */
#include "syncer/status_map.h"

struct outcome_status status_of_outcome(enum store_outcome outcome)
{
	switch (outcome) {
	case STORE_LOCK_HELD:
		return (struct outcome_status){RPC_FAILED_PRECONDITION,
			"lock held by another instance"};
	case STORE_BUSY:
		return (struct outcome_status){RPC_RESOURCE_EXHAUSTED,
			"server is overloaded, try again later"};
	case STORE_FULL:
		return (struct outcome_status){
			RPC_RESOURCE_EXHAUSTED, "storage is full"};
	case STORE_TOO_MANY_RECORDS:
		return (struct outcome_status){RPC_RESOURCE_EXHAUSTED,
			"this user has as many records as are allowed"};
	case STORE_TOO_MUCH_DATA:
		return (struct outcome_status){RPC_RESOURCE_EXHAUSTED,
			"this user has as much data as is allowed"};
	case STORE_NO_NEW_USER:
		return (struct outcome_status){RPC_RESOURCE_EXHAUSTED,
			"too many new users, try again later"};
	case STORE_EXPIRED:
		return (struct outcome_status){
			RPC_DEADLINE_EXCEEDED, "context deadline exceeded"};
	case STORE_UNAVAILABLE:
		return (struct outcome_status){RPC_UNAVAILABLE,
			"storage is unavailable, try again later"};
	case STORE_UNKNOWN:
		return (struct outcome_status){RPC_UNAVAILABLE,
			"storage was lost while it answered: the change may "
			"or may not be stored"};
	case STORE_OK:
	case STORE_CONFLICT:
	case STORE_FAILED: break;
	}
	return (struct outcome_status){RPC_INTERNAL, "internal error"};
}
