/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli/command.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"

#define EXIT_USAGE 2

/* The journal reads a line's level from its front. */
static void set_log_style(bool json)
{
	log_set_style((struct log_style){
		.json = json,
		.priority = log_is_journal(getenv("JOURNAL_STREAM")),
	});
}

static int run(const struct command *command, struct command_call *call,
	struct config *config, struct errmsg *reterr)
{
	int r = config_load(getenv, config, reterr);

	if (r < 0)
		return r;
	call->config = config;
	log_set_level(config->log_level);
	set_log_style(config->log_json);
	mem_tune();
	/* Nor may others of our user look into our memory. */
	if (!config->core_dumps && prctl(PR_SET_DUMPABLE, 0) < 0)
		return errmsg_set(reterr, ERR_SYS, "cannot forbid core dumps");
	(void)umask(077); /* the database is nobody else's to read */
	/* A peer that has gone is an error of one write, not our end. */
	(void)signal(SIGPIPE, SIG_IGN);
	json_set_alloc_funcs(mem_alloc, mem_free);
	if (command->serves && log_start() < 0)
		return errmsg_set(reterr, ERR_SYS, "cannot start a thread");
	return command->run(call, reterr);
}

static void complain(const struct command *command, const struct errmsg *why)
{
	if (command->serves)
		log_error(NULL, "start.failed", F_STR("reason", why->text));
	else
		(void)fprintf(
			stderr, "tallyd %s: %s\n", command->name, why->text);
}

/* What could not be written was not said. */
static int flush_output(struct errmsg *reterr)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	return errmsg_set(reterr, ERR_IO, "standard output cannot be written");
}

static int start(const struct command *command, struct command_call *call)
{
	struct config *config = mem_zalloc(sizeof(*config));
	struct errmsg why = {.text = ""};
	int r;

	if (!config)
		return EXIT_FAILURE;
	set_log_style(false); /* until the configuration is read */
	r = run(command, call, config, &why);
	if (r == 0)
		r = flush_output(&why);
	if (r < 0)
		complain(command, &why);
	log_stop();
	mem_wipe(config, sizeof(*config)); /* it may hold a database URL */
	mem_free(config);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int parse_and_start(const struct command *command, int argc, char **argv)
{
	struct command_call call;
	struct errmsg why = {.text = ""};
	int r = command_parse(command, argc, argv, &call, &why);

	if (r == COMMAND_HELP) {
		command_help(command, stdout);
		return EXIT_SUCCESS;
	}
	if (r == 0)
		return start(command, &call);
	(void)fprintf(stderr, "tallyd %s: %s\nTry 'tallyd %s --help'.\n",
		command->name, why.text, command->name);
	return EXIT_USAGE;
}

/* Files and sockets must not get the numbers of standard descriptors that were
 * closed: an export would be written into the database's socket. What has no
 * input or output is to hear so; log lines may be lost. */
static bool fill_standard_descriptors(void)
{
	static const int modes[] = {
		[STDIN_FILENO] = O_WRONLY,
		[STDOUT_FILENO] = O_RDONLY,
		[STDERR_FILENO] = O_WRONLY,
	};
	int fd;

	for (fd = 0; fd < (int)ARRAY_LEN(modes); fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) < 0)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : commands[0].name;
	const struct command *command = command_find(word);

	if (!fill_standard_descriptors())
		return EXIT_FAILURE;
	if (command)
		return parse_and_start(command, argc > 1 ? argc - 1 : 1,
			argc > 1 ? argv + 1 : argv);
	if (argc == 2 && !strcmp(word, "--version")) {
		(void)puts("tallyd " TALLYD_VERSION);
		return EXIT_SUCCESS;
	}
	if (argc == 2 && !strcmp(word, "--help")) {
		command_help_all(stdout);
		return EXIT_SUCCESS;
	}
	(void)fprintf(stderr,
		"tallyd: %s is not a command\nTry 'tallyd --help'.\n", word);
	return EXIT_USAGE;
}
