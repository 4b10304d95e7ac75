/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials in the shared files, and those that a credential_process prints. */
#include "tests/unit/cred_world.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

static char home[BW_TMPDIR_MAX];

static void put(const char *name, const char *text)
{
	char path[512], next[520];

	snprintf(path, sizeof(path), "%s/.aws", home);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/.aws/%s", home, name);
	snprintf(next, sizeof(next), "%s.new", path);
	FILE *f = fopen(next, "w");
	cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
	cr_assert_eq(rename(next, path), 0);
}

static void end(void)
{
	bw_test_rmtree(home);
}

Test(s3_creds_files, profiles_of_both_files, .fini = end)
{
	cred_world(home);
	put("credentials", "# mine\r\n[default]\r\naws_access_key_id = D\r\naws_secret_access_key=d/s+e=\r\n"
			   "[work]\n  aws_access_key_id = W\n  aws_secret_access_key = w\n  aws_session_token = t==\n"
			   "[profile odd]\naws_access_key_id = X\naws_secret_access_key = x\n");
	put("config", "\xef\xbb\xbf[default]\nregion = eu-west-1\naws_access_key_id = shadowed\n"
		      "aws_secret_access_key = shadowed\ns3 =\n  aws_access_key_id = nested\n"
		      "[profile work]\noutput = json\n"
		      "[profile \"with blank\"]\naws_access_key_id = B\naws_secret_access_key = b\n"
		      "[bare]\naws_access_key_id = X\naws_secret_access_key = x\n");
	cred_expect("", "shared files", "D", "d/s+e=", "");
	cred_expect("work", "shared files", "W", "w", "t==");
	cred_expect("with blank", "shared files", "B", "b", "");
	cred_expect_why("odd", "profile \"odd\" is neither in", "/.aws/config", "/.aws/credentials");
	cred_expect_why("bare", "profile \"bare\" is neither in");
	setenv("AWS_PROFILE", "work", 1);
	cred_expect("", "shared files", "W", "w", "t==");
	cred_expect("default", "shared files", "D", "d/s+e=", "");
}

Test(s3_creds_files, variables_name_the_files, .fini = end)
{
	char path[512];

	cred_world(home);
	put("elsewhere", "[default]\naws_access_key_id = E\naws_secret_access_key = e\n");
	put("credentials", "[default]\naws_access_key_id = D\naws_secret_access_key = d\n");
	snprintf(path, sizeof(path), "%s/.aws/elsewhere", home);
	setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
	cred_expect("", "shared files", "E", "e", "");
	setenv("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/elsewhere", 1);
	cred_expect("", "shared files", "E", "e", "");
	setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
	cred_expect_why("", "no credentials are configured");
	setenv("AWS_SHARED_CREDENTIALS_FILE", home, 1);
	cred_expect_why("", home, "cannot be read", "directory");
}

Test(s3_creds_files, what_is_wrong_is_said, .fini = end)
{
	cred_world(home);
	put("config", "[profile half]\naws_access_key_id = A\n"
		      "[profile sso]\nsso_session = s\n"
		      "[profile role]\nrole_arn = arn\nsource_profile = half\n"
		      "[profile ec2]\nrole_arn = arn\ncredential_source = Ec2InstanceMetadata\n"
		      "[profile broken]\naws_access_key_id = A\nwJalrSECRET\n"
		      "[profile empty]\nregion = x\n"
		      "[profile blank]\naws_access_key_id = A\naws_secret_access_key = wJalr # mine\n");
	cred_expect_why("half", "profile \"half\"", "aws_access_key_id without aws_secret_access_key");
	cred_expect_why("sso", "sso_session, which is not supported", "export-credentials --profile sso");
	cred_expect_why("role", "source_profile, which is not supported");
	cred_expect_why("ec2", "credential_source, which is not supported");
	cred_expect_why("broken", "config: line 13 is no \"key = value\"");
	cred_expect_why("blank", "secret access key holds a blank");
	cred_expect_why("empty", "no credentials are configured");
	/* S7 */
	char why[BW_CRED_WHY];
	cr_assert_not(cred_once("broken", why));
	cr_assert_not(strstr(why, "wJalr"), "%s", why);
	cr_assert_not(cred_once("blank", why));
	cr_assert_not(strstr(why, "wJalr"), "%s", why);
}

