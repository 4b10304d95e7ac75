/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** A topic for each round: made before it, with or without fsync of each append, gone after it. */
final class Topics {
	private static final String TRANSACTIONS = "__transaction_state";
	private static final long PATIENCE = 60_000_000_000L;
	private final Clients clients;
	private final Admin admin;


	Topics(Clients clients) {
		this.clients = clients;
		admin = clients.admin();
	}

	void create(Shape shape, boolean sync) throws Exception {
		String messages = sync ? "1" : Long.toString(Long.MAX_VALUE);
		NewTopic topic = new NewTopic(shape.topic, shape.partitions(), (short)1)
			.configs(Map.of("flush.messages", messages));
		admin.createTopics(List.of(topic)).all().get();
		awaitLeaders(shape);
		if (shape.layout == Shape.Layout.TXN)
			flushTransactions(shape, messages);
	}

	/**
	 * A first batch that meets a broker which does not lead the partition yet is retried after later ones have been accepted,
	 * and an idempotent producer never gets over that.
	 */
	private void awaitLeaders(Shape shape) throws Exception {
		Map<TopicPartition, OffsetSpec> all = new HashMap<>();
		for (int i = 0; i < shape.partitions(); i++)
			all.put(new TopicPartition(shape.topic, i), OffsetSpec.latest());
		for (long until = System.nanoTime() + PATIENCE;; Thread.sleep(5)) {
			try {
				admin.listOffsets(all).all().get();
				return;
			} catch (ExecutionException e) {
				if (System.nanoTime() > until)
					throw e;
			}
		}
	}

	/** What makes a transaction committed is in this topic, so it is as durable as the data or nothing is. */
	private void flushTransactions(Shape shape, String messages) throws Exception {
		ListTopicsOptions all = new ListTopicsOptions().listInternal(true);
		if (!admin.listTopics(all).names().get().contains(TRANSACTIONS))
			clients.producer(shape, "first").close();
		ConfigEntry flush = new ConfigEntry("flush.messages", messages);
		ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, TRANSACTIONS);
		admin.incrementalAlterConfigs(
			Map.of(resource, List.of(new AlterConfigOp(flush, AlterConfigOp.OpType.SET)))).all().get();
	}

	void remove(String topic) throws Exception {
		admin.deleteTopics(List.of(topic)).all().get();
	}
}
