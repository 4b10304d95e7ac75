/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of secrets: whole pages, so that marking it touches nobody else's. */
#include "store/s3_cred_source.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t whole_pages(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page - 1) / page * page;
}

void *bw_secret_new(size_t len)
{
	size_t size = whole_pages(len);
	void *p = aligned_alloc((size_t)sysconf(_SC_PAGESIZE), size);

	if (!p)
		return NULL;
	memset(p, 0, size);
	/* Nothing is lost where the kernel does not do it. */
	(void)madvise(p, size, MADV_DONTDUMP);
	return p;
}

void bw_secret_free(void *p, size_t len)
{
	if (!p)
		return;
	explicit_bzero(p, len);
	(void)madvise(p, whole_pages(len), MADV_DODUMP);
	free(p);
}

struct bw_creds *bw_creds_new(void)
{
	struct bw_creds *c = bw_secret_new(sizeof(*c));

	if (!c)
		return NULL;
	atomic_init(&c->refs, 1);
	c->expires_ms = INT64_MAX;
	c->source = "";
	bw_sign_cache_init(&c->sign);
	return c;
}

struct bw_creds *bw_creds_ref(struct bw_creds *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void bw_creds_unref(struct bw_creds *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	bw_sign_cache_done(&c->sign);
	bw_secret_free(c, sizeof(*c));
}
