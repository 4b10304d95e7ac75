/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.ByteBufferDeserializer;

/** Clients as somebody who wants speed would set them. */
final class Clients {
	private static final int MIB = 1 << 20;
	private static final int OVERHEAD = 1024;
	private final String broker;

	Clients(String broker) {
		this.broker = broker;
	}

	private Properties common() {
		Properties p = new Properties();
		p.put("bootstrap.servers", broker);
		p.put("retry.backoff.ms", 2);
		p.put("retry.backoff.max.ms", 20);
		p.put("send.buffer.bytes", MIB);
		p.put("receive.buffer.bytes", MIB);
		p.put("metadata.max.age.ms", 3600000);
		p.put("enable.metrics.push", false);
		return p;
	}

	Admin admin() {
		Properties p = new Properties();
		p.put("bootstrap.servers", broker);
		return Admin.create(p);
	}

	/** A client batch holds at least one record, and as many small ones as make a request worth sending. */
	KafkaProducer<byte[], byte[]> producer(Shape shape, String id) {
		int batch = Math.max(shape.record() + OVERHEAD, MIB / shape.partitions());
		long memory = Math.max(64L * MIB, 6L * batch * shape.partitions());
		Properties p = common();
		p.put("acks", "all");
		p.put("linger.ms", 0);
		p.put("compression.type", "none");
		p.put("batch.size", batch);
		p.put("buffer.memory", memory);
		p.put("max.request.size", Math.max(MIB, batch * shape.partitions() + OVERHEAD));
		p.put("max.in.flight.requests.per.connection", 5);
		if (shape.layout == Shape.Layout.TXN)
			p.put("transactional.id", id);
		KafkaProducer<byte[], byte[]> producer =
			new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
		if (shape.layout == Shape.Layout.TXN)
			producer.initTransactions();
		return producer;
	}

	/** Values stay in the buffer they were received in. depth: how many records a fetch may carry. */
	KafkaConsumer<byte[], java.nio.ByteBuffer> consumer(Shape shape, int depth, int poll) {
		int fetch = depth * (shape.record() + OVERHEAD);
		Properties p = common();
		p.put("enable.auto.commit", false);
		p.put("auto.offset.reset", "earliest");
		p.put("fetch.min.bytes", 1);
		p.put("fetch.max.bytes", fetch);
		p.put("max.partition.fetch.bytes", fetch);
		p.put("max.poll.records", poll);
		p.put("isolation.level", shape.layout == Shape.Layout.TXN ? "read_committed" : "read_uncommitted");
		return new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteBufferDeserializer());
	}
}
