/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of the payloads of NOTIFY; that they come is the store suite's
 * and the end-to-end suites' to show. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "lib/unit.h"
#include "store/postgres/pg_listen.h"

#define ALICE                                                                  \
	"0201000000000000000000000000000000000000000000000000000000000000"     \
	"00"

static struct pg_listen l;
static struct pg_target target;
static struct ports ports;
static struct loop *loop;
static struct store_port *port;
static char seen[512];

static void on_notice(void *ctx UNUSED, const struct store_notice *n)
{
	size_t used = strlen(seen);

	(void)snprintf(seen + used, sizeof(seen) - used, "%d:%llu:%.*s ",
		n->user.bytes[1], (unsigned long long)n->revision,
		n->has_client_id ? (int)n->client_id.len : 1,
		n->has_client_id ? (const char *)n->client_id.ptr : "-");
}

static void on_lost(void *ctx UNUSED)
{
	(void)strcat(seen, "lost ");
}

static int n_changes;

static void on_change(void *ctx UNUSED)
{
	n_changes++;
}

static void set_up(void)
{
	const struct store_listener listener = {
		.on_notice = on_notice, .on_lost = on_lost};
	struct errmsg why;

	ck_assert_int_eq(loop_new(&clock_system, &loop), 0);
	ports_init(&ports);
	ck_assert_int_eq(ports_attach(&ports, sizeof(struct ports_port), NULL,
				 loop, &listener, &port),
		0);
	ck_assert_int_eq(
		pg_target_init(&target, "DATABASE_URL", "host=/nowhere", &why),
		0);
	l = (struct pg_listen){.ports = &ports,
		.instance = "0123456789abcdef",
		.on_change = on_change};
	/* Its hooks are set; it connects to nothing. */
	pg_listen_start(&l, loop, &target);
	pg_listen_stop(&l);
}

static void tear_down(void)
{
	ports_detach(&ports, port);
	ports_release(&ports);
	pg_target_release(&target);
	ck_assert_int_eq(loop_turn(loop, 0), 0);
	loop_free(&loop);
}

/* What the port sees of a payload. */
static const char *heard(const char *payload)
{
	char text[256];
	const PGnotify notify = {.extra = text};

	(void)snprintf(text, sizeof(text), "%s", payload);
	seen[0] = '\0';
	l.conn.on_notify(&l.conn, &notify);
	ck_assert_int_eq(loop_turn(loop, 0), 0);
	return seen;
}

TEST(pg_listen, hears_each_change)
{
	set_up();
	ck_assert_str_eq(heard("fedcba9876543210-0.0 " ALICE " 7:Y2xpZW50"),
		"1:7:client ");
	ck_assert_str_eq(heard("fedcba9876543210-0.0 " ALICE " 7:YQ==,8:-,9:"),
		"1:7:a 1:8:- 1:9: ");
	ck_assert_str_eq(heard("fedcba9876543210-0.0 " ALICE " 0:-"), "1:0:- ");
	tear_down();
}

#define OWN "0123456789abcdef-3.1 "

TEST(pg_listen, works_once_it_hears_its_own_pool)
{
	int64_t later_ns;

	set_up();
	later_ns = loop_now_ns(loop) + PG_DEAF_MS * NS_PER_MS;
	ck_assert(pg_listen_works(&l, loop_now_ns(loop)));
	ck_assert(!pg_listen_works(&l, later_ns));
	ck_assert_str_eq(heard("another-0.0 " PG_PING " 0:-"), "");
	ck_assert(!pg_listen_works(&l, later_ns));
	ck_assert(!pg_listen_decided(&l));
	ck_assert_int_eq(n_changes, 0);
	/* What was missed until then nobody knows. */
	ck_assert_str_eq(heard(OWN PG_PING " 0:-"), "lost ");
	ck_assert(pg_listen_works(&l, later_ns));
	ck_assert(pg_listen_decided(&l));
	ck_assert_int_eq(n_changes, 1);
	tear_down();
}

TEST(pg_listen, tells_nothing_of_its_own)
{
	set_up();
	ck_assert_str_eq(heard(OWN PG_PING " 0:-"), "lost ");
	ck_assert_str_eq(heard(OWN ALICE " 7:YQ=="), "");
	ck_assert_str_eq(heard(OWN PG_PING " 0:-"), "");
	tear_down();
}

TEST(pg_listen, takes_what_it_cannot_read_for_a_change_of_anybody)
{
	static const char *const bad[] = {"", "x", "x *", "x * 0:-",
		"x " ALICE "00 1:-", "x zz 1:-", "fedc 02 1:-"};
	static const char *const half[] = {"x " ALICE " 1",
		"x " ALICE " :YQ==", "x " ALICE " -1:-", "x " ALICE " 1:!!!!",
		"x " ALICE " 99999999999999999999:-"};

	set_up();
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_str_eq(heard(bad[i]), "lost ");
	for (size_t i = 0; i < ARRAY_LEN(half); i++)
		ck_assert_str_eq(heard(half[i]), "lost ");
	ck_assert_str_eq(heard("x " ALICE " 5:-,6"), "1:5:- lost ");
	tear_down();
}

TEST(pg_listen, tells_of_a_change_that_it_has_no_memory_for)
{
	set_up();
	mem_fail_after(0);
	ck_assert_str_eq(heard("x " ALICE " 5:-"), "lost ");
	mem_fail_after(-1);
	tear_down();
}
