/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "lib/unit.h"
#include "net/tls.h"

#include "pem.h"

#define H2    "\x02h2"
#define H1    "\x08http/1.1"
#define H3_H1 "\x02h3\x08http/1.1"
#define BOTH  "\x08http/1.1\x02h2"

#define ALL   SIZE_MAX /* bytes at a time */

static char dir[64];
static struct pem ca, server, other;
static struct tls_context *context;
static SSL_CTX *client_ctx;

/* Both ends of one connection, and what is on the way between them. */
struct pair {
	struct tls *tls;
	SSL *client;
	struct buf to_client;
	struct buf plain; /* what the server read and nobody took yet */
	int result;	  /* the server's last */
	int reason;	  /* why the client's handshake failed, 0: it did not */
	size_t at_a_time;
};

static struct tls_context *load(const char *client_ca)
{
	const struct tls_files files = {.cert = server.cert_file,
		.key = server.key_file,
		.client_ca = client_ca};
	struct errmsg why = {.text = ""};
	struct tls_context *c = NULL;

	ck_assert_msg(tls_context_new(&files, &c, &why) == 0, "%s", why.text);
	return c;
}

static void set_up(void)
{
	unit_make_dir(dir, sizeof(dir));
	pem_init(&ca, dir, "ca", NULL, NULL);
	pem_init(&server, dir, "server", &ca, NULL);
	pem_init(&other, dir, "other", NULL, NULL);
	context = load(NULL);
	client_ctx = SSL_CTX_new(TLS_client_method());
	ck_assert_ptr_nonnull(client_ctx);
	ck_assert_int_eq(
		SSL_CTX_load_verify_locations(client_ctx, ca.cert_file, NULL),
		1);
	SSL_CTX_set_verify(client_ctx, SSL_VERIFY_PEER, NULL);
}

static void tear_down(void)
{
	SSL_CTX_free(client_ctx);
	tls_context_unref(context);
	pem_release(&ca);
	pem_release(&server);
	pem_release(&other);
	unit_remove_dir(dir);
}

