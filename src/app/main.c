/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/server.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"

static const char usage[] =
	"Usage: tallyd [--help | --version]\n"
	"Keeps users' records the same on all of their devices, over gRPC.\n"
	"Configured by its environment; see tallyd(8).\n";

static int fail(const struct errmsg *why)
{
	log_error(NULL, "start.failed", F_STR("reason", why->text));
	log_stop();
	return EXIT_FAILURE;
}

static int serve(struct config *config)
{
	struct errmsg why = {.text = ""};

	if (config_load(getenv, config, &why) < 0)
		return fail(&why);
	log_set_level(config->log_level);
	(void)umask(077); /* the database is nobody else's to read */
	/* A peer that has gone is an error of one write, not our end. */
	(void)signal(SIGPIPE, SIG_IGN);
	if (log_start() < 0) {
		(void)errmsg_set(&why, ERR_SYS, "cannot start a thread");
		return fail(&why);
	}
	if (server_run(config, &why) < 0)
		return fail(&why);
	log_stop();
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct config *config;
	int status;

	if (argc == 2 && !strcmp(argv[1], "--version")) {
		(void)puts("tallyd " TALLYD_VERSION);
		return EXIT_SUCCESS;
	}
	if (argc > 1) {
		bool asked = argc == 2 && !strcmp(argv[1], "--help");

		(void)fputs(usage, asked ? stdout : stderr);
		return asked ? EXIT_SUCCESS : EXIT_FAILURE;
	}
	config = mem_zalloc(sizeof(*config));
	if (!config)
		return EXIT_FAILURE;
	status = serve(config);
	mem_wipe(config, sizeof(*config)); /* it may hold a database URL */
	mem_free(config);
	return status;
}