Test(s3_creds_files, a_huge_file_is_refused, .fini = end)
{
	char *text = malloc(300001);

	cred_world(home);
	memset(text, '#', 300000);
	text[300000] = 0;
	put("config", text);
	free(text);
	cred_expect_why("", "longer than 256 KiB");
}

/* Asks again and again: a change is found by looks that asking brings about. */
static void until(struct bw_cred_chain *c, const char *key_id)
{
	struct bw_creds *creds = NULL;
	char why[BW_CRED_WHY];

	do {
		bw_creds_unref(creds);
		cr_assert_eq(cred_get(c, &creds, why), 0, "%s", why);
	} while (strcmp(creds->key_id, key_id) != 0);
	bw_creds_unref(creds);
}

Test(s3_creds_files, rotation_on_disk, .fini = end)
{
	cred_world(home);
	put("credentials", "[default]\naws_access_key_id = A\naws_secret_access_key = a\n");
	struct bw_cred_chain *c = cred_chain("", NULL);

	until(c, "A");
	put("credentials", "[default]\naws_access_key_id = B\naws_secret_access_key = b\n");
	until(c, "B");
	/* A file that has lost its sense takes nothing away. */
	put("credentials", "[default]\naws_access_key_id\n");
	for (int i = 0; i < 100; i++)
		until(c, "B");
	/* The other file counts too, and one that was not there. */
	put("config", "[default]\n");
	put("credentials", "[default]\naws_access_key_id = C\naws_secret_access_key = c\n");
	until(c, "C");
	bw_cred_chain_free(c);
}

/* Looks take place only every so often, but after a refusal at once. */
Test(s3_creds_files, refused_ones_are_read_again, .fini = end)
{
	struct bw_cred_times times = cred_quick;
	struct bw_cred_config config = {.profile = ""};
	struct bw_creds *creds, *again;
	struct bw_cred_chain *c;
	char why[BW_CRED_WHY];

	cred_world(home);
	times.look_ns = BW_NEVER;
	put("credentials", "[default]\naws_access_key_id = A\naws_secret_access_key = a\n");
	cr_assert_eq(bw_cred_chain_new_timed(&config, &times, &c), 0);
	until(c, "A");
	put("credentials", "[default]\naws_access_key_id = B\naws_secret_access_key = b\n");
	cr_assert_eq(cred_get(c, &creds, why), 0);
	cr_assert_str_eq(creds->key_id, "A");
	bw_cred_chain_refused(c, creds);
	cr_assert_eq(cred_get(c, &again, why), 0);
	cr_assert_str_eq(again->key_id, "B");
	/* A late refusal of the old ones is no word against the new. */
	put("credentials", "[default]\naws_access_key_id = C\naws_secret_access_key = c\n");
	bw_cred_chain_refused(c, creds);
	bw_creds_unref(creds);
	cr_assert_eq(cred_get(c, &creds, why), 0);
	cr_assert_eq(creds, again);
	bw_creds_unref(creds);
	bw_creds_unref(again);
	bw_cred_chain_free(c);
}

/* What may be a permission that lacks is a reason to look at the files, and none to ask the source. */
Test(s3_creds_files, doubted_ones_are_looked_after, .fini = end)
{
	struct bw_cred_times times = cred_quick;
	struct bw_cred_config config = {.profile = ""};
	struct bw_creds *creds, *again, *other;
	struct bw_cred_chain *c;
	char why[BW_CRED_WHY];

	cred_world(home);
	times.look_ns = BW_NEVER;
	put("credentials", "[default]\naws_access_key_id = A\naws_secret_access_key = a\n");
	cr_assert_eq(bw_cred_chain_new_timed(&config, &times, &c), 0);
	cr_assert_eq(cred_get(c, &creds, why), 0);
	again = cred_doubt(c, creds);
	cr_assert_eq(again, creds);
	bw_creds_unref(again);
	put("credentials", "[default]\naws_access_key_id = B\naws_secret_access_key = b\n");
	other = cred_doubt(c, creds);
	cr_assert_str_eq(other->key_id, "B");
	/* Late, and then with a file that makes no sense. */
	again = cred_doubt(c, creds);
	cr_assert_eq(again, other);
	bw_creds_unref(again);
	put("credentials", "[default]\naws_access_key_id\n");
	again = cred_doubt(c, other);
	cr_assert_eq(again, other);
	bw_creds_unref(again);
	bw_creds_unref(other);
	bw_creds_unref(creds);
	bw_cred_chain_free(c);
}

