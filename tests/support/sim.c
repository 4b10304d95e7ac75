/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/sim.h"

#include "store/base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "sim: %s\n", what);
	abort();
}

uint64_t bw_sim_roll(struct bw_sim *sim, uint64_t n)
{
	return bw_rng_below(&sim->rng, n);
}

bool bw_sim_chance(struct bw_sim *sim, double p)
{
	return bw_rng_unit(&sim->rng) < p;
}

/* ---- Events: a heap by time, then by order of making ------------------------------------------- */

static bool before(const struct bw_sim_event *a, const struct bw_sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct bw_sim *sim, struct bw_sim_op *op, int what, uint64_t at)
{
	if (sim->events_n == sim->events_cap) {
		sim->events_cap = sim->events_cap ? 2 * sim->events_cap : 64;
		sim->events = realloc(sim->events, sim->events_cap * sizeof(*sim->events));
		must(sim->events, "memory");
	}
	size_t i = sim->events_n++;
	struct bw_sim_event e = {.at = at, .order = sim->order++, .what = what, .op = op};

	op->refs++;
	for (; i && before(&e, &sim->events[(i - 1) / 2]); i = (i - 1) / 2)
		sim->events[i] = sim->events[(i - 1) / 2];
	sim->events[i] = e;
}

static struct bw_sim_event pop(struct bw_sim *sim)
{
	struct bw_sim_event top = sim->events[0], last = sim->events[--sim->events_n];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= sim->events_n)
			break;
		if (child + 1 < sim->events_n &&
		    before(&sim->events[child + 1], &sim->events[child]))
			child++;
		if (!before(&sim->events[child], &last))
			break;
		sim->events[i] = sim->events[child];
		i = child;
	}
	sim->events[i] = last;
	return top;
}

static void op_unref(struct bw_sim_op *op)
{
	if (--op->refs)
		return;
	bw_blob_unref(op->bytes);
	bw_blob_unref(op->blob);
	bw_root_unref(op->root);
	bw_listing_free(op->listing);
	for (size_t i = 0; i < op->keys_n; i++)
		free(op->keys[i]);
	free(op->keys);
	free(op);
}

/* ---- The store --------------------------------------------------------------------------------- */

void bw_sim_init(struct bw_sim *sim, const struct bw_stream *stream, uint64_t seed)
{
	*sim = (struct bw_sim){.stream = stream};
	bw_rng_init(&sim->rng, seed);
	bw_key_root(stream, 1, sim->root_prefix);
	sim->root_prefix_len = (size_t)(strrchr(sim->root_prefix, '/') + 1 - sim->root_prefix);
}

void bw_sim_done(struct bw_sim *sim)
{
	if (sim->current)
		op_unref(sim->current);
	while (sim->events_n)
		op_unref(pop(sim).op);
	for (size_t i = 0; i < sim->objects_n; i++) {
		free(sim->objects[i].key);
		bw_blob_unref(sim->objects[i].blob);
	}
	for (uint64_t v = 1; v <= sim->newest; v++) {
		bw_root_unref(sim->roots[v]);
		bw_blob_unref(sim->slots[v]);
	}
	free(sim->objects);
	free(sim->events);
	free(sim->roots);
	free(sim->slots);
	free(sim->made);
	free(sim->created_at);
}

int64_t bw_sim_wall_ms(uint64_t at)
{
	return 1700000000000 + (int64_t)at;
}

static struct bw_sim_object *object_find(const struct bw_sim *sim, const char *key)
{
	uint64_t hash = bw_xxh3(key, strlen(key));

	for (size_t i = sim->objects_n; i-- > 0;)
		if (sim->objects[i].hash == hash && !strcmp(sim->objects[i].key, key))
			return &sim->objects[i];
	return NULL;
}

bool bw_sim_has(const struct bw_sim *sim, const char *key)
{
	return object_find(sim, key) != NULL;
}

void bw_sim_put_node(struct bw_sim *sim, const char *key, const void *bytes, size_t len)
{
	sim->objects = realloc(sim->objects, (sim->objects_n + 1) * sizeof(*sim->objects));
	must(sim->objects, "memory");
	sim->objects[sim->objects_n].hash = bw_xxh3(key, strlen(key));
	sim->objects[sim->objects_n].key = strdup(key);
	sim->objects[sim->objects_n].made = sim->now;
	sim->objects[sim->objects_n++].blob = bw_blob_copy(bytes, len);
}

