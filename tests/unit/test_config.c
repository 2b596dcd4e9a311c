/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/unit.h"

/* The environment of a test: one variable, or none. */
static const char *set_name, *set_value;
static struct config config;
static struct errmsg why;

static char *get(const char *name)
{
	if (!set_name || strcmp(name, set_name) != 0)
		return NULL;
	return (char *)(uintptr_t)set_value; /* getenv's type lacks a const */
}

static int load(const char *name, const char *value)
{
	set_name = name;
	set_value = value;
	why.text[0] = '\0';
	return config_load(get, &config, &why);
}

static void check_v4(
	const struct config_address *a, const char *host, unsigned port)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a->addr;
	char text[INET_ADDRSTRLEN];

	ck_assert_int_eq(a->addr.ss_family, AF_INET);
	ck_assert_uint_eq(a->addr_len, sizeof(*v4));
	ck_assert_uint_eq(ntohs(v4->sin_port), port);
	ck_assert_ptr_nonnull(
		inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text)));
	ck_assert_str_eq(text, host);
}

static void check_v6(
	const struct config_address *a, const char *host, unsigned port)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a->addr;
	char text[INET6_ADDRSTRLEN];

	ck_assert_int_eq(a->addr.ss_family, AF_INET6);
	ck_assert_uint_eq(a->addr_len, sizeof(*v6));
	ck_assert_uint_eq(ntohs(v6->sin6_port), port);
	ck_assert_ptr_nonnull(
		inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text)));
	ck_assert_str_eq(text, host);
}

static void check_defaults(void)
{
	ck_assert_str_eq(config.grpc_address.text, "0.0.0.0:8080");
	check_v4(&config.grpc_address, "0.0.0.0", 8080);
	ck_assert_str_eq(config.web_address.text, "0.0.0.0:8081");
	check_v4(&config.web_address, "0.0.0.0", 8081);
	ck_assert_str_eq(config.sqlite_dir, "db");
	ck_assert_str_eq(config.database_url, "");
	ck_assert_uint_eq(config.ca_cert_len, 0);
	ck_assert_str_eq(config.crl_url, "");
	ck_assert_uint_eq(config.crl_refresh_s, 300);
	ck_assert_int_eq(config.crl_start, CRL_START_OPEN);
	ck_assert_int_eq(config.log_level, LOG_INFO);
	ck_assert_uint_eq(config.max_rate_per_user, 1000);
	ck_assert_uint_eq(config.max_records_per_user, 1000000);
	ck_assert_uint_eq(config.max_mib_per_user, 1024);
	ck_assert_uint_eq(config.max_listeners_per_user, 1000);
	ck_assert_uint_eq(config.max_rate_per_connection, 0);
	ck_assert_uint_eq(config.max_rate_per_api_key, 0);
	ck_assert_uint_eq(config.max_new_users_per_hour, 0);
	ck_assert_int_eq(
		config.shards, MIN(sysconf(_SC_NPROCESSORS_ONLN), 256L));
	ck_assert_uint_eq(config.max_streams, 100);
	ck_assert_uint_eq(config.max_connections, 50000);
	ck_assert_uint_eq(config.listener_write_timeout_s, 30);
	ck_assert_uint_eq(config.drain_timeout_s, 30);
	ck_assert_uint_eq(config.keepalive_time_s, 10);
	ck_assert_uint_eq(config.keepalive_timeout_s, 5);
	ck_assert_uint_eq(config.keepalive_min_time_s, 5);
	ck_assert_uint_eq(config.max_connection_age_s, 0);
	ck_assert_str_eq(config.metrics_address.text, "127.0.0.1:9091");
	ck_assert(!config.metrics_wanted);
	ck_assert(config.list_overlap);
	ck_assert_str_eq(config.tls_cert_file, "");
	ck_assert_str_eq(config.tls_key_file, "");
	ck_assert_str_eq(config.tls_client_ca_file, "");
	ck_assert(!config.proxy_protocol);
	ck_assert_uint_eq(config.max_connections_per_peer, 0);
}

