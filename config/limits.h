/* SPDX-License-Identifier: Apache-2.0 */
/* limits — every limit of the service, with its reason. Those of the contract
 * are data-sync's, since clients were built against them. */
#pragma once

/* The contract. */
#define RECORD_ID_MAX	    64
#define RECORD_DATA_MAX	    65536
#define SCHEMA_VERSION_MAX  15
#define LOCK_NAME_MAX	    256
#define REQUEST_AGE_MAX_S   300 /* either side of our clock */
#define LOCK_TTL_DEFAULT_S  30
#define LOCK_TTL_MIN_S	    1
#define LOCK_TTL_MAX_S	    300
#define REQUEST_MESSAGE_MAX (256 * 1024) /* a record and its signature fit */

/* A ListChanges page. Clients built on tonic fail for good on a reply over
 * 4 MiB, so a page stays well below, also with its framing. */
#define LIST_RECORDS_MAX 1000
#define LIST_BYTES_MAX	 (3584 * 1024)

/* A lock sweep is due this often, as in data-sync. */
#define LOCK_SWEEP_S 300

/* Memory of one call beside the request's bytes and the reply's: the decoded
 * request (a repeated field must not blow it up) and what is made of it. */
#define CALL_ARENA_MAX (4 * REQUEST_MESSAGE_MAX)

/* Overlap rule: how far a ListChanges looks back over foreign writes that lie
 * below the asker's own. Clients push all they have queued before they ask, so
 * it counts from where the asker's run of writes began, and what another wrote
 * shortly before that may still have been on its way to it. Over a slow network
 * such a run takes minutes; within it a write follows the other as soon as that
 * is answered. Several devices that come back with 20 changes each are far
 * apart in revisions. */
#define OVERLAP_WINDOW_S  30
#define OVERLAP_GAP_S	  10
#define OVERLAP_REVISIONS 256
/* How long the asker may take to come and ask. */
#define OVERLAP_MEMORY_S 600
/* Answers that are lowered for one and the same revision. Several devices may
 * ask from it, each more than once; but a client that asks until an answer is
 * empty must come to an end before the window does. */
#define OVERLAP_REPEATS_MAX 32
/* Users whose last writes a shard remembers, and their writes, 32 bytes each;
 * who has not written for longest is forgotten first. */
#define OVERLAP_USERS_MAX  16384
#define OVERLAP_WRITES_MAX (256 * 1024)

/* Operations that wait for the store. At 17 µs each the last of them waits
 * 0.3 s; beyond that a client is better told to come back. */
#define STORE_QUEUE_MAX 16384

/* Expired serials are few; 1 MiB of decimal serials is some 25,000. */
#define CRL_BYTES_MAX (1024 * 1024)
/* A DER certificate in base64; ours are below 1 KiB. */
#define API_KEY_MAX 8192
