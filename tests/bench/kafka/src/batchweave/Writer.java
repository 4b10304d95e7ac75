/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/** One producer of batches. Without transactions a batch counts as committed when its last record is acknowledged. */
final class Writer implements AutoCloseable {
	/** Called by threads of the client. */
	interface Committed {
		/** A whole batch. */
		void at(long step, long nanos);

		/** One slice of it, which without transactions is earlier. */
		default void slice(long step, int partition, long nanos) {
		}
	}

	private final Shape shape;
	private final Payload payload;
	private final KafkaProducer<byte[], byte[]> producer;
	private final AtomicReference<Exception> failure = new AtomicReference<>();

	Writer(Clients clients, Shape shape, String id) {
		this.shape = shape;
		payload = new Payload(shape);
		producer = clients.producer(shape, id);
	}

	/** Returns when the batch is on its way; a transaction when it is committed. */
	void send(long step, Committed committed) throws Exception {
		byte[][] records = payload.stamp(step);
		AtomicInteger left = new AtomicInteger(records.length);
		boolean whole = shape.layout == Shape.Layout.TXN;
		if (whole)
			producer.beginTransaction();
		for (int partition = 0; partition < records.length; partition++) {
			producer.send(new ProducerRecord<>(shape.topic, partition, null, records[partition]), (meta, error) -> {
				if (error != null)
					failure.compareAndSet(null, error);
				else if (!whole)
					acknowledged(committed, step, meta.partition(), left);
			});
		}
		if (whole) {
			producer.commitTransaction();
			long now = System.nanoTime();
			for (int partition = 0; partition < records.length; partition++)
				committed.slice(step, partition, now);
			committed.at(step, now);
		}
		check();
	}

	private static void acknowledged(Committed committed, long step, int partition, AtomicInteger left) {
		long now = System.nanoTime();
		committed.slice(step, partition, now);
		if (left.decrementAndGet() == 0)
			committed.at(step, now);
	}

	void flush() throws Exception {
		producer.flush();
		check();
	}

	private void check() throws Exception {
		if (failure.get() != null)
			throw failure.get();
	}

	@Override
	public void close() {
		producer.close();
	}
}
