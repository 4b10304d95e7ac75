/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;

/** Producers that write batches as fast as they are taken, until the last is acknowledged. */
final class Ingest {
	private final Clients clients;
	private final Shape shape;
	private final Samples commits = new Samples();
	private final AtomicLong committed = new AtomicLong();
	private final AtomicLong begin = new AtomicLong(Long.MAX_VALUE);
	private final AtomicLong end = new AtomicLong();

	Ingest(Clients clients, Shape shape) {
		this.clients = clients;
		this.shape = shape;
	}

	/** Each producer writes so many batches, fewer if the time is over. */
	String run(int producers, int batches, double seconds) throws Exception {
		ExecutorService threads = Executors.newFixedThreadPool(producers);
		CyclicBarrier together = new CyclicBarrier(producers);
		List<Future<?>> done = new ArrayList<>();
		for (int i = 0; i < producers; i++) {
			String id = "ingest-" + i;
			done.add(threads.submit(() -> {
				produce(id, together, batches, seconds);
				return null;
			}));
		}
		for (Future<?> f : done)
			f.get();
		threads.shutdown();
		double took = (end.get() - begin.get()) / 1e9;
		return "{\"batches\": " + committed + ", \"bytes\": " + committed.get() * shape.batch() +
			", \"seconds\": " + took + ", \"commit\": " + commits.json() + "}";
	}

	private void produce(String id, CyclicBarrier together, int batches, double seconds) throws Exception {
		try (Writer writer = new Writer(clients, shape, id)) {
			together.await();
			long start = System.nanoTime();
			long until = start + (long)(seconds * 1e9);
			begin.accumulateAndGet(start, Math::min);
			for (long step = 0; step < batches && System.nanoTime() < until; step++) {
				long sent = System.nanoTime();
				writer.send(step, (which, at) -> {
					commits.add(at - sent);
					committed.incrementAndGet();
				});
			}
			writer.flush();
			end.accumulateAndGet(System.nanoTime(), Math::max);
		}
	}
}
