# SPDX-License-Identifier: Apache-2.0
"""Streams of many ranks, whose footers have pages."""
import json

import bw

RANKS = 200
STEPS = 6
SIZE = 20_000


class Wide(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.made = self.stream(RANKS)
        writer = self.mount(self.made)
        for step in range(STEPS):
            writer.put("p", step, [bw.payload("p", step, rank, SIZE) for rank in range(RANKS)])
        self.close_mount(writer)

    def read(self, mount, step, rank):
        self.assertEqual(bw.read(mount.step(step, rank), "rb"), bw.payload("p", step, rank, SIZE))

    def test_v5_every_rank_of_every_step(self):
        """V5: from the first rank to the last, and what ls, meta and attributes say of them."""
        mount = self.mount(self.made, "ro")
        for step in range(STEPS):
            for rank in range(RANKS) if step % 2 else reversed(range(RANKS)):
                self.read(mount, step, rank)
        self.assertEqual([r["bytes"] for r in mount.meta(STEPS - 1)["ranks"]], [SIZE] * RANKS)
        self.assertEqual(self.shell('find "$D" -size -20001c -size +19999c | wc -l', D=mount.step(0) + "/rank").stdout.strip(), str(RANKS))

    def test_one_rank_costs_its_bytes_and_a_page_a_step(self):
        """The rest of the footer, 6 KB here, stays where it is."""
        mount = self.mount(self.made, "ro")
        before = mount.metric("store_bytes_total", dir="in")
        for step in range(STEPS):
            self.read(mount, step, 150)
        fetched = mount.metric("store_bytes_total", dir="in") - before
        self.assertLess(fetched, STEPS * (SIZE + 3000))

    def test_the_commands(self):
        done = bw.batchweave("fsck", self.made.url, "--data", "--json")
        self.assertTrue(json.loads(done.stdout)["clean"], done.stdout)
        self.assertIn("its footer is whole", bw.batchweave("doctor", self.made.url, check=False).stdout)
        self.assertEqual(self.made.cat(3, RANKS - 1), bw.payload("p", 3, RANKS - 1, SIZE))


if __name__ == "__main__":
    bw.main()
