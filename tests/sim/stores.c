/* SPDX-License-Identifier: Apache-2.0 */
/* Latencies of stores.  Requests are of one root, about 20 kB. */
#include "store/base/clock.h"
#include "tests/sim/world.h"

/*
 * s3: contended compare-and-swap on S3 Standard takes 58-68 ms, 14.7-15.3 of them succeed in a second
 *   (cdouglas.github.io/posts/2026/01/conditional); small GETs are first-byte latencies of 20-40 ms; 3,500 writes and 5,500 reads
 *   a second for a prefix (S3 user guide, "Optimizing performance").
 * express: the same measurements say 14-26 ms for a swap, 68.6-75.3 a second; AWS says single-digit
 *   milliseconds for reads.
 * rgw: measured on one RGW with one OSD: conditional PUT of 512 B 2.3 ms, GET 1.2 ms (medians).  It has
 *   no limit of its own; what one node does is put here.
 */
const struct store_model store_models[] = {
	{.name = "s3", .title = "S3 Standard", .get_ns = 25 * BW_MS, .miss_ns = 20 * BW_MS,
	 .put_ns = 60 * BW_MS, .sigma = 0.35, .bytes_per_ns = 0.08, .puts_per_s = 3500,
	 .gets_per_s = 5500},
	{.name = "express", .title = "S3 Express One Zone", .get_ns = 5 * BW_MS,
	 .miss_ns = 4 * BW_MS, .put_ns = 12 * BW_MS, .sigma = 0.35, .bytes_per_ns = 0.2,
	 .puts_per_s = 100000, .gets_per_s = 200000},
	{.name = "rgw", .title = "Ceph RGW, one node", .get_ns = 1200000, .miss_ns = 1000000,
	 .put_ns = 2300000, .sigma = 0.3, .bytes_per_ns = 0.1, .puts_per_s = 4000,
	 .gets_per_s = 8000},
};
const unsigned store_models_n = sizeof(store_models) / sizeof(*store_models);