/* Those who doubt what has been refused wait for what comes next. */
Test(s3_creds_files, doubted_ones_that_were_refused, .fini = end)
{
	struct bw_creds *creds, *other;
	char why[BW_CRED_WHY];

	cred_world(home);
	put("credentials", "[default]\naws_access_key_id = A\naws_secret_access_key = a\n");
	struct bw_cred_chain *c = cred_chain("", NULL);

	cr_assert_eq(cred_get(c, &creds, why), 0);
	put("credentials", "[default]\naws_access_key_id = B\naws_secret_access_key = b\n");
	bw_cred_chain_refused(c, creds);
	other = cred_doubt(c, creds);
	cr_assert_str_eq(other->key_id, "B");
	bw_creds_unref(other);
	bw_creds_unref(creds);
	bw_cred_chain_free(c);
}

/* ---- credential_process ------------------------------------------------------------------------- */

static void put_process(const char *command)
{
	char text[1024];

	snprintf(text, sizeof(text), "[default]\ncredential_process = %s\n", command);
	put("config", text);
}

Test(s3_creds_files, process, .fini = end)
{
	char command[512], why[BW_CRED_WHY];

	cred_world(home);
	put("answer", "{ \"Version\": 1, \"AccessKeyId\": \"P\", \"SecretAccessKey\": \"p\", \"SessionToken\": \"t\","
		      "\n \"Expiration\": \"2099-01-31T13:00:00+01:00\" }\n");
	snprintf(command, sizeof(command), "cat %s/.aws/answer # as it is", home);
	put_process(command);
	cred_expect("", "shared files", "P", "p", "t");
	struct bw_creds *c = cred_once("", why);
	cr_assert_eq(c->expires_ms, INT64_C(4073544000000));
	bw_creds_unref(c);
	put_process("echo '{\"Version\": 1, \"AccessKeyId\": \"Q\", \"SecretAccessKey\": \"q\"}'");
	c = cred_once("", why);
	cr_assert_eq(c->expires_ms, INT64_MAX);
	bw_creds_unref(c);
}

Test(s3_creds_files, process_that_fails, .fini = end)
{
	static const char *const cases[][2] = {
		{"exit 7", "exit code 7"},
		{"kill -9 $$", "signal 9"},
		{"true", "something else than a JSON object"},
		{"/no/such/helper", "exit code 127"},
		{"echo '{\"AccessKeyId\": \"Q\", \"SecretAccessKey\": \"q\"}'", "Version (none)"},
		{"echo '{\"Version\": 2}'", "Version 2"},
		{"echo '{\"Version\": 1, \"AccessKeyId\": \"Q\"}'", "secret access key is empty"},
		{"yes", "more than 64 KiB"},
	};

	cred_world(home);
	for (unsigned i = 0; i < N(cases); i++) {
		put_process(cases[i][0]);
		cred_expect_why("", "credential_process of profile \"default\"", cases[i][1]);
	}
}

/* A daemon may have many files open, and says so to nobody whom it starts. */
Test(s3_creds_files, process_has_the_soft_limit_of_a_login, .fini = end)
{
	struct rlimit files;

	cred_world(home);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
	if (files.rlim_max <= 1024)
		cr_skip("no more than 1,024 files may be open here");
	files.rlim_cur = files.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
	put_process("echo '{\"Version\":1,\"AccessKeyId\":\"'$(ulimit -S -n)'\",\"SecretAccessKey\":\"s\"}'");
	cred_expect("", "shared files", "1024", "s", "");
}

