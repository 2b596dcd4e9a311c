/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_table — every metric there is: its place in the counts, its name, its
 * labels and their values, what it says. A new one is a line here, and one in
 * docs/OPERATIONS.md.
 *
 * Names, units and types by Prometheus' conventions
 * (https://prometheus.io/docs/practices/naming/). All values of labels are in
 * here, so nothing that a peer sends can make a series. */
#pragma once

/* clang-format off: its versions differ over long macros. */

/* ---- labels: of which, constant, value ---- */

#define METRIC_NONE_MAP(X) X(NONE, ONE, "")

/* Of calls; "other" is whatever is not served here, also by other services. */
#define METRIC_METHOD_MAP(X)                                                   \
	X(METHOD, OTHER, "other")                                              \
	X(METHOD, SET_RECORD, "sync.Syncer/SetRecord")                         \
	X(METHOD, LIST_CHANGES, "sync.Syncer/ListChanges")                     \
	X(METHOD, LISTEN_CHANGES, "sync.Syncer/ListenChanges")                 \
	X(METHOD, SET_LOCK, "sync.Syncer/SetLock")                             \
	X(METHOD, GET_LOCK, "sync.Syncer/GetLock")                             \
	X(METHOD, HEALTH_CHECK, "grpc.health.v1.Health/Check")                 \
	X(METHOD, HEALTH_LIST, "grpc.health.v1.Health/List")                   \
	X(METHOD, HEALTH_WATCH, "grpc.health.v1.Health/Watch")                 \
	X(METHOD, REFLECTION, "grpc.reflection/ServerReflectionInfo")

/* gRPC's status codes, in the order of their numbers. */
#define METRIC_CODE_MAP(X)                                                     \
	X(CODE, OK, "OK")                                                      \
	X(CODE, CANCELLED, "CANCELLED")                                        \
	X(CODE, UNKNOWN, "UNKNOWN")                                            \
	X(CODE, INVALID_ARGUMENT, "INVALID_ARGUMENT")                          \
	X(CODE, DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")                        \
	X(CODE, NOT_FOUND, "NOT_FOUND")                                        \
	X(CODE, ALREADY_EXISTS, "ALREADY_EXISTS")                              \
	X(CODE, PERMISSION_DENIED, "PERMISSION_DENIED")                        \
	X(CODE, RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED")                      \
	X(CODE, FAILED_PRECONDITION, "FAILED_PRECONDITION")                    \
	X(CODE, ABORTED, "ABORTED")                                            \
	X(CODE, OUT_OF_RANGE, "OUT_OF_RANGE")                                  \
	X(CODE, UNIMPLEMENTED, "UNIMPLEMENTED")                                \
	X(CODE, INTERNAL, "INTERNAL")                                          \
	X(CODE, UNAVAILABLE, "UNAVAILABLE")                                    \
	X(CODE, DATA_LOSS, "DATA_LOSS")                                        \
	X(CODE, UNAUTHENTICATED, "UNAUTHENTICATED")

#define METRIC_PORT_MAP(X)                                                     \
	X(PORT, GRPC, "grpc")                                                  \
	X(PORT, WEB, "web")                                                    \
	X(PORT, METRICS, "metrics")

/* What somebody was turned away for; config/limits.h and the sources named
 * there have the numbers. */
#define METRIC_LIMIT_MAP(X)                                                    \
	X(LIMIT, CONNECTIONS, "connections")                                   \
	X(LIMIT, CONNECTIONS_PER_PEER, "connections_per_peer")                 \
	X(LIMIT, DESCRIPTORS, "descriptors")                                   \
	X(LIMIT, STREAMS, "streams")                                           \
	X(LIMIT, MEMORY, "memory")                                             \
	X(LIMIT, CALM, "calm")                                                 \
	X(LIMIT, HEADERS, "headers")                                           \
	X(LIMIT, MESSAGE, "message")                                           \
	X(LIMIT, UNREAD, "unread")                                             \
	X(LIMIT, STORE_QUEUE, "store_queue")                                   \
	X(LIMIT, RATE_PER_CONNECTION, "rate_per_connection")                   \
	X(LIMIT, RATE_PER_API_KEY, "rate_per_api_key")                         \
	X(LIMIT, RATE_PER_USER, "rate_per_user")                               \
	X(LIMIT, RECORDS_PER_USER, "records_per_user")                         \
	X(LIMIT, MIB_PER_USER, "mib_per_user")                                 \
	X(LIMIT, LISTENERS_PER_USER, "listeners_per_user")                     \
	X(LIMIT, NEW_USERS_PER_HOUR, "new_users_per_hour")

#define METRIC_NUDGE_MAP(X)                                                    \
	X(NUDGE, PAGE, "truncated_page")                                       \
	X(NUDGE, LOST, "lost_notices")

#define METRIC_OP_MAP(X)                                                       \
	X(OP, SET_RECORD, "set_record")                                        \
	X(OP, LIST_CHANGES, "list_changes")                                    \
	X(OP, SET_LOCK, "set_lock")                                            \
	X(OP, GET_LOCK, "get_lock")

/* In the order of enum store_outcome. */
#define METRIC_OUTCOME_MAP(X)                                                  \
	X(OUTCOME, OK, "ok")                                                   \
	X(OUTCOME, CONFLICT, "conflict")                                       \
	X(OUTCOME, LOCK_HELD, "lock_held")                                     \
	X(OUTCOME, BUSY, "busy")                                               \
	X(OUTCOME, FULL, "full")                                               \
	X(OUTCOME, TOO_MANY_RECORDS, "too_many_records")                       \
	X(OUTCOME, TOO_MUCH_DATA, "too_much_data")                             \
	X(OUTCOME, NO_NEW_USER, "no_new_user")                                 \
	X(OUTCOME, EXPIRED, "expired")                                         \
	X(OUTCOME, UNAVAILABLE, "unavailable")                                 \
	X(OUTCOME, UNKNOWN, "unknown")                                         \
	X(OUTCOME, FAILED, "failed")

#define METRIC_QUEUE_MAP(X)                                                    \
	X(QUEUE, WRITES, "writes")                                             \
	X(QUEUE, READS, "reads")

#define METRIC_BACKEND_MAP(X)                                                  \
	X(BACKEND, SQLITE, "sqlite")                                           \
	X(BACKEND, POSTGRES, "postgresql")

#define METRIC_RESULT_MAP(X)                                                   \
	X(RESULT, OK, "ok")                                                    \
	X(RESULT, FAILED, "failed")

/* In the order of enum pg_slot_state. */
#define METRIC_SLOT_MAP(X)                                                     \
	X(SLOT, AWAY, "away")                                                  \
	X(SLOT, GREETING, "greeting")                                          \
	X(SLOT, SETTLING, "settling")                                          \
	X(SLOT, IDLE, "idle")                                                  \
	X(SLOT, BUSY, "busy")

#define METRIC_SETTLED_MAP(X)                                                  \
	X(SETTLED, COMMITTED, "committed")                                     \
	X(SETTLED, UNDONE, "undone")                                           \
	X(SETTLED, UNKNOWN, "unknown")

#define METRIC_VERSION_MAP(X) X(VERSION, THIS, TALLYD_VERSION)

/* Each label's constant and name. */
#define METRIC_LABELS(X)                                                       \
	X(NONE, "")                                                            \
	X(METHOD, "method")                                                    \
	X(CODE, "code")                                                        \
	X(PORT, "port")                                                        \
	X(LIMIT, "limit")                                                      \
	X(NUDGE, "reason")                                                     \
	X(OP, "operation")                                                     \
	X(OUTCOME, "outcome")                                                  \
	X(QUEUE, "queue")                                                      \
	X(BACKEND, "backend")                                                  \
	X(RESULT, "result")                                                    \
	X(SLOT, "state")                                                       \
	X(SETTLED, "outcome")                                                  \
	X(VERSION, "version")

/* ---- kinds: constant, slots of each series ----
 *
 * COUNTER only grows; GAUGE does not. INFO, STAMP: a gauge that is left out
 * while it is 0, as what it tells of is not there. NS: kept in nanoseconds,
 * told in seconds. DURATION, AMOUNT: histograms, whose buckets are in
 * metrics.c; a slot for each bucket, and one for the sum. */

#define METRIC_DURATION_BOUNDS 19
#define METRIC_AMOUNT_BOUNDS   10

#define METRIC_KINDS(X)                                                        \
	X(COUNTER, 1)                                                          \
	X(COUNTER_NS, 1)                                                       \
	X(GAUGE, 1)                                                            \
	X(GAUGE_NS, 1)                                                         \
	X(INFO, 1)                                                             \
	X(STAMP_NS, 1)                                                         \
	X(DURATION, METRIC_DURATION_BOUNDS + 2)                                \
	X(AMOUNT, METRIC_AMOUNT_BOUNDS + 2)

/* ---- metrics: constant, kind, label, second label, name, help ---- */

#define METRICS(X)                                                             \
	X(CALLS, COUNTER, METHOD, CODE, "tallyd_calls_total",                  \
		"Calls that ended, by method and status code.")                \
	X(CALL_TIME, DURATION, METHOD, NONE, "tallyd_call_duration_seconds",   \
		"From a call's headers to its status, or, if it is "           \
		"server-streaming, to its first message.")                     \
	X(CALLS_STALLED, COUNTER, METHOD, NONE, "tallyd_calls_stalled_total",  \
		"Calls broken off because their peer did not read.")           \
	X(SIGNATURE_TIME, DURATION, NONE, NONE,                                \
		"tallyd_signature_duration_seconds",                           \
		"Recovery of a user's key from a signature.")                  \
	X(ACCEPTED, COUNTER, PORT, NONE, "tallyd_connections_accepted_total",  \
		"Connections accepted.")                                       \
	X(CONNECTIONS, GAUGE, PORT, NONE, "tallyd_connections",                \
		"Connections open.")                                           \
	X(STALLED, COUNTER, PORT, NONE, "tallyd_connections_stalled_total",    \
		"Connections closed because their peer did not read.")         \
	X(RECEIVED, COUNTER, PORT, NONE, "tallyd_received_bytes_total",        \
		"Bytes received, as they came off the socket.")                \
	X(SENT, COUNTER, PORT, NONE, "tallyd_sent_bytes_total",                \
		"Bytes sent, as they went to the socket.")                     \
	X(STREAMS, GAUGE, NONE, NONE, "tallyd_streams",                        \
		"HTTP/2 streams and HTTP/1.1 requests under way.")             \
	X(REJECTED, COUNTER, LIMIT, NONE, "tallyd_rejected_total",             \
		"Connections, streams and calls turned away, by the limit "    \
		"they met.")                                                   \
	X(LISTENERS, GAUGE, NONE, NONE, "tallyd_listeners",                    \
		"ListenChanges calls that wait for changes.")                  \
	X(NOTICES_SENT, COUNTER, NONE, NONE, "tallyd_notices_sent_total",      \
		"Notifications sent to listeners, greetings left out.")        \
	X(NOTICES_MERGED, COUNTER, NONE, NONE, "tallyd_notices_merged_total",  \
		"Notifications merged with one that still waited.")            \
	X(NUDGES, COUNTER, NUDGE, NONE, "tallyd_nudges_total",                 \
		"Times that listeners were told to look, without a change.")   \
	X(PAGES_TRUNCATED, COUNTER, NONE, NONE,                                \
		"tallyd_pages_truncated_total",                                \
		"ListChanges replies that did not hold all there was.")        \
	X(LISTS_LOWERED, COUNTER, NONE, NONE, "tallyd_lists_lowered_total",    \
		"ListChanges calls that the overlap rule began lower.")        \
	X(TURN_TIME, DURATION, NONE, NONE,                                     \
		"tallyd_loop_turn_duration_seconds",                           \
		"Turns of the event loops: as long may what becomes ready "    \
		"in the meantime have to wait.")                               \
	X(TURN_NOW, GAUGE_NS, NONE, NONE, "tallyd_loop_stuck_seconds",         \
		"How long the longest turn under way has lasted already.")     \
	X(STORE, INFO, BACKEND, NONE, "tallyd_store_info",                     \
		"The store in use.")                                           \
	X(STORE_USABLE, GAUGE, NONE, NONE, "tallyd_store_usable",              \
		"1 while operations can be expected to succeed, else 0.")      \
	X(STORE_OPS, COUNTER, OP, OUTCOME, "tallyd_store_operations_total",    \
		"Operations that the store has answered.")                     \
	X(STORE_QUEUED, GAUGE, QUEUE, NONE, "tallyd_store_queue_length",       \
		"Operations that wait for the store.")                         \
	X(BATCH_SIZE, AMOUNT, NONE, NONE, "tallyd_store_batch_operations",     \
		"Operations in a transaction.")                                \
	X(COMMIT_TIME, DURATION, NONE, NONE,                                   \
		"tallyd_store_commit_duration_seconds",                        \
		"SQLite: COMMIT, which flushes; PostgreSQL: a transaction, "   \
		"from when it is sent to its answer.")                         \
	X(WAL, GAUGE, NONE, NONE, "tallyd_sqlite_wal_bytes",                   \
		"What is in SQLite's WAL and not yet in its database.")        \
	X(CHECKPOINTS, COUNTER, RESULT, NONE,                                  \
		"tallyd_sqlite_checkpoints_total",                             \
		"Times that the WAL was written to the database.")             \
	X(PG_POOL, GAUGE, SLOT, NONE, "tallyd_postgresql_connections",         \
		"Places in the pool, by what their connection does.")          \
	X(PG_RETRIES, COUNTER, NONE, NONE, "tallyd_postgresql_retries_total",  \
		"Operations sent to PostgreSQL once more.")                    \
	X(PG_SETTLED, COUNTER, SETTLED, NONE,                                  \
		"tallyd_postgresql_settled_total",                             \
		"Transactions whose answer was lost, by what came out.")       \
	X(PG_LISTENS, COUNTER, NONE, NONE,                                     \
		"tallyd_postgresql_listen_connects_total",                     \
		"Times that LISTEN was established.")                          \
	X(PG_LISTENING, GAUGE, NONE, NONE, "tallyd_postgresql_listening",      \
		"1 while other instances' changes are heard, else 0.")         \
	X(LOG_DROPPED, COUNTER, NONE, NONE, "tallyd_log_lines_dropped_total",  \
		"Log lines lost because standard error took no more.")         \
	X(CRL_FETCHES, COUNTER, RESULT, NONE, "tallyd_crl_fetches_total",      \
		"Fetches of the revocation list.")                             \
	X(CRL_STAMP, STAMP_NS, NONE, NONE,                                     \
		"tallyd_crl_fetched_timestamp_seconds",                        \
		"When the revocation list in force was fetched.")              \
	X(CRL_SERIALS, GAUGE, NONE, NONE, "tallyd_crl_serials",                \
		"Serial numbers on the revocation list in force.")             \
	X(TLS_EXPIRY, STAMP_NS, NONE, NONE,                                    \
		"tallyd_tls_certificate_expiry_timestamp_seconds",             \
		"When the TLS certificate in use ends to be valid.")           \
	X(TLS_LOADS, COUNTER, RESULT, NONE, "tallyd_tls_loads_total",          \
		"Times that the TLS certificate was loaded.")                  \
	X(BUILD, INFO, VERSION, NONE, "tallyd_build_info",                     \
		"The version that runs.")                                      \
	X(SHARDS, GAUGE, NONE, NONE, "tallyd_shards",                          \
		"Event loops that serve connections.")                         \
	X(CPU, COUNTER_NS, NONE, NONE, "process_cpu_seconds_total",            \
		"User and system CPU time spent.")                             \
	X(START, STAMP_NS, NONE, NONE, "process_start_time_seconds",           \
		"When the process was started.")                               \
	X(RESIDENT, GAUGE, NONE, NONE, "process_resident_memory_bytes",        \
		"Resident memory size.")                                       \
	X(VIRTUAL, GAUGE, NONE, NONE, "process_virtual_memory_bytes",          \
		"Virtual memory size.")                                        \
	X(OPEN_FDS, GAUGE, NONE, NONE, "process_open_fds",                     \
		"Open file descriptors.")                                      \
	X(MAX_FDS, GAUGE, NONE, NONE, "process_max_fds",                       \
		"File descriptors that may be open.")                          \
	X(THREADS, GAUGE, NONE, NONE, "process_threads",                       \
		"Threads of the process.")

/* clang-format on */
