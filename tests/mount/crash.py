# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a daemon at seeded moments under load: what must be true afterwards.

Producers are processes that do what a real one does: read resume, continue from the state they find,
note on a side channel what a close (or, with pending=, an fsync) has acknowledged.  After each kill
the mount is made again and they go on.  At the end the stream must hold every producer's batches, in
order, each once, whole, and every acknowledged one (S2, P4, P6, P8).
"""
import base64
import errno
import os
import random
import sys
import time

import bw

RANKS = 3


def slices(producer, seq):
    """Of uneven sizes, some above a block."""
    sizes = random.Random(f"{producer} {seq}").choices((1, 700, 40000, 1300000), (2, 6, 6, 1), k=RANKS)
    return [bw.payload(producer, seq, rank, size) for rank, size in enumerate(sizes)]


def state_after(producer, seq):
    """The cursor a producer commits with batch seq."""
    return f"{producer} continues at {seq + 1}".encode()


class Producer:
    """One producer; run() is called in a child of its own for each incarnation."""

    def __init__(self, case, name, folder):
        self.case, self.name = case, name
        self.acked = os.path.join(folder, name + ".acked")
        bw.write(self.acked, "0")

    def acknowledged(self):
        return int(bw.read(self.acked))

    def ack(self, count):
        bw.write(self.acked + ".new", str(count))
        os.rename(self.acked + ".new", self.acked)

    def check_resume(self, mount):
        """next and state are of one batch, and nothing acknowledged is missing."""
        resume = mount.resume(self.name)
        seq, state = int(resume["next"]), base64.b64decode(resume["state"] or "")
        self.case.assertEqual(state, state_after(self.name, seq - 1) if seq else b"")
        self.case.assertGreaterEqual(seq, self.acknowledged(), "an acknowledged batch is lost")
        return seq

    def run(self, mount, pending):
        """Produces until the daemon is gone."""
        try:
            os.makedirs(mount.path("produce", self.name), exist_ok=True)
            seq = self.check_resume(mount)
            while True:
                mount.put(self.name, seq, slices(self.name, seq), state_after(self.name, seq))
                seq += 1
                if not pending:
                    self.ack(seq)
                elif seq % 5 == 0:
                    mount.drain(self.name)
                    self.ack(seq)
        except OSError as e:
            # EIO is what the kernel answers when the daemon dies while it takes a request over, EEXIST what
            # makedirs says when it dies before the directory that is there has been looked at.
            if bw.errno_name(e.errno) not in ("ENOTCONN", "ECONNABORTED", "ENODEV") and \
                    not (e.errno in (errno.EIO, errno.EEXIST) and bw.is_dead(mount)):
                raise


class CrashCase(bw.TestCase):
    limit = 400

    def kill_often(self, moments):
        seed = int(os.environ.get("BW_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"seed {seed} (repeat with BW_SEED={seed})", file=sys.stderr, flush=True)
        rng = random.Random(seed)
        stream = self.stream(RANKS)
        folder = self.folder("acked")
        producers = [Producer(self, f"p{i}", folder) for i in range(2)]
        mount = self.mount(stream)
        for moment in range(moments):
            pending = rng.choice((0, 0, 4))
            mount.options = f"pending={pending}"
            if moment:
                mount.restart()
            children = [self.spawn(p.run, mount, pending) for p in producers]
            self.wait_for_progress(rng, producers, children)
            mount.proc.kill()
            mount.proc.wait(bw.PATIENCE)
            codes = [c.wait() for c in children]
            mount.kill()
            self.assertEqual(codes, [0] * len(codes), f"moment {moment} of seed {seed}")
        # A daemon that answered EIO of itself, and was killed afterwards, has said so.
        self.assertNotIn(" error ", mount.log())
        mount.options = ""
        mount.restart()
        self.check_stream(mount, producers)
        self.go_on(mount, producers)

    @staticmethod
    def wait_for_progress(rng, producers, children):
        """
        Returns at a moment that is drawn: so many batches have been acknowledged, and a little later.  Counted,
        not timed, so that a busy machine kills where an idle one does; 0 is while the producers begin.
        """
        wanted = sum(p.acknowledged() for p in producers) + rng.randrange(12)
        bw.wait_until(lambda: sum(p.acknowledged() for p in producers) >= wanted or
                      any(c.poll() is not None for c in children), what="acknowledged batches")
        time.sleep(rng.uniform(0, 0.1))

    def check_stream(self, mount, producers):
        """The stream equals the intended batches, each once."""
        head = mount.head()
        self.assertEqual(os.listdir(mount.path("step")), [str(s) for s in range(head)])
        seen = {p.name: 0 for p in producers}
        for step in range(head):
            meta = mount.meta(step)
            name, seq = meta["producer"], int(meta["seq"])
            self.assertEqual(seq, seen[name], f"step {step}")
            self.assert_step(mount, step, name, seq, slices(name, seq))
            seen[name] += 1
        for producer in producers:
            self.assertEqual(producer.check_resume(mount), seen[producer.name])
        print(f"{head} steps committed: {seen}", file=sys.stderr)
        self.assertGreater(head, 0, "the load never committed anything: the test proved nothing")

    def go_on(self, mount, producers):
        """After all of that each producer can continue."""
        for producer in producers:
            seq = producer.check_resume(mount)
            mount.put(producer.name, seq, slices(producer.name, seq), state_after(producer.name, seq))
            self.assertEqual(producer.check_resume(mount), seq + 1)