/* The child has a stdin that ends, our environment, its signals, and no descriptor of ours. */
Test(s3_creds_files, process_starts_clean, .fini = end)
{
	cred_world(home);
	int leak = fcntl(0, F_DUPFD, 77);	/* without close-on-exec, as a library might */
	cr_assert_eq(leak, 77);
	signal(SIGPIPE, SIG_IGN);
	setenv("SEEN", "yes", 1);
	/* A shell that starts another program blocks signals for a moment, so it looks by itself. */
	put("check", "read x && exit 1\nls /proc/$$/fd >\"$HOME/fds\"\n"
		     "while read line; do case $line in SigBlk*|SigIgn*) echo \"$line\";; esac; done </proc/$$/status >\"$HOME/sig\"\n"
		     "echo \"{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"$SEEN\\\",\\\"SecretAccessKey\\\":\\\"s\\\"}\"\n");
	put_process("exec sh -c '. $HOME/.aws/check'");
	cred_expect("", "shared files", "yes", "s", "");

	char path[512], line[256];
	unsigned fds = 0;

	snprintf(path, sizeof(path), "%s/sig", home);
	FILE *f = fopen(path, "r");
	cr_assert(f);
	while (fgets(line, sizeof(line), f))	/* 32 and 33 are libc's own */
		cr_assert_eq(strtoull(line + 8, NULL, 16) & ~UINT64_C(0x180000000), 0, "%s", line);
	fclose(f);
	snprintf(path, sizeof(path), "%s/fds", home);
	f = fopen(path, "r");
	cr_assert(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long fd = strtoul(line, NULL, 10);
		/* A shell keeps its script somewhere from 10 on. */
		cr_assert(fd <= 2 || (fd >= 10 && fd < 20), "descriptor %lu is open", fd);
		fds++;
	}
	fclose(f);
	cr_assert_geq(fds, 3);
	close(leak);
}

static void expect_log(const char *path, const char *has, const char *lacks)
{
	char text[4096];
	FILE *f = fopen(path, "r");

	cr_assert(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = 0;
	fclose(f);
	cr_assert(strstr(text, has), "no \"%s\" in: %s", has, text);
	if (lacks)
		cr_assert_not(strstr(text, lacks), "\"%s\" in: %s", lacks, text);
}

/* S7: the first line of stderr reaches the log, but not with a secret in it. */
Test(s3_creds_files, stderr_of_a_process, .fini = end)
{
	struct bw_log *log;
	struct bw_creds *creds = NULL;
	char path[512], why[BW_CRED_WHY];

	cred_world(home);
	snprintf(path, sizeof(path), "%s/log", home);
	cr_assert_eq(bw_log_open(path, BW_LOG_DEBUG, &log), 0);
	put_process("echo please sign in >&2; echo more >&2; exit 1");
	struct bw_cred_chain *c = cred_chain("", log);
	cr_assert_eq(cred_get(c, &creds, why), -BW_E_DENIED);
	expect_log(path, "stderr=\"please sign in\"", "more");
	put_process("echo secret is hush-hush >&2; "
		    "echo '{\"Version\":1,\"AccessKeyId\":\"AKIDLONGONE\",\"SecretAccessKey\":\"hush-hush\"}'");
	cr_assert_eq(cred_get(c, &creds, why), 0);
	bw_creds_unref(creds);
	bw_cred_chain_free(c);
	bw_log_close(log);
	expect_log(path, "(a line that holds a secret)", "hush-hush");
	expect_log(path, "credentials source=\"shared files\" key=...GONE expires=never", "AKIDLONG");
}

/* What a process leaves in the background may keep its output open; its end is its end. */
Test(s3_creds_files, process_with_a_child_in_the_background, .fini = end)
{
	cred_world(home);
	put_process("sleep 55 & echo '{\"Version\":1,\"AccessKeyId\":\"Q\",\"SecretAccessKey\":\"q\"}'");
	cred_expect("", "shared files", "Q", "q", "");
}

/* Freeing the chain kills a process that hangs, and its children; whoever waits is told. */
Test(s3_creds_files, free_while_a_process_hangs, .fini = end)
{
	struct cred_asker a;
	char path[512];
	struct stat st;
	int pid = 0;

	cred_world(home);
	put_process("sleep 600 & echo $! >$HOME/pid.new; mv $HOME/pid.new $HOME/pid; wait");
	struct bw_cred_chain *c = cred_chain("", NULL);

	cred_asker_init(&a);
	cr_assert_not(bw_cred_chain_get(c, &a.wait, &a.creds));
	snprintf(path, sizeof(path), "%s/pid", home);
	while (stat(path, &st) != 0)
		bw_sleep(BW_MS);
	bw_cred_chain_free(c);
	cr_assert_eq(a.told, 1);
	cr_assert_eq(a.err, -BW_E_STOPPING);
	cred_asker_done(&a);
	FILE *f = fopen(path, "r");
	cr_assert(f && fscanf(f, "%d", &pid) == 1 && pid > 0);
	fclose(f);
	/* Its new parent has yet to reap it, perhaps. */
	char state = 'S';
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	while (state != 'Z' && (f = fopen(path, "r"))) {
		if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			state = 'Z';
		fclose(f);
	}
}