static const char *const names[] = {"GRPC_LISTEN_ADDRESS",
	"GRPC_WEB_LISTEN_ADDRESS", "METRICS_LISTEN_ADDRESS", "SQLITE_DIR_PATH",
	"DATABASE_URL", "DATABASE_DIRECT_URL", "DATABASE_POOL_SIZE",
	"DATABASE_POOLER", "CA_CERT", "CRL_URL", "CRL_REFRESH_SECONDS",
	"CRL_START_POLICY", "LOG_LEVEL", "LOG_FORMAT", "CORE_DUMPS", "SHARDS",
	"MAX_STREAMS_PER_CONNECTION", "MAX_CONNECTIONS",
	"LISTENER_WRITE_TIMEOUT", "DRAIN_TIMEOUT", "LIST_OVERLAP",
	"KEEPALIVE_TIME", "KEEPALIVE_TIMEOUT", "KEEPALIVE_MIN_TIME",
	"MAX_CONNECTION_AGE", "TLS_CERT_FILE", "TLS_KEY_FILE",
	"TLS_CLIENT_CA_FILE", "PROXY_PROTOCOL", "MAX_CONNECTIONS_PER_PEER",
	"MAX_RATE_PER_CONNECTION", "MAX_RATE_PER_API_KEY", "MAX_RATE_PER_USER",
	"MAX_RECORDS_PER_USER", "MAX_MIB_PER_USER", "MAX_LISTENERS_PER_USER",
	"MAX_NEW_USERS_PER_HOUR"};

TEST(config, every_variable_has_a_default_also_when_empty)
{
	ck_assert_int_eq(load(NULL, NULL), 0);
	check_defaults();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		ck_assert_int_eq(load(names[i], ""), 0);
		check_defaults();
	}
}

static size_t n_asked;

static char *count(const char *name)
{
	bool known = false;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		known |= !strcmp(name, names[i]);
	ck_assert_msg(known, "%s", name);
	n_asked++;
	return NULL;
}

TEST(config, no_other_variable_is_asked_for)
{
	ck_assert_int_eq(config_load(count, &config, &why), 0);
	ck_assert_uint_eq(n_asked, ARRAY_LEN(names));
}

TEST(config, texts_are_taken_as_they_are)
{
	ck_assert_int_eq(load("SQLITE_DIR_PATH", "/var/lib/x y"), 0);
	ck_assert_str_eq(config.sqlite_dir, "/var/lib/x y");
	ck_assert_int_eq(load("DATABASE_URL", "postgres://u:p@h/d"), 0);
	ck_assert_str_eq(config.database_url, "postgres://u:p@h/d");
	ck_assert_int_eq(load("CRL_URL", "https://x/crl"), 0);
	ck_assert_str_eq(config.crl_url, "https://x/crl");
	ck_assert_int_eq(load("CRL_URL", "HTTP://x"), 0);
	ck_assert_str_eq(config.crl_url, "HTTP://x");
}

TEST(config, the_database_may_have_a_pooler)
{
	ck_assert_int_eq(load("DATABASE_POOLER", ""), 0);
	ck_assert_int_eq(config.database_pooler, POOLER_AUTO);
	ck_assert_uint_eq(config.database_pool_size, 4 * config.shards);
	ck_assert_int_eq(load("DATABASE_POOLER", "on"), 0);
	ck_assert_int_eq(config.database_pooler, POOLER_ON);
	ck_assert_int_eq(load("DATABASE_POOLER", "off"), 0);
	ck_assert_int_eq(config.database_pooler, POOLER_OFF);
	ck_assert_int_eq(load("DATABASE_POOLER", "yes"), ERR_INVALID);
	ck_assert_int_eq(load("DATABASE_POOL_SIZE", "0"), ERR_INVALID);
	/* There is no database to reach past it. */
	ck_assert_int_eq(
		load("DATABASE_DIRECT_URL", "postgres://h/d"), ERR_INVALID);
}

