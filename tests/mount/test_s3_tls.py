# SPDX-License-Identifier: Apache-2.0
# ctest: once s3 long waits 140-s
"""TLS to an S3 store: who is believed, what is said to whom is not, and that nothing is ever sent in the open."""
import http.server
import os
import threading

import bw
import node
import tls

OTHER_HOST = "DNS:rgw.example"
HERE = "IP:127.0.0.1"


class Case(node.TestCase):
    def setUp(self):
        super().setUp()
        folder = self.folder("certificates")
        self.ca, self.other_ca = tls.Authority(folder, "ours"), tls.Authority(folder, "others")
        self.made = self.s3_stream(1)

    def front(self, certificate):
        front = tls.Front(certificate, self.node.endpoint)
        self.addCleanup(front.close)
        return front

    def good_front(self):
        return self.front(self.ca.certificate(HERE))

    def tls_mount(self, front, options="", env=None):
        return self.s3_mount(self.made, f"endpoint=https://127.0.0.1:{front.port},{options}", env=env)

    def refuses(self, says, front, *words, options="", env=None):
        """The mount and a command say the same sentence, at once: each has come only once, or a second time beside the
        first when that was slow.  Nothing was sent to the store."""
        endpoint = f"https://127.0.0.1:{front.port}"
        folder = self.folder("mnt")
        before = front.connections
        mount = self.command(self.made.url, folder, "-o", f"endpoint={endpoint},{options}".strip(","),
                             program=bw.MOUNT, env=env, timeout=40)
        command = self.command("status", self.made.url, "--endpoint", endpoint, *words, env=env, timeout=40)
        for done, code in ((mount, 32), (command, 3)):
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertRegex(done.stderr, says)
        self.assertFalse(os.path.ismount(folder))
        self.assertIn(front.connections - before, (2, 3, 4), "of the mount, and of the command")


class Believed(Case):
    def work(self, mount, seq):
        """A commit in one request, one in parts, and both read back from the store."""
        data = [os.urandom(100000), os.urandom(13 << 20)]
        for i in range(2):
            mount.put("p", seq + i, [data[i]])
        reader = self.s3_mount(self.made)
        for i in range(2):
            self.assertTrue(reader.get(seq + i) == [data[i]])
        return data

    def test_the_ca_that_an_option_names(self):
        front = self.good_front()
        data = self.work(self.tls_mount(front, f"ca={self.ca.file}"), 0)
        self.assertTrue([self.tls_mount(front, f"ca={self.ca.file}").get(s)[0] for s in range(2)] == data)
        self.assertGreater(front.served, 1)
        done = self.command("ls", self.made.url, "--endpoint", f"https://127.0.0.1:{front.port}", "--ca", self.ca.file)
        self.assertEqual((done.returncode, done.stderr, len(done.stdout.splitlines())), (0, "", 2))

    def test_the_ca_that_the_environment_names(self):
        front = self.good_front()
        self.work(self.tls_mount(front, env={"AWS_CA_BUNDLE": self.ca.file}), 0)
        done = self.command("status", self.made.url, "--endpoint", f"https://127.0.0.1:{front.port}",
                            env={"AWS_CA_BUNDLE": self.ca.file})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.refuses("not signed by a CA that is trusted here", front, "--ca", self.other_ca.file,
                     options=f"ca={self.other_ca.file}", env={"AWS_CA_BUNDLE": self.ca.file})

    def test_no_verify_tls_warns(self):
        """Any certificate, of any CA and for any host; the log has a line that says so, and only then."""
        front = self.front(self.other_ca.certificate(OTHER_HOST))
        mount = self.tls_mount(front, "no_verify_tls")
        self.work(mount, 0)
        self.assertRegex(mount.log(), r"(?m) warn tls_not_verified host=127\.0\.0\.1:\d+ why=")
        self.assertGreater(front.served, 0)
        verified = self.tls_mount(self.good_front(), f"ca={self.ca.file}")
        self.assertNotIn("tls_not_verified", verified.log())
        in_the_open = self.s3_mount(self.made, "no_verify_tls")
        self.assertNotIn("tls_not_verified", in_the_open.log())

    def test_connections_that_are_cut(self):
        """S3: every TLS connection ends while batches are committed and read: each is there once."""
        front = self.good_front()
        mount = self.tls_mount(front, f"ca={self.ca.file},prefetch=0")
        data = [os.urandom(200000) for _ in range(30)]
        for seq, slice_ in enumerate(data):
            if seq % 3 == 0:
                threading.Timer(0.005 * (seq % 4), front.cut).start()
            mount.put("p", seq, [slice_])
        reader = self.tls_mount(front, f"ca={self.ca.file},prefetch=0")
        for seq, slice_ in enumerate(data):
            if seq % 3 == 0:
                threading.Timer(0.005 * (seq % 4), front.cut).start()
            self.assertTrue(reader.get(seq) == [slice_])
        self.assertEqual((reader.head(), mount.status("errors")), (len(data), ""))

    def test_a_certificate_that_is_renewed_under_a_mount(self):
        """Once the store was believed, a certificate of somebody else is a store that is away, which may come back: EIO
        when io_timeout has passed, and trouble in status; the right one again, all is well."""
        front = self.good_front()
        mount = self.tls_mount(front, f"ca={self.ca.file},io_timeout=5,prefetch=0")
        mount.put("p", 0, [b"x"])
        good, bad = front.context, self.front(self.other_ca.certificate(HERE)).context
        front.context = bad
        front.cut()
        self.assert_errno("EIO", os.stat, mount.step(1))
        self.assertIs(self.store_of(mount)["ok"], False)
        front.context = good
        self.assert_errno("ENOENT", os.stat, mount.step(1))
        mount.put("p", 1, [b"y"])
        self.assertIs(self.store_of(mount)["ok"], True)


