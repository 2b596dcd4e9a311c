/* SPDX-License-Identifier: Apache-2.0 */
/* config — the environment, read once, checked, never changed afterwards. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/log.h"

#define CONFIG_TEXT_MAX	   4096 /* longest value: paths and URLs */
#define CONFIG_CA_CERT_MAX 8192 /* DER bytes of one certificate */

/* "host:port" as given, and as the system wants it. */
struct config_address {
	char text[CONFIG_TEXT_MAX];
	struct sockaddr_storage addr;
	socklen_t addr_len;
};

enum crl_start_policy {
	CRL_START_OPEN,	  /* no list yet: accept API keys, and say so */
	CRL_START_CLOSED, /* no list yet: refuse them */
};

enum database_pooler {
	POOLER_AUTO, /* find out */
	POOLER_ON,   /* transactions go to changing connections */
	POOLER_OFF,
};

struct config {
	struct config_address grpc_address;    /* GRPC_LISTEN_ADDRESS */
	struct config_address web_address;     /* GRPC_WEB_LISTEN_ADDRESS */
	struct config_address metrics_address; /* METRICS_LISTEN_ADDRESS; its
						* text is "off" for none */
	bool metrics_wanted; /* it was asked for, not left to the default */
	char sqlite_dir[CONFIG_TEXT_MAX];   /* SQLITE_DIR_PATH */
	char database_url[CONFIG_TEXT_MAX]; /* DATABASE_URL; "" for SQLite */
	char database_direct_url[CONFIG_TEXT_MAX]; /* DATABASE_DIRECT_URL */
	uint32_t database_pool_size;		   /* DATABASE_POOL_SIZE */
	enum database_pooler database_pooler;	   /* DATABASE_POOLER */
	uint8_t ca_cert[CONFIG_CA_CERT_MAX];	   /* CA_CERT, decoded */
	size_t ca_cert_len;		     /* 0: API keys are not asked for */
	char crl_url[CONFIG_TEXT_MAX];	     /* CRL_URL; "" for none */
	uint32_t crl_refresh_s;		     /* CRL_REFRESH_SECONDS */
	enum crl_start_policy crl_start;     /* CRL_START_POLICY */
	enum log_level log_level;	     /* LOG_LEVEL */
	bool log_json;			     /* LOG_FORMAT */
	bool core_dumps;		     /* CORE_DUMPS */
	uint32_t shards;		     /* SHARDS; 0 was made #cores */
	uint32_t max_streams;		     /* MAX_STREAMS_PER_CONNECTION */
	uint32_t max_connections;	     /* MAX_CONNECTIONS */
	uint32_t listener_write_timeout_s;   /* LISTENER_WRITE_TIMEOUT */
	uint32_t drain_timeout_s;	     /* DRAIN_TIMEOUT */
	uint32_t keepalive_time_s;	     /* KEEPALIVE_TIME */
	uint32_t keepalive_timeout_s;	     /* KEEPALIVE_TIMEOUT */
	uint32_t keepalive_min_time_s;	     /* KEEPALIVE_MIN_TIME */
	uint32_t max_connection_age_s;	     /* MAX_CONNECTION_AGE; 0: none */
	bool list_overlap;		     /* LIST_OVERLAP */
	char tls_cert_file[CONFIG_TEXT_MAX]; /* TLS_CERT_FILE; "": in clear */
	char tls_key_file[CONFIG_TEXT_MAX];  /* TLS_KEY_FILE */
	char tls_client_ca_file[CONFIG_TEXT_MAX]; /* TLS_CLIENT_CA_FILE */
	bool proxy_protocol;			  /* PROXY_PROTOCOL */
	uint32_t max_connections_per_peer; /* MAX_…_PER_PEER; 0: no cap */
	/* MAX_RATE_PER_…: requests a second; 0: as many as come */
	uint32_t max_rate_per_connection;
	uint32_t max_rate_per_api_key;
	uint32_t max_rate_per_user;
	/* MAX_…_PER_…; 0: any number */
	uint32_t max_records_per_user;
	uint32_t max_mib_per_user;
	uint32_t max_listeners_per_user;
	uint32_t max_new_users_per_hour;
};

/* Reads and checks every variable through `get` (getenv's type). An empty
 * value counts as unset. Does not block: host names are not looked up,
 * addresses are numeric (or empty host for all interfaces, or localhost).
 * Returns: 0; ERR_INVALID with a sentence that names the variable and never
 * repeats a secret. */
MUSTCHECK int config_load(char *(*get)(const char *name),
	struct config *ret_config, struct errmsg *reterr);
