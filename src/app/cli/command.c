/* SPDX-License-Identifier: Apache-2.0 */
#include "app/cli/command.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_admin.h"

#define TOP_DEFAULT 10

const struct command commands[] = {
	{"serve", NULL, 0, true, "serve clients; the default",
		"Until SIGTERM or SIGINT, which drain; a second one ends it.\n",
		serve_run},
	{"check", NULL, 0, false, "say whether a start would succeed",
		"Looks at the configuration, certificates, revocation list and "
		"database,\nand changes nothing. Exit status 1 if anything "
		"would keep it from serving.\n",
		check_run},
	{"migrate", NULL, 0, true, "bring the database up to date, and end",
		"Beside nothing that serves. A start does it, too.\n",
		migrate_run},
	{"backup", "FILE", OPTION_FORCE, false,
		"copy the SQLite database into a new file",
		"While it is served, or not. The copy is what was stored at one "
		"moment;\nit is there whole and flushed, or not at all. "
		"PostgreSQL has pg_dump.\n",
		backup_run},
	{"export", NULL, 0, false, "write all records to standard output",
		"As JSON lines: users, their revisions, their records; no "
		"locks. One moment's\nstate, while the database is served, or "
		"not.\n",
		export_run},
	{"import", NULL, OPTION_DRY_RUN, false,
		"store what export has written, from standard input",
		"Beside nothing that serves. What is there already must be the "
		"same, so that\nan import that was interrupted can be run "
		"again.\n",
		import_run},
	{"stats", NULL, OPTION_JSON | OPTION_TOP, false,
		"count users, records and bytes, and name the biggest",
		"Reads the whole database, while it is served, or not.\n",
		stats_run},
	{"purge-user", "ID", OPTION_YES, false,
		"delete a user's records and locks",
		"ID is 66 hexadecimal digits, as the log has them. The user's "
		"revision stays.\nOn SQLite beside nothing that serves.\n",
		purge_run},
	{NULL},
};

/* In the order of their bits. */
static const struct {
	unsigned bit;
	const char *name;
	const char *argument; /* NULL: none */
	const char *help;
} options[] = {
	{OPTION_YES, "yes", NULL, "do it"},
	{OPTION_JSON, "json", NULL, "as one JSON object"},
	{OPTION_FORCE, "force", NULL, "replace FILE if it is there"},
	{OPTION_TOP, "top", "N", "the N biggest users, 10 unless given"},
	{OPTION_DRY_RUN, "dry-run", NULL, "only check the input"},
};

#define GETOPT_HELP 256 /* above all bits */

const struct command *command_find(const char *word)
{
	const struct command *c = commands;

	while (c->name && strcmp(word, c->name) != 0)
		c++;
	return c->name ? c : NULL;
}

/* ---- reading ---- */

/* Those that `command` takes, as getopt wants them. */
static void list_options(const struct command *command,
	struct option out[ARRAY_LEN(options) + 2])
{
	size_t i, n = 0;

	out[n++] = (struct option){"help", no_argument, NULL, GETOPT_HELP};
	for (i = 0; i < ARRAY_LEN(options); i++) {
		if (command->options & options[i].bit)
			out[n++] = (struct option){options[i].name,
				options[i].argument ? required_argument
						    : no_argument,
				NULL, (int)options[i].bit};
	}
	out[n] = (struct option){NULL};
}

static int take_top(
	struct command_call *call, const char *text, struct errmsg *reterr)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || value > STORE_BIGGEST_MAX)
		return errmsg_set(reterr, ERR_INVALID,
			"--top wants a number from 0 to %d", STORE_BIGGEST_MAX);
	call->top = value;
	return 0;
}

static int take_options(const struct command *command, int argc, char **argv,
	struct command_call *call, struct errmsg *reterr)
{
	struct option known[ARRAY_LEN(options) + 2];
	int which;

	list_options(command, known);
	opterr = 0;
	optind = 1;
	/* Nothing else runs yet: getopt's state is nobody else's. */
	while ((which = getopt_long(argc, argv, ":", known, NULL)) != -1) {
		if (which == GETOPT_HELP)
			return COMMAND_HELP;
		if (which == '?' || which == ':')
			return errmsg_set(reterr, ERR_INVALID,
				which == '?' ? "%s is not an option it takes"
					     : "%s wants a value",
				argv[optind - 1]);
		call->options |= (unsigned)which;
		if (which == OPTION_TOP && take_top(call, optarg, reterr) < 0)
			return ERR_INVALID;
	}
	return 0;
}

int command_parse(const struct command *command, int argc, char **argv,
	struct command_call *ret_call, struct errmsg *reterr)
{
	struct command_call call = {.top = TOP_DEFAULT};
	int r = take_options(command, argc, argv, &call, reterr);

	if (r != 0)
		return r;
	if (command->operand && optind == argc)
		return errmsg_set(
			reterr, ERR_INVALID, "%s is missing", command->operand);
	if (command->operand)
		call.operand = argv[optind++];
	if (optind < argc)
		return errmsg_set(
			reterr, ERR_INVALID, "%s is too much", argv[optind]);
	*ret_call = call;
	return 0;
}

/* ---- help ---- */

static void print_option(
	const char *name, const char *argument, const char *help, FILE *out)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "--%s%s%s", name,
		argument ? " " : "", argument ? argument : "");
	(void)fprintf(out, "  %-12s %s\n", text, help);
}

void command_help(const struct command *command, FILE *out)
{
	size_t i;

	(void)fprintf(out, "Usage: tallyd %s%s%s%s\n", command->name,
		command->options ? " [OPTION]..." : "",
		command->operand ? " " : "",
		command->operand ? command->operand : "");
	(void)fprintf(out, "%s", command->detail);
	for (i = 0; i < ARRAY_LEN(options); i++) {
		if (command->options & options[i].bit)
			print_option(options[i].name, options[i].argument,
				options[i].help, out);
	}
	print_option("help", NULL, "this text", out);
}

void command_help_all(FILE *out)
{
	const struct command *c;
	char text[32];

	(void)fputs("Usage: tallyd [COMMAND] [OPTION]... [OPERAND]\n"
		    "Keeps users' records the same on all of their devices, "
		    "over gRPC.\n",
		out);
	for (c = commands; c->name; c++) {
		(void)snprintf(text, sizeof(text), "%s%s%s", c->name,
			c->operand ? " " : "", c->operand ? c->operand : "");
		(void)fprintf(out, "  %-14s %s\n", text, c->summary);
	}
	(void)fputs("  --help         this text; after a command, its own\n"
		    "  --version      print the version\n"
		    "Configured by its environment; see tallyd(8).\n",
		out);
}
