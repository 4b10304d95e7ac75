/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target without libFuzzer: every input of a corpus folder, then mutants of them.
 *
 *	fuzz_x CORPUS [MUTANTS [FIRST]]
 *
 * Inputs whose name begins with ok- must be accepted, those with bad- refused; others only must not
 * break anything.  Mutant number n depends on the seed (BW_SEED, 1 unless set) and on n alone, so the
 * number that is printed when a property breaks reproduces it: fuzz_x CORPUS 1 n.
 */
#include "tests/fuzz/fuzz.h"

#include "store/base/rand.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MUTANTS 20000
#define INPUTS_MAX 256
#define LEN_MAX (1u << 20)

struct input {
	char name[256];
	uint8_t *bytes;
	size_t len;
};

struct corpus {
	struct input inputs[INPUTS_MAX];
	size_t n;
};

/* Only for the message of a crash. */
static volatile unsigned long mutant_now;

static void on_crash(int signo)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "mutant %lu, signal %d\n", mutant_now, signo);

	if (write(2, text, (size_t)n) < 0)
		_exit(2);
	signal(signo, SIG_DFL);
	raise(signo);
}

static void load_file(struct corpus *c, const char *folder, const char *name)
{
	struct input *in = &c->inputs[c->n];
	char path[4096];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "rb");
	bw_fuzz_must(f && fstat(fileno(f), &st) == 0, path);
	snprintf(in->name, sizeof(in->name), "%s", name);
	in->len = (size_t)st.st_size;
	in->bytes = malloc(in->len + 1);
	bw_fuzz_must(in->bytes && fread(in->bytes, 1, in->len, f) == in->len, path);
	fclose(f);
	c->n++;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct input *)a)->name, ((const struct input *)b)->name);
}

static void load(struct corpus *c, const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *d;

	bw_fuzz_must(dir, folder);
	while ((d = readdir(dir))) {
		if (d->d_name[0] != '.' && c->n < INPUTS_MAX)
			load_file(c, folder, d->d_name);
	}
	closedir(dir);
	bw_fuzz_must(c->n > 0, "the corpus is not empty");
	qsort(c->inputs, c->n, sizeof(c->inputs[0]), by_name);
}

/* ---- Mutations: each works on bytes[0..len) with room for LEN_MAX, and returns the new length ---- */

static size_t replace(uint8_t *bytes, size_t len, size_t at, size_t gone, const void *by, size_t by_len)
{
	if (len - gone + by_len > LEN_MAX)
		return len;
	memmove(bytes + at + by_len, bytes + at + gone, len - at - gone);
	if (by_len)
		memcpy(bytes + at, by, by_len);
	return len - gone + by_len;
}

static size_t edit_integer(uint8_t *bytes, size_t len, struct bw_rng *rng)
{
	static const uint64_t values[] = {0, 1, 2, 127, 128, 255, 4096, 65535, 65536, 1u << 20, 1u << 24,
					  INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX};
	uint64_t v = values[bw_rng_below(rng, sizeof(values) / sizeof(values[0]))];
	size_t width = (size_t)1 << bw_rng_below(rng, 4), at = bw_rng_below(rng, len);

	if (bw_rng_below(rng, 2) && at + 8 <= len) {	/* or near the value that is there */
		memcpy(&v, bytes + at, 8);
		v += bw_rng_below(rng, 33) - 16;
	}
	if (width > len - at)
		width = len - at;
	memcpy(bytes + at, &v, width);
	return len;
}

static size_t edit_number(uint8_t *bytes, size_t len, struct bw_rng *rng)
{
	static const char *const texts[] = {
		"0", "1", "2", "127", "128", "-1", "01", "1.5", "1e9", "4294967296",
		"9007199254740992", "9223372036854775807", "9223372036854775808",
		"18446744073709551615", "18446744073709551616", "null", "[]", "{}", "\"\"", ""};
	size_t at = bw_rng_below(rng, len), end;

	while (at < len && (bytes[at] < '0' || bytes[at] > '9'))
		at++;
	for (end = at; end < len && bytes[end] >= '0' && bytes[end] <= '9';)
		end++;
	const char *by = texts[bw_rng_below(rng, sizeof(texts) / sizeof(texts[0]))];
	return replace(bytes, len, at, end - at, by, strlen(by));
}

