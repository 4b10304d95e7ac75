/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** The reader of one rank. */
final class Reader implements AutoCloseable {
	private static final Duration LONG = Duration.ofSeconds(60);
	private final Shape shape;
	private final int rank;
	private final TopicPartition partition;
	private final KafkaConsumer<byte[], ByteBuffer> consumer;
	private Iterator<ConsumerRecord<byte[], ByteBuffer>> fetched = List.<ConsumerRecord<byte[], ByteBuffer>>of().iterator();

	Reader(Clients clients, Shape shape, int rank, int depth) {
		this.shape = shape;
		this.rank = rank;
		partition = new TopicPartition(shape.topic, shape.partition(rank));
		consumer = clients.consumer(shape, depth, 500);
		consumer.assign(List.of(partition));
		seek(0);
	}

	void seek(long step) {
		fetched = List.<ConsumerRecord<byte[], ByteBuffer>>of().iterator();
		consumer.seek(partition, shape.offset(step));
	}

	/** Asks for what is not there, so that connection and metadata exist. */
	void connect() {
		consumer.poll(Duration.ofMillis(20));
	}

	/** Returns when the slice of this step, the next in order, is in memory and is what it should be. */
	void next(long step) {
		while (!fetched.hasNext()) {
			long before = System.nanoTime();
			fetched = consumer.poll(LONG).iterator();
			if (!fetched.hasNext() && System.nanoTime() - before > LONG.toNanos())
				throw new IllegalStateException("nothing came for " + LONG);
		}
		Payload.verify(shape, fetched.next().value(), step, rank);
	}

	@Override
	public void close() {
		consumer.close();
	}
}