/* The version a key names, or 0. */
static uint64_t version_of(const struct bw_sim *sim, const char *key)
{
	size_t at = sim->root_prefix_len;
	uint64_t version = 0;

	if (strncmp(sim->root_prefix, key, at) != 0)
		return 0;
	for (const char *p = key + at; *p; p++)
		version = version * 10 + (uint64_t)(*p - '0');
	return version;
}

static void create(struct bw_sim *sim, uint64_t version, struct bw_blob *blob)
{
	bool tombstone = false;
	struct bw_root *root;

	must(version == sim->newest + 1, "I2: a version was created out of order");
	sim->roots = realloc(sim->roots, (version + 1) * sizeof(*sim->roots));
	sim->slots = realloc(sim->slots, (version + 1) * sizeof(*sim->slots));
	sim->made = realloc(sim->made, (version + 1) * sizeof(*sim->made));
	sim->created_at = realloc(sim->created_at, (version + 1) * sizeof(*sim->created_at));
	must(sim->roots && sim->slots && sim->made && sim->created_at, "memory");
	must(!bw_root_decode(sim->stream, version, blob->bytes, blob->len, &root, &tombstone),
	     "an unreadable root was put");
	sim->roots[version] = root;
	sim->slots[version] = bw_blob_ref(blob);
	sim->made[version] = sim->created_at[version] = sim->now;
	sim->newest = version;
	if (sim->created)
		sim->created(sim, root);
}

void bw_sim_put_root(struct bw_sim *sim, const struct bw_root *r)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	bw_auto_buf struct bw_buf bytes = {.max = 0};

	bw_buf_init(&bytes, BW_ROOT_RAW_MAX);
	must(!bw_root_encode(r, &bytes), "encode");
	blob = bw_blob_copy(bytes.bytes, bytes.len);
	create(sim, r->version, blob);
}

void bw_sim_bury(struct bw_sim *sim, uint64_t version)
{
	bw_auto_buf struct bw_buf bytes = {.max = 0};

	bw_buf_init(&bytes, 1024);
	must(!bw_tombstone_encode(version, &bytes), "tombstone");
	bw_blob_unref(sim->slots[version]);
	sim->slots[version] = bw_blob_copy(bytes.bytes, bytes.len);
	sim->made[version] = sim->now;
}

void bw_sim_delete(struct bw_sim *sim, uint64_t version)
{
	bw_blob_unref(sim->slots[version]);
	sim->slots[version] = NULL;
}

static bool may(const struct bw_sim *sim, unsigned kinds)
{
	return !sim->kinds || (sim->kinds & kinds);
}

/* ---- Effects ----------------------------------------------------------------------------------- */

static enum bw_outcome effect_put_over(struct bw_sim *sim, struct bw_sim_op *op)
{
	uint64_t version = version_of(sim, op->key);
	struct bw_sim_object *there = object_find(sim, op->key);

	if (version) {
		must(version <= sim->newest && sim->slots[version], "a root is overwritten that is not there");
		if (sim->burying)
			sim->burying(sim, version);
		bw_blob_unref(sim->slots[version]);
		sim->slots[version] = bw_blob_ref(op->bytes);
		sim->made[version] = sim->now;
	} else if (there) {
		bw_blob_unref(there->blob);
		there->blob = bw_blob_ref(op->bytes);
		there->made = sim->now;
	} else {
		bw_sim_put_node(sim, op->key, op->bytes->bytes, op->bytes->len);
	}
	return BW_OK;
}

static enum bw_outcome effect_put(struct bw_sim *sim, struct bw_sim_op *op)
{
	uint64_t version = version_of(sim, op->key);

	if (op->over)
		return effect_put_over(sim, op);
	if (version && version <= sim->newest && !sim->slots[version]) {
		must(sim->recreated, "a version was put for the second time");
		sim->slots[version] = bw_blob_ref(op->bytes);
		sim->recreated(sim, version);
		return BW_OK;
	}
	if (version ? version <= sim->newest : bw_sim_has(sim, op->key))
		return BW_EXISTS;
	if (version)
		create(sim, version, op->bytes);
	else
		bw_sim_put_node(sim, op->key, op->bytes->bytes, op->bytes->len);
	return BW_OK;
}

