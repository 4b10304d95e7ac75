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

    def put_changed(self, producer, options="", size=200000):
        """One byte of the batch's object, or of a part of it, is another when it comes to the store."""
        writer = self.s3_mount(self.made, f"endpoint={self.proxy.endpoint},{options}".strip(","))
        self.proxy.next("flip_put", "PUT", "/data/")
        data = [os.urandom(size)]
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
        self.put_changed("q", "unsigned_payload", 13 << 20)
        for step in range(2):
            self.assert_errno("EIO", self.reader.get, step)
        self.assertEqual(self.fsck().returncode, 1)
        data = [os.urandom(13 << 20)]
        self.s3_mount(self.made, "unsigned_payload").put("r", 0, data)
        self.assertTrue(self.reader.get(2) == data)

    def test_doctor_mentions_it(self):
        said = [self.command("doctor", self.made.url, *words).stdout for words in ((), ("--unsigned-payload",))]
        self.assertNotIn("unsigned_payload", said[0])
        self.assertIn("large bodies are not signed (unsigned_payload)", said[1])


if __name__ == "__main__":
    bw.main()
