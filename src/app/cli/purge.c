/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "app/cli/command.h"
#include "store/store_admin.h"

static int parse_user(
	const char *text, struct user_id *ret_user, struct errmsg *reterr)
{
	struct slice hex = slice_str(text);

	if (hex.len == USER_ID_HEX && hex_decode(hex, ret_user->bytes) == 0)
		return 0;
	return errmsg_set(
		reterr, ERR_INVALID, "ID must be 66 hexadecimal digits");
}

static void print(const char *what, const struct store_usage *usage)
{
	(void)printf("%s %llu records, %llu bytes, of user %s; its revision "
		     "stays at %llu\n",
		what, (unsigned long long)usage->records,
		(unsigned long long)usage->bytes, usage->user,
		(unsigned long long)usage->revision);
}

int purge_run(const struct command_call *call, struct errmsg *reterr)
{
	bool yes = call->options & OPTION_YES;
	CLEANUP(store_admin_close)
	struct store_admin *admin = NULL;
	struct store_usage usage = {.user = ""};
	struct user_id user;
	int r = parse_user(call->operand, &user, reterr);

	if (r == 0)
		r = store_admin_open(call->config,
			yes ? STORE_ADMIN_CHANGE : STORE_ADMIN_READ, &admin,
			reterr);
	if (r == 0 && yes)
		r = store_admin_purge(admin, &user, &usage, reterr);
	else if (r == 0)
		r = store_admin_user(admin, &user, &usage, reterr);
	if (r < 0)
		return r;
	print(yes ? "deleted" : "would delete", &usage);
	if (!yes)
		return errmsg_set(reterr, ERR_INVALID,
			"nothing was deleted; --yes does it");
	return 0;
}
