/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_target.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"

/* What we want where the URL says nothing. A half-open connection must be
 * noticed, writes must go to a server that takes them, and Kerberos would ask
 * the network before every connection. */
static const struct {
	const char *keyword;
	const char *value;
} wishes[] = {
	{"fallback_application_name", "tallyd"},
	{"target_session_attrs", "read-write"},
	{"gssencmode", "disable"},
	{"connect_timeout", "5"}, /* of the one that blocks, at start */
	{"keepalives_idle", "15"},
	{"keepalives_interval", "5"},
	{"keepalives_count", "3"},
	{"tcp_user_timeout", "15000"},
};

static const PQconninfoOption *find(
	const PQconninfoOption *options, const char *keyword, size_t len)
{
	for (; options->keyword; options++) {
		if (strlen(options->keyword) == len &&
			!memcmp(options->keyword, keyword, len))
			return options;
	}
	return NULL;
}

/* The option's value; NULL for none. */
static const char *value_of(
	const PQconninfoOption *options, const char *keyword)
{
	const PQconninfoOption *o = find(options, keyword, strlen(keyword));

	return o && o->val && o->val[0] ? o->val : NULL;
}

/* ---- parsing ---- */

/* Copies `url` without the parameters behind its "?" that `known` does not
 * have; "ssl=true" and friends are JDBC's, which libpq translates itself. */
static void drop_foreign(const PQconninfoOption *known, const char *name,
	const char *url, char out[CONFIG_TEXT_MAX])
{
	const char *at = strchr(url, '?'), *end, *equals;
	size_t used = at ? (size_t)(at - url) : strlen(url), len;
	char separator = '?';

	memcpy(out, url, used);
	while (at) {
		at++;
		end = strchr(at, '&');
		len = end ? (size_t)(end - at) : strlen(at);
		equals = memchr(at, '=', len);
		if (!equals || find(known, at, (size_t)(equals - at)) ||
			!strncmp(at, "ssl=", 4)) {
			out[used++] = separator;
			memcpy(out + used, at, len);
			used += len;
			separator = '&';
		} else {
			log_warn(NULL, "config.ignored", F_STR("in", name),
				F_SLICE("parameter",
					slice_of(at, (size_t)(equals - at))));
		}
		at = end;
	}
	out[used] = '\0';
}

static bool is_url(const char *text)
{
	return !strncmp(text, "postgres://", 11) ||
	       !strncmp(text, "postgresql://", 13);
}

static int parse(const char *name, const char *url,
	const PQconninfoOption *known, PQconninfoOption **ret_options,
	struct errmsg *reterr)
{
	char text[CONFIG_TEXT_MAX], *why = NULL;

	if (is_url(url))
		drop_foreign(known, name, url, text);
	else
		(void)snprintf(text, sizeof(text), "%s", url);
	/* libpq's reason may quote what it could not read: a password, say. */
	*ret_options = PQconninfoParse(text, &why);
	PQfreemem(why);
	mem_wipe(text, sizeof(text));
	if (!*ret_options)
		return errmsg_set(reterr, ERR_INVALID,
			"%s must be a PostgreSQL connection string like "
			"postgres://user:password@host/database",
			name);
	return 0;
}

/* ---- hosts ---- */

/* The `n`-th part of a list with commas; a list of one is for all. Returns
 * whether there is such a part and whether it fits. */
static bool part(const char *list, size_t n, char *out, size_t size)
{
	const char *end = list;
	size_t i;

	for (i = 0; list && i < n; i++) {
		end = strchr(list, ',');
		if (!end && i == 0)
			break; /* the only one */
		list = end ? end + 1 : NULL;
	}
	if (!list) {
		out[0] = '\0';
		return n == 0;
	}
	end = strchrnul(list, ',');
	if ((size_t)(end - list) >= size)
		return false;
	memcpy(out, list, (size_t)(end - list));
	out[end - list] = '\0';
	return true;
}

static size_t count(const char *list)
{
	size_t n = 1;

	for (; list && (list = strchr(list, ',')); list++)
		n++;
	return n;
}

