/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/memory.h"
#include "fs/options.h"

#include "store/base/clock.h"
#include "store/base/err.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct bw_mount_options parsed(const char *list)
{
	struct bw_mount_options o;
	char why[256] = "";

	bw_mount_options_default(&o);
	cr_assert_eq(bw_mount_options_parse(&o, list, why, sizeof(why)), 0, "%s: %s", list, why);
	cr_assert_str_empty(why);
	return o;
}

static void refused(const char *list, const char *sentence)
{
	struct bw_mount_options o;
	char why[256] = "";

	bw_mount_options_default(&o);
	cr_assert_eq(bw_mount_options_parse(&o, list, why, sizeof(why)), -EINVAL, "%s", list);
	cr_assert_str_eq(why, sentence);
}

Test(options, defaults_are_the_ones_of_the_manual)
{
	umask(027);
	struct bw_mount_options o = parsed("");

	cr_assert_not(o.ro);
	cr_assert_eq(o.wait_ns, 0);
	cr_assert_eq(o.commit, BW_COMMIT_CLOSE);
	cr_assert_eq(o.pending, 0);
	cr_assert_eq(o.io_timeout_ns, 60 * BW_SEC);
	cr_assert_eq(o.commit_timeout_ns, 300 * BW_SEC);
	cr_assert_eq(o.memory, 0);
	cr_assert_eq(o.prefetch, 2);
	cr_assert_eq(o.prefetch_most, 8);
	cr_assert_eq(o.uid, getuid());
	cr_assert_eq(o.gid, getgid());
	cr_assert_eq(o.umask, 027);
	cr_assert_eq(umask(0), 027, "asking for the mask has not changed it");
	cr_assert_eq(o.loglevel, BW_LOG_INFO);
	cr_assert_not(o.allow_other || o.foreground || o.debug);
	cr_assert_str_empty(o.staging);
	cr_assert_str_empty(o.log);
}

Test(options, each_option_arrives)
{
	struct bw_mount_options o =
		parsed("ro,wait=1.5h,commit=rename,pending=8,io_timeout=10s,commit_timeout=5m,"
		       "memory=512M,staging=/var/tmp,prefetch=4,direct_io=no,allow_other,uid=1000,gid=100,"
		       "umask=022,log=/var/log/x,loglevel=debug,foreground");

	cr_assert(o.ro && o.allow_other && o.foreground);
	cr_assert_not(o.debug);
	cr_assert_eq(o.wait_ns, 5400 * BW_SEC);
	cr_assert_eq(o.commit, BW_COMMIT_RENAME);
	cr_assert_eq(o.pending, 8);
	cr_assert_eq(o.io_timeout_ns, 10 * BW_SEC);
	cr_assert_eq(o.commit_timeout_ns, 300 * BW_SEC);
	cr_assert_eq(o.memory, UINT64_C(512) << 20);
	cr_assert_str_eq(o.staging, "/var/tmp");
	cr_assert_eq(o.prefetch, 4);
	cr_assert_eq(o.prefetch_most, 0, "as told");
	cr_assert_eq(o.uid, 1000);
	cr_assert_eq(o.gid, 100);
	cr_assert_eq(o.umask, 022);
	cr_assert_str_eq(o.log, "/var/log/x");
	cr_assert_eq(o.loglevel, BW_LOG_DEBUG);
}

Test(options, calls_add_up_and_the_last_one_counts)
{
	struct bw_mount_options o;
	char why[256] = "";

	bw_mount_options_default(&o);
	cr_assert_eq(bw_mount_options_parse(&o, "ro,prefetch=7", why, sizeof(why)), 0);
	cr_assert_eq(bw_mount_options_parse(&o, "prefetch=0,,wait=3,", why, sizeof(why)), 0);
	cr_assert(o.ro);
	cr_assert_eq(o.prefetch, 0);
	cr_assert_eq(o.wait_ns, 3 * BW_SEC);
	cr_assert_not(parsed("ro,rw").ro);
	cr_assert(parsed("debug").foreground, "debug output needs a terminal to go to");
}

