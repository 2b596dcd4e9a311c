/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/codec.h"

#define SHARDS_MAX    256 /* as many ports as a store has */

#define POOL_SIZE_MAX 1000
#define RATE_MAX      1000000 /* as middleware/rates.h has it */

/* One variable. `parse` reads its text into the field at `offset`; min and max
 * are for numbers. */
struct variable {
	const char *name;
	const char *fallback; /* NULL: the field stays zero */
	int (*parse)(const struct variable *v, const char *text, void *field,
		struct errmsg *reterr);
	size_t offset;
	uint32_t min, max;
};

/* Sentences name the variable and what is allowed, never the value: it may be
 * a secret pasted in the wrong place. */
static int fault(
	const struct variable *v, struct errmsg *reterr, const char *allowed)
{
	return errmsg_set(
		reterr, ERR_INVALID, "%s must be %s", v->name, allowed);
}

static int parse_text(const struct variable *v, const char *text, void *field,
	struct errmsg *reterr)
{
	size_t len = strlen(text);

	if (len >= CONFIG_TEXT_MAX)
		return fault(v, reterr, "shorter than 4096 bytes");
	memcpy(field, text, len + 1);
	return 0;
}

/* What can never be fetched shows at the start, not one day in the log. */
static int parse_url(const struct variable *v, const char *text, void *field,
	struct errmsg *reterr)
{
	static const char *const schemes[] = {"http://", "https://"};
	size_t i, len;

	for (i = 0; i < ARRAY_LEN(schemes); i++) {
		len = strlen(schemes[i]);
		if (!strncasecmp(text, schemes[i], len) && text[len])
			return parse_text(v, text, field, reterr);
	}
	return fault(v, reterr, "an http:// or https:// URL");
}

static int parse_number(const struct variable *v, const char *text, void *field,
	struct errmsg *reterr)
{
	char allowed[64], *end;
	unsigned long long value = 0;

	(void)snprintf(allowed, sizeof(allowed), "a number from %u to %u",
		v->min, v->max);
	if (text[0] < '0' || text[0] > '9')
		return fault(v, reterr, allowed);
	value = strtoull(text, &end, 10);
	if (*end || value < v->min || value > v->max)
		return fault(v, reterr, allowed);
	*(uint32_t *)field = (uint32_t)value;
	return 0;
}

static int parse_switch(const struct variable *v, const char *text, void *field,
	struct errmsg *reterr)
{
	bool on = !strcmp(text, "on");

	if (!on && strcmp(text, "off") != 0)
		return fault(v, reterr, "on or off");
	*(bool *)field = on;
	return 0;
}

static int parse_log_level(const struct variable *v, const char *text,
	void *field, struct errmsg *reterr)
{
	if (log_level_parse(slice_str(text), field) < 0)
		return fault(v, reterr, "error, warn, info or debug");
	return 0;
}

static int parse_log_format(const struct variable *v, const char *text,
	void *field, struct errmsg *reterr)
{
	bool json = !strcmp(text, "json");

	if (!json && strcmp(text, "logfmt") != 0)
		return fault(v, reterr, "logfmt or json");
	*(bool *)field = json;
	return 0;
}

static int parse_crl_start(const struct variable *v, const char *text,
	void *field, struct errmsg *reterr)
{
	enum crl_start_policy *policy = field;

	if (!strcmp(text, "open"))
		*policy = CRL_START_OPEN;
	else if (!strcmp(text, "closed"))
		*policy = CRL_START_CLOSED;
	else
		return fault(v, reterr, "open or closed");
	return 0;
}

static int parse_pooler(const struct variable *v, const char *text, void *field,
	struct errmsg *reterr)
{
	enum database_pooler *pooler = field;

	if (!strcmp(text, "auto"))
		*pooler = POOLER_AUTO;
	else if (!strcmp(text, "on"))
		*pooler = POOLER_ON;
	else if (!strcmp(text, "off"))
		*pooler = POOLER_OFF;
	else
		return fault(v, reterr, "auto, on or off");
	return 0;
}

static int parse_ca_cert(const struct variable *v, const char *text,
	void *field, struct errmsg *reterr)
{
	struct config *config = CONTAINER_OF(field, struct config, ca_cert);
	struct slice encoded = slice_str(text);
	size_t at;

	if (BASE64_DECODED_MAX(encoded.len) > CONFIG_CA_CERT_MAX)
		return fault(v, reterr, "a certificate of at most 8 KiB");
	if (base64_decode(encoded, config->ca_cert, &config->ca_cert_len, &at) <
			0 ||
		config->ca_cert_len == 0)
		return fault(v, reterr, "a DER certificate in base64");
	return 0;
}

