/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/options.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	enum scenario scenario;
} scenarios[] = {
	{"set-new", SCENARIO_SET_NEW},
	{"set-update", SCENARIO_SET_UPDATE},
	{"list", SCENARIO_LIST},
	{"get-lock", SCENARIO_GET_LOCK},
	{"set-lock", SCENARIO_SET_LOCK},
	{"mixed", SCENARIO_MIXED},
	{"fanout", SCENARIO_FANOUT},
	{"idle", SCENARIO_IDLE},
	{"storm", SCENARIO_STORM},
	{"each", SCENARIO_EACH},
	{"users", SCENARIO_USERS},
};

enum option_type { OPTION_TEXT, OPTION_COUNT, OPTION_NUMBER };

#define AT(field) offsetof(struct options, field)

static const struct {
	const char *name;
	enum option_type type;
	size_t offset;
} options[] = {
	{"address", OPTION_TEXT, AT(address)},
	{"tls-ca", OPTION_TEXT, AT(ca_file)},
	{"pid", OPTION_COUNT, AT(pid)},
	{"callers", OPTION_COUNT, AT(callers)},
	{"connections", OPTION_COUNT, AT(connections)},
	{"users", OPTION_COUNT, AT(users)},
	{"requests", OPTION_COUNT, AT(requests)},
	{"data-bytes", OPTION_COUNT, AT(data_bytes)},
	{"records", OPTION_COUNT, AT(records)},
	{"find", OPTION_COUNT, AT(find)},
	{"first-user", OPTION_COUNT, AT(first_user)},
	{"listeners", OPTION_COUNT, AT(listeners)},
	{"seconds", OPTION_NUMBER, AT(seconds)},
	{"rate", OPTION_NUMBER, AT(rate)},
	{"ping-seconds", OPTION_NUMBER, AT(ping_seconds)},
};

static const struct options defaults = {
	.address = "127.0.0.1:8080",
	.callers = 64,
	.users = 64,
	.requests = 20000,
	.data_bytes = 256,
	.find = UINT32_MAX,
	.listeners = 1000,
	.seconds = 30,
};

/* A number that is there, finite and not below 0. */
static int read_number(const char *text, double most, double *ret_number)
{
	char *end;
	double number = strtod(text, &end);

	if (end == text || *end != '\0' || !isfinite(number) || number < 0 ||
		number > most)
		return ERR_INVALID;
	*ret_number = number;
	return 0;
}

static int set(struct options *o, size_t i, const char *value)
{
	void *field = (char *)o + options[i].offset;
	double number;

	switch (options[i].type) {
	case OPTION_TEXT: memcpy(field, &value, sizeof(value)); return 0;
	case OPTION_COUNT:
		if (read_number(value, INT32_MAX, &number) < 0)
			return ERR_INVALID;
		*(uint32_t *)field = (uint32_t)number;
		return 0;
	case OPTION_NUMBER: return read_number(value, 1e9, (double *)field);
	}
	return ERR_INVALID;
}

static int read_option(struct options *o, const char *name, const char *value,
	struct errmsg *reterr)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(options); i++) {
		if (strncmp(name, "--", 2) != 0 ||
			strcmp(name + 2, options[i].name) != 0)
			continue;
		if (value && set(o, i, value) == 0)
			return 0;
		return errmsg_set(reterr, ERR_INVALID, "%s: not %s", name,
			value ? value : "without a value");
	}
	return errmsg_set(reterr, ERR_INVALID, "there is no option %s", name);
}

static int read_scenario(
	const char *name, enum scenario *ret_scenario, struct errmsg *reterr)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(scenarios); i++) {
		if (name && !strcmp(name, scenarios[i].name)) {
			*ret_scenario = scenarios[i].scenario;
			return 0;
		}
	}
	return errmsg_set(
		reterr, ERR_INVALID, "no scenario %s", name ? name : "");
}

/* What cannot be made sense of together. */
static int check(const struct options *o, struct errmsg *reterr)
{
	if (o->users == 0 || o->callers == 0 || o->listeners == 0)
		return errmsg_set(reterr, ERR_INVALID,
			"users, callers and listeners are at least 1");
	if (o->scenario == SCENARIO_LIST && o->find != UINT32_MAX &&
		o->find > o->records)
		return errmsg_set(
			reterr, ERR_INVALID, "--find is at most --records");
	return 0;
}

int options_read(int argc, char **argv, struct options *ret_options,
	struct errmsg *reterr)
{
	struct options o = defaults;
	int i, r = read_scenario(argv[1], &o.scenario, reterr);

	for (i = 2; r == 0 && i < argc; i++) {
		if (!strcmp(argv[i], "--web")) {
			o.kind = CLIENT_WEB;
			continue;
		}
		if (!strcmp(argv[i], "--stored")) {
			o.stored = true;
			continue;
		}
		r = read_option(&o, argv[i], argv[i + 1], reterr);
		i++;
	}
	if (r == 0)
		r = check(&o, reterr);
	if (r == 0)
		*ret_options = o;
	return r;
}
