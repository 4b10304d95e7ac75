# SPDX-License-Identifier: Apache-2.0
# ctest: once s3 long
"""A bucket that is made versioned under a stream.  Ceph RGW then ignores If-None-Match: who writes must notice (I14)."""
import os

import bw
import node

SAYS = (r"^(mount\.batchweave|batchweave put): this store cannot hold a stream any more: a second put-if-absent of one name succeeds "
        r"\(is versioning enabled in the bucket\?\)\n$")


class Versioned(node.TestCase):
    def versioning(self, status):
        bucket = self.node.bucket()
        self.addCleanup(bucket.close)
        bucket.ask("PUT", query={"versioning": ""}, body=(
            f'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>{status}</Status>'
            f"</VersioningConfiguration>").encode())

    def try_mount(self, made, options):
        folder = self.folder("mnt")
        done = self.command(made.url, folder, "-o", options, program=bw.MOUNT)
        self.assertFalse(os.path.ismount(folder))
        return done

    def test_I14_who_writes_notices(self):
        made = self.s3_stream(1)
        mount = self.s3_mount(made)
        mount.put("p", 0, [b"before"])
        mount.umount()
        slice_ = os.path.join(self.folder("slices"), "0")
        bw.write(slice_, "after")
        self.versioning("Enabled")
        for done, code in ((self.try_mount(made, "wait=1"), 32), (self.command("put", made.url, "p", slice_), 1)):
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertRegex(done.stderr, SAYS)
        reader = self.s3_mount(made, "ro")
        self.assertEqual((reader.head(), reader.get(0)), (1, [b"before"]))
        self.assertEqual(self.command("ls", made.url).returncode, 0)
        self.versioning("Suspended")  # RGW then keeps the condition again
        done = self.command("put", made.url, "p", slice_)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "1\n", ""))
        self.assertEqual(self.s3_mount(made).get(1), [b"after"])


if __name__ == "__main__":
    bw.main()
