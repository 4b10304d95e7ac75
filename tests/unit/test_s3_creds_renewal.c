/* SPDX-License-Identifier: Apache-2.0 */
/* Renewal, refusal, waiting and the end of the credential chain. */
#include "tests/support/http_script.h"
#include "tests/unit/cred_world.h"
#include "store/base/container.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static char home[BW_TMPDIR_MAX];

static void end(void)
{
	bw_test_rmtree(home);
}

/* One rule: the container's endpoint. */
static struct bw_script *world(struct bw_script_rule rule)
{
	char url[256];

	rule.method = "GET";
	rule.target = "/c";
	struct bw_script *s = bw_script_new(&rule, 1);

	cred_world(home);
	snprintf(url, sizeof(url), "%s/c", bw_script_url(s));
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
	return s;
}

/* Credentials named id that live for so long from now, in whole milliseconds. */
static const char *body(char text[256], const char *id, int64_t life_ms)
{
	int64_t at = bw_wall_ms() + life_ms;
	char when[32];

	bw_wall_text(at, when, sizeof(when));
	when[strlen(when) - 1] = 0;
	snprintf(text, 256, "{\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":"
		 "\"%s.%03dZ\"}", id, when, (int)(at % 1000));
	return text;
}

static struct bw_creds *get(struct bw_cred_chain *c)
{
	struct bw_creds *creds = NULL;
	char why[BW_CRED_WHY];

	cr_assert_eq(cred_get(c, &creds, why), 0, "%s", why);
	return creds;
}

static void until(struct bw_cred_chain *c, const char *key_id)
{
	struct bw_creds *creds = get(c);

	while (strcmp(creds->key_id, key_id) != 0) {
		bw_creds_unref(creds);
		creds = get(c);
	}
	bw_creds_unref(creds);
}

/* Half-way to their end, short-lived ones are renewed though nobody asks, and old ones serve meanwhile. */
Test(s3_creds_renewal, before_they_expire, .fini = end)
{
	char a[256], b[256];
	struct bw_script *s = world((struct bw_script_rule){.status = 200, .body = body(a, "A", 8000)});
	struct bw_cred_chain *c = cred_chain("", NULL);
	struct bw_creds *creds = get(c);

	cr_assert_str_eq(creds->key_id, "A");
	bw_script_answer(s, 0, 200, body(b, "B", 3600 * 1000));
	bw_script_wait(s, 0, 2);
	cr_assert_lt(bw_wall_ms(), creds->expires_ms);
	until(c, "B");
	cr_assert_lt(bw_wall_ms(), creds->expires_ms);
	/* An hour is long enough to wait until five minutes before its end. */
	bw_creds_unref(creds);
	cr_assert_eq(bw_script_hits(s, 0), 2);
	bw_cred_chain_free(c);
	bw_script_free(s);
}

/* An hour's credentials are not asked for again and again. */
Test(s3_creds_renewal, long_lived_ones_are_left_alone, .fini = end)
{
	char a[256];
	struct bw_script *s = world((struct bw_script_rule){.status = 200, .body = body(a, "A", 3600 * 1000)});
	struct bw_cred_chain *c = cred_chain("", NULL);

	for (int i = 0; i < 1000; i++)
		until(c, "A");
	cr_assert_eq(bw_script_hits(s, 0), 1);
	bw_cred_chain_free(c);
	bw_script_free(s);
}

/* Early enough, and not all of a fleet at once. */
Test(s3_creds_renewal, is_spread)
{
	static const struct {
		int64_t life_ms, first_ms, last_ms;	/* after they came */
	} cases[] = {
		{3600 * 1000, 3600 * 1000 - 375 * 1000, 3600 * 1000 - 300 * 1000},
		{600 * 1000, 225 * 1000, 300 * 1000},
		{8000, 3000, 4000},
	};
	const int64_t wall_ms = 1000, early_ms = cred_quick.early_ms;

	for (unsigned i = 0; i < N(cases); i++) {
		int64_t expires_ms = wall_ms + cases[i].life_ms;
		int64_t first = bw_cred_renew_ms(wall_ms, expires_ms, early_ms, 1) - wall_ms;
		int64_t last = bw_cred_renew_ms(wall_ms, expires_ms, early_ms, 0) - wall_ms;

		cr_assert_eq(first, cases[i].first_ms, "case %u: %lld", i, (long long)first);
		cr_assert_eq(last, cases[i].last_ms, "case %u: %lld", i, (long long)last);
	}
	cr_assert_eq(bw_cred_renew_ms(wall_ms, INT64_MAX, early_ms, 0.5), INT64_MAX);
}

