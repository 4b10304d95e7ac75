/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.util.Arrays;

/** Nanoseconds, many of them. */
final class Samples {
	private long[] values = new long[1024];
	private int count;

	synchronized void add(long nanos) {
		if (count == values.length)
			values = Arrays.copyOf(values, 2 * count);
		values[count++] = nanos;
	}

	/** As an array of milliseconds in the order they came. */
	synchronized String json() {
		StringBuilder out = new StringBuilder("[");
		for (int i = 0; i < count; i++)
			out.append(i > 0 ? ", " : "").append(values[i] / 1000 / 1e3);
		return out.append("]").toString();
	}
}
