# SPDX-License-Identifier: Apache-2.0
# ctest: rgw long waits 40-s
"""S1, S2, P4, P5, V1, V2: two producers and two trainers on four hosts, on a network that is slow, loses packets and
falls apart.  What producers were told and what trainers read is compared at the end.
"""
import hashlib
import os
import random
import sys
import time

import bw
import hosts

RANKS = 2
LAST = "z-end"  # the producer of the last step, where trainers stop


def slices(producer, seq):
    """Mostly small, some of two blocks."""
    sizes = random.Random(f"{producer} {seq}").choices((900, 40000, 1200000), (6, 5, 1), k=RANKS)
    return [bw.payload(producer, seq, rank, size) for rank, size in enumerate(sizes)]


def digest(parts):
    return hashlib.sha256(b"".join(parts)).hexdigest()


def produce(mount, name, notes, stop):
    """Batch after batch, from where the producer stands; notes what each close told."""
    with open(notes, "a", encoding="ascii", buffering=1) as told:
        os.makedirs(mount.path("produce", name), exist_ok=True)
        seq = int(mount.resume(name)["next"])
        while not os.path.exists(stop):
            try:
                mount.put(name, seq, slices(name, seq))
            except OSError as e:
                told.write(f"{seq} {bw.errno_name(e.errno)}\n")
                return
            told.write(f"{seq} ok\n")
            seq += 1
            time.sleep(0.03)


def train(mount, notes):
    """Opens step after step, which waits for it; notes what it held."""
    with open(notes, "a", encoding="ascii", buffering=1) as read:
        step = 0
        while True:
            parts = mount.get(step)
            meta = mount.meta(step)
            read.write(f"{step} {meta['producer']} {meta['seq']} {digest(parts)}\n")
            if meta["producer"] == LAST:
                return
            step += 1


class Cluster(bw.TestCase):
    limit = 280

    def setUp(self):
        super().setUp()
        self.needs_root()
        seed = int(os.environ.get("BW_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"seed {seed} (repeat with BW_SEED={seed})", file=sys.stderr, flush=True)
        self.net = hosts.Network(self, ["p1", "p2", "t1", "t2"], os.environ["AWS_ENDPOINT_URL_S3"], seed)
        self.s = self.stream(RANKS)
        self.said = self.folder("said")
        options = "commit_timeout=200,io_timeout=200"
        self.p1, self.p2 = (self.net.mount(self.s, h, options) for h in ("p1", "p2"))
        self.t1, self.t2 = (self.net.mount(self.s, h, options + ",ro,wait=250") for h in ("t1", "t2"))

    # ---- what programs note ----

    def notes(self, name):
        path = f"{self.said}/{name}"
        return [line.split() for line in bw.read(path).split("\n")[:-1]] if os.path.exists(path) else []

    def told(self, name):
        """Seqs that were acknowledged."""
        return [int(seq) for seq, what in self.notes(name) if what == "ok"]

    def start_producer(self, host, mount, name, notes):
        return self.net.spawn(host, produce, mount, name, f"{self.said}/{notes}", f"{self.said}/{notes}.stop")

    def stop_producer(self, notes):
        bw.write(f"{self.said}/{notes}.stop", "")

    def wait_for(self, n, *names):
        """Each of these has noted n more."""
        wanted = {name: len(self.notes(name)) + n for name in names}
        bw.wait_until(lambda: all(len(self.notes(name)) >= w for name, w in wanted.items()),
                      what=f"{n} more of each of {names}")

    # ---- what mounts say ----

    def store_of(self, mount):
        return mount.said()["store"]

    def explains(self, mount, waiter):
        """Who waits is in status/waiting, and why in status."""
        bw.wait_until(lambda: [x for x in mount.status("waiting").split("\n") if waiter(x)], what="the waiter")
        bw.wait_until(lambda: self.store_of(mount)["ok"] is False, what="the trouble in status.json")
        self.assertRegex(mount.status("status"), r"(?m)^store +unreachable since \d{4}-")
        self.assertRegex(self.store_of(mount)["last_error"], r"^unreachable since \d{4}-")

    def test_s1_a_cluster_on_a_bad_network(self):
        """S1, S2, P4, P5, V1, V2: every batch once, every trainer the same steps, waits explained."""
        self.net.shape(delay_s=0.005, jitter_s=0.002, loss=0.003)
        a = self.start_producer("p1", self.p1, "a", "a1")
        b = self.start_producer("p2", self.p2, "b", "b")
        trainers = [self.net.spawn(h, train, m, f"{self.said}/{h}") for h, m in (("t1", self.t1), ("t2", self.t2))]
        self.wait_for(3, "a1", "b", "t1", "t2")

        # The hosts of a producer and of a trainer are cut off; the others go on, and the producer is started again elsewhere.
        self.net.cut("p1", "t1")
        self.explains(self.p1, lambda x: "producer=a" in x and "reason=commit" in x)
        self.wait_for(3, "b", "t2")
        self.assertIsNone(a.poll())
        self.stop_producer("a1")
        a2 = self.start_producer("p2", self.p2, "a", "a2")
        self.wait_for(2, "a2", "t2")
        self.explains(self.t1, lambda x: "step=" in x and "rank=" in x and "reason=" in x)
        behind = len(self.notes("t1"))
        self.net.heal()
        self.join(a)
        # Fenced; or its last batch was committed before the cut, and only the answer was lost.
        self.assertIn(self.notes("a1")[-1][1], ("ESTALE", "ok"))
        bw.wait_until(lambda: len(self.notes("t1")) >= behind + 3, what="t1 reads on")
        bw.wait_until(lambda: self.store_of(self.p1)["ok"], what="p1 and the store")

        # Nobody reaches the store, and the network is worse after that.
        self.net.cut("store")
        for name, mount in (("a", self.p2), ("b", self.p2)):
            self.explains(mount, lambda x, n=name: f"producer={n}" in x and "reason=commit" in x)
        self.net.shape(delay_s=0.015, jitter_s=0.01, loss=0.01)
        self.net.heal()
        self.wait_for(3, "a2", "b", "t1", "t2")
        for mount in (self.p2, self.t1, self.t2):
            bw.wait_until(lambda m=mount: self.store_of(m)["ok"], what="the store")

        self.stop_producer("a2")
        self.stop_producer("b")
        self.join(a2, b)
        self.p1.put(LAST, 0, slices(LAST, 0))
        self.join(*trainers)
        self.check()

    def check(self):
        """The stream, as a mount on nobody's host sees it, against all notes."""
        mount = self.mount(self.s)
        expected = {"a": 0, "b": 0, LAST: 0}
        lines = []
        for step in range(mount.head()):
            meta = mount.meta(step)
            name, seq = meta["producer"], int(meta["seq"])
            self.assertEqual(seq, expected[name], f"step {step}")
            self.assert_step(mount, step, name, seq, slices(name, seq))
            expected[name] += 1
            lines.append([str(step), name, str(seq), digest(slices(name, seq))])
        self.assertEqual(self.told("a1") + self.told("a2"), list(range(expected["a"])))
        self.assertEqual(self.told("b"), list(range(expected["b"])))
        for trainer in ("t1", "t2"):
            self.assertEqual(self.notes(trainer), lines, trainer)
        print(f"{len(lines)} steps: {expected}", file=sys.stderr)


if __name__ == "__main__":
    bw.main()
