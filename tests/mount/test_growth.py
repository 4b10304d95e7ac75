# SPDX-License-Identifier: Apache-2.0
# ctest: once 20-s
"""What does not grow: a daemon after many opens, requests when everything is looked at again.  S6, S9.

BW_OPENS sets how many files are opened.
"""
import os
import random
import sys

import bw

OPENS = int(os.environ.get("BW_OPENS", "40000"))


class Growth(bw.TestCase):
    limit = bw.TestCase.limit + OPENS // 500

    def counts(self, mount):
        folder = f"/proc/{mount.proc.pid}"
        return {"descriptors": len(os.listdir(folder + "/fd")), "threads": len(os.listdir(folder + "/task")),
                **{n: mount.metric(n) for n in ("cache_bytes", "waiters", "staging_bytes")}}

    def open_many(self, paths, n):
        for i in range(n):
            fd = os.open(paths[i % len(paths)], os.O_RDONLY)
            if i % 10 == 0:
                os.pread(fd, 100, i % 900)
            os.close(fd)

    def test_s9_opens_leave_nothing_behind(self):
        """S9, S6: descriptors, threads, caches and resident bytes are after many opens what they are after few."""
        mount = self.mount(self.stream(), "view={step:08d}/{rank:05d}.tar", env=bw.FRUGAL)
        for seq in range(16):
            mount.put("p", seq)
        paths = [p for s in range(16) for r in range(4)
                 for p in (mount.step(s, r), mount.path(f"{s:08d}/{r:05d}.tar"))]
        random.Random(3).shuffle(paths)
        for path in paths:
            bw.read(path, "rb")

        def run(n):
            self.join(*[self.spawn(self.open_many, paths, n // 4) for _ in range(4)])
            return bw.wait_until(lambda: self.settled(mount))

        first, rss = run(1000), mount.rss()
        last = run(OPENS)
        print(f"after 1,000 and {OPENS:,} opens: {first}, {(mount.rss() - rss) >> 10} KiB more resident", file=sys.stderr)
        self.assertEqual((last["waiters"], last["staging_bytes"]), (0, 0))
        for name, slack in (("descriptors", 4), ("threads", 4), ("cache_bytes", first["cache_bytes"])):
            self.assertLessEqual(last[name], first[name] + slack, name)
        self.assertLess(mount.rss() - rss, (8 if bw.SANITIZED else 2) << 20)

    def settled(self, mount):
        """Counts once the last releases have come through."""
        one = self.counts(mount)
        return one if one == self.counts(mount) else None

    def test_s9_du_asks_for_each_step_once(self):
        """S9: du and ls -lR of a whole stream: one request a step, none when it is typed again."""
        steps = 100
        stream = self.stream(2)
        writer = self.mount(stream)
        for seq in range(steps):
            writer.put("p", seq)
        mount = self.mount(stream, "view=all/{step}_{rank}")
        size = sum(len(bw.payload("p", s, r)) for s in range(steps) for r in range(2))
        script = "du -s --apparent-size -B1 $M/all | cut -f1; du -d1 $M/step | wc -l; ls -lR $M/step | grep -c ^-"
        for most in (steps + 10, 20):
            before = mount.metric("store_requests_total")
            self.assertEqual([int(n) for n in self.shell(script, M=mount.dir).stdout.split()],
                             [size, steps + 1, 3 * steps])
            self.assertLessEqual(mount.metric("store_requests_total") - before, most)


if __name__ == "__main__":
    bw.main()