TEST(config, addresses_are_numeric_of_either_family)
{
	ck_assert_int_eq(load("GRPC_LISTEN_ADDRESS", "127.0.0.1:0"), 0);
	check_v4(&config.grpc_address, "127.0.0.1", 0);
	ck_assert_int_eq(load("GRPC_LISTEN_ADDRESS", "10.1.2.3:65535"), 0);
	check_v4(&config.grpc_address, "10.1.2.3", 65535);
	ck_assert_str_eq(config.grpc_address.text, "10.1.2.3:65535");
	check_v4(&config.web_address, "0.0.0.0", 8081);
	ck_assert_int_eq(load("GRPC_WEB_LISTEN_ADDRESS", "[::1]:80"), 0);
	check_v6(&config.web_address, "::1", 80);
	ck_assert_int_eq(load("GRPC_WEB_LISTEN_ADDRESS",
				 "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255."
				 "255]:80"),
		0);
	ck_assert_int_eq(load("GRPC_LISTEN_ADDRESS", ":9090"), 0);
	check_v6(&config.grpc_address, "::", 9090);
	ck_assert_int_eq(load("GRPC_LISTEN_ADDRESS", "localhost:1"), 0);
	check_v4(&config.grpc_address, "127.0.0.1", 1);
}

static const struct {
	const char *name;
	uint32_t *field;
	uint32_t least, most;
} numbers[] = {
	{"CRL_REFRESH_SECONDS", &config.crl_refresh_s, 1, 3600},
	{"SHARDS", &config.shards, 1, 256},
	{"MAX_STREAMS_PER_CONNECTION", &config.max_streams, 1, 1000},
	{"MAX_CONNECTIONS", &config.max_connections, 1, 10000000},
	{"MAX_CONNECTIONS_PER_PEER", &config.max_connections_per_peer, 0,
		10000000},
	{"LISTENER_WRITE_TIMEOUT", &config.listener_write_timeout_s, 1, 3600},
	{"DRAIN_TIMEOUT", &config.drain_timeout_s, 1, 3600},
	{"KEEPALIVE_TIME", &config.keepalive_time_s, 1, 86400},
	{"KEEPALIVE_TIMEOUT", &config.keepalive_timeout_s, 1, 3600},
	{"KEEPALIVE_MIN_TIME", &config.keepalive_min_time_s, 0, 3600},
	{"MAX_CONNECTION_AGE", &config.max_connection_age_s, 0, 31536000},
};

static const char *decimal(int64_t value)
{
	static char text[24];

	(void)snprintf(text, sizeof(text), "%" PRId64, value);
	return text;
}

TEST(config, numbers_reach_from_their_least_to_their_most)
{
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		ck_assert_int_eq(
			load(numbers[i].name, decimal(numbers[i].least)), 0);
		ck_assert_uint_eq(*numbers[i].field, numbers[i].least);
		ck_assert_int_eq(
			load(numbers[i].name, decimal(numbers[i].most)), 0);
		ck_assert_uint_eq(*numbers[i].field, numbers[i].most);
	}
}

TEST(config, words_have_their_meaning)
{
	ck_assert_int_eq(load("LOG_LEVEL", "debug"), 0);
	ck_assert_int_eq(config.log_level, LOG_DEBUG);
	ck_assert_int_eq(load("LOG_LEVEL", "error"), 0);
	ck_assert_int_eq(config.log_level, LOG_ERROR);
	ck_assert_int_eq(load("LOG_FORMAT", "json"), 0);
	ck_assert(config.log_json);
	ck_assert_int_eq(load("LOG_FORMAT", "logfmt"), 0);
	ck_assert(!config.log_json);
	ck_assert_int_eq(load("CORE_DUMPS", "on"), 0);
	ck_assert(config.core_dumps);
	ck_assert_int_eq(load("CRL_START_POLICY", "closed"), 0);
	ck_assert_int_eq(config.crl_start, CRL_START_CLOSED);
	ck_assert_int_eq(load("CRL_START_POLICY", "open"), 0);
	ck_assert_int_eq(config.crl_start, CRL_START_OPEN);
	ck_assert_int_eq(load("LIST_OVERLAP", "off"), 0);
	ck_assert(!config.list_overlap);
	ck_assert_int_eq(load("LIST_OVERLAP", "on"), 0);
	ck_assert(config.list_overlap);
	ck_assert_int_eq(load("PROXY_PROTOCOL", "on"), 0);
	ck_assert(config.proxy_protocol);
	ck_assert_int_eq(load("PROXY_PROTOCOL", "off"), 0);
	ck_assert(!config.proxy_protocol);
}

static const char *tls_values[3];

