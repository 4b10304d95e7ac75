/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;

/** Readers of different ranks, one thread and one consumer each. */
final class Readers {
	interface Job<T> {
		T run(Reader reader) throws Exception;
	}

	private final Clients clients;
	private final Shape shape;
	private final int count;
	private final int depth;
	private final AtomicInteger connected = new AtomicInteger();

	Readers(Clients clients, Shape shape, int count, int depth) {
		this.clients = clients;
		this.shape = shape;
		this.count = count;
		this.depth = depth;
	}

	private <T> List<T> each(Runnable ready, Job<T> job) throws Exception {
		ExecutorService threads = Executors.newFixedThreadPool(count);
		CyclicBarrier together = new CyclicBarrier(count, ready);
		List<Future<T>> futures = new ArrayList<>();
		for (int i = 0; i < count; i++) {
			int rank = i;
			futures.add(threads.submit(() -> {
				try (Reader reader = new Reader(clients, shape, rank, depth)) {
					together.await();
					return job.run(reader);
				}
			}));
		}
		List<T> results = new ArrayList<>();
		for (Future<T> f : futures)
			results.add(f.get());
		threads.shutdown();
		return results;
	}

	/** At the tail: says when each step was there. Prints that it is ready before the first can be committed. */
	String tail(int steps) throws Exception {
		List<String> arrived = each(() -> {}, reader -> {
			reader.connect();
			if (connected.incrementAndGet() == count)
				System.out.println("{\"ready\": true}");
			long[] at = new long[steps];
			for (int step = 0; step < steps; step++) {
				reader.next(step);
				at[step] = System.nanoTime();
			}
			return Arrays.toString(at);
		});
		return "{\"arrived\": " + arrived + "}";
	}

	/** Everything from the first step on, as fast as it comes; seconds from the common start to the last reader's end. */
	String catchUp(int steps) throws Exception {
		long[] begin = new long[1];
		List<Long> ends = each(() -> begin[0] = System.nanoTime(), reader -> {
			for (int step = 0; step < steps; step++)
				reader.next(step);
			return System.nanoTime();
		});
		double seconds = (ends.stream().mapToLong(Long::longValue).max().getAsLong() - begin[0]) / 1e9;
		return "{\"bytes\": " + (long)count * steps * shape.slice + ", \"seconds\": " + seconds + "}";
	}

	/**
	 * Different steps in random order, one after the other, by one reader. The client asks for what follows before it is told to
	 * go elsewhere; that has been answered when the next clock starts.
	 */
	String seek(int steps, int times, int seed) throws Exception {
		List<Integer> order = new ArrayList<>();
		for (int step = 1; step < steps; step++)
			order.add(step);
		Collections.shuffle(order, new Random(seed));
		Samples took = new Samples();
		each(() -> {}, reader -> {
			reader.next(0);
			for (int step : order.subList(0, times)) {
				Thread.sleep(30 + 4 * (shape.record() >> 20));
				long begin = System.nanoTime();
				reader.seek(step);
				reader.next(step);
				took.add(System.nanoTime() - begin);
			}
			return null;
		});
		return "{\"ms\": " + took.json() + "}";
	}

	/** A training loop: waits for its step, computes (sleeps) and goes on; what it waited. */
	String loop(int steps, double compute) throws Exception {
		Samples waited = new Samples();
		each(() -> {}, reader -> {
			reader.next(0);
			for (int step = 1; step < steps; step++) {
				Thread.sleep((long)compute);
				long begin = System.nanoTime();
				reader.next(step);
				waited.add(System.nanoTime() - begin);
			}
			return null;
		});
		return "{\"ms\": " + waited.json() + "}";
	}
}
