/* SPDX-License-Identifier: Apache-2.0 */
#include "middleware/auth.h"

#include "base/mem.h"
#include "middleware/signature.h"

struct auth {
	const struct config *config;	  /* ref */
	struct api_key_verifier *api_key; /* own; NULL: none are asked for */
	struct signed_text *text;	  /* own */
	struct signature_verifier *signature; /* own */
	struct crl *crl;		      /* own reference; may be NULL */
};

int auth_new(const struct config *config, struct auth **ret_auth,
	struct errmsg *reterr)
{
	CLEANUP(auth_free)
	struct auth *a = mem_zalloc(sizeof(*a));
	int r = 0;

	if (!a)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	a->config = config;
	if (config->ca_cert_len > 0)
		r = api_key_verifier_new(
			slice_of(config->ca_cert, config->ca_cert_len),
			&a->api_key, reterr);
	if (r < 0)
		return r;
	r = signed_text_new(&a->text);
	if (r == 0)
		r = signature_verifier_new(&a->signature);
	if (r < 0)
		return errmsg_set(reterr, r, "%s", err_text(r));
	*ret_auth = TAKE_PTR(a);
	return 0;
}

void auth_free(struct auth **auth)
{
	struct auth *a = *auth;

	if (!a)
		return;
	crl_unref(a->crl);
	signature_verifier_free(&a->signature);
	signed_text_free(&a->text);
	api_key_verifier_free(&a->api_key);
	mem_free(a);
	*auth = NULL;
}

void auth_set_crl(struct auth *auth, struct crl *crl)
{
	crl_unref(auth->crl);
	auth->crl = crl;
	if (auth->api_key)
		api_key_forget(auth->api_key);
}

int auth_api_key(struct auth *auth, struct slice authorization, int64_t now_s,
	char ret_hash[API_KEY_HASH_HEX + 1], struct errmsg *reterr)
{
	ret_hash[0] = '\0';
	if (!auth->api_key)
		return 0;
	if (!auth->crl && auth->config->crl_url[0] &&
		auth->config->crl_start == CRL_START_CLOSED)
		return errmsg_set(reterr, AUTH_DENIED,
			"certificate verification error: no revocation list "
			"yet");
	return api_key_verify(auth->api_key, authorization, auth->crl, now_s,
		       ret_hash, reterr) < 0
		       ? AUTH_DENIED
		       : 0;
}

struct signed_text *auth_begin_text(struct auth *auth)
{
	signed_text_begin(auth->text);
	return auth->text;
}

int auth_recover(struct auth *auth, struct slice signature,
	struct user_id *ret_user, struct errmsg *reterr)
{
	uint8_t digest[SIGNED_DIGEST_BYTES], bytes[SIGNATURE_BYTES];

	if (signature_parse(signature, bytes, reterr) < 0)
		return AUTH_DENIED;
	if (signed_text_end(auth->text, digest) < 0 ||
		signature_recover(auth->signature, digest, bytes, ret_user) < 0)
		return errmsg_set(reterr, AUTH_DENIED, "invalid signature");
	return 0;
}
