/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the credential chain share: an environment that holds nothing of the machine's, waits that
 * can be waited for, and times for people in a hurry.
 */
#ifndef BW_TESTS_CRED_WORLD_H
#define BW_TESTS_CRED_WORLD_H

#include "store/base/clock.h"
#include "store/base/sync.h"
#include "store/s3_cred_source.h"
#include "tests/support/tmpdir.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

/* Renewal as usual, but without pauses that would only make a test longer. */
static const struct bw_cred_times cred_quick = {
	.early_ms = 300 * 1000,
	.retry_ns = 20 * BW_MS,
	.again_ns = 0,
	.look_ns = 0,
};

/* One that waits, and what it was told. */
struct cred_asker {
	struct bw_cred_wait wait;	/* first */
	struct bw_mutex lock;
	struct bw_cond cond;
	unsigned told;
	int err;
	struct bw_creds *creds;		/* owned */
	char why[BW_CRED_WHY];
};

static void cred_told(struct bw_cred_wait *w, int err, struct bw_creds *creds, const char *why)
{
	struct cred_asker *a = (struct cred_asker *)w;

	BW_LOCK_SCOPE(&a->lock);
	a->told++;
	a->err = err;
	a->creds = creds;
	snprintf(a->why, sizeof(a->why), "%s", err ? why : "");
	bw_cond_signal(&a->cond);
}

static inline void cred_asker_init(struct cred_asker *a)
{
	memset(a, 0, sizeof(*a));
	a->wait.done = cred_told;
	bw_mutex_init(&a->lock, BW_RANK_LEAF);
	bw_cond_init(&a->cond);
}

static inline void cred_asker_done(struct cred_asker *a)
{
	bw_creds_unref(a->creds);
	bw_cond_done(&a->cond);
	bw_mutex_done(&a->lock);
}

static inline void cred_asker_wait(struct cred_asker *a)
{
	BW_LOCK_SCOPE(&a->lock);
	while (!a->told)
		bw_cond_wait(&a->cond, &a->lock);
}

/* Asks for others than creds, and waits; they come, the same or others. */
static inline struct bw_creds *cred_doubt(struct bw_cred_chain *c, const struct bw_creds *creds)
{
	struct cred_asker a;

	cred_asker_init(&a);
	if (!bw_cred_chain_doubted(c, &a.wait, creds, &a.creds))
		cred_asker_wait(&a);
	cr_assert_eq(a.err, 0, "%s", a.why);
	struct bw_creds *got = bw_creds_ref(a.creds);

	cred_asker_done(&a);
	return got;
}

/* Asks and waits.  0 and *ret, or the error and why. */
static inline int cred_get(struct bw_cred_chain *c, struct bw_creds **ret, char why[BW_CRED_WHY])
{
	struct cred_asker a;

	cred_asker_init(&a);
	if (!bw_cred_chain_get(c, &a.wait, &a.creds))
		cred_asker_wait(&a);
	int err = a.err;

	if (!err) {
		*ret = a.creds;
		a.creds = NULL;
	}
	snprintf(why, BW_CRED_WHY, "%s", a.why);
	cred_asker_done(&a);
	return err;
}

/* Nothing of AWS in the environment, no files, no instance; dir is HOME. */
static inline void cred_world(char dir[BW_TMPDIR_MAX])
{
	bw_test_tmpdir(dir);
	for (char **e = environ; *e;) {
		char name[256];

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(*e, "="), *e);
		if (strncmp(name, "AWS_", 4) == 0)
			unsetenv(name);
		else
			e++;
	}
	setenv("HOME", dir, 1);
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
}

/* A profile is one of AWS_PROFILE, or with a "!" before it one that was named as an option. */
static inline struct bw_cred_chain *cred_chain(const char *profile, struct bw_log *log)
{
	bool is_named = *profile == '!';
	struct bw_cred_config config = {.profile = profile + is_named, .profile_named = is_named, .log = log};
	struct bw_cred_chain *c;

	cr_assert_eq(bw_cred_chain_new_timed(&config, &cred_quick, &c), 0);
	return c;
}

/* A chain of its own, asked once: the answer, or NULL and why. */
static inline struct bw_creds *cred_once(const char *profile, char why[BW_CRED_WHY])
{
	struct bw_cred_chain *c = cred_chain(profile, NULL);
	struct bw_creds *creds = NULL;
	int err = cred_get(c, &creds, why);

	cr_assert(!err == !!creds);
	cr_assert(!err || err == -BW_E_DENIED, "error %d", err);
	bw_cred_chain_free(c);
	return creds;
}

/* What the chain must answer; it is dropped. */
static inline void cred_expect(const char *profile, const char *source, const char *key_id,
			       const char *secret, const char *token)
{
	char why[BW_CRED_WHY];
	struct bw_creds *c = cred_once(profile, why);

	cr_assert(c, "%s", why);
	cr_assert_str_eq(c->source, source);
	cr_assert_str_eq(c->key_id, key_id);
	cr_assert_str_eq(c->secret, secret);
	cr_assert_str_eq(c->token, token);
	bw_creds_unref(c);
}

/* The chain must fail, saying all of the texts (ended by NULL). */
#define cred_expect_why(profile, ...)                                                              \
	do {                                                                                       \
		const char *const texts_[] = {__VA_ARGS__};                                        \
		char why_[BW_CRED_WHY];                                                            \
		struct bw_creds *c_ = cred_once(profile, why_);                                    \
                                                                                                   \
		cr_assert_not(c_, "it answered");                                                  \
		for (size_t i_ = 0; i_ < sizeof(texts_) / sizeof(texts_[0]); i_++)                 \
			cr_assert(strstr(why_, texts_[i_]), "no \"%s\" in: %s", texts_[i_], why_); \
	} while (0)

#endif