/* A source that fails to renew is asked again; the old ones serve until they expire; then the reason is told. */
Test(s3_creds_renewal, that_fails, .fini = end)
{
	char a[256], b[256], why[BW_CRED_WHY];
	struct bw_script *s = world((struct bw_script_rule){.status = 200, .body = body(a, "A", 3000)});
	struct bw_cred_chain *c = cred_chain("", NULL);
	struct bw_creds *creds = get(c), *more = NULL;
	int64_t expires_ms = creds->expires_ms;
	int err;

	bw_creds_unref(creds);
	bw_script_answer(s, 0, 403, "{\"message\":\"gone\"}");
	bw_script_wait(s, 0, 4);
	while ((err = cred_get(c, &more, why)) == 0) {
		cr_assert_str_eq(more->key_id, "A");
		bw_creds_unref(more);
		bw_sleep(BW_MS);
	}
	cr_assert_eq(err, -BW_E_DENIED);
	cr_assert_geq(bw_wall_ms(), expires_ms);
	cr_assert(strstr(why, "HTTP 403 gone"), "%s", why);
	/* The next one to wait has the source asked again. */
	bw_script_answer(s, 0, 200, body(b, "B", 3600 * 1000));
	until(c, "B");
	bw_cred_chain_free(c);
	bw_script_free(s);
}

/* The reason that is told when the credentials have expired, of a source that is gone, or answers so. */
static void check_away(struct bw_cred_chain *c, const char *wanted)
{
	struct bw_creds *creds;
	char why[BW_CRED_WHY];
	int err;

	while ((err = cred_get(c, &creds, why)) == 0) {
		bw_creds_unref(creds);
		bw_sleep(BW_MS);
	}
	cr_assert_eq(err, -BW_E_UNREACHABLE, "%d: %s", err, why);
	cr_assert(strstr(why, wanted), "%s", why);
}

/* Nobody has refused anything: a machine that was suspended, say, has credentials that expired before its network is back. */
Test(s3_creds_renewal, of_a_source_that_is_away, .fini = end)
{
	char a[256], b[256];
	struct bw_script *s = world((struct bw_script_rule){.status = 200, .body = body(a, "A", 1500)});
	struct bw_cred_chain *c = cred_chain("", NULL);

	bw_creds_unref(get(c));
	bw_script_answer(s, 0, 503, "");
	check_away(c, "HTTP 503");
	bw_script_answer(s, 0, 200, body(b, "B", 1500));
	until(c, "B");
	bw_script_free(s);
	check_away(c, "cannot be reached");
	bw_cred_chain_free(c);
}

/* A source with nothing newer is not asked faster and faster as the end comes near. */
Test(s3_creds_renewal, with_nothing_newer, .fini = end)
{
	struct bw_cred_times times = cred_quick;
	struct bw_cred_config config = {.profile = ""};
	struct bw_cred_chain *c;
	char a[256], why[BW_CRED_WHY];

	struct bw_script *s = world((struct bw_script_rule){.status = 200, .body = body(a, "A", 2000)});
	times.retry_ns = BW_SEC / 2;
	cr_assert_eq(bw_cred_chain_new_timed(&config, &times, &c), 0);
	struct bw_creds *creds = get(c);
	int64_t expires_ms = creds->expires_ms;

	bw_creds_unref(creds);
	while (bw_wall_ms() < expires_ms)
		bw_sleep(10 * BW_MS);
	/* At the half, and then not more often than every half second. */
	cr_assert_leq(bw_script_hits(s, 0), 4);
	cr_assert_geq(bw_script_hits(s, 0), 2);
	cr_assert_eq(cred_get(c, &creds, why), -BW_E_DENIED);
	cr_assert(strstr(why, "expired at"), "%s", why);
	bw_cred_chain_free(c);
	bw_script_free(s);
}

/* What the store refused is asked for anew, once, and the same is given out again when the source insists. */
Test(s3_creds_renewal, refused, .fini = end)
{
	char a[256], b[256];
	struct bw_script *s = world((struct bw_script_rule){.status = 200, .body = body(a, "A", 3600 * 1000)});
	struct bw_cred_chain *c = cred_chain("", NULL);
	struct bw_creds *creds = get(c), *again;

	bw_cred_chain_refused(c, creds);
	bw_cred_chain_refused(c, creds);
	again = get(c);
	cr_assert_neq(again, creds);
	cr_assert_str_eq(again->key_id, "A");
	bw_cred_chain_refused(c, creds);	/* late */
	until(c, "A");
	cr_assert_eq(bw_script_hits(s, 0), 2);
	bw_creds_unref(creds);
	bw_script_answer(s, 0, 200, body(b, "B", 3600 * 1000));
	bw_cred_chain_refused(c, again);
	bw_creds_unref(again);
	creds = get(c);
	cr_assert_str_eq(creds->key_id, "B");
	cr_assert_eq(bw_script_hits(s, 0), 3);
	bw_creds_unref(creds);
	bw_cred_chain_free(c);
	bw_script_free(s);
}

/* A source that keeps failing is not asked by each of those who wait, one by one, as fast as they come. */
Test(s3_creds_renewal, failures_are_paced, .fini = end)
{
	struct bw_cred_times times = cred_quick;
	struct bw_cred_config config = {.profile = ""};
	struct bw_creds *creds;
	struct bw_cred_chain *c;
	char why[BW_CRED_WHY];

	struct bw_script *s = world((struct bw_script_rule){.status = 403});
	times.again_ns = BW_SEC / 4;
	cr_assert_eq(bw_cred_chain_new_timed(&config, &times, &c), 0);
	int64_t start = bw_now();
	for (int i = 0; i < 4; i++)
		cr_assert_eq(cred_get(c, &creds, why), -BW_E_DENIED);
	cr_assert_geq(bw_now() - start, 3 * times.again_ns);
	cr_assert_eq(bw_script_hits(s, 0), 4);
	bw_cred_chain_free(c);
	bw_script_free(s);
}

