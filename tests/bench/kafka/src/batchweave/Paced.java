/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.util.Arrays;

/** One producer that commits a batch after the other and says when each was acknowledged. */
final class Paced {
	private final Clients clients;
	private final Shape shape;

	Paced(Clients clients, Shape shape) {
		this.clients = clients;
		this.shape = shape;
	}

	/**
	 * pause: milliseconds between an acknowledgement and the next batch. Each is acknowledged before the next is sent, so that no
	 * two become one batch of the client's. Answers when each slice was acknowledged.
	 */
	String run(int steps, double pause) throws Exception {
		long[][] slices = new long[shape.partitions()][steps];
		try (Writer writer = new Writer(clients, shape, "paced")) {
			for (int step = 0; step < steps; step++) {
				Thread.sleep((long)pause);
				writer.send(step, new Writer.Committed() {
					@Override
					public void at(long which, long nanos) {
					}

					@Override
					public void slice(long which, int partition, long nanos) {
						slices[partition][(int)which] = nanos;
					}
				});
				writer.flush();
			}
		}
		return "{\"acknowledged\": " + Arrays.deepToString(slices) + "}";
	}
}
