# SPDX-License-Identifier: Apache-2.0
# ctest: once s3
"""Bytes that are changed on their way into a store over http://: who sees it, with and without unsigned_payload."""
import os

import bw
import node
import proxy


class Changed(node.TestCase):
    def setUp(self):
        super().setUp()
        self.made = self.s3_stream(1)
        self.proxy = proxy.Proxy(self.node.endpoint)
        self.addCleanup(self.proxy.close)
        self.reader = self.s3_mount(self.made)

    def put_changed(self, producer, options=""):
        """One byte of the batch's object is another when it comes to the store."""
        writer = self.s3_mount(self.made, f"endpoint={self.proxy.endpoint},{options}".strip(","))
        self.proxy.next("flip_put", "PUT", "/data/")
        data = [os.urandom(200000)]
        writer.put(producer, 0, data)
        self.assertEqual(self.proxy.unused, [])
        return data

    def fsck(self):
        return self.command("fsck", self.made.url, "--data")

    def test_the_store_refuses_what_is_signed(self):
        data = self.put_changed("p")
        self.assertTrue(self.reader.get(0) == data)
        self.assertEqual(self.fsck().returncode, 0)

    def test_readers_see_it_where_it_is_not(self):
        """V5: never wrong bytes; and what is whole is as ever."""
        self.put_changed("p", "unsigned_payload")
        self.assert_errno("EIO", self.reader.get, 0)
        self.assertEqual(self.fsck().returncode, 1)
        writer = self.s3_mount(self.made, "unsigned_payload")
        data = [os.urandom(13 << 20)]
        writer.put("q", 0, data)
        self.assertTrue(self.reader.get(1) == data)

    def test_doctor_mentions_it(self):
        said = [self.command("doctor", self.made.url, *words).stdout for words in ((), ("--unsigned-payload",))]
        self.assertNotIn("unsigned_payload", said[0])
        self.assertIn("large bodies are not signed (unsigned_payload)", said[1])


if __name__ == "__main__":
    bw.main()