static char *get_tls(const char *name)
{
	static const char *const tls_names[] = {
		"TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"};

	for (size_t i = 0; i < ARRAY_LEN(tls_names); i++) {
		if (!strcmp(name, tls_names[i]))
			return (char *)(uintptr_t)tls_values[i];
	}
	return NULL;
}

static int load_tls(const char *cert, const char *key, const char *ca)
{
	tls_values[0] = cert;
	tls_values[1] = key;
	tls_values[2] = ca;
	return config_load(get_tls, &config, &why);
}

TEST(config, tls_takes_a_certificate_and_its_key)
{
	ck_assert_int_eq(load_tls("/c", "/k", NULL), 0);
	ck_assert_str_eq(config.tls_cert_file, "/c");
	ck_assert_str_eq(config.tls_key_file, "/k");
	ck_assert_int_eq(load_tls("/c", "/k", "/ca"), 0);
	ck_assert_str_eq(config.tls_client_ca_file, "/ca");
	ck_assert_int_eq(load_tls("/c", NULL, NULL), ERR_INVALID);
	ck_assert_int_eq(load_tls(NULL, "/k", NULL), ERR_INVALID);
	ck_assert_int_eq(load_tls("/c", "", NULL), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(why.text, "TLS_KEY_FILE"));
	ck_assert_int_eq(load_tls(NULL, NULL, "/ca"), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(why.text, "TLS_CLIENT_CA_FILE"));
}

TEST(config, the_ca_is_base64_with_or_without_line_breaks)
{
	ck_assert_int_eq(load("CA_CERT", "aGVs\nbG8=\n"), 0);
	ck_assert_uint_eq(config.ca_cert_len, 5);
	ck_assert_mem_eq(config.ca_cert, "hello", 5);
}

/* A refusal names the variable and says nothing of the value: it may be a
 * secret that was pasted into the wrong one. */
static void check_refused(const char *name, const char *value)
{
	ck_assert_msg(load(name, value) == ERR_INVALID, "%s=%s", name, value);
	ck_assert_int_eq(strncmp(why.text, name, strlen(name)), 0);
	ck_assert_int_eq(why.text[strlen(name)], ' ');
	if (strlen(value) > 8) /* what is no part of our sentence */
		ck_assert_ptr_null(strstr(why.text, value));
	ck_assert_uint_lt(strlen(why.text), ERRMSG_MAX - 1);
}

TEST(config, bad_addresses_are_refused)
{
	static const char *const bad[] = {"0.0.0.0", "0.0.0.0:", ":", "8080",
		"0.0.0.0:-1", "0.0.0.0:+1", "0.0.0.0: 1", "0.0.0.0:1x",
		"0.0.0.0:99999999999999999999", "256.0.0.1:80", "1.2.3:80",
		"::1:80", "[::1:80", "::1]:80", "[::g]:80", "example.org:80",
		"postgres-password:5432x", "127.0.0.1:80:80", " 127.0.0.1:80",
		"127.0.0.1 :80", "127.0.0.1:80:", "127.1:80", "[]:80", "[:80",
		"]:80", "[[::1]]:80", "[127.0.0.1]:80", "[localhost]:80",
		"[ ::1]:80", "[fe80::1%lo]:80", "[::1]80", "LOCALHOST:80",
		"*:80", "0.0.0.0:65536", "[::1]:65536", ":65536", ":4294967376",
		":18446744073709551696", ":-80", ":80 ", ":80\n", ":00", ":080",
		":0x50", "tcp://0.0.0.0:80",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:80"};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		check_refused("GRPC_LISTEN_ADDRESS", bad[i]);
		check_refused("GRPC_WEB_LISTEN_ADDRESS", bad[i]);
		check_refused("METRICS_LISTEN_ADDRESS", bad[i]);
	}
}

TEST(config, metrics_have_an_address_or_none)
{
	ck_assert_int_eq(load("METRICS_LISTEN_ADDRESS", "127.0.0.1:9091"), 0);
	check_v4(&config.metrics_address, "127.0.0.1", 9091);
	ck_assert(config.metrics_wanted);
	ck_assert_int_eq(load("METRICS_LISTEN_ADDRESS", "[::1]:0"), 0);
	check_v6(&config.metrics_address, "::1", 0);
	ck_assert_int_eq(load("METRICS_LISTEN_ADDRESS", "off"), 0);
	ck_assert_uint_eq(config.metrics_address.addr_len, 0);
	ck_assert_str_eq(config.metrics_address.text, "off");
	check_refused("METRICS_LISTEN_ADDRESS", "on");
}

