/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

/* Of TLS 1.2's suites those that RFC 9113 appendix A does not forbid. */
#define TLS12_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

/* Tickets are only taken back by a server that names itself in them when it
 * asks for certificates; their keys already tell ours from others'. */
#define SESSION_ID_CONTEXT "tallyd"

struct tls_context {
	atomic_size_t refs;
	SSL_CTX *ctx;	    /* own */
	BIO_METHOD *method; /* own; of every connection's BIO */
	int valid_days;
	int64_t expiry_ns;
	bool early; /* it was not valid yet */
};

struct tls {
	struct tls_context *context; /* own reference */
	SSL *ssl;		     /* own */
	enum tls_alpn alpn;
	struct slice wire; /* fed and not yet read */
	struct buf *out;   /* borrow(until the call that set it returns) */
	const char *failure;
};

/* ---- what OpenSSL reads from and writes to ---- */

static int bio_read(BIO *bio, char *bytes, int len)
{
	struct tls *t = BIO_get_data(bio);
	size_t n = MIN((size_t)len, t->wire.len);

	BIO_clear_retry_flags(bio);
	if (n == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(bytes, t->wire.ptr, n);
	t->wire = slice_from(t->wire, n);
	return (int)n;
}

static int bio_write(BIO *bio, const char *bytes, int len)
{
	struct tls *t = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (!t->out || buf_append(t->out, bytes, (size_t)len) < 0)
		return -1;
	return len;
}

static long bio_ctrl(
	BIO *bio UNUSED, int command, long number UNUSED, void *ptr UNUSED)
{
	return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *new_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "tallyd");

	if (m && BIO_meth_set_read(m, bio_read) &&
		BIO_meth_set_write(m, bio_write) &&
		BIO_meth_set_ctrl(m, bio_ctrl))
		return m;
	BIO_meth_free(m);
	return NULL;
}

/* ---- the context ---- */

/* An encrypted key must not make OpenSSL ask the terminal. */
static int no_password(
	char *buf UNUSED, int size UNUSED, int writing UNUSED, void *ctx UNUSED)
{
	return -1;
}

/* The oldest error is the cause; the others say who heard of it. */
static const char *reason(void)
{
	unsigned long e = ERR_peek_error();
	const char *text;

	if (ERR_SYSTEM_ERROR(e))
		return strerrordesc_np(ERR_GET_REASON(e));
	text = ERR_reason_error_string(e);
	return text ? text : "unknown reason";
}

static int refused(const char *variable, struct errmsg *reterr)
{
	(void)errmsg_set(reterr, ERR_INVALID, "%s cannot be used: %s", variable,
		reason());
	ERR_clear_error();
	return ERR_INVALID;
}

/* RFC 7301: the first of ours, in our order, that the peer names. */
static int on_alpn(SSL *ssl, const unsigned char **ret_name,
	unsigned char *ret_len, const unsigned char *names, unsigned names_len,
	void *ctx UNUSED)
{
	static const unsigned char h2[] = "\x02h2";
	static const unsigned char h2_h1[] = "\x02h2\x08http/1.1";
	const struct tls *t = SSL_get_app_data(ssl);
	bool both = t->alpn == TLS_ALPN_H2_H1;
	unsigned char *name;

	if (SSL_select_next_proto(&name, ret_len, both ? h2_h1 : h2,
		    both ? sizeof(h2_h1) - 1 : sizeof(h2) - 1, names,
		    names_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*ret_name = name;
	return SSL_TLSEXT_ERR_OK;
}

static int set_up(SSL_CTX *ctx)
{
	(void)SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION |
					       SSL_OP_NO_RENEGOTIATION |
					       SSL_OP_CIPHER_SERVER_PREFERENCE |
					       SSL_OP_PRIORITIZE_CHACHA);
	/* Idle connections hold no buffers. Modes for writes that come to a
	 * halt are not needed: ours do not. */
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	/* Sessions are in tickets: nothing is kept here, nor locked. */
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	SSL_CTX_set_default_passwd_cb(ctx, no_password);
	if (!SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) ||
		!SSL_CTX_set_cipher_list(ctx, TLS12_CIPHERS) ||
		!SSL_CTX_set_session_id_context(ctx,
			(const unsigned char *)SESSION_ID_CONTEXT,
			sizeof(SESSION_ID_CONTEXT) - 1))
		return ERR_NOMEM;
	return 0;
}

static int load_cert(
	SSL_CTX *ctx, const struct tls_files *files, struct errmsg *reterr)
{
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(ctx, files->cert) != 1)
		return refused("TLS_CERT_FILE", reterr);
	if (SSL_CTX_use_PrivateKey_file(ctx, files->key, SSL_FILETYPE_PEM) !=
			1 ||
		SSL_CTX_check_private_key(ctx) != 1)
		return refused("TLS_KEY_FILE", reterr);
	return 0;
}

static int load_client_ca(
	SSL_CTX *ctx, const struct tls_files *files, struct errmsg *reterr)
{
	STACK_OF(X509_NAME) * names;

	if (!files->client_ca || !files->client_ca[0])
		return 0;
	if (SSL_CTX_load_verify_file(ctx, files->client_ca) != 1)
		return refused("TLS_CLIENT_CA_FILE", reterr);
	names = SSL_load_client_CA_file(files->client_ca);
	if (!names)
		return refused("TLS_CLIENT_CA_FILE", reterr);
	SSL_CTX_set_client_CA_list(ctx, names); /* takes them over */
	SSL_CTX_set_verify(
		ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return 0;
}

static int days_left(const SSL_CTX *ctx)
{
	const X509 *cert = SSL_CTX_get0_certificate(ctx);
	int days = 0, seconds = 0;

	if (!cert || !ASN1_TIME_diff(
			     &days, &seconds, NULL, X509_get0_notAfter(cert)))
		return 0;
	return seconds < 0 ? days - 1 : days;
}

static int64_t expiry_ns(const SSL_CTX *ctx)
{
	const X509 *cert = SSL_CTX_get0_certificate(ctx);
	struct tm tm;

	if (!cert || !ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm))
		return 0;
	return timegm(&tm) * NS_PER_S;
}

