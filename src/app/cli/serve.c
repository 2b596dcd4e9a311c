/* SPDX-License-Identifier: Apache-2.0 */
#include "app/cli/command.h"
#include "app/server.h"
#include "base/log.h"
#include "store/store.h"

int serve_run(const struct command_call *call, struct errmsg *reterr)
{
	return server_run(call->config, reterr);
}

int migrate_run(const struct command_call *call, struct errmsg *reterr)
{
	struct store *store = NULL;
	int r = store_open(call->config, &clock_system, &store, reterr);

	store_close(&store);
	if (r == 0)
		log_info(NULL, "database.up_to_date");
	return r;
}
