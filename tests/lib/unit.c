/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define CASE_TIMEOUT_S 60 /* sanitizers on a busy machine are slow */

static struct unit_test *first, **tail = &first;
static const char *argument;

void unit_register(struct unit_test *t)
{
	*tail = t;
	tail = &t->next;
}

const char *unit_argument(void)
{
	return argument;
}

void unit_skip(const char *why)
{
	(void)printf("# SKIPPED: %s\n", why);
	(void)fflush(stdout); /* the test ends without doing it */
}

static bool left_out(const char *module)
{
	const char *const *name = unit_modules_by_argument;

	while (name && *name && strcmp(*name, module) != 0)
		name++;
	return name && *name && argument && strcmp(argument, module) != 0;
}

static void begin_case(void)
{
	log_set_level(LOG_WARN); /* a line per call would hide the cases */
}

static TCase *case_of(Suite *suite, const struct unit_test *t)
{
	static const char *last_module;
	static TCase *last;

	if (last && !strcmp(last_module, t->module))
		return last;
	last = tcase_create(t->module);
	last_module = t->module;
	tcase_set_timeout(last, CASE_TIMEOUT_S);
	tcase_add_checked_fixture(last, begin_case, NULL);
	suite_add_tcase(suite, last);
	return last;
}

/* TAP on standard output: one line a test, then the plan. */
int main(int argc, char **argv)
{
	Suite *suite = suite_create("unit");
	const struct unit_test *t;
	SRunner *runner;
	int failed;

	argument = argc > 1 ? argv[1] : NULL;
	for (t = first; t; t = t->next) {
		if (!left_out(t->module))
			tcase_add_test(case_of(suite, t), t->test);
	}
	runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

void unit_make_dir(char *path, size_t size)
{
	const char *top = getenv("TMPDIR");

	(void)snprintf(path, size, "%s/tallyd-test-XXXXXX", top ? top : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(path));
}

static int remove_entry(const char *path, const struct stat *st UNUSED,
	int type UNUSED, struct FTW *ftw UNUSED)
{
	return remove(path);
}

void unit_remove_dir(const char *path)
{
	(void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
