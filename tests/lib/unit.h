/* SPDX-License-Identifier: Apache-2.0 */
/* unit — check's tests, registered by being written.
 *
 *   TEST(buf, append_past_cap_fails) { ck_assert_int_eq(…); }
 *
 * A program is linked with tests/lib/unit.c and has no main() of its own. Each
 * test runs in a process of its own unless CK_FORK=no. */
#pragma once

#include <check.h>

#include "base/attr.h"

struct unit_test {
	const char *module;
	const TTest *test;
	struct unit_test *next;
};

void unit_register(struct unit_test *t);

#define TEST(module, sentence)                                                 \
	static void module##__##sentence##_fn(int _i);                         \
	static const TTest module##__##sentence##_ttest = {#module             \
		"." #sentence,                                                 \
		module##__##sentence##_fn, __FILE__, __LINE__};                \
	__attribute__((constructor)) static void                               \
		module##__##sentence##_register(void)                          \
	{                                                                      \
		static struct unit_test t = {                                  \
			#module, &module##__##sentence##_ttest, NULL};         \
		unit_register(&t);                                             \
	}                                                                      \
	static void module##__##sentence##_fn(int _i UNUSED)

/* What follows the program's name on its command line, for suites that take
 * an argument; NULL without one. */
const char *unit_argument(void);

/* Modules whose tests are left out when the argument is another than their
 * name; NULL-terminated. Defined by a program that has such. */
extern const char *const unit_modules_by_argument[] __attribute__((weak));

/* This test cannot be run here: tests/run.py counts it as skipped. To be
 * followed by a return. */
void unit_skip(const char *why);

/* A directory of the test's own below TMPDIR, removed by unit_remove_dir().
 * `path` has at least 64 bytes. */
void unit_make_dir(char *path, size_t size);
void unit_remove_dir(const char *path);
