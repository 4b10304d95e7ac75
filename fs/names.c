/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/names.h"

#include "store/base/parse.h"

#include <string.h>

int bw_decimal_parse(const char *text, uint64_t *ret)
{
	return bw_parse_u64(text, BW_COUNTER_MAX - 1, ret);
}

/* Extensions that writers of slices add by themselves (np.save appends .npy). */
static bool known_extension(const char *ext)
{
	static const char *const known[] = {"npy",   "npz",	"pt",	   "bin",  "tar",   "safetensors",
					    "arrow", "parquet", "msgpack", "json", "jsonl", "txt"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(ext, known[i]) == 0)
			return true;
	return false;
}

int bw_rank_name_parse(const char *name, uint32_t ranks, uint32_t *ret)
{
	const char *digits = name + (*name == '-' || *name == '+');
	size_t n = strspn(digits, "0123456789");
	char number[24];
	uint64_t rank;

	if (!n || (digits[n] && (digits[n] != '.' || !known_extension(digits + n + 1))))
		return -ENOENT;
	if (digits != name || n >= sizeof(number))
		return -EINVAL;
	memcpy(number, digits, n);
	number[n] = 0;
	if (bw_decimal_parse(number, &rank) || rank >= ranks)
		return -EINVAL;
	*ret = (uint32_t)rank;
	return 0;
}

#define WHAT_BITS 18
#define STEP_AREA (UINT64_C(1) << 63)

uint64_t bw_step_ino(uint64_t step, enum bw_step_what what, uint32_t rank)
{
	return STEP_AREA | step << WHAT_BITS | (what == BW_STEP_SLICE ? BW_STEP_SLICE + rank : what);
}

bool bw_is_step_ino(uint64_t ino)
{
	return ino & STEP_AREA;
}

void bw_step_ino_split(uint64_t ino, uint64_t *step, enum bw_step_what *what, uint32_t *rank)
{
	uint32_t low = ino & ((1u << WHAT_BITS) - 1);

	*step = (ino & ~STEP_AREA) >> WHAT_BITS;
	*what = low >= BW_STEP_SLICE ? BW_STEP_SLICE : (enum bw_step_what)low;
	*rank = low >= BW_STEP_SLICE ? low - BW_STEP_SLICE : 0;
}

#define JOB_AREA (UINT64_C(1) << 62)
#define MARKER_BITS 46

uint64_t bw_job_ino(uint32_t job)
{
	return JOB_AREA | (uint64_t)job << MARKER_BITS;
}

uint64_t bw_marker_ino(uint32_t job, uint64_t step)
{
	return bw_job_ino(job) | (step + 1);
}

bool bw_is_job_ino(uint64_t ino)
{
	return (ino & (STEP_AREA | JOB_AREA)) == JOB_AREA;
}

bool bw_job_ino_split(uint64_t ino, uint32_t *ret_job, uint64_t *ret_step)
{
	uint64_t low = ino & ((UINT64_C(1) << MARKER_BITS) - 1);

	*ret_job = (uint32_t)((ino & ~JOB_AREA) >> MARKER_BITS);
	if (low)
		*ret_step = low - 1;
	return low != 0;
}
