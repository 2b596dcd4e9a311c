/* SPDX-License-Identifier: Apache-2.0 */
/* options — what the load generator is told on its command line. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "bench/client.h"

enum scenario {
	SCENARIO_SET_NEW,    /* SetRecord of ids that do not exist */
	SCENARIO_SET_UPDATE, /* of ids that do; each caller is a user */
	SCENARIO_LIST,
	SCENARIO_GET_LOCK,
	SCENARIO_SET_LOCK,
	SCENARIO_MIXED,	 /* 70 % list, 25 % set, 5 % lock */
	SCENARIO_FANOUT, /* writes, and who is told of them */
	SCENARIO_IDLE,	 /* listeners that nothing happens to */
	SCENARIO_STORM,	 /* listeners that all come back at once */
	SCENARIO_EACH,	 /* some of each RPC, with marks between */
	SCENARIO_USERS,	 /* no load: prints the users' ids */
};

struct options {
	enum scenario scenario;
	const char *address; /* HOST:PORT */
	const char *ca_file; /* NULL: in clear */
	enum client_kind kind;
	int32_t pid; /* server to look at; 0: none */
	uint32_t callers;
	uint32_t connections; /* 0: as suits the callers */
	uint32_t users;
	uint32_t requests;
	uint32_t data_bytes;
	uint32_t records; /* that each user has before */
	bool stored;	  /* these are there already */
	uint32_t find;	  /* how many of them ListChanges is to find */
	uint32_t listeners;
	double seconds;	     /* at most; of idling: exactly */
	double rate;	     /* calls a second; 0: closed loop */
	double ping_seconds; /* between pings of a listener; 0: none */
	uint32_t first_user; /* number of */
};

/* Returns: 0, ERR_INVALID with what is wrong. */
MUSTCHECK int options_read(int argc, char **argv, struct options *ret_options,
	struct errmsg *reterr);