static void pair_init(struct pair *p, enum tls_alpn alpn)
{
	*p = (struct pair){.at_a_time = ALL};
	ck_assert_int_eq(tls_new(context, alpn, &p->tls), 0);
	p->client = SSL_new(client_ctx);
	SSL_set_bio(p->client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	BIO_set_mem_eof_return(SSL_get_rbio(p->client), -1);
	SSL_set_connect_state(p->client);
	buf_init(&p->to_client, 4 << 20);
	buf_init(&p->plain, 4 << 20);
}

static void pair_release(struct pair *p)
{
	tls_free(&p->tls);
	ck_assert_ptr_null(p->tls);
	SSL_free(p->client);
	buf_release(&p->to_client);
	buf_release(&p->plain);
}

/* Gives the server what the client has written. Returns whether there was
 * anything. */
static bool to_server(struct pair *p)
{
	uint8_t wire[4096];
	int n = BIO_read(SSL_get_wbio(p->client), wire,
		(int)MIN(sizeof(wire), p->at_a_time));

	if (n <= 0)
		return false;
	tls_feed(p->tls, slice_of(wire, (size_t)n));
	do {
		p->result = tls_read(p->tls, &p->plain, &p->to_client);
	} while (p->result == TLS_DATA);
	return true;
}

static bool to_client(struct pair *p)
{
	size_t n = MIN(buf_len(&p->to_client), p->at_a_time);

	if (n == 0)
		return false;
	ck_assert_int_eq(BIO_write(SSL_get_rbio(p->client),
				 buf_slice(&p->to_client).ptr, (int)n),
		(int)n);
	buf_consume(&p->to_client, n);
	return true;
}

/* Until neither has anything to say. Returns what the client's handshake does:
 * 1 it is done. */
static int shake(struct pair *p)
{
	bool more = true;
	int r = 0;

	while (more) {
		ERR_clear_error();
		r = SSL_do_handshake(p->client);
		if (ERR_peek_error() && !p->reason)
			p->reason = ERR_GET_REASON(ERR_peek_error());
		more = p->result >= 0 && to_server(p);
		more |= to_client(p);
	}
	return r;
}

static void says(struct pair *p, const char *text)
{
	ck_assert_int_eq(SSL_write(p->client, text, (int)strlen(text)),
		(int)strlen(text));
	while (to_server(p)) {
	}
	ck_assert(slice_eq_str(buf_slice(&p->plain), text));
	buf_reset(&p->plain);
}

static void hears(struct pair *p, const char *text)
{
	char got[64] = "";

	ck_assert_int_eq(tls_write(p->tls, slice_str(text), &p->to_client), 0);
	while (to_client(p)) {
	}
	ck_assert_int_eq(
		SSL_read(p->client, got, sizeof(got) - 1), (int)strlen(text));
	ck_assert_str_eq(got, text);
}

static bool chose(const struct pair *p, const char *name)
{
	const unsigned char *got;
	unsigned len;

	SSL_get0_alpn_selected(p->client, &got, &len);
	return slice_eq_str(slice_of(len ? (const char *)got : "", len), name);
}

TEST(tls, alpn_takes_what_a_port_speaks_and_refuses_the_rest)
{
	static const struct {
		enum tls_alpn alpn;
		const char *offer, *choice; /* NULL: refused */
	} rows[] = {
		{TLS_ALPN_H2, H2, "h2"},
		{TLS_ALPN_H2, BOTH, "h2"},
		{TLS_ALPN_H2, H1, NULL},
		{TLS_ALPN_H2, H3_H1, NULL},
		{TLS_ALPN_H2, "", ""},
		{TLS_ALPN_H2_H1, H2, "h2"},
		{TLS_ALPN_H2_H1, BOTH, "h2"},
		{TLS_ALPN_H2_H1, H3_H1, "http/1.1"},
		{TLS_ALPN_H2_H1, "\x02h3", NULL},
		{TLS_ALPN_H2_H1, "", ""},
	};
	struct pair p;
	size_t i;

	set_up();
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		pair_init(&p, rows[i].alpn);
		ck_assert_int_eq(SSL_set_alpn_protos(p.client,
					 (const unsigned char *)rows[i].offer,
					 (unsigned)strlen(rows[i].offer)),
			0);
		ck_assert_msg((shake(&p) == 1) == (rows[i].choice != NULL),
			"row %zu", i);
		ck_assert_int_eq(
			tls_established(p.tls), rows[i].choice != NULL);
		if (rows[i].choice) {
			ck_assert_msg(chose(&p, rows[i].choice), "row %zu", i);
		} else {
			ck_assert_int_eq(p.result, ERR_PROTO);
			ck_assert_str_eq(
				tls_failure(p.tls), "no application protocol");
			ck_assert_int_eq(p.reason,
				SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
		}
		pair_release(&p);
	}
	tear_down();
}

TEST(tls, every_byte_may_come_alone)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct pair p;
	size_t i;

	set_up();
	for (i = 0; i < ARRAY_LEN(versions); i++) {
		pair_init(&p, TLS_ALPN_H2);
		p.at_a_time = 1;
		SSL_set_max_proto_version(p.client, versions[i]);
		ck_assert(!tls_established(p.tls));
		ck_assert_int_eq(shake(&p), 1);
		ck_assert_int_eq(SSL_version(p.client), versions[i]);
		says(&p, "hello");
		hears(&p, "good day");
		ck_assert_ptr_null(tls_failure(p.tls));
		pair_release(&p);
	}
	tear_down();
}