/* Without leading zeros, so that ":0" is the one way to ask for any port. */
static bool parse_port(const char *text, uint16_t *ret_port)
{
	unsigned long port;
	char *end;

	if (text[0] < '0' || text[0] > '9' || (text[0] == '0' && text[1]))
		return false;
	port = strtoul(text, &end, 10);
	if (*end || port > UINT16_MAX)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

static bool parse_v4(const char *host, uint16_t port, struct config_address *a)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a->addr;

	memset(&a->addr, 0, sizeof(a->addr));
	if (!strcmp(host, "localhost"))
		host = "127.0.0.1";
	if (inet_pton(AF_INET, host, &v4->sin_addr) != 1)
		return false;
	v4->sin_family = AF_INET;
	v4->sin_port = htons(port);
	a->addr_len = sizeof(*v4);
	return true;
}

static bool parse_v6(const char *host, uint16_t port, struct config_address *a)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a->addr;

	memset(&a->addr, 0, sizeof(a->addr));
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1)
		return false;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	a->addr_len = sizeof(*v6);
	return true;
}

/* No host means every interface, of both families. Brackets are for IPv6
 * (RFC 3986 section 3.2.2), which has colons of its own. */
static bool parse_host(
	struct slice text, uint16_t port, struct config_address *a)
{
	char host[INET6_ADDRSTRLEN];
	bool v6 = text.len >= 2 && text.ptr[0] == '[' &&
		  text.ptr[text.len - 1] == ']';

	if (text.len == 0)
		return parse_v6("::", port, a);
	if (v6)
		text = slice_of(text.ptr + 1, text.len - 2);
	if (text.len >= sizeof(host))
		return false;
	memcpy(host, text.ptr, text.len);
	host[text.len] = '\0';
	return v6 ? parse_v6(host, port, a) : parse_v4(host, port, a);
}

static int parse_address(const struct variable *v, const char *text,
	void *field, struct errmsg *reterr)
{
	const char *colon = strrchr(text, ':');
	struct config_address *address = field;
	uint16_t port;

	if (!colon || !parse_port(colon + 1, &port) ||
		!parse_host(
			slice_of(text, (size_t)(colon - text)), port, address))
		return fault(v, reterr,
			"an address like 0.0.0.0:8080, [::1]:8080 or :8080");
	return parse_text(v, text, address->text, reterr);
}

static int parse_metrics_address(const struct variable *v, const char *text,
	void *field, struct errmsg *reterr)
{
	struct config_address *address = field;

	if (!strcmp(text, "off"))
		return parse_text(v, text, address->text, reterr);
	if (parse_address(v, text, field, NULL) < 0)
		return fault(v, reterr,
			"an address like 127.0.0.1:9091 or :9091, or off");
	return 0;
}

#define FIELD(f) offsetof(struct config, f)