static enum bw_outcome effect_get(struct bw_sim *sim, struct bw_sim_op *op)
{
	uint64_t version = version_of(sim, op->key);
	const struct bw_sim_object *object = version ? NULL : object_find(sim, op->key);

	if (version ? version > sim->newest || !sim->slots[version] : !object)
		return BW_NOT_FOUND;
	struct bw_blob *there = version ? sim->slots[version] : object->blob;

	op->modified_ms = bw_sim_wall_ms(version ? sim->made[version] : object->made);
	bw_blob_unref(op->blob);
	if (may(sim, BW_SIM_FLIPPED) && bw_sim_chance(sim, sim->faults / 4)) {
		op->blob = bw_blob_copy(there->bytes, there->len);
		if (bw_sim_chance(sim, 0.3))
			op->blob->len = bw_sim_roll(sim, there->len);
		else
			op->blob->bytes[bw_sim_roll(sim, there->len)] ^=
				(uint8_t)(1 << bw_sim_roll(sim, 8));
	} else {
		op->blob = bw_blob_ref(there);
	}
	return BW_OK;
}

static int by_key(const void *a, const void *b)
{
	const struct bw_listed *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static void list_one(struct bw_listing *l, const struct bw_sim_op *op, const char *key, const struct bw_blob *blob,
		     uint64_t made)
{
	if (strncmp(key, op->key, strlen(op->key)) != 0 || strcmp(key, op->after) <= 0)
		return;
	l->items = realloc(l->items, (l->n + 1) * sizeof(*l->items));
	must(l->items, "memory");
	l->items[l->n++] = (struct bw_listed){.key = strdup(key), .size = blob->len, .modified_ms = bw_sim_wall_ms(made)};
}

static enum bw_outcome effect_list(struct bw_sim *sim, struct bw_sim_op *op)
{
	struct bw_listing *l = calloc(1, sizeof(*l));
	char key[BW_KEY_MAX + 1];

	must(l, "memory");
	for (size_t i = 0; i < sim->objects_n; i++)
		list_one(l, op, sim->objects[i].key, sim->objects[i].blob, sim->objects[i].made);
	for (uint64_t v = 1; v <= sim->newest; v++) {
		bw_key_root(sim->stream, v, key);
		if (sim->slots[v])
			list_one(l, op, key, sim->slots[v], sim->made[v]);
	}
	if (l->n)
		qsort(l->items, l->n, sizeof(*l->items), by_key);
	l->more = l->n > op->max;
	while (l->n > op->max)
		free(l->items[--l->n].key);
	bw_listing_free(op->listing);
	op->listing = l;
	return BW_OK;
}

static void delete_one(struct bw_sim *sim, const char *key)
{
	struct bw_sim_object *o = object_find(sim, key);

	must(!version_of(sim, key), "a root is deleted");
	if (!o)
		return;
	if (sim->deleting)
		sim->deleting(sim, o);
	free(o->key);
	bw_blob_unref(o->blob);
	memmove(o, o + 1, (size_t)(sim->objects + --sim->objects_n - o) * sizeof(*o));
}

/* One by one and in any number, if the request is cut short. */
static enum bw_outcome effect_delete(struct bw_sim *sim, struct bw_sim_op *op)
{
	size_t n = op->fixed ? bw_sim_roll(sim, op->keys_n + 1) : op->keys_n;

	for (size_t i = 0; i < n; i++)
		delete_one(sim, op->keys[i]);
	return BW_OK;
}

/* Finds as a reader with the newest root does; index nodes are taken as read. */
static enum bw_outcome effect_find(struct bw_sim *sim, struct bw_sim_op *op)
{
	const struct bw_root *newest = sim->roots[sim->newest];

	if (op->step < newest->first || op->step >= newest->head)
		return BW_NOT_FOUND;
	for (uint64_t v = sim->newest; v > 0; v--) {
		const struct bw_entry *e = bw_root_tail_entry(sim->roots[v], op->step);

		if (e) {
			op->entry = *e;
			return BW_OK;
		}
	}
	return BW_NOT_FOUND;
}

static void effect(struct bw_sim *sim, struct bw_sim_op *op)
{
	enum bw_outcome outcome = BW_OK;

	if (op->kind == BW_SIM_PUT)
		outcome = effect_put(sim, op);
	else if (op->kind == BW_SIM_GET)
		outcome = effect_get(sim, op);
	else if (op->kind == BW_SIM_FIND)
		outcome = effect_find(sim, op);
	else if (op->kind == BW_SIM_LIST)
		outcome = effect_list(sim, op);
	else if (op->kind == BW_SIM_DELETE)
		outcome = effect_delete(sim, op);
	else if (op->kind == BW_SIM_NEWEST && !op->root)
		op->root = bw_root_ref(sim->roots[sim->newest]);
	/* Servers that say 409 for a lost race: our stores take it as "unknown". */
	if (outcome == BW_EXISTS && may(sim, BW_SIM_CONFLICT) && bw_sim_chance(sim, sim->faults / 4))
		outcome = BW_UNKNOWN;
	if (!op->fixed)
		op->outcome = outcome;
}

static void trace(struct bw_sim *sim, const struct bw_sim_event *e)
{
	static const char *const kinds[] = {"put", "get", "newest", "find", "wake", "list", "delete"};
	const struct bw_sim_op *op = e->op;
	const char *key = strchr(op->key, '/') ? strchr(op->key, '/') + 1 : "";

	if (sim->trace && (op->kind != BW_SIM_WAKE || e->what == BW_SIM_ANSWER))
		fprintf(sim->trace, "%10lu ms  #%d %s %s %s%s%s\n", (unsigned long)sim->now, op->who,
			e->what == BW_SIM_EFFECT ? "applied" : "answer ", kinds[op->kind], key,
			op->kind == BW_SIM_WAKE ? "" : "  ",
			op->kind == BW_SIM_WAKE ? "" : bw_outcome_name(op->outcome));
}

bool bw_sim_run(struct bw_sim *sim)
{
	if (!sim->events_n)
		return false;
	struct bw_sim_event e = pop(sim);

	sim->now = e.at;
	sim->current = e.op;
	if (e.what == BW_SIM_EFFECT)
		effect(sim, e.op);
	trace(sim, &e);
	if (e.what == BW_SIM_ANSWER)
		sim->answer(sim, e.op);
	sim->current = NULL;
	op_unref(e.op);
	return true;
}

/* ---- Requests and their faults ----------------------------------------------------------------- */

static struct bw_sim_op *op_new(int kind, int who, uint64_t token, const char *key)
{
	struct bw_sim_op *op = calloc(1, sizeof(*op));

	must(op, "memory");
	op->kind = kind;
	op->who = who;
	op->token = token;
	snprintf(op->key, sizeof(op->key), "%s", key);
	return op;
}

static uint64_t latency(struct bw_sim *sim)
{
	return 1 + bw_sim_roll(sim, 50);
}

/* Now and then much later than anybody waits. */
static uint64_t late(struct bw_sim *sim)
{
	return bw_sim_chance(sim, 0.5) ? bw_sim_roll(sim, 500) : bw_sim_roll(sim, BW_SIM_HOUR);
}

static void answer_fixed(struct bw_sim *sim, struct bw_sim_op *op, enum bw_outcome outcome,
			 uint64_t at)
{
	op->fixed = true;
	op->outcome = outcome;
	push(sim, op, BW_SIM_ANSWER, at);
}

static void fault_put(struct bw_sim *sim, struct bw_sim_op *op, uint64_t effect_at, uint64_t answer_at)
{
	static const enum bw_outcome nothing_applied[] = {
		BW_UNREACHABLE, BW_THROTTLED, BW_FULL, BW_DENIED, BW_CANCELLED};

	unsigned fault = 1u << bw_sim_roll(sim, 6);

	/* A run without this kind takes another that it has. */
	for (int i = 0; i < 6 && !may(sim, fault); i++)
		fault = fault == BW_SIM_REPEATED ? BW_SIM_REFUSED : fault << 1;
	if (fault == BW_SIM_REFUSED || !may(sim, fault)) {
		answer_fixed(sim, op, nothing_applied[bw_sim_roll(sim, 5)], answer_at);
		return;
	}
	if (fault == BW_SIM_LOST_REPLY || fault == BW_SIM_TWICE || fault == BW_SIM_REPEATED)
		push(sim, op, BW_SIM_EFFECT, effect_at);
	if (fault == BW_SIM_REPEATED)
		push(sim, op, BW_SIM_EFFECT, answer_at);
	if (fault == BW_SIM_TWICE || fault == BW_SIM_REPEATED)
		push(sim, op, BW_SIM_ANSWER, answer_at);
	else
		answer_fixed(sim, op, BW_UNKNOWN, answer_at);
	if (fault == BW_SIM_LATE || fault == BW_SIM_TWICE)
		push(sim, op, BW_SIM_EFFECT, answer_at + late(sim));
}

static void submit(struct bw_sim *sim, struct bw_sim_op *op)
{
	uint64_t effect_at = sim->now + latency(sim), answer_at = effect_at + latency(sim);

	if (may(sim, BW_SIM_STOPPED) && bw_sim_chance(sim, sim->faults / 10))
		answer_at += late(sim);		/* stopped, or a very slow answer */
	bool writes = op->kind == BW_SIM_PUT || op->kind == BW_SIM_DELETE;
	unsigned kinds = writes ? 63 : BW_SIM_UNREADABLE;

	if (!bw_sim_chance(sim, may(sim, kinds) ? sim->faults : 0)) {
		push(sim, op, BW_SIM_EFFECT, effect_at);
		push(sim, op, BW_SIM_ANSWER, answer_at);
	} else if (writes) {
		fault_put(sim, op, effect_at, answer_at);
	} else {
		answer_fixed(sim, op, BW_UNREACHABLE, answer_at);
	}
}

void bw_sim_put(struct bw_sim *sim, int who, uint64_t token, const char *key, const void *bytes,
		size_t len)
{
	struct bw_sim_op *op = op_new(BW_SIM_PUT, who, token, key);

	op->bytes = bw_blob_copy(bytes, len);
	submit(sim, op);
}

void bw_sim_put_over(struct bw_sim *sim, int who, uint64_t token, const char *key, const void *bytes,
		     size_t len)
{
	struct bw_sim_op *op = op_new(BW_SIM_PUT, who, token, key);

	op->bytes = bw_blob_copy(bytes, len);
	op->over = true;
	submit(sim, op);
}

void bw_sim_list(struct bw_sim *sim, int who, uint64_t token, const char *prefix, const char *after,
		 size_t max)
{
	struct bw_sim_op *op = op_new(BW_SIM_LIST, who, token, prefix);

	snprintf(op->after, sizeof(op->after), "%s", after);
	op->max = max;
	submit(sim, op);
}

void bw_sim_delete_many(struct bw_sim *sim, int who, uint64_t token, const char *const *keys, size_t n)
{
	struct bw_sim_op *op = op_new(BW_SIM_DELETE, who, token, n ? keys[0] : "");

	op->keys = calloc(n + 1, sizeof(*op->keys));
	must(op->keys, "memory");
	for (; op->keys_n < n; op->keys_n++)
		op->keys[op->keys_n] = strdup(keys[op->keys_n]);
	submit(sim, op);
}

void bw_sim_get(struct bw_sim *sim, int who, uint64_t token, const char *key)
{
	submit(sim, op_new(BW_SIM_GET, who, token, key));
}

void bw_sim_newest(struct bw_sim *sim, int who, uint64_t token)
{
	submit(sim, op_new(BW_SIM_NEWEST, who, token, ""));
}

void bw_sim_find(struct bw_sim *sim, int who, uint64_t token, uint64_t step)
{
	struct bw_sim_op *op = op_new(BW_SIM_FIND, who, token, "");

	op->step = step;
	submit(sim, op);
}

void bw_sim_wake(struct bw_sim *sim, int who, uint64_t token, uint64_t after)
{
	push(sim, op_new(BW_SIM_WAKE, who, token, ""), BW_SIM_ANSWER, sim->now + after);
}