static void context_free(struct tls_context **context)
{
	struct tls_context *c = *context;

	if (!c)
		return;
	SSL_CTX_free(c->ctx);
	BIO_meth_free(c->method);
	mem_free(c);
	*context = NULL;
}

int tls_context_new(const struct tls_files *files,
	struct tls_context **ret_context, struct errmsg *reterr)
{
	CLEANUP(context_free)
	struct tls_context *c = mem_zalloc(sizeof(*c));
	int r;

	if (!c)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	atomic_init(&c->refs, 1);
	c->method = new_method();
	c->ctx = SSL_CTX_new(TLS_server_method());
	if (!c->method || !c->ctx || set_up(c->ctx) < 0) {
		ERR_clear_error();
		return errmsg_set(reterr, ERR_NOMEM, "TLS cannot be set up");
	}
	r = load_cert(c->ctx, files, reterr);
	if (r == 0)
		r = load_client_ca(c->ctx, files, reterr);
	if (r < 0)
		return r;
	c->valid_days = days_left(c->ctx);
	c->expiry_ns = expiry_ns(c->ctx);
	c->early = X509_cmp_current_time(X509_get0_notBefore(
			   SSL_CTX_get0_certificate(c->ctx))) > 0;
	*ret_context = TAKE_PTR(c);
	return 0;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
	atomic_fetch_add(&context->refs, 1);
	return context;
}

void tls_context_unref(struct tls_context *context)
{
	if (context && atomic_fetch_sub(&context->refs, 1) == 1)
		context_free(&context);
}

int tls_context_valid_days(const struct tls_context *context)
{
	return context->valid_days;
}

int64_t tls_context_expiry_ns(const struct tls_context *context)
{
	return context->expiry_ns;
}

bool tls_context_is_early(const struct tls_context *context)
{
	return context->early;
}

/* ---- a connection ---- */

int tls_new(
	struct tls_context *context, enum tls_alpn alpn, struct tls **ret_tls)
{
	CLEANUP(tls_free)
	struct tls *t = mem_zalloc(sizeof(*t));
	BIO *bio;

	if (!t)
		return ERR_NOMEM;
	t->context = tls_context_ref(context);
	t->alpn = alpn;
	t->ssl = SSL_new(context->ctx);
	bio = BIO_new(context->method);
	if (!t->ssl || !bio) {
		BIO_free(bio);
		ERR_clear_error();
		return ERR_NOMEM;
	}
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio); /* takes it over */
	(void)SSL_set_app_data(t->ssl, t);
	SSL_set_accept_state(t->ssl);
	*ret_tls = TAKE_PTR(t);
	return 0;
}

void tls_free(struct tls **tls)
{
	struct tls *t = *tls;

	if (!t)
		return;
	SSL_free(t->ssl);
	tls_context_unref(t->context);
	mem_free(t);
	*tls = NULL;
}

void tls_feed(struct tls *t, struct slice wire)
{
	t->wire = wire;
}

/* What a call of OpenSSL that did not succeed means. */
static int outcome(struct tls *t, int result)
{
	switch (SSL_get_error(t->ssl, result)) {
	case SSL_ERROR_WANT_READ: return 0;
	case SSL_ERROR_ZERO_RETURN: return ERR_CLOSED;
	default:
		t->failure = reason();
		ERR_clear_error();
		return ERR_PROTO;
	}
}

int tls_read(struct tls *t, struct buf *plain, struct buf *out)
{
	uint8_t *room;
	size_t n = 0;
	int r;

	r = buf_reserve(plain, TLS_RECORD_MAX, &room);
	if (r < 0)
		return r;
	ERR_clear_error(); /* SSL_get_error() looks at what others left */
	t->out = out;
	r = SSL_read_ex(t->ssl, room, TLS_RECORD_MAX, &n);
	if (r == 1) {
		buf_commit(plain, n);
		r = TLS_DATA;
	} else {
		r = outcome(t, r);
	}
	t->out = NULL;
	return r;
}

bool tls_established(const struct tls *t)
{
	return SSL_is_init_finished(t->ssl) && !t->failure;
}

int tls_write(struct tls *t, struct slice plain, struct buf *out)
{
	size_t n = 0;
	int r;

	if (plain.len == 0)
		return 0;
	ERR_clear_error();
	t->out = out;
	r = SSL_write_ex(t->ssl, plain.ptr, plain.len, &n);
	t->out = NULL;
	if (r == 1)
		return n == plain.len ? 0 : ERR_PROTO;
	r = outcome(t, r);
	/* It waits for nothing once the handshake is done. */
	return r == 0 ? ERR_PROTO : r;
}

void tls_end(struct tls *t, struct buf *out)
{
	if (!tls_established(t))
		return;
	ERR_clear_error();
	t->out = out;
	/* Said before, it says nothing more. Without memory it is a cut like
	 * others. */
	if (SSL_shutdown(t->ssl) < 0)
		ERR_clear_error();
	t->out = NULL;
}

const char *tls_failure(const struct tls *t)
{
	return t->failure;
}