static const struct variable variables[] = {
	{"GRPC_LISTEN_ADDRESS", "0.0.0.0:8080", parse_address,
		FIELD(grpc_address), 0, 0},
	{"GRPC_WEB_LISTEN_ADDRESS", "0.0.0.0:8081", parse_address,
		FIELD(web_address), 0, 0},
	{"METRICS_LISTEN_ADDRESS", "127.0.0.1:9091", parse_metrics_address,
		FIELD(metrics_address), 0, 0},
	{"SQLITE_DIR_PATH", "db", parse_text, FIELD(sqlite_dir), 0, 0},
	{"DATABASE_URL", NULL, parse_text, FIELD(database_url), 0, 0},
	{"DATABASE_DIRECT_URL", NULL, parse_text, FIELD(database_direct_url), 0,
		0},
	/* PostgreSQL takes 100 connections unless told otherwise. */
	{"DATABASE_POOL_SIZE", NULL, parse_number, FIELD(database_pool_size), 1,
		POOL_SIZE_MAX},
	{"DATABASE_POOLER", "auto", parse_pooler, FIELD(database_pooler), 0, 0},
	{"CA_CERT", NULL, parse_ca_cert, FIELD(ca_cert), 0, 0},
	{"CRL_URL", NULL, parse_url, FIELD(crl_url), 0, 0},
	/* An hour at most: a revoked key must not live for a day. */
	{"CRL_REFRESH_SECONDS", "300", parse_number, FIELD(crl_refresh_s), 1,
		3600},
	{"CRL_START_POLICY", "open", parse_crl_start, FIELD(crl_start), 0, 0},
	{"LOG_LEVEL", "info", parse_log_level, FIELD(log_level), 0, 0},
	{"LOG_FORMAT", "logfmt", parse_log_format, FIELD(log_json), 0, 0},
	/* A core has the database's password and what was under way. */
	{"CORE_DUMPS", "off", parse_switch, FIELD(core_dumps), 0, 0},
	{"SHARDS", NULL, parse_number, FIELD(shards), 1, SHARDS_MAX},
	{"MAX_STREAMS_PER_CONNECTION", "100", parse_number, FIELD(max_streams),
		1, 1000},
	/* Some 20 KiB each when idle, 40 over TLS: 1 GiB, 2 GiB. */
	{"MAX_CONNECTIONS", "50000", parse_number, FIELD(max_connections), 1,
		10000000},
	{"LISTENER_WRITE_TIMEOUT", "30", parse_number,
		FIELD(listener_write_timeout_s), 1, 3600},
	{"DRAIN_TIMEOUT", "30", parse_number, FIELD(drain_timeout_s), 1, 3600},
	/* data-sync's keepalive. */
	{"KEEPALIVE_TIME", "10", parse_number, FIELD(keepalive_time_s), 1,
		86400},
	{"KEEPALIVE_TIMEOUT", "5", parse_number, FIELD(keepalive_timeout_s), 1,
		3600},
	{"KEEPALIVE_MIN_TIME", "5", parse_number, FIELD(keepalive_min_time_s),
		0, 3600},
	{"MAX_CONNECTION_AGE", "0", parse_number, FIELD(max_connection_age_s),
		0, 31536000},
	{"LIST_OVERLAP", "on", parse_switch, FIELD(list_overlap), 0, 0},
	{"TLS_CERT_FILE", NULL, parse_text, FIELD(tls_cert_file), 0, 0},
	{"TLS_KEY_FILE", NULL, parse_text, FIELD(tls_key_file), 0, 0},
	{"TLS_CLIENT_CA_FILE", NULL, parse_text, FIELD(tls_client_ca_file), 0,
		0},
	{"PROXY_PROTOCOL", "off", parse_switch, FIELD(proxy_protocol), 0, 0},
	/* No cap: behind a proxy that does not say for whom it connects, all
	 * connections are of one peer. */
	{"MAX_CONNECTIONS_PER_PEER", "0", parse_number,
		FIELD(max_connections_per_peer), 0, 10000000},
	/* None by default, since a proxy may have many users on one connection,
	 * and an application any number of users. */
	{"MAX_RATE_PER_CONNECTION", "0", parse_number,
		FIELD(max_rate_per_connection), 0, RATE_MAX},
	{"MAX_RATE_PER_API_KEY", "0", parse_number, FIELD(max_rate_per_api_key),
		0, RATE_MAX},
	{"MAX_NEW_USERS_PER_HOUR", "0", parse_number,
		FIELD(max_new_users_per_hour), 0, 1000000000},
	/* Far above what a person's devices need. */
	{"MAX_RATE_PER_USER", "1000", parse_number, FIELD(max_rate_per_user), 0,
		RATE_MAX},
	{"MAX_RECORDS_PER_USER", "1000000", parse_number,
		FIELD(max_records_per_user), 0, 1000000000},
	{"MAX_MIB_PER_USER", "1024", parse_number, FIELD(max_mib_per_user), 0,
		1000000000},
	{"MAX_LISTENERS_PER_USER", "1000", parse_number,
		FIELD(max_listeners_per_user), 0, 10000000},
};

/* What one variable says only together with another. */
static int check_tls(const struct config *config, struct errmsg *reterr)
{
	bool cert = config->tls_cert_file[0], key = config->tls_key_file[0];

	if (cert != key)
		return errmsg_set(reterr, ERR_INVALID,
			"TLS_CERT_FILE and TLS_KEY_FILE must be set both or "
			"neither");
	/* Else somebody would believe that clients are asked for theirs. */
	if (config->tls_client_ca_file[0] && !cert)
		return errmsg_set(reterr, ERR_INVALID,
			"TLS_CLIENT_CA_FILE must not be set without "
			"TLS_CERT_FILE");
	return 0;
}

int config_load(char *(*get)(const char *name), struct config *ret_config,
	struct errmsg *reterr)
{
	struct config config = {0}; /* handed over whole or not at all */
	const struct variable *v;
	const char *text;
	bool given;
	size_t i;
	int r;

	for (i = 0; i < ARRAY_LEN(variables); i++) {
		v = &variables[i];
		text = get(v->name);
		given = text && text[0];
		if (!given)
			text = v->fallback;
		if (!text)
			continue;
		r = v->parse(v, text, (char *)&config + v->offset, reterr);
		if (r < 0)
			return r;
		if (v->parse == parse_metrics_address)
			config.metrics_wanted = given;
	}
	/* A URL may hold a password: nothing of it is ever said. */
	if (config.database_direct_url[0] && !config.database_url[0])
		return errmsg_set(reterr, ERR_INVALID,
			"DATABASE_DIRECT_URL must not be set without "
			"DATABASE_URL");
	if (config.shards == 0)
		config.shards =
			(uint32_t)MIN(MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L),
				(long)SHARDS_MAX);
	/* For each loop one that writes, one that writes when that takes long,
	 * one that always reads, and one more. */
	if (config.database_pool_size == 0)
		config.database_pool_size =
			MIN(4 * config.shards, (uint32_t)POOL_SIZE_MAX);
	r = check_tls(&config, reterr);
	if (r == 0)
		*ret_config = config;
	return r;
}