Test(options, S4_what_mount_and_systemd_add_is_dropped)
{
	struct bw_mount_options o =
		parsed("dev,nodev,suid,nosuid,exec,noexec,relatime,noatime,auto,noauto,nofail,"
		       "_netdev,user,nouser,users,defaults,default_permissions,comment=systemd.automount,"
		       "x-systemd.automount,x-systemd.requires=network-online.target,X-mount.mkdir=0755");

	cr_assert_not(o.ro);
	cr_assert_eq(o.wait_ns, 0);
}

/* The words of libmount 2.38 for any file system, but those that mount(8) does itself (bind, private, loop ...). */
Test(options, S4_all_words_of_mount_8)
{
	static const char *const words[] = {
		"rw", "ro", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "dirsync", "silent", "loud",
		"mand", "nomand", "atime", "noatime", "iversion", "noiversion", "diratime", "nodiratime", "relatime",
		"norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime", "nosymfollow", "symfollow",
		"defaults", "auto", "noauto", "user", "user=me", "nouser", "users", "nousers", "owner", "noowner", "group",
		"nogroup", "_netdev", "comment=x", "nofail", "uhelper=udisks2", "helper=x", "x-systemd.automount", "X-mount.mkdir=0755",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		parsed(words[i]);
	refused("remount", "options of a mount cannot be changed: umount it and mount it again");
	refused("ro,remount", "options of a mount cannot be changed: umount it and mount it again");
	refused("bind", "unknown option: bind");
}

Test(options, an_unknown_option_is_named)
{
	refused("nonsense", "unknown option: nonsense");
	refused("ro,nonsense=1,wait=1", "unknown option: nonsense");
	refused("Wait=1", "unknown option: Wait");
	refused("ro=1", "unknown option: ro");
}

Test(options, of_the_disk_cache)
{
	struct bw_mount_options o = parsed("cache=/var/cache/bw,cache_size=16M");

	cr_assert_str_eq(o.cache, "/var/cache/bw");
	cr_assert_eq(o.cache_size, UINT64_C(16) << 20);
	o = parsed("ro");
	cr_assert_str_eq(o.cache, "");
	cr_assert_eq(o.cache_size, 0);
	refused("cache=relative", "option cache takes an absolute path, not \"relative\"");
	refused("cache=", "option cache takes an absolute path, not \"\"");
	refused("direct_io=on", "option direct_io takes auto, yes or no, not \"on\"");
	refused("cache_size=15M", "option cache_size takes a size of 16M or more, such as 512M or 2G, not \"15M\"");
}

Test(options, views_add_up)
{
	struct bw_mount_options o = parsed("view=rollouts/step_{step}/rank_{rank}.bin,ro,view={step:08d}/{rank}.tar");

	cr_assert(o.ro);
	cr_assert_eq(o.views.views_n, 2);
	cr_assert_eq(parsed("view=step={step}/rank={rank}").views.views_n, 1, "the first = is the option's");
	refused("ro,view=a/{step}", "option view: \"a/{step}\" has no {rank}");
	refused("view", "option view takes a path of up to 1023 bytes with {step} and {rank}, such as "
			"step_{step}/rank_{rank}.bin");
}

Test(options, the_options_of_an_s3_store_stand_over_the_environment)
{
	setenv("AWS_ENDPOINT_URL", "http://other:1", 1);
	setenv("AWS_REGION", "eu-west-1", 1);
	setenv("AWS_PROFILE", "other", 1);
	unsetenv("AWS_ENDPOINT_URL_S3");
	struct bw_mount_options o = parsed("ro");

	cr_assert_str_eq(o.s3.endpoint, "http://other:1");
	cr_assert_str_eq(o.s3.region, "eu-west-1");
	cr_assert_str_empty(o.s3_option, "the environment is for whom it may concern");
	o = parsed("endpoint=http://127.0.0.1:7480,path_style,no_verify_tls,ca=/etc/ca.pem,profile=mine,ro");
	cr_assert(o.ro && o.s3.no_verify_tls);
	cr_assert_eq(o.s3.style, BW_S3_STYLE_PATH);
	cr_assert_str_eq(o.s3.endpoint, "http://127.0.0.1:7480");
	cr_assert_str_eq(o.s3.region, "eu-west-1");
	cr_assert_str_eq(o.s3.profile, "mine");
	cr_assert_str_eq(o.s3.ca, "/etc/ca.pem");
	cr_assert_str_eq(o.s3_option, "profile");
	cr_assert_str_eq(parsed("region=us-east-1").s3.region, "us-east-1");
	cr_assert_not(o.s3.unsigned_payload);
	o = parsed("unsigned_payload");
	cr_assert(o.s3.unsigned_payload);
	cr_assert_str_eq(o.s3_option, "unsigned_payload");
}

Test(options, S7_an_endpoint_with_a_password_is_refused_and_not_repeated)
{
	refused("endpoint=http://key:secret@host",
		"option endpoint takes http://host[:port] or https://host[:port] without user, "
		"password and path");
	refused("endpoint=host", "option endpoint takes http://host[:port] or https://host[:port] without "
				 "user, password and path, not \"host\"");
	refused("path_style=1", "option path_style takes no value, not \"1\"");
	refused("ca", "option ca takes a file with certificates, not \"\"");
	refused("secret=x", "unknown option: secret");
}

Test(options, a_bad_value_is_told_what_is_expected)
{
	refused("wait=soon", "option wait takes a time such as 30, 5m or 2h, not \"soon\"");
	refused("wait", "option wait takes a time such as 30, 5m or 2h, not \"\"");
	refused("memory=1M", "option memory takes a size of 16M or more, such as 512M or 2G, not \"1M\"");
	refused("commit=never", "option commit takes close or rename, not \"never\"");
	refused("umask=8", "option umask takes an octal mode such as 022, not \"8\"");
	refused("loglevel=loud", "option loglevel takes error, warn, info or debug, not \"loud\"");
	refused("pending=1025", "option pending takes a whole number, not \"1025\"");
	refused("staging=", "option staging takes a path, not \"\"");
}

Test(options, values_have_one_spelling)
{
	const char *bad[] = {
		"wait=-1", "wait=1 ", "io_timeout=0", "commit_timeout=0s", "memory=16777215",
		"memory=1T", "memory=-1", "pending=01", "pending=+1", "prefetch=65", "uid=root",
		"uid=4294967295", "gid=-1", "umask=", "umask=-22", "umask= 22", "umask=0x12",
		"umask=1000", "commit=", "commit=Close", "commit=clone", "loglevel=", "log=",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct bw_mount_options o;
		char why[256] = "";
		bw_mount_options_default(&o);
		cr_assert_eq(bw_mount_options_parse(&o, bad[i], why, sizeof(why)), -EINVAL, "%s", bad[i]);
		cr_assert_str_not_empty(why);
	}
	cr_assert_eq(parsed("umask=0").umask, 0);
	cr_assert_eq(parsed("umask=0777").umask, 0777);
	cr_assert_eq(parsed("memory=16M").memory, UINT64_C(16) << 20);
	cr_assert_eq(parsed("memory=16777216").memory, UINT64_C(16) << 20);
}

Test(options, paths_that_do_not_fit_are_refused)
{
	char list[5000], why[256] = "";
	struct bw_mount_options o;

	memcpy(list, "staging=/", 9);
	memset(list + 9, 'x', 4095);
	list[9 + 4095] = 0;
	bw_mount_options_default(&o);
	cr_assert_eq(bw_mount_options_parse(&o, list, why, sizeof(why)), -EINVAL);
	cr_assert_str_empty(o.staging);
	list[9 + 4094] = 0;
	cr_assert_eq(bw_mount_options_parse(&o, list, why, sizeof(why)), 0);
	cr_assert_eq(strlen(o.staging), 4095);
}

Test(options, a_short_buffer_for_why_is_kept_to)
{
	struct bw_mount_options o;
	char why[8] = "1234567";

	bw_mount_options_default(&o);
	cr_assert_eq(bw_mount_options_parse(&o, "nonsense", why, 4), -EINVAL);
	cr_assert_str_eq(why, "unk");
	cr_assert_eq(why[4], '5');
}

Test(options, S6_the_default_of_memory_has_bounds)
{
	uint64_t memory = bw_memory_default();
	uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	cr_assert_geq(memory, UINT64_C(64) << 20);
	cr_assert_leq(memory, UINT64_C(4) << 30);
	if (machine >= UINT64_C(256) << 20)
		cr_assert_leq(memory, machine / 4);
}