TEST(tls, older_versions_are_refused)
{
	struct pair p;

	set_up();
	SSL_CTX_set_security_level(client_ctx, 0);
	pair_init(&p, TLS_ALPN_H2);
	SSL_set_min_proto_version(p.client, TLS1_VERSION);
	SSL_set_max_proto_version(p.client, TLS1_1_VERSION);
	ck_assert_int_ne(shake(&p), 1);
	ck_assert_int_eq(p.reason, SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
	ck_assert_int_eq(p.result, ERR_PROTO);
	pair_release(&p);
	tear_down();
}

TEST(tls, suites_that_http2_forbids_are_refused)
{
	static const char *const forbidden[] = {
		"AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256"};
	struct pair p;
	size_t i;

	set_up();
	for (i = 0; i < ARRAY_LEN(forbidden); i++) {
		pair_init(&p, TLS_ALPN_H2);
		SSL_set_max_proto_version(p.client, TLS1_2_VERSION);
		ck_assert(SSL_set_cipher_list(p.client, forbidden[i]));
		ck_assert_int_ne(shake(&p), 1);
		ck_assert_int_eq(p.result, ERR_PROTO);
		pair_release(&p);
	}
	tear_down();
}

TEST(tls, what_is_not_tls_fails_and_leaves_no_error_behind)
{
	struct buf plain, out;
	struct tls *t;

	set_up();
	buf_init(&plain, TLS_RECORD_MAX);
	buf_init(&out, 1 << 16);
	ck_assert_int_eq(tls_new(context, TLS_ALPN_H2, &t), 0);
	tls_feed(t, slice_str("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
	ck_assert_int_eq(tls_read(t, &plain, &out), ERR_PROTO);
	ck_assert_ptr_nonnull(tls_failure(t));
	ck_assert(!tls_established(t));
	ck_assert_uint_eq(ERR_peek_error(), 0);
	tls_free(&t);
	buf_release(&plain);
	buf_release(&out);
	tear_down();
}

TEST(tls, megabytes_pass_unchanged_both_ways)
{
	enum { SIZE = 1 << 20 };
	uint8_t *bytes = malloc(SIZE), *got = malloc(SIZE);
	struct pair p;
	size_t i, n = 0;
	int r;

	set_up();
	for (i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i * 31 >> 3);
	pair_init(&p, TLS_ALPN_H2);
	ck_assert_int_eq(shake(&p), 1);
	p.at_a_time = 1009; /* no record ends where a read does */
	ck_assert_int_eq(SSL_write(p.client, bytes, SIZE), SIZE);
	while (to_server(&p)) {
	}
	ck_assert_uint_eq(buf_len(&p.plain), SIZE);
	ck_assert_mem_eq(buf_slice(&p.plain).ptr, bytes, SIZE);

	ck_assert_int_eq(
		tls_write(p.tls, slice_of(bytes, SIZE), &p.to_client), 0);
	while (to_client(&p)) {
	}
	while ((r = SSL_read(p.client, got + n, (int)(SIZE - n))) > 0)
		n += (size_t)r;
	ck_assert_uint_eq(n, SIZE);
	ck_assert_mem_eq(got, bytes, SIZE);
	pair_release(&p);
	free(bytes);
	free(got);
	tear_down();
}

TEST(tls, a_write_adds_no_more_than_it_says)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	static uint8_t bytes[60 * 1024];
	struct pair p;
	size_t i;

	set_up();
	for (i = 0; i < ARRAY_LEN(versions); i++) {
		pair_init(&p, TLS_ALPN_H2);
		SSL_set_max_proto_version(p.client, versions[i]);
		ck_assert_int_eq(shake(&p), 1);
		ck_assert_int_eq(
			tls_write(p.tls, slice_of(bytes, sizeof(bytes)),
				&p.to_client),
			0);
		ck_assert_uint_le(buf_len(&p.to_client),
			sizeof(bytes) + TLS_OVERHEAD_MAX);
		pair_release(&p);
	}
	tear_down();
}

TEST(tls, a_write_without_room_fails)
{
	struct pair p;
	struct buf out;

	set_up();
	buf_init(&out, 8);
	pair_init(&p, TLS_ALPN_H2);
	ck_assert_int_eq(shake(&p), 1);
	ck_assert_int_eq(tls_write(p.tls, slice_str("hello"), &out), ERR_PROTO);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	buf_release(&out);
	pair_release(&p);
	tear_down();
}

TEST(tls, the_end_is_said_once_and_heard)
{
	char byte;
	struct pair p;

	set_up();
	pair_init(&p, TLS_ALPN_H2);
	tls_end(p.tls, &p.to_client);
	ck_assert_uint_eq(buf_len(&p.to_client), 0); /* too early */
	ck_assert_int_eq(shake(&p), 1);
	hears(&p, "last words");
	tls_end(p.tls, &p.to_client);
	ck_assert_uint_gt(buf_len(&p.to_client), 0);
	while (to_client(&p)) {
	}
	ck_assert_int_eq(SSL_read(p.client, &byte, 1), 0);
	ck_assert_int_eq(SSL_get_error(p.client, 0), SSL_ERROR_ZERO_RETURN);
	tls_end(p.tls, &p.to_client);
	ck_assert_uint_eq(buf_len(&p.to_client), 0);
	pair_release(&p);

	pair_init(&p, TLS_ALPN_H2);
	ck_assert_int_eq(shake(&p), 1);
	ck_assert_int_eq(SSL_shutdown(p.client), 0);
	ck_assert(to_server(&p));
	ck_assert_int_eq(p.result, ERR_CLOSED);
	ck_assert_ptr_null(tls_failure(p.tls));
	pair_release(&p);
	tear_down();
}

TEST(tls, a_peer_may_change_its_key_and_may_not_renegotiate)
{
	struct pair p;

	set_up();
	pair_init(&p, TLS_ALPN_H2);
	ck_assert_int_eq(shake(&p), 1);
	ck_assert_int_eq(SSL_key_update(p.client, SSL_KEY_UPDATE_REQUESTED), 1);
	says(&p, "with a new key");
	hears(&p, "so have I");
	pair_release(&p);

	pair_init(&p, TLS_ALPN_H2);
	SSL_set_max_proto_version(p.client, TLS1_2_VERSION);
	ck_assert_int_eq(shake(&p), 1);
	ck_assert_int_eq(SSL_renegotiate(p.client), 1);
	ck_assert_int_ne(shake(&p), 1);
	ck_assert_int_eq(p.reason, SSL_R_NO_RENEGOTIATION);
	pair_release(&p);
	tear_down();
}

/* Connects, with `session` if there is one; returns the session then. */
static SSL_SESSION *connect_with(
	SSL_SESSION *session, int version, bool *ret_resumed)
{
	SSL_SESSION *next;
	struct pair p;

	pair_init(&p, TLS_ALPN_H2);
	SSL_set_max_proto_version(p.client, version);
	if (session)
		ck_assert_int_eq(SSL_set_session(p.client, session), 1);
	ck_assert_int_eq(shake(&p), 1);
	hears(&p, "x"); /* TLS 1.3's tickets come with it */
	*ret_resumed = SSL_session_reused(p.client);
	next = SSL_get1_session(p.client);
	(void)SSL_shutdown(p.client); /* else it may not be used again */
	pair_release(&p);
	SSL_SESSION_free(session);
	return next;
}

TEST(tls, tickets_save_a_handshake_until_the_context_changes)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	SSL_SESSION *session;
	bool resumed;
	size_t i;

	set_up();
	for (i = 0; i < ARRAY_LEN(versions); i++) {
		session = connect_with(NULL, versions[i], &resumed);
		ck_assert(!resumed);
		session = connect_with(session, versions[i], &resumed);
		ck_assert(resumed);
		tls_context_unref(context);
		context = load(NULL);
		session = connect_with(session, versions[i], &resumed);
		ck_assert(!resumed);
		SSL_SESSION_free(session);
	}
	tear_down();
}

static void identify_as(struct pair *p, const struct pem *c)
{
	ck_assert_int_eq(SSL_use_certificate(p->client, c->cert.x509), 1);
	ck_assert_int_eq(SSL_use_PrivateKey(p->client, c->cert.key), 1);
}

TEST(tls, with_a_client_ca_only_its_own_may_connect)
{
	struct pem client;
	struct pair p;

	set_up();
	pem_init(&client, dir, "client", &ca, NULL);
	tls_context_unref(context);
	context = load(ca.cert_file);

	pair_init(&p, TLS_ALPN_H2);
	identify_as(&p, &client);
	ck_assert_int_eq(shake(&p), 1);
	says(&p, "it is me");
	pair_release(&p);

	pair_init(&p, TLS_ALPN_H2);
	(void)shake(&p); /* 1.3's client is done before it is refused */
	ck_assert(!tls_established(p.tls));
	ck_assert_str_eq(
		tls_failure(p.tls), "peer did not return a certificate");
	pair_release(&p);

	pair_init(&p, TLS_ALPN_H2);
	identify_as(&p, &other);
	(void)shake(&p);
	ck_assert(!tls_established(p.tls));
	ck_assert_str_eq(tls_failure(p.tls), "certificate verify failed");
	pair_release(&p);
	pem_release(&client);
	tear_down();
}

TEST(tls, tickets_work_with_client_certificates)
{
	struct pem client;
	SSL_SESSION *session;
	bool resumed;

	set_up();
	pem_init(&client, dir, "client", &ca, NULL);
	tls_context_unref(context);
	context = load(ca.cert_file);
	ck_assert_int_eq(
		SSL_CTX_use_certificate(client_ctx, client.cert.x509), 1);
	ck_assert_int_eq(
		SSL_CTX_use_PrivateKey(client_ctx, client.cert.key), 1);
	session = connect_with(NULL, TLS1_3_VERSION, &resumed);
	session = connect_with(session, TLS1_3_VERSION, &resumed);
	ck_assert(resumed);
	SSL_SESSION_free(session);
	pem_release(&client);
	tear_down();
}

TEST(tls, files_that_do_not_fit_are_refused_by_name)
{
	struct errmsg why;
	struct tls_context *c = NULL;
	struct pem locked;
	size_t i;

	set_up();
	pem_init(&locked, dir, "locked", NULL, "secret");
	const struct {
		struct tls_files files;
		const char *sentence;
	} rows[] = {
		{{"/nowhere", server.key_file, NULL},
			"TLS_CERT_FILE cannot be used: No such file"},
		{{server.key_file, server.key_file, NULL},
			"TLS_CERT_FILE cannot be used: no start line"},
		{{server.cert_file, "/nowhere", NULL},
			"TLS_KEY_FILE cannot be used: No such file"},
		{{server.cert_file, other.key_file, NULL},
			"TLS_KEY_FILE cannot be used: key values mismatch"},
		{{locked.cert_file, locked.key_file, NULL},
			"TLS_KEY_FILE cannot be used: "},
		{{server.cert_file, server.key_file, "/nowhere"},
			"TLS_CLIENT_CA_FILE cannot be used: No such file"},
		{{server.cert_file, server.key_file, server.key_file},
			"TLS_CLIENT_CA_FILE cannot be used: "},
	};
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		ck_assert_int_eq(
			tls_context_new(&rows[i].files, &c, &why), ERR_INVALID);
		ck_assert_msg(!strncmp(why.text, rows[i].sentence,
				      strlen(rows[i].sentence)),
			"row %zu: %s", i, why.text);
		ck_assert_ptr_null(c);
		ck_assert_uint_eq(ERR_peek_error(), 0);
	}
	pem_release(&locked);
	tear_down();
}

