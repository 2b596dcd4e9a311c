/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "app/server.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "store/store.h"

static const char usage[] =
	"Usage: tallyd [serve | migrate | --help | --version]\n"
	"Keeps users' records the same on all of their devices, over gRPC.\n"
	"  serve    the default\n"
	"  migrate  bring the database up to date, and end\n"
	"Configured by its environment; see tallyd(8).\n";

static int migrate(const struct config *config, struct errmsg *reterr)
{
	struct store *store = NULL;
	int r = store_open(config, &clock_system, &store, reterr);

	store_close(&store);
	if (r == 0)
		log_info(NULL, "database.up_to_date");
	return r;
}

static const struct command {
	const char *name;
	int (*run)(const struct config *config, struct errmsg *reterr);
} commands[] = {
	{"serve", server_run},
	{"migrate", migrate},
};

/* The journal reads a line's level from its front. */
static void set_log_style(bool json)
{
	log_set_style((struct log_style){
		.json = json,
		.priority = log_is_journal(getenv("JOURNAL_STREAM")),
	});
}

static int run(const struct command *command, struct config *config,
	struct errmsg *reterr)
{
	int r = config_load(getenv, config, reterr);

	if (r < 0)
		return r;
	log_set_level(config->log_level);
	set_log_style(config->log_json);
	mem_tune();
	/* Nor may others of our user look into our memory. */
	if (!config->core_dumps && prctl(PR_SET_DUMPABLE, 0) < 0)
		return errmsg_set(reterr, ERR_SYS, "cannot forbid core dumps");
	(void)umask(077); /* the database is nobody else's to read */
	/* A peer that has gone is an error of one write, not our end. */
	(void)signal(SIGPIPE, SIG_IGN);
	if (log_start() < 0)
		return errmsg_set(reterr, ERR_SYS, "cannot start a thread");
	return command->run(config, reterr);
}

static int start(const struct command *command)
{
	struct config *config = mem_zalloc(sizeof(*config));
	struct errmsg why = {.text = ""};
	int r;

	if (!config)
		return EXIT_FAILURE;
	set_log_style(false); /* until the configuration is read */
	r = run(command, config, &why);
	if (r < 0)
		log_error(NULL, "start.failed", F_STR("reason", why.text));
	log_stop();
	mem_wipe(config, sizeof(*config)); /* it may hold a database URL */
	mem_free(config);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static const struct command *find(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(commands); i++) {
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "serve";
	const struct command *command = argc > 2 ? NULL : find(word);
	bool asked = argc == 2 && !strcmp(word, "--help");

	if (argc == 2 && !strcmp(word, "--version")) {
		(void)puts("tallyd " TALLYD_VERSION);
		return EXIT_SUCCESS;
	}
	if (command)
		return start(command);
	(void)fputs(usage, asked ? stdout : stderr);
	return asked ? EXIT_SUCCESS : EXIT_FAILURE;
}
