/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/** One producer of batches. Without transactions a batch counts as committed when its last record is acknowledged. */
final class Writer implements AutoCloseable {
	interface Committed {
		void at(long step, long nanos);
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
				else if (left.decrementAndGet() == 0 && !whole)
					committed.at(step, System.nanoTime());
			});
		}
		if (whole) {
			producer.commitTransaction();
			committed.at(step, System.nanoTime());
		}
		check();
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
