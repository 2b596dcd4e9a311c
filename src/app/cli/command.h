/* SPDX-License-Identifier: Apache-2.0 */
/* command — what an operator may ask tallyd for, and how: the words of the
 * command line, its options and its help, by one table.
 *
 * Threads: main. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/err.h"
#include "config/config.h"

enum command_option {
	OPTION_YES = 1,
	OPTION_JSON = 2,
	OPTION_FORCE = 4,
	OPTION_TOP = 8,
	OPTION_DRY_RUN = 16,
};

/* What was asked for. */
struct command_call {
	const struct config *config; /* ref */
	const char *operand;	     /* ref; NULL if the command takes none */
	unsigned options;	     /* those that were given */
	size_t top;		     /* of OPTION_TOP, or its default */
};

struct command {
	const char *name;
	const char *operand; /* its name; NULL: the command takes none */
	unsigned options;    /* those it takes */
	bool serves;	     /* it has threads, and its errors are log lines */
	const char *summary; /* one line */
	const char *detail;  /* sentences below it, a line each */
	/* Returns: 0; ERR_* with a sentence. */
	int (*run)(const struct command_call *call, struct errmsg *reterr);
};

/* All of them, the first is the default; the last has no name. */
extern const struct command commands[];

/* NULL for a word that is no command. */
const struct command *command_find(const char *word);

#define COMMAND_HELP 1

/* Reads what follows the command's name. Returns: 0; COMMAND_HELP (it was asked
 * for); ERR_INVALID with a sentence. */
MUSTCHECK int command_parse(const struct command *command, int argc,
	char **argv, struct command_call *ret_call, struct errmsg *reterr);

/* One command's usage, and all of them. */
void command_help(const struct command *command, FILE *out);
void command_help_all(FILE *out);

/* The commands' `run`. Each writes its result to standard output. */
MUSTCHECK int check_run(const struct command_call *call, struct errmsg *reterr);
MUSTCHECK int backup_run(
	const struct command_call *call, struct errmsg *reterr);
MUSTCHECK int export_run(
	const struct command_call *call, struct errmsg *reterr);
MUSTCHECK int import_run(
	const struct command_call *call, struct errmsg *reterr);
MUSTCHECK int stats_run(const struct command_call *call, struct errmsg *reterr);
MUSTCHECK int purge_run(const struct command_call *call, struct errmsg *reterr);
MUSTCHECK int migrate_run(
	const struct command_call *call, struct errmsg *reterr);
MUSTCHECK int serve_run(const struct command_call *call, struct errmsg *reterr);
