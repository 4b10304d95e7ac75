# SPDX-License-Identifier: Apache-2.0
# ctest: once s3 long waits 165-s
"""Keys of an S3 store that change, end or are refused below mounts, and S7: they are seen nowhere."""
import glob
import json
import os
import stat
import subprocess
import time

import bw
import load
import node

NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


class Case(node.TestCase):
    def setUp(self):
        super().setUp()
        self.keys_file = os.path.join(self.folder("aws"), "credentials")
        self.env = {**self.node.env, **NO_KEYS, "AWS_SHARED_CREDENTIALS_FILE": self.keys_file}
        self.secrets = []
        self.key = None
        self.good_keys()
        self.made = self.s3_stream(load.RANKS, env=self.env)

    def good_keys(self):
        """A new pair, known to the store, in the file."""
        self.key, secret = self.node.add_key()
        self.write_keys(self.key, secret)
        return self.key

    def write_keys(self, key, secret):
        self.secrets.append(secret)
        bw.write(self.keys_file + ".new", f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
        os.rename(self.keys_file + ".new", self.keys_file)

    def two_mounts(self, options="commit_timeout=300,io_timeout=60"):
        return (self.s3_mount(self.made, options), self.s3_mount(self.made, options + ",pending=4,memory=96M"))

    def assert_secrets_unseen(self, *mounts):
        """S7: not in logs, status, errors, command lines, what daemons print, nor in the store."""
        texts = {}
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                texts[path] = bw.read(path, "rb")
            except OSError:
                continue
        self.assertIn(f"/proc/{mounts[0].proc.pid}/cmdline", texts)
        for mount in mounts:
            texts |= {f"{mount.dir} log": mount.log().encode(), f"{mount.dir} stderr": mount.stderr().encode()}
            texts |= {path: bw.read(path, "rb") for path in glob.glob(mount.path("status", "*"))}
        bucket = self.node.bucket()
        self.addCleanup(bucket.close)
        for key in bucket.list(self.made.prefix + "/"):
            texts[key] = key.encode() + bucket.get(key)
        seen = [where for where, text in texts.items() for s in self.secrets if s.encode() in text]
        self.assertEqual(seen, [])
        for mount in mounts:
            self.assertTrue(texts[f"{mount.dir} log"] and texts[mount.path("status", "status")])
        self.assertTrue([k for k in texts if k.startswith(self.made.prefix)])


class Rotated(Case):
    limit = 400

    def test_s7_keys_that_are_replaced_under_load(self):
        """S2, S3, S7: the file gets another pair, the old one is removed: what is under way is kept, nobody notices."""
        one, two = self.two_mounts()
        load_ = load.Load(self, one, two)
        load_.wait_for_commits()
        for wait_s in (0, 6, 0.5, 1):
            old = self.key
            self.good_keys()
            time.sleep(wait_s)  # with 6 the change is seen before the old pair ends
            self.node.remove_key(old)
            load_.wait_for_commits(2)
        load_.end()
        self.assert_secrets_unseen(one, two)
        load_.check(self.s3_mount(self.made))
        self.assertGreater(one.log().count("info credentials source="), 3)

    def test_a_key_that_is_removed_before_the_file_is_looked_at(self):
        """The refusal, whatever the store calls it, is the reason to look: nobody hears of it."""
        for seq in range(4):
            mount = self.s3_mount(self.made, "prefetch=0")
            mount.put("p", 3 * seq)
            old = self.key
            self.good_keys()
            self.node.remove_key(old)
            mount.put("p", 3 * seq + 1)
            self.assert_step(mount, 3 * seq, "p", 3 * seq)
            mount.put("p", 3 * seq + 2)
            self.assertIn("key=..." + self.key[-4:], mount.log())
            self.assertEqual((mount.head(), mount.status("errors")), (3 * seq + 3, ""))

    def test_a_secret_that_is_replaced_under_the_same_key(self):
        mount = self.s3_mount(self.made)
        mount.put("p", 0)
        secret = "another" + self.secrets[-1][7:]
        self.node.admin("key", "create", "--uid=batchweave", "--key-type=s3", "--access-key", self.key,
                        "--secret-key", secret)
        self.write_keys(self.key, secret)
        mount.put("p", 1)
        self.assertEqual((mount.head(), mount.status("errors")), (2, ""))

    def test_s4_a_file_that_was_named_relatively(self):
        """S4: the daemon works in /, and finds the file that was named from where mount was called all the same."""
        folder, name = self.folder("mnt"), os.path.basename(self.keys_file)
        env = {**os.environ, **self.env, "AWS_SHARED_CREDENTIALS_FILE": name}
        done = subprocess.run([os.path.abspath(bw.MOUNT), self.made.url, folder, "-o", f"log={self.root}/log,commit_timeout=60"], env=env,
                              cwd=os.path.dirname(self.keys_file), capture_output=True, check=False, text=True, stdin=subprocess.DEVNULL)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.addCleanup(bw.unmount, folder)
        for seq in range(3):
            os.makedirs(f"{folder}/produce/p/{seq}/rank")
            for rank in range(load.RANKS):
                bw.write(f"{folder}/produce/p/{seq}/rank/{rank}", b"x")
            old = self.key
            self.good_keys()
            self.node.remove_key(old)
        self.assertEqual((bw.read(folder + "/status/head"), bw.read(folder + "/status/errors")), ("3\n", ""))

    def test_a_file_that_is_written_in_pieces(self):
        """No file, garbage, half a file are no reason to fail while the pair from before serves."""
        one, two = self.two_mounts()
        load_ = load.Load(self, one, two)
        load_.wait_for_commits()
        old, (key, secret) = self.key, self.node.add_key()
        self.secrets.append(secret)
        os.unlink(self.keys_file)
        time.sleep(6)
        load_.wait_for_commits()
        for piece in ("\0\377=][ nothing of sense\n", "[default]\n", f"aws_access_key_id = {key}\n", f"aws_secret_access_key = {secret}\n"):
            with open(self.keys_file, "a" if piece[:3] == "aws" else "w", encoding="latin-1") as f:
                f.write(piece)
            time.sleep(6)
            load_.wait_for_commits()
        self.key = key
        self.node.remove_key(old)
        load_.wait_for_commits(2)
        load_.end()
        self.assert_secrets_unseen(one, two)
        load_.check(self.s3_mount(self.made))

    def test_keys_that_expire_every_few_seconds(self):
        """A helper hands out pairs that live for four seconds: renewed before they end, under load."""
        pairs = [self.node.add_key() for _ in range(2)]
        self.secrets += [secret for _, secret in pairs]
        helper = os.path.join(os.path.dirname(self.keys_file), "helper")
        bw.write(helper, f"""#!/usr/bin/python3
import datetime, json, os
path = {helper + ".count"!r}
n = int(open(path).read()) if os.path.exists(path) else 0
open(path, "w").write(str(n + 1))
key, secret = {pairs!r}[n % 2]
until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=4)
print(json.dumps({{"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret,
                  "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ")}}))
""")
        os.chmod(helper, stat.S_IRWXU)
        bw.write(self.keys_file, f"[default]\ncredential_process = {helper}\n")
        self.node.remove_key(self.key)
        one, two = self.two_mounts()
        load_ = load.Load(self, one, two)
        for _ in range(3):
            load_.wait_for_commits()
            time.sleep(4)
        load_.end()
        self.assertGreater(int(bw.read(helper + ".count")), 6)
        self.assert_secrets_unseen(one, two)
        load_.check(self.s3_mount(self.made))


class Refused(Case):
    """The store does not want the keys: what is said, and that it ends when they are right again."""

    def setUp(self):
        super().setUp()
        self.m = self.s3_mount(self.made, "commit_timeout=60,io_timeout=5,prefetch=0")
        for seq in range(2):
            self.m.put("p", seq)
        self.assert_step(self.m, 0, "p", 0)

    def refuses(self, says, says_status="refuses access since"):
        """The mount that is there, and new ones."""
        self.assert_step(self.m, 0, "p", 0)  # cached
        self.assert_errno("EACCES", bw.read, self.m.step(1, 0), "rb")
        said = self.store_of(self.m)
        self.assertIs(said["ok"], False)
        self.assertRegex(said["last_error"], says_status)
        self.assertRegex(self.m.status("status"), r"(?m)^store +" + says_status)
        self.m.begin("p", 2)
        bw.write(self.m.slot("p", 2, 0), b"zero")
        self.assert_errno("EACCES", bw.write, self.m.slot("p", 2, 1), b"one")
        self.assertRegex(self.m.status("errors"), r"seq=2\b.*(permission|refuse|denied)")
        self.assertRegex(self.m.log(), says)
        folder = self.folder("mnt")
        for words, program, code in (([self.made.url, folder], bw.MOUNT, 32), (["status", self.made.url], bw.BATCHWEAVE, 3)):
            done = self.command(*words, program=program, env=self.env, timeout=40)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (code, 1), done.stderr)
            self.assertRegex(done.stderr, says)
            self.assertEqual([s for s in self.secrets if s in done.stderr], [])

    def recovers(self):
        """Without a mount made anew: the batch that failed commits when it is closed again, once."""
        bw.wait_until(lambda: bw.error_of(self.m.get, 1) == "", what="a read")
        self.assert_step(self.m, 1, "p", 1)
        os.unlink(self.m.slot("p", 2, 1))
        bw.write(self.m.slot("p", 2, 1), b"one")
        self.assertEqual(self.m.get(2), [b"zero", b"one"])
        self.assertEqual(self.m.head(), 3)
        self.assertIs(self.store_of(self.m)["ok"], True)
        self.assertRegex(self.m.status("status"), r"(?m)^store +answers")
        self.assert_secrets_unseen(self.m)

    def test_s7_a_key_that_was_removed(self):
        self.node.remove_key(self.key)
        self.refuses("InvalidAccessKeyId")
        self.good_keys()
        self.recovers()

    def test_s7_a_wrong_secret(self):
        self.node.remove_key(self.key)
        key, secret = self.node.add_key()
        self.write_keys(key, "wrong" + secret[5:])
        self.refuses("SignatureDoesNotMatch")
        self.write_keys(key, secret)
        self.recovers()

    def test_a_user_who_is_suspended(self):
        self.node.admin("user", "suspend", "--uid=batchweave")
        self.addCleanup(self.node.admin, "user", "enable", "--uid=batchweave")
        self.refuses("UserSuspended|AccessDenied")
        self.node.admin("user", "enable", "--uid=batchweave")
        self.recovers()

    def test_s7_keys_that_have_expired(self):
        """What the helper says has ended: nothing is sent, the sentence tells; with others all is well."""
        until = "2001-01-01T00:00:00Z"
        folder = os.path.dirname(self.keys_file)
        self.node.remove_key(self.key)
        bw.write(folder + "/said", json.dumps({"Version": 1, "AccessKeyId": self.key, "Expiration": until,
                                               "SecretAccessKey": self.secrets[-1]}))
        bw.write(self.keys_file, f"[default]\ncredential_process = cat {folder}/said\n")
        self.refuses("expired at 2001-01-01T00:00:00Z|InvalidAccessKeyId")
        self.assertIn("expired at 2001-01-01T00:00:00Z", self.m.log())
        self.good_keys()
        self.recovers()

    def test_no_permission_for_the_bucket(self):
        """Somebody else's keys."""
        key, secret = "OTHER" + self.key[5:], "other" + self.secrets[-1][5:]
        self.node.admin("user", "create", "--uid=other", "--display-name=other", "--access-key", key, "--secret-key", secret)
        self.addCleanup(self.node.admin, "user", "rm", "--uid=other")
        self.node.remove_key(self.key)
        self.write_keys(key, secret)
        self.refuses("AccessDenied")
        self.good_keys()
        self.recovers()


if __name__ == "__main__":
    bw.main()