TEST(config, bad_numbers_are_refused)
{
	static const char *const bad[] = {"-0", "-1", "+1", " 1", "1 ", "1s",
		"0x1", "1e1", "1.5", "1,000", "ten", "s3cretpassword",
		"4294967297", "18446744073709551617",
		"99999999999999999999999999"};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		for (size_t k = 0; k < ARRAY_LEN(bad); k++)
			check_refused(numbers[i].name, bad[k]);
		check_refused(numbers[i].name,
			decimal((int64_t)numbers[i].least - 1));
		check_refused(
			numbers[i].name, decimal((int64_t)numbers[i].most + 1));
	}
}

TEST(config, other_words_are_refused)
{
	check_refused("LOG_LEVEL", "INFO");
	check_refused("LOG_LEVEL", "s3cretpassword");
	check_refused("LOG_FORMAT", "JSON");
	check_refused("CORE_DUMPS", "yes");
	check_refused("CRL_START_POLICY", "Open");
	check_refused("CRL_START_POLICY", "s3cretpassword");
	check_refused("LIST_OVERLAP", "true");
	check_refused("LIST_OVERLAP", "1");
	check_refused("LIST_OVERLAP", "s3cretpassword");
	check_refused("PROXY_PROTOCOL", "v2");
}

TEST(config, other_urls_are_refused)
{
	static const char *const bad[] = {"example.org/crl", "//example.org",
		"file:///etc/passwd", "ftp://example.org/crl",
		"http:", "http://", "https://", "https:/example.org",
		" http://x", "s3cretpassword"};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		check_refused("CRL_URL", bad[i]);
}

TEST(config, bad_certificates_are_refused)
{
	static char text[CONFIG_CA_CERT_MAX * 2];

	check_refused("CA_CERT", "-----BEGIN CERTIFICATE-----");
	check_refused("CA_CERT", "aGVsbG8");
	check_refused("CA_CERT", "s3cret-password");
	check_refused("CA_CERT", "\n");
	memset(text, 'A', sizeof(text) - 1);
	check_refused("CA_CERT", text);
	/* 8 KiB and a byte, as 10924 characters say. */
	text[10924] = '\0';
	check_refused("CA_CERT", text);
	text[10912] = '\0';
	ck_assert_int_eq(load("CA_CERT", text), 0);
	ck_assert_uint_eq(config.ca_cert_len, 10912 / 4 * 3);
}

TEST(config, long_texts_are_refused_at_their_limit)
{
	static const char *const texts[] = {
		"SQLITE_DIR_PATH", "DATABASE_URL", "CRL_URL"};
	static char text[CONFIG_TEXT_MAX + 1];
	const size_t scheme = strlen("http://");

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		memset(text, 'x', CONFIG_TEXT_MAX);
		memcpy(text, "http://", scheme);
		check_refused(texts[i], text);
		text[CONFIG_TEXT_MAX - 1] = '\0';
		ck_assert_int_eq(load(texts[i], text), 0);
	}
	memset(text, '0', CONFIG_TEXT_MAX);
	text[0] = ':';
	check_refused("GRPC_LISTEN_ADDRESS", text);
}

TEST(config, reads_the_real_environment_too)
{
	ck_assert_int_eq(setenv("LOG_LEVEL", "warn", 1), 0);
	ck_assert_int_eq(config_load(getenv, &config, &why), 0);
	ck_assert_int_eq(config.log_level, LOG_WARN);
}

TEST(config, a_refusal_leaves_the_old_one_untouched)
{
	static struct config before;

	ck_assert_int_eq(load("SHARDS", "3"), 0);
	before = config;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		static char bad[CONFIG_TEXT_MAX + 1];

		memset(bad, '!', CONFIG_TEXT_MAX); /* bad for all of them */
		check_refused(names[i], bad);
		ck_assert_mem_eq(&config, &before, sizeof(before));
	}
}