static bool is_numeric(const char *host)
{
	uint8_t bytes[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, bytes) == 1 ||
	       inet_pton(AF_INET6, host, bytes) == 1;
}

/* Sockets of the file system have a path or begin with "@". */
static bool needs_lookup(const struct pg_host *h)
{
	return !h->address[0] && h->name[0] && h->name[0] != '/' &&
	       h->name[0] != '@' && !is_numeric(h->name);
}

/* A list of hosts, of addresses, and of ports that go with either. */
static int split_hosts(struct pg_target *t, const char *name,
	const PQconninfoOption *defaults, struct errmsg *reterr)
{
	const char *hosts = value_of(t->options, "host");
	const char *addresses = value_of(t->options, "hostaddr");
	const char *ports = value_of(t->options, "port");
	struct pg_host *h;
	bool fits = true;
	size_t i;

	if (!hosts && !addresses)
		hosts = value_of(defaults, "host");
	if (!ports)
		ports = value_of(defaults, "port");
	t->n_hosts = addresses ? count(addresses) : count(hosts);
	if ((hosts && count(hosts) != t->n_hosts) ||
		(ports && count(ports) != 1 && count(ports) != t->n_hosts))
		return errmsg_set(reterr, ERR_INVALID,
			"%s: hosts, addresses and ports do not go together",
			name);
	if (t->n_hosts > PG_HOSTS_MAX)
		return errmsg_set(reterr, ERR_INVALID,
			"%s must name at most %d hosts", name, PG_HOSTS_MAX);
	for (i = 0; i < t->n_hosts && fits; i++) {
		h = &t->hosts[i];
		if (hosts)
			fits = part(hosts, i, h->name, sizeof(h->name));
		if (fits && addresses)
			fits = part(
				addresses, i, h->address, sizeof(h->address));
		if (fits && ports)
			fits = part(ports, i, h->port, sizeof(h->port));
		h->lookup = needs_lookup(h);
	}
	if (!fits)
		return errmsg_set(reterr, ERR_INVALID,
			"%s: a host, address or port is too long", name);
	return 0;
}

int pg_target_init(struct pg_target *t, const char *name, const char *url,
	struct errmsg *reterr)
{
	PQconninfoOption *defaults = PQconndefaults();
	int r;

	*t = (struct pg_target){0};
	if (!defaults)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	r = parse(name, url, defaults, &t->options, reterr);
	if (r == 0)
		r = split_hosts(t, name, defaults, reterr);
	PQconninfoFree(defaults);
	return r;
}

void pg_target_release(struct pg_target *t)
{
	PQconninfoFree(t->options); /* NULL is fine */
	t->options = NULL;
}

/* ---- one attempt ---- */

static void add(
	struct pg_parts *p, size_t *n, const char *keyword, const char *value)
{
	if (*n + 1 < PG_PARTS_MAX && value && value[0]) {
		p->keywords[*n] = keyword;
		p->values[(*n)++] = value;
	}
}

static bool is_host_part(const char *keyword)
{
	return !strcmp(keyword, "host") || !strcmp(keyword, "hostaddr") ||
	       !strcmp(keyword, "port");
}

void pg_target_parts(const struct pg_target *t, const struct pg_host *host,
	const char *address, struct pg_parts *ret_parts)
{
	const PQconninfoOption *o;
	size_t n = 0, i;

	for (i = 0; i < ARRAY_LEN(wishes); i++) {
		if (!value_of(t->options, wishes[i].keyword))
			add(ret_parts, &n, wishes[i].keyword, wishes[i].value);
	}
	for (o = t->options; o->keyword; o++) {
		if (!is_host_part(o->keyword))
			add(ret_parts, &n, o->keyword, o->val);
	}
	add(ret_parts, &n, "client_encoding", "UTF8"); /* the last one counts */
	add(ret_parts, &n, "host", host->name);
	add(ret_parts, &n, "hostaddr", address);
	add(ret_parts, &n, "port", host->port);
	ret_parts->keywords[n] = NULL;
	ret_parts->values[n] = NULL;
}