struct crowd {
	struct bw_cred_chain *chain;
	pthread_barrier_t *barrier;
	struct cred_asker asker;
	pthread_t thread;
};

static void *ask(void *arg)
{
	struct crowd *m = arg;

	pthread_barrier_wait(m->barrier);
	if (!bw_cred_chain_get(m->chain, &m->asker.wait, &m->asker.creds))
		cred_asker_wait(&m->asker);
	return NULL;
}

/* Many who wait at once get the answer of one question. */
Test(s3_creds_renewal, single_flight, .fini = end)
{
	char a[256];
	struct bw_script *s = world((struct bw_script_rule){.status = 200, .body = body(a, "A", 3600 * 1000)});
	struct bw_cred_chain *c = cred_chain("", NULL);
	struct crowd crowd[32];
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, N(crowd));
	for (unsigned i = 0; i < N(crowd); i++) {
		crowd[i].chain = c;
		crowd[i].barrier = &barrier;
		cred_asker_init(&crowd[i].asker);
		cr_assert_eq(bw_thread_start(&crowd[i].thread, "crowd", ask, &crowd[i]), 0);
	}
	for (unsigned i = 0; i < N(crowd); i++) {
		pthread_join(crowd[i].thread, NULL);
		cr_assert_eq(crowd[i].asker.err, 0);
		cr_assert_str_eq(crowd[i].asker.creds->key_id, "A");
		cred_asker_done(&crowd[i].asker);
	}
	cr_assert_eq(bw_script_hits(s, 0), 1);
	pthread_barrier_destroy(&barrier);
	bw_cred_chain_free(c);
	bw_script_free(s);
}

/* A source that hangs does not hold up whoever frees the chain: the server would hang for as long as we do. */
Test(s3_creds_renewal, free_while_a_source_hangs, .fini = end)
{
	struct bw_script *s = world((struct bw_script_rule){.hangs = true});
	struct bw_cred_chain *c = cred_chain("", NULL);
	struct cred_asker askers[3];

	for (unsigned i = 0; i < N(askers); i++) {
		cred_asker_init(&askers[i]);
		cr_assert_not(bw_cred_chain_get(c, &askers[i].wait, &askers[i].creds));
	}
	bw_script_wait(s, 0, 1);
	int64_t start = bw_now();
	bw_cred_chain_free(c);
	/* The source alone would have taken ten seconds to give up, and three attempts. */
	cr_assert_lt(bw_now() - start, 8 * BW_SEC);
	for (unsigned i = 0; i < N(askers); i++) {
		cr_assert_eq(askers[i].told, 1);
		cr_assert_eq(askers[i].err, -BW_E_STOPPING);
		cred_asker_done(&askers[i]);
	}
	cr_assert_eq(bw_script_hits(s, 0), 1);
	bw_script_free(s);
}

Test(s3_creds_renewal, free_without_a_question, .fini = end)
{
	cred_world(home);
	bw_cred_chain_free(cred_chain("", NULL));
	bw_cred_chain_free(NULL);
}

/* Answers are given by a thread that holds no lock: who is told may ask at once, or refuse. */
struct asker_again {
	struct cred_asker a;	/* first */
	struct bw_cred_chain *chain;
	struct bw_cred_wait second;
	bool first_refused;
};

static void told_second(struct bw_cred_wait *w, int err, struct bw_creds *creds, const char *why)
{
	struct asker_again *m = bw_container_of(w, struct asker_again, second);

	cred_told(&m->a.wait, err, creds, why);
}

static void told_first(struct bw_cred_wait *w, int err, struct bw_creds *creds, const char *why)
{
	struct asker_again *m = (struct asker_again *)w;
	struct bw_creds *now;

	(void)why;
	cr_assert_eq(err, 0);
	bw_cred_chain_refused(m->chain, creds);
	bw_creds_unref(creds);
	m->second.done = told_second;
	cr_assert_not(bw_cred_chain_get(m->chain, &m->second, &now));
}

Test(s3_creds_renewal, who_is_told_may_ask, .fini = end)
{
	char a[256];
	struct bw_script *s = world((struct bw_script_rule){.status = 200, .body = body(a, "A", 3600 * 1000)});
	struct asker_again m;

	cred_asker_init(&m.a);
	m.a.wait.done = told_first;
	m.chain = cred_chain("", NULL);
	cr_assert_not(bw_cred_chain_get(m.chain, &m.a.wait, &m.a.creds));
	cred_asker_wait(&m.a);
	cr_assert_eq(m.a.err, 0);
	cr_assert_eq(bw_script_hits(s, 0), 2);
	bw_cred_chain_free(m.chain);
	cred_asker_done(&m.a);
	bw_script_free(s);
}
