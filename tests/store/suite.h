/* SPDX-License-Identifier: Apache-2.0 */
/* suite — what the tests of the store share. The back-end is named on the
 * command line; all but test_sqlite.c and test_postgres.c hold for every
 * one. */
#pragma once

#include "base/mem.h"
#include "config/limits.h"
#include "lib/fake_clock.h"
#include "lib/unit.h"
#include "store/store.h"

#define SUITE_PORTS_MAX	  3
#define SUITE_NOTICES_MAX 64

/* A notice as it arrived. */
struct seen {
	struct user_id user;
	uint64_t revision;
	bool has_client_id;
	char client_id[64];
};

/* A port on a loop that the test turns by hand. */
struct suite_port {
	struct loop *loop;
	struct store_port *port;
	struct seen seen[SUITE_NOTICES_MAX];
	int n_seen;
	int n_lost;
};

/* An open store in a directory or a database of its own, with a clock that
 * stands still. */
struct suite {
	char dir[64];
	struct config config;
	struct fake_clock clock;
	int64_t clock_told_ns; /* wall time that the database was told */
	struct store *store;
	struct suite_port ports[SUITE_PORTS_MAX];
	int n_ports;
};

/* An operation and whether it is done. */
struct op {
	struct store_op op;
	bool done;
};

bool suite_on_postgres(void);

/* Times that lie closer together are one to the store. */
int64_t suite_tick_ns(void);

/* Life: begin opens a fresh store with `n_ports` ports, end closes it and
 * removes it, close and open in between keep what is stored. */
void suite_begin(struct suite *s, int n_ports);
void suite_end(struct suite *s);
/* The same for a store that is not open. */
void suite_prepare(struct suite *s);
void suite_remove(struct suite *s);
void suite_close(struct suite *s);
void suite_open(struct suite *s, int n_ports);

/* The sentence with which opening fails, in a buffer that lasts until the next
 * call. */
const char *suite_refusal(struct suite *s);

/* Runs SQL as somebody else would; up to four `%s` in it are alice. */
void suite_sql(struct suite *s, const char *format);
/* The first field of the first row. */
int64_t suite_sql_integer(struct suite *s, const char *text);

/* Submits at a port; turns the loop until it is done, within a deadline. */
void op_submit(struct suite *s, int port, struct op *o);
void op_wait(struct suite *s, int port, struct op *o);

/* Turns every port's loop until `done(ctx)`, within a deadline. */
void suite_turn_until(struct suite *s, bool (*done)(void *ctx), void *ctx);

extern const struct user_id alice, bob;

/* Each does one operation at port 0 and returns its outcome. */
enum store_outcome set(struct suite *s, const struct user_id *user,
	const char *id, const char *data, uint64_t revision,
	uint64_t *ret_revision);
enum store_outcome set_bytes(struct suite *s, const struct user_id *user,
	struct slice id, struct slice data, uint64_t revision,
	uint64_t *ret_revision);
enum store_outcome lock(
	struct suite *s, const char *instance, bool exclusive, uint32_t ttl_s);
enum store_outcome unlock(struct suite *s, const char *instance);
bool locked(struct suite *s);

/* The page as text: "id=data@revision " for each record; in a buffer that
 * lasts until the next call. */
struct page {
	char text[4096];
	uint32_t n_records;
	uint64_t last_revision;
	bool truncated;
};
enum store_outcome list(struct suite *s, const struct user_id *user,
	uint64_t since, uint32_t max_records, size_t max_bytes,
	struct page *ret_page);
enum store_outcome list_without(struct suite *s, const struct user_id *user,
	uint64_t since, const char *leave_out, uint32_t max_records,
	size_t max_bytes, struct page *ret_page);

/* "all that alice has" in one word. */
const char *all_of(struct suite *s, const struct user_id *user);

/* Prepares an operation without submitting it. */
void op_set(struct op *o, const struct user_id *user, const char *id,
	const char *data, uint64_t revision);

/* Appends a record to a page as struct page shows it. */
int suite_encode(struct buf *page, const struct store_record *r);
