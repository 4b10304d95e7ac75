/* SPDX-License-Identifier: Apache-2.0 */
/* What is heard of objects that appear in a directory of a store of files. */
#include "store/base/clock.h"
#include "store/file_news.h"
#include "tests/unit/store_file.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fixture fx;
static struct bw_file_news *news;
static atomic_uint heard_n;

static void heard(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&heard_n, 1);
}

/* The first word is that it looks now. */
static void start(void)
{
	setup(&fx);
	expect(bw_test_put(fx.s, "id/manifest/1", "x", 1, true), BW_OK);
	cr_assert_eq(bw_file_news_new(fx.dir, "id/manifest/1", heard, NULL, &news), 0);
	while (!atomic_load(&heard_n))
		bw_sleep(BW_MS);
	atomic_store(&heard_n, 0);
}

static void end(void)
{
	bw_file_news_free(news);
	teardown(&fx);
}

static void until_heard(void)
{
	while (!atomic_load(&heard_n))
		bw_sleep(BW_MS);
}

Test(file_news, of_each_way_to_put)
{
	start();
	expect(bw_test_put(fx.s, "id/manifest/2", "x", 1, true), BW_OK);
	until_heard();
	atomic_store(&heard_n, 0);
	expect(bw_test_put(fx.s, "id/manifest/3", "x", 1, false), BW_OK);
	until_heard();
	end();
}

Test(file_news, of_nothing_else)
{
	start();
	expect(bw_test_put(fx.s, "id/data/1", "x", 1, true), BW_OK);
	expect(bw_test_put(fx.s, "id/hint", "x", 1, false), BW_OK);
	expect(bw_test_delete(fx.s, "id/manifest/1"), BW_OK);
	expect(bw_test_put(fx.s, "id/manifest/below/1", "x", 1, true), BW_OK);
	until_heard();	/* of the directory, which comes after the rest: events keep their order */
	cr_assert_eq(atomic_load(&heard_n), 1);
	end();
}

Test(file_news, goes_on_in_a_directory_that_comes_back)
{
	start();
	cr_assert_eq(rename(fx.dir, fx.elsewhere), 0);
	/* The directory itself was not touched, so nothing ends; and what is put there is told of. */
	cr_assert_eq(rename(fx.elsewhere, fx.dir), 0);
	expect(bw_test_delete(fx.s, "id/manifest/1"), BW_OK);	/* and the directory with it */
	expect(bw_test_put(fx.s, "id/manifest/2", "x", 1, true), BW_OK);
	until_heard();
	end();
}

Test(file_news, a_directory_that_is_not_there_yet)
{
	setup(&fx);
	cr_assert_eq(bw_file_news_new(fx.dir, "id/manifest/1", heard, NULL, &news), 0);
	expect(bw_test_put(fx.s, "id/manifest/1", "x", 1, true), BW_OK);
	until_heard();
	end();
}

Test(file_news, a_way_that_is_too_long)
{
	char dir[5000];

	memset(dir, 'd', sizeof(dir));
	dir[sizeof(dir) - 1] = 0;
	cr_assert_eq(bw_file_news_new(dir, "id/manifest/1", heard, NULL, &news), -ENAMETOOLONG);
	bw_file_news_free(NULL);
}