/* Copies a piece of some input over or into this one. */
static size_t splice(uint8_t *bytes, size_t len, const struct input *from, struct bw_rng *rng)
{
	if (!from->len)
		return len;
	size_t start = bw_rng_below(rng, from->len), at = bw_rng_below(rng, len + 1);
	size_t n = 1 + bw_rng_below(rng, bw_rng_below(rng, 2) ? 16 : from->len - start);
	size_t gone = bw_rng_below(rng, 2) ? 0 : n;

	if (n > from->len - start)
		n = from->len - start;
	if (gone > len - at)
		gone = len - at;
	return replace(bytes, len, at, gone, from->bytes + start, n);
}

static size_t mutate(uint8_t *bytes, size_t len, const struct corpus *c, struct bw_rng *rng)
{
	if (!len)
		return splice(bytes, len, &c->inputs[bw_rng_below(rng, c->n)], rng);
	size_t at = bw_rng_below(rng, len);

	switch (bw_rng_below(rng, 8)) {
	case 0:
		bytes[at] ^= (uint8_t)(1 << bw_rng_below(rng, 8));
		return len;
	case 1:
		bytes[at] = (uint8_t)bw_rng_next(rng);
		return len;
	case 2:
		return bw_rng_below(rng, 4) ? len : at;
	case 3:
		return replace(bytes, len, at, bw_rng_below(rng, len - at + 1) % 32, NULL, 0);
	case 4:
		return edit_integer(bytes, len, rng);
	case 5:
	case 6:
		return edit_number(bytes, len, rng);
	default:
		return splice(bytes, len, &c->inputs[bw_rng_below(rng, c->n)], rng);
	}
}

static bool run_mutant(const struct corpus *c, uint64_t seed, unsigned long number, uint8_t *scratch)
{
	const struct input *in;
	struct bw_rng rng;
	size_t len;

	bw_rng_init(&rng, seed * UINT64_C(0x9e3779b97f4a7c15) + number);
	in = &c->inputs[bw_rng_below(&rng, c->n)];
	len = in->len < LEN_MAX ? in->len : LEN_MAX;
	memcpy(scratch, in->bytes, len);
	for (uint64_t n = 1 + bw_rng_below(&rng, 4); n; n--)
		len = mutate(scratch, len, c, &rng);
	if (bw_rng_below(&rng, 4))
		bw_fuzz_fix(scratch, len);
	/* In memory of its exact size, so that a sanitizer sees one byte too far. */
	uint8_t *exact = malloc(len ? len : 1);
	bw_fuzz_must(exact, "memory");
	memcpy(exact, scratch, len);
	bool accepted = bw_fuzz_one(exact, len);
	free(exact);
	return accepted;
}

int main(int argc, char **argv)
{
	struct corpus *c = calloc(1, sizeof(*c));
	uint8_t *scratch = malloc(LEN_MAX);
	const char *seed_text = getenv("BW_SEED");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : 1;
	unsigned long mutants = argc > 2 ? strtoul(argv[2], NULL, 10) : MUTANTS, accepted = 0;
	unsigned long first = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;

	bw_fuzz_must(argc > 1 && c && scratch, "usage: fuzz_x CORPUS [MUTANTS [FIRST]]");
	load(c, argv[1]);
	for (size_t i = 0; i < c->n; i++) {
		bool ok = bw_fuzz_one(c->inputs[i].bytes, c->inputs[i].len);

		bw_fuzz_must(ok || strncmp(c->inputs[i].name, "ok-", 3) != 0, c->inputs[i].name);
		bw_fuzz_must(!ok || strncmp(c->inputs[i].name, "bad-", 4) != 0, c->inputs[i].name);
	}
	signal(SIGABRT, on_crash);
	signal(SIGSEGV, on_crash);
	for (mutant_now = first; mutant_now < first + mutants; mutant_now++)
		accepted += run_mutant(c, seed, mutant_now, scratch);
	printf("seed %llu: %zu inputs, %lu mutants, %lu accepted\n", (unsigned long long)seed, c->n,
	       mutants, accepted);
	bw_fuzz_must(accepted > 0 || mutants < MUTANTS, "some mutants get past the checksums");
	for (size_t i = 0; i < c->n; i++)
		free(c->inputs[i].bytes);
	free(c);
	free(scratch);
	return 0;
}
