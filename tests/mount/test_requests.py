# SPDX-License-Identifier: Apache-2.0
"""What a commit asks of the store, in requests."""
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


if __name__ == "__main__":
    bw.main()
