/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

/** What a global batch is made of, and how it lies in Kafka. */
final class Shape {
	enum Layout {
		/** One partition, one record a batch: atomic and ordered, every reader gets every rank's bytes. */
		RECORD,
		/** A partition for each rank, a record for each slice; nothing makes a batch whole. */
		RANKS,
		/** The same in a transaction for each batch, read with read_committed. */
		TXN
	}

	final Layout layout;
	final String topic;
	final int ranks;
	final int slice;

	Shape(Args args) {
		layout = Layout.valueOf(args.text("layout").toUpperCase());
		topic = args.text("topic");
		ranks = args.number("ranks");
		slice = args.number("slice");
	}

	int batch() {
		return ranks * slice;
	}

	int partitions() {
		return layout == Layout.RECORD ? 1 : ranks;
	}

	int record() {
		return layout == Layout.RECORD ? batch() : slice;
	}

	/** Where one producer's batch lies: the marker that ends a transaction takes an offset too. */
	long offset(long step) {
		return layout == Layout.TXN ? 2 * step : step;
	}

	int partition(int rank) {
		return layout == Layout.RECORD ? 0 : rank;
	}

	/** Where the slice begins in its record. */
	int start(int rank) {
		return layout == Layout.RECORD ? rank * slice : 0;
	}
}
