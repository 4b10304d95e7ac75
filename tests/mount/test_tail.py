# SPDX-License-Identifier: Apache-2.0
"""At the newest steps: commits of another mount are known and fetched before they are asked for."""
import bw

SIZE = 3 << 20  # more than two blocks


def slices(seq):
    return [bw.payload("p", seq, rank, SIZE) for rank in range(2)]


class Tail(bw.TestCase):
    @bw.file_only("a bucket tells nobody what was put into it")
    def test_v3_what_is_committed_is_in_memory_before_it_is_asked_for(self):
        """V3, V7: rank 1 of a step is read ahead as soon as another mount has committed it; no other rank is."""
        stream = self.stream(2)
        a, b = self.mount(stream), self.mount(stream)
        for seq in range(2):
            a.put("p", seq, slices(seq))
        for step in range(2):
            self.assertEqual(bw.read(b.step(step, 1), "rb"), slices(step)[1])
        for seq in range(2, 6):
            ahead, waited = b.metric("prefetched_bytes_total"), b.metric("read_bytes_total", source="store")
            a.put("p", seq, slices(seq))
            bw.wait_until(lambda n=ahead: b.metric("prefetched_bytes_total") == n + SIZE,
                          what="the slice in memory")
            got = b.metric("store_requests_total", op="get", code="ok")
            self.assertEqual(bw.read(b.step(seq, 1), "rb"), slices(seq)[1])
            self.assertEqual(b.metric("read_bytes_total", source="store"), waited)
            # It may be asked whether there is a newer version, as often as time passes; there is none.
            self.assertEqual(b.metric("store_requests_total", op="get", code="ok"), got)

    def test_v7_a_waiter_reads_what_it_waited_for(self):
        """V7: readers that are always one step early, of every rank, on another mount and on the same."""
        stream = self.stream(2)
        a, b = self.mount(stream, "wait=100"), self.mount(stream, "wait=100")

        def follow(mount, rank):
            for seq in range(8):
                self.assertEqual(bw.read(mount.step(seq, rank), "rb"), slices(seq)[rank])

        readers = [self.spawn(follow, m, r) for m in (a, b) for r in range(2)]
        for seq in range(8):
            a.put("p", seq, slices(seq))
        self.join(*readers)
        self.assertEqual(b.metric("waiters"), 0)


if __name__ == "__main__":
    bw.main()