class NotBelieved(Case):
    def test_another_ca(self):
        front = self.front(self.other_ca.certificate(HERE))
        for option in (self.ca.file, None):  # None: those of the system
            with self.subTest(option):
                self.refuses(r"not signed by a CA that is trusted here \(.*\): name the file of its CA with --ca FILE, -o ca=FILE", front,
                             *(["--ca", option] if option else []), options=f"ca={option}" if option else "")
        self.assertEqual(front.served, 0, "something was sent to somebody who was not verified")

    def test_another_host(self):
        front = self.front(self.ca.certificate(OTHER_HOST))
        self.refuses("the certificate is for another host", front, "--ca", self.ca.file, options=f"ca={self.ca.file}")

    def test_a_certificate_that_has_expired(self):
        front = self.good_front()
        late = self.command("status", self.made.url, "--endpoint", f"https://127.0.0.1:{front.port}", "--ca", self.ca.file)
        self.assertEqual(late.returncode, 0, late.stderr)
        stem = self.ca.stem + "-1"
        self.ca.openssl("x509", "-req", "-in", stem + ".csr", "-CA", self.ca.file, "-CAkey", self.ca.stem + ".key", "-days",
                        "-1", "-set_serial", "77", "-extfile", stem + ".ext", "-out", stem + ".old.pem")
        old = self.front((stem + ".old.pem", stem + ".key"))
        self.refuses("the certificate of the store has expired", old, "--ca", self.ca.file, options=f"ca={self.ca.file}")

    def test_a_ca_file_that_is_none(self):
        junk = os.path.join(self.folder("junk"), "ca.pem")
        bw.write(junk, "no certificate\n")
        front = self.good_front()
        done = self.command("status", self.made.url, "--endpoint", f"https://127.0.0.1:{front.port}", "--ca", junk, timeout=40)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"^[^\n]*the CA file[^\n]*\n$")
        self.assertEqual(front.served, 0)


class NeverInTheOpen(Case):
    def test_an_endpoint_without_tls(self):
        """https:// to a port that speaks HTTP: nothing but the beginning of TLS is sent there."""
        front = self.front(None)
        self.refuses("does not speak TLS", front, "--ca", self.ca.file, options=f"ca={self.ca.file}")
        self.assertTrue(front.first)
        for first in front.first:
            self.assertEqual(first[:1], b"\x16", first[:40])
            self.assertNotIn(b"Authorization", first)

    def test_a_redirect_out_of_tls(self):
        """307 and 301 to http:// are not followed."""
        outside = self.front(None)

        class Redirect(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            status = 307

            def do_GET(self):
                self.send_response(self.status)
                self.send_header("Location", f"http://127.0.0.1:{outside.port}{self.path}")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        front = tls.Front(self.ca.certificate(HERE), f"http://127.0.0.1:{server.server_port}")
        self.addCleanup(front.close)
        for Redirect.status in (307, 301):
            done = self.command("status", self.made.url, "--endpoint", f"https://127.0.0.1:{front.port}", "--ca", self.ca.file,
                                timeout=40)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertGreater(front.served, 0)
        self.assertEqual(outside.connections, 0)


if __name__ == "__main__":
    bw.main()
