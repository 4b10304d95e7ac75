# SPDX-License-Identifier: Apache-2.0
# ctest: once waits 25-s
"""batchweave doctor: what it finds on streams and stores that are well or not, and that it leaves nothing behind."""
import json
import os
import re
import resource
import signal
import subprocess
import unittest

import bw
from broken_s3 import BrokenS3

SECRET = "hush-hush-hush-hush"
WRONG_CLOCK = os.path.join(bw.BUILD, "tests", "mount", "libwrong_clock.so")


class Doctor(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        self.env |= {"HOME": self.root, "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1",
                     "AWS_CONFIG_FILE": self.root + "/none", "AWS_SHARED_CREDENTIALS_FILE": self.root + "/none"}
        self.keys = {"AWS_ACCESS_KEY_ID": "KEYID1234567890", "AWS_SECRET_ACCESS_KEY": SECRET}

    def doctor(self, *args, code=0, env=None, **kwargs):
        """{check: (verdict, the line)} of a run that ends with code."""
        done = bw.batchweave("doctor", *args, check=False, env={**self.env, **(env or {})}, **kwargs)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertNotIn(SECRET, done.stdout + done.stderr)
        lines = done.stdout.strip().split("\n")
        self.assertRegex(lines[-1], rf"^{len(lines) - 1} checks, \d+ wrong, \d+ to look at$")
        said = {}
        for line in lines[:-1]:
            verdict, check = re.fullmatch(r"(ok|note|WRONG) +(\S+(?: \S+)*)  +.*", line).groups()
            check = check.split("  ")[0]
            said[check] = (verdict, line)
            self.assertEqual("; remedy: " in line, verdict != "ok", line)
        return said

    def server(self, rule=""):
        s3 = BrokenS3(rule)
        s3.__enter__()
        self.addCleanup(s3.__exit__)
        return s3

    def test_all_is_well(self):
        """A stream under load: exit 0, a line a check, nothing is left in the store."""
        m = self.mounted(ranks=2)
        m.put("p", 0)
        before = m.stream.objects()
        said = self.doctor(m.stream.url)
        self.assertEqual([line for v, line in said.values() if v == "WRONG"], [])
        for check in ("kernel", "fuse module", "fuse device", "permissions", "fusermount3", "allow_other", "open files",
                      "memory", "staging", "mount", "store", "store rules", "clock", "stream", "producers", "jobs",
                      "garbage", "newest step", "uploads"):
            self.assertIn(check, said)
        self.assertIn("steps 0 to 1,", said["stream"][1])
        self.assertIn(f"{m.dir} answers", said["mount"][1])
        self.assertEqual(m.stream.objects(), before)
        self.assertEqual([f for f in os.listdir(m.stream.dir) if f.startswith("probe")], [])
        self.assert_step(m, 0, "p", 0)

    def test_json(self):
        stream = self.stream()
        done = bw.batchweave("doctor", stream.url, "--json", env=self.env)
        said = json.loads(done.stdout)
        self.assertIs(said["ok"], True)
        self.assertEqual(said["wrong"], 0)
        self.assertLessEqual({"kernel", "store rules", "stream"}, {c["check"] for c in said["checks"]})
        for check in said["checks"]:
            self.assertEqual(set(check), {"check", "verdict", "found", "remedy"})
            self.assertEqual(check["verdict"] == "ok", check["remedy"] == "", check)
        self.assertEqual(said["notes"], sum(c["verdict"] == "note" for c in said["checks"]))

    def test_this_machine_alone(self):
        done = bw.batchweave("doctor", check=False, env=self.env, errors="surrogateescape")
        self.assertIn(done.returncode, (0, 1))  # mounts of others may be in any state, on any name
        self.assertRegex(done.stdout, r"(?m)^ok +fuse device ")
        self.assertNotRegex(done.stdout, r"(?m)^\S+ +store ")

    def test_usage(self):
        for args in (("file:relative",), ("file:///a", "file:///b"), ("--nothing",), ("-o", "memory=1"), ("-o", "what"),
                     ("file:///", "--endpoint", "http://x")):
            done = bw.batchweave("doctor", *args, check=False)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), args)

    def test_options_of_the_mount(self):
        """What the mount will be given is judged."""
        stream = self.stream()
        wide = self.folder("cache")
        os.chmod(wide, 0o755)
        said = self.doctor(stream.url, "-o", f"memory=100000G,cache={wide}", "--options=staging=/nowhere", code=1)
        self.assertEqual({c for c, (v, _) in said.items() if v == "WRONG"}, {"memory", "disk cache", "staging"})
        os.chmod(wide, 0o700)
        self.assertNotEqual(self.doctor(stream.url, "-o", f"cache={wide}")["disk cache"][0], "WRONG")

    def takes(self, stream, options, env):
        """Whether a mount with these takes them."""
        folder = self.folder("mnt")
        done = subprocess.run([bw.MOUNT, stream.url, folder, "-o", f"log={self.root}/tried.log,{options}"], env=env, text=True, capture_output=True,
                              check=False, timeout=bw.PATIENCE)
        if done.returncode == 0:
            bw.unmount(folder)
        return done.returncode == 0

    def test_what_a_mount_takes_and_refuses(self):
        """WRONG is what a mount refuses, and nothing else is."""
        stream = self.stream()
        os.mkdir(f"{self.root}/real", 0o700)
        os.symlink(f"{self.root}/real", f"{self.root}/link")
        os.symlink(f"{self.root}/none", f"{self.root}/dangling")
        for options, tmpdir, check, wanted in (
                ("staging=/nowhere", None, "staging", "WRONG"), ("", "/nowhere", "staging", "WRONG"),
                ("ro,staging=/nowhere", None, "staging", None), (f"cache={self.root}/none/cache", None, "disk cache", "WRONG"),
                (f"cache={self.root}/link", None, "disk cache", "WRONG"), (f"cache={self.root}/dangling", None, "disk cache", "WRONG"),
                (f"cache={self.root}/new/", None, "disk cache", "ok"), (f"cache={self.root}/tried.log/x", None, "disk cache", "WRONG")):
            env = {**self.env, "TMPDIR": tmpdir or ""}
            said = self.doctor(stream.url, "-o", options or "rw", code=int(wanted == "WRONG"), env=env)
            self.assertEqual(said.get(check, [None])[0], wanted, (options, said))
            self.assertEqual(self.takes(stream, options or "rw", env), wanted != "WRONG", options)

    def test_a_place_for_staged_bytes(self):
        """Files without a name are not needed, and nobody's /tmp is: there a mount does with less."""
        self.needs_root()
        stream, without = self.stream(), self.folder("without")
        subprocess.run(["mount", "-t", "mqueue", "batchweave-test", without], check=True)  # has no O_TMPFILE
        with self.assertRaises(OSError):
            os.open(without, os.O_TMPFILE | os.O_RDWR)
        said = self.doctor(stream.url, "-o", f"staging={without}")
        self.assertIn("MiB free", said["staging"][1])
        self.assertTrue(self.takes(stream, f"staging={without}", self.env))
        env = {k: v for k, v in self.env.items() if k != "TMPDIR"}
        done = subprocess.run(["unshare", "-m", "sh", "-ec", f"""
            mount --make-rprivate /
            mount --bind /tmp /tmp
            mount --bind {self.root} {self.root}  # is below it where /dev/shm is small
            mount -o remount,bind,ro /tmp
            {os.path.abspath(bw.BATCHWEAVE)} doctor {stream.url}"""], env=env, capture_output=True, text=True, timeout=bw.PATIENCE, check=False)
        self.assertRegex(done.stdout, r"(?m)^note +staging .*: batches that do not fit into memory= fail; remedy: ")
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_a_place_for_what_put_compresses(self):
        """batchweave put needs no files without a name either; a batch in the making is a directory that has none."""
        m, stream = self.mounted(), self.stream(1, "--compress", "zstd")
        m.begin("p", 0)
        with self.assertRaises(OSError):
            os.open(m.slot("p", 0), os.O_TMPFILE | os.O_RDWR)
        data = os.urandom(100000) * 30
        bw.write(self.root + "/slice", data)
        bw.batchweave("put", stream.url, "p", self.root + "/slice", env={**self.env, "TMPDIR": m.slot("p", 0)})
        self.assertEqual(stream.cat(0, 0), data)
        self.assertEqual(os.listdir(m.slot("p", 0)), ["rank"])

    def test_without_proc(self):
        """What a mount needs that cannot be seen is no mistake; that of a container's root is seen without /proc too."""
        self.needs_root()
        stream = self.stream()
        for cap, verdict in (("+sys_admin", "ok"), ("-sys_admin", "WRONG")):
            done = subprocess.run(["unshare", "-m", "--propagation=private", "sh", "-c",
                                   'umount -l /proc && exec setpriv --bounding-set="$0" "$@"', cap,
                                   os.path.abspath(bw.BATCHWEAVE), "doctor", stream.url],
                                  env=self.env, capture_output=True, text=True, timeout=bw.PATIENCE, check=False)
            self.assertEqual(re.findall(r"(?m)^WRONG +(\S+)", done.stdout), ["permissions"] if verdict == "WRONG" else [], done.stdout)
            self.assertRegex(done.stdout, rf"(?m)^{verdict} +permissions ")
            self.assertRegex(done.stdout, r"(?m)^ok +fuse module ")
            self.assertRegex(done.stdout, r"(?m)^note +processes +there is no /proc here: .*; remedy: mount -t proc")

    def test_too_few_descriptors(self):
        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

        def few_at_first():
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

        stream = self.stream()
        said = self.doctor(stream.url, code=1, preexec_fn=few)
        self.assertEqual(said["open files"][0], "WRONG")
        said = self.doctor(stream.url, preexec_fn=few_at_first)
        self.assertEqual(said["open files"][0], "ok", "a mount gives itself more")

    def test_ro_writes_nothing(self):
        stream = self.stream()
        said = self.doctor(stream.url, "-o", "ro")
        self.assertNotIn("store rules", said)
        self.assertNotIn("clock", said)
        self.assertIn("stream", said)

    def test_no_stream_and_no_directory(self):
        empty = self.folder("empty")
        said = self.doctor("file://" + empty)
        self.assertEqual(said["stream"][0], "note")
        self.assertIn(f"batchweave init file://{empty} --ranks W", said["stream"][1])
        self.assertEqual([n for n in os.listdir(empty) if n[0] != "."], [])
        said = self.doctor(f"file://{empty}/missing", code=1)
        self.assertRegex(said["store"][1], f"^WRONG  store  +there is no directory {empty}/missing; remedy: check the URL; batchweave init makes")
        self.assertFalse(os.path.exists(f"{empty}/missing"), "nothing is made")

    def test_a_damaged_stream(self):
        """The newest step's object is looked for; so is a format that is too new (S8)."""
        m = self.mounted(ranks=1)
        m.put("p", 0)
        m.put("p", 1)
        data = [k for k in m.stream.objects("/data/") if "/1-" in k]
        kept = m.stream.store.read(data[0])
        m.stream.store.write(data[0], kept[:-1] + b"?")
        self.assertIn("object is damaged", self.doctor(m.stream.url, code=1)["newest step"][1])
        m.stream.store.remove(data[0])
        self.assertIn("it is missing", self.doctor(m.stream.url, code=1)["newest step"][1])
        m.stream.store.write(data[0], kept)
        self.doctor(m.stream.url)
        m.umount()
        text = m.stream.store.read("stream.json")
        m.stream.store.write("stream.json", text.replace(b'"format": 1', b'"format": 2'))
        said = self.doctor(m.stream.url, code=1)
        self.assertRegex(said["stream"][1], "newer release.*remedy: upgrade")

    def test_jobs_and_producers_that_wait(self):
        stream = self.stream(1, "--max-ahead", 1)
        m = self.mount(stream)
        os.mkdir(m.path("checkpoint/train"))
        m.put("p", 0)
        said = self.doctor(stream.url)
        self.assertEqual((said["jobs"][0], said["max-ahead"][0]), ("note", "note"))
        self.assertIn("is 1 steps past job train, the limit is 1", said["max-ahead"][1])

    def test_a_mount_that_lost_its_daemon(self):
        m = self.mounted()
        m.proc.kill()
        m.proc.wait()
        said = self.doctor(m.stream.url, code=1)
        self.assertEqual(said["mount"][0], "WRONG")
        self.assertIn("has lost its daemon; remedy: umount", said["mount"][1])

    def test_a_mount_on_a_name_of_any_bytes(self):
        """People see a line, without what steers a terminal; machines get the name itself, in UTF-8."""
        self.needs_root()
        m = self.mounted(ranks=1)
        m.put("p", 0)
        odd = os.fsencode(self.root) + b"/a\nb\x1b[31m\xff c"
        os.mkdir(odd)
        subprocess.run(["mount", "--bind", m.dir, odd], check=True)
        try:
            done, machine = (subprocess.run([bw.BATCHWEAVE, "doctor", m.stream.url, *more], env=self.env, capture_output=True,
                                            timeout=bw.PATIENCE, check=True) for more in ((), ("--json",)))
            bench = subprocess.run([bw.BATCHWEAVE, "bench", odd, "--readers", "1"], capture_output=True, timeout=bw.PATIENCE,
                                   check=True)
        finally:
            subprocess.run(["umount", odd], check=True)
        self.assertIn(b"/a?b?[31m\xff c answers\n", done.stdout)
        self.assertIn(b"/a?b?[31m\xff c: 1 rank", bench.stdout)
        for text in (done.stdout, bench.stdout):
            self.assertNotRegex(text, rb"[\x00-\x09\x0b-\x1f\x7f]")
        found = [c["found"] for c in json.loads(machine.stdout.decode())["checks"] if c["check"] == "mount"]
        self.assertIn(f"{self.root}/a\nb\x1b[31m\ufffd c answers", found)

    def test_a_mount_that_hangs(self):
        m = self.mounted()
        m.proc.send_signal(signal.SIGSTOP)
        self.addCleanup(m.proc.send_signal, signal.SIGCONT)
        said = self.doctor(m.stream.url, code=1)
        self.assertIn("does not answer", said["mount"][1])
        m.proc.send_signal(signal.SIGCONT)

    @unittest.skipIf(bw.SANITIZED, "a preloaded clock comes before the sanitizer's")
    def test_the_clock(self):
        stream = self.stream()
        clock = os.path.join(self.root, "clock")
        for shift, says in ("-900", "900 seconds behind"), ("+900", "900 seconds ahead of"):
            bw.write(clock, shift)
            said = self.doctor(stream.url, code=1, env={"LD_PRELOAD": WRONG_CLOCK, "BW_WRONG_CLOCK": clock})
            self.assertEqual(said["clock"][0], "WRONG")
            self.assertRegex(said["clock"][1], says.replace("900", "(899|900|901)"))

    def test_s3(self):
        """Credentials are named by source and never shown (S7); what the probe wrote is gone."""
        s3 = self.server()
        said = self.doctor("s3://bucket/run", "--endpoint", s3.endpoint, env=self.keys)
        self.assertIn("from the environment, key ...7890, no expiry", said["credentials"][1])
        self.assertEqual([said[c][0] for c in ("store", "store rules", "clock", "stream")], ["ok", "ok", "ok", "note"])
        self.assertEqual(s3.objects, {})
        said = self.doctor("s3://bucket/run", "-o", f"endpoint={s3.endpoint},ro", env=self.keys)
        self.assertNotIn("store rules", said)

    def test_credentials(self):
        """None at all, and some that expire."""
        said = self.doctor("s3://bucket/run", code=3)
        self.assertEqual(said["credentials"][0], "WRONG")
        self.assertNotIn("store", said)
        s3 = self.server()
        bw.write(self.root + "/helper", "#!/bin/sh\necho '{\"Version\":1,\"AccessKeyId\":\"AKIDPROCESS12\","
                 f"\"SecretAccessKey\":\"{SECRET}\",\"Expiration\":\"'$(date -u -d +5minutes +%FT%TZ)'\"}}'\n")
        os.chmod(self.root + "/helper", 0o755)
        bw.write(self.root + "/config", f"[default]\ncredential_process = {self.root}/helper\n")
        said = self.doctor("s3://bucket/run", "--endpoint", s3.endpoint,
                           env={"AWS_CONFIG_FILE": self.root + "/config"})
        self.assertRegex(said["credentials"][1], r"^note .*key \.\.\.SS12, expire soon: 20")

    def test_sentences_are_whole(self):
        """Long names and long words of curl: whoever reads it sees the end, which says what to do."""
        deep = self.root + "/" + "long-name-of-a-folder/" * 5
        env = {"AWS_CONFIG_FILE": deep + "config", "AWS_SHARED_CREDENTIALS_FILE": deep + "credentials"}
        end = "credentials: add it or name another"
        self.assertIn(end + ";", self.doctor("s3://bucket/run", "--profile", "gone", env=env, code=3)["credentials"][1])
        done = bw.batchweave("status", "s3://bucket/run", "--profile", "gone", check=False, env={**self.env, **env})
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn(end, done.stderr)
        self.assertIn("profile 'gone' is neither in", done.stderr, "what is told of a request fits into a value of the log")
        host = "a-host-with-a-long-name." * 6 + "invalid"
        for args in (("doctor",), ("status",)):
            done = bw.batchweave(*args, "s3://bucket/run", "--endpoint", f"http://{host}", "--path-style", check=False, env={**self.env, **self.keys})
            self.assertEqual(done.returncode, 3)
            self.assertRegex(done.stdout + done.stderr, rf"[Rr]esolve host:? '?{host}\b")

    def test_stores_that_break_a_rule(self):
        """I14: the rule is named, and exit 1; who refuses everything is exit 3."""
        for rule, code, says in (("no-condition", 1, "put-if-absent"), ("stale", 1, "cannot be read at once"), ("unordered", 1, "use another store"),
                                 ("read-only", 3, "lack a permission"), ("denied", 3, "lack a permission")):
            s3 = self.server(rule)
            said = self.doctor("s3://bucket/run", "--endpoint", s3.endpoint, env=self.keys, code=code)
            check = "store" if rule == "denied" else "store rules"
            self.assertEqual(said[check][0], "WRONG", rule)
            self.assertIn(says, said[check][1], rule)
            self.assertEqual(s3.objects, {}, rule)

    def test_data_that_may_not_be_read(self):
        self.needs_root()
        folder = self.folder("store")
        url = f"file://{folder}"
        bw.batchweave("init", url, "--ranks", "1")
        bw.write(self.root + "/slice", "x")
        bw.batchweave("put", url, "p", self.root + "/slice")
        for found, _, names in os.walk(folder):
            for name in names:
                if "/data/" in found:
                    os.chmod(f"{found}/{name}", 0)
        done = subprocess.run(["setpriv", "--bounding-set=-dac_override,-dac_read_search", bw.BATCHWEAVE, "doctor", url],
                              env=self.env, capture_output=True, text=True, timeout=bw.PATIENCE, check=False)
        self.assertRegex(done.stdout, r"(?m)^WRONG +newest step .* refuses access; remedy: give this user read and write in the directory")
        self.assertEqual(done.returncode, 3)

    def test_a_store_that_is_full(self):
        disk = self.disk("1m")
        bw.batchweave("init", f"file://{disk}/s", "--ranks", "1")
        with open(f"{disk}/fill", "wb", buffering=0) as fill, self.assertRaises(OSError):
            while True:
                fill.write(bytes(4096))
        said = self.doctor(f"file://{disk}/s", code=1)
        self.assertRegex(said["store rules"][1], "No space left on device.*; remedy: free a little there")

    def test_a_store_that_refuses(self):
        """What it means and what to do, rather than "refuses access"."""
        for rule, says in (("no-bucket", r"there is no such bucket \(404 NoSuchBucket.*\); remedy: create it"),
                           ("denied", r"lack a permission \(403 AccessDenied.*\); remedy: docs/object-stores.md lists"),
                           ("says 403 InvalidAccessKeyId", "does not know this access key .*; remedy: check which key"),
                           ("says 403 SignatureDoesNotMatch", "secret key does not belong .*; remedy: check how it"),
                           ("says 403 RequestTimeTooSkewed", "the clock of this machine is wrong .*; remedy: set the clock"),
                           ("says 301 PermanentRedirect", "another region, .*; remedy: set the region and the endpoint"),
                           ("says 418 Teapot", r"the store refuses access \(418 Teapot.*\); remedy: give these credentials read")):
            said = self.doctor("s3://bucket/run", "--endpoint", self.server(rule).endpoint, env=self.keys, code=3)
            self.assertRegex(said["store"][1], "^WRONG  store  +s3://bucket/run: .*" + says)

    def test_a_store_that_is_not_there(self):
        for args, env, says in ((("--endpoint", "http://127.0.0.1:1"), {}, "nobody answers .*; remedy: check the endpoint"),
                                (("--endpoint", "http://no-such-host.invalid", "--path-style"), {}, "name of the store is not known .*; remedy: .*getent"),
                                (("--endpoint", "http://127.0.0.2:1"), {"http_proxy": "http://no-such-proxy.invalid:3128"},
                                 "name of the proxy is not known .*; remedy: correct http_proxy")):
            said = self.doctor("s3://bucket/run", *args, env={**self.keys, **env}, code=3)
            self.assertEqual(said["store"][0], "WRONG")
            self.assertRegex(said["store"][1], says)

    def test_interrupted(self):
        """Ctrl-C in the middle of the probe: it takes its objects away, and then ends with 130."""
        s3 = self.server()
        s3.delay = 0.15
        child = subprocess.Popen([bw.BATCHWEAVE, "doctor", "s3://bucket/run", "--endpoint", s3.endpoint],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**self.env, **self.keys})
        self.addCleanup(child.kill)
        bw.wait_until(lambda: s3.objects, what="an object of the probe")
        child.send_signal(signal.SIGUSR1)  # means somebody else
        bw.wait_until(lambda: re.search(r"(?m)^ShdPnd:\t0+$", bw.read(f"/proc/{child.pid}/status")), what="that it is taken")
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=bw.PATIENCE)
        self.assertEqual(child.returncode, 130, out + err)
        self.assertIn("takes away what the probe has written", err)
        self.assertEqual(s3.objects, {})


if __name__ == "__main__":
    bw.main()