TEST(tls, a_certificate_knows_how_long_it_is_valid)
{
	int days;

	set_up();
	ck_assert_int_ge(tls_context_valid_days(context), PEM_VALID_DAYS - 1);
	ck_assert_int_le(tls_context_valid_days(context), PEM_VALID_DAYS);
	days = (int)((tls_context_expiry_ns(context) -
			     clock_wall_ns(&clock_system)) /
		     (86400 * NS_PER_S));
	ck_assert_int_ge(days, PEM_VALID_DAYS - 1);
	ck_assert_int_le(days, PEM_VALID_DAYS);
	tear_down();
}

TEST(tls, without_memory_a_connection_fails_and_nothing_else)
{
	struct pair p;
	bool failed = true;
	long n;

	set_up();
	for (n = 0; n < 2; n++) {
		struct tls *t = NULL;

		if (n == 0)
			(void)mem_fail_after(0);
		ck_assert_int_eq(tls_new(context, TLS_ALPN_H2, &t),
			n == 0 ? ERR_NOMEM : 0);
		(void)mem_fail_after(-1);
		tls_free(&t);
	}
	for (n = 0; failed; n++) {
		pair_init(&p, TLS_ALPN_H2);
		(void)mem_fail_after(n);
		(void)shake(&p);
		failed = mem_fail_after(-1);
		ck_assert_int_eq(tls_established(p.tls), !failed);
		pair_release(&p);
		ck_assert_int_lt(n, 100);
	}
	ck_assert_int_gt(n, 1);
	tear_down();
}
