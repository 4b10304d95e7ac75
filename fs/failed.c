/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/failed.h"

#define REMEMBERED_NS (200 * BW_MS)	/* the kernel asks again at once; whoever comes later is another */
#define HURRY_NS (2 * BW_SEC)

void bw_failed_note(struct bw_failed *f, const struct bw_fetch *fetch, int err, int64_t now)
{
	unsigned at = f->next % BW_FAILED_MOST;

	if (fetch->patience_ns || (err != -BW_E_UNREACHABLE && err != -BW_E_CORRUPT))
		return;
	f->ring[at].step = fetch->entry.step;
	f->ring[at].number = fetch->number;
	f->ring[at].err = err;
	f->ring[at].until_ns = now + REMEMBERED_NS;
	f->next++;
}

void bw_failed_hurry(const struct bw_failed *f, struct bw_fetch *fetch, int64_t now)
{
	for (unsigned i = 0; i < BW_FAILED_MOST; i++) {
		if (now >= f->ring[i].until_ns || f->ring[i].step != fetch->entry.step ||
		    f->ring[i].number != fetch->number)
			continue;
		fetch->patience_ns = HURRY_NS;
		if (f->ring[i].err == -BW_E_CORRUPT)
			fetch->again = BW_FETCH_AGAIN - 1;
		return;
	}
}
