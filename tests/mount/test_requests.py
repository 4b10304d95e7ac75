# SPDX-License-Identifier: Apache-2.0
"""What a commit asks of the store, and what a look at it does, in requests and bytes."""
import sys

import bw

COMMITS = 130  # past a hint and past the first leaf of the index


class Requests(bw.TestCase):
    def counts(self, mount):
        found = {}
        for line in bw.read(mount.path("status", "metrics")).splitlines():
            if line.startswith("batchweave_store_requests_total{"):
                name, value = line.rsplit(" ", 1)
                found[name] = float(value)
        return found

    def test_a_commit_costs_two_requests_beyond_its_data_at_most(self):
        """P1, I12: alone on a stream: one put of data, one of the root; now and then a hint and an index node."""
        mount = self.mount(self.stream(2))
        mount.put("p", 0, [b"a", b"b"])  # takes the producer
        before = self.counts(mount)
        for seq in range(1, COMMITS + 1):
            mount.put("p", seq, [b"a", b"b"])
        after = self.counts(mount)
        spent = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
        print(f"{COMMITS} commits: {spent}", file=sys.stderr)
        beyond = sum(spent.values()) - COMMITS
        self.assertGreaterEqual(beyond, COMMITS)
        self.assertLessEqual(beyond, 2 * COMMITS)

    def test_a_listing_costs_no_slices_and_a_first_read_four_gets(self):
        """Blocks are asked for along with a footer (fs/guess.h), but not of names that are only listed."""
        ranks, size, steps = 3, 300_000, 6
        stream = self.stream(ranks)
        writer = self.mount(stream)
        for seq in range(steps):
            writer.put("p", seq, [bw.payload("p", seq, rank, size) for rank in range(ranks)])
        self.close_mount(writer)
        lister = self.mount(stream, "ro")
        self.shell('ls -l "$M"/step/[01]/rank > /dev/null && find "$M"/step/[2-5]/rank -size +1k > /dev/null', M=lister.dir)
        self.assertLess(lister.metric("store_bytes_total", dir="in"), size)
        reader = self.mount(stream, "ro")
        before = self.counts(reader)
        self.assertEqual(bw.read(reader.step(2, 1), "rb"), bw.payload("p", 2, 1, size))
        after = self.counts(reader)
        gets = {name: after[name] - before.get(name, 0) for name in after if 'op="get"' in name and 'code="ok"' in name}
        self.assertLessEqual(sum(gets.values()), 4)
        self.assertLess(reader.metric("store_bytes_total", dir="in"), size * 1.1)

    def test_a_new_step_costs_its_root_and_the_slice(self):
        """V3: where the slices lie is told along with the news (manifest/root_footers.h)."""
        size, steps = 300_000, 10
        stream = self.stream(3)
        writer, reader = self.mount(stream), self.mount(stream, "ro,wait=60")

        def follow(first, n):
            for seq in range(first, first + n):
                writer.put("p", seq, [bw.payload("p", seq, rank, size) for rank in range(3)])
                self.assertEqual(bw.read(reader.step(seq, 1), "rb"), bw.payload("p", seq, 1, size))

        follow(0, 2)  # the first one tells the mount that it is read
        before = reader.metric("store_requests_total", op="get", code="ok")
        follow(2, steps)
        spent = reader.metric("store_requests_total", op="get", code="ok") - before
        self.assertGreaterEqual(spent, 2 * steps)
        self.assertLess(spent, 3 * steps)  # who asks just while the news come may fetch a footer


if __name__ == "__main__":
    bw.main()
