/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

/** One producer that commits a batch every so often and says when each was acknowledged. */
final class Paced {
	private final Clients clients;
	private final Shape shape;

	Paced(Clients clients, Shape shape) {
		this.clients = clients;
		this.shape = shape;
	}

	/** interval in milliseconds; 0 fills a topic as fast as it goes. */
	String run(int steps, double interval) throws Exception {
		long[] acknowledged = new long[steps];
		try (Writer writer = new Writer(clients, shape, "paced")) {
			long due = System.nanoTime();
			for (int step = 0; step < steps; step++) {
				long wait = due - System.nanoTime();
				if (wait > 0)
					Thread.sleep(wait / 1000000, (int)(wait % 1000000));
				due = System.nanoTime() + (long)(interval * 1e6);
				writer.send(step, (which, at) -> acknowledged[(int)which] = at);
				if (interval > 0)
					writer.flush();
			}
			writer.flush();
		}
		return "{\"acknowledged\": " + java.util.Arrays.toString(acknowledged) + "}";
	}
}
