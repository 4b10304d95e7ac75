/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Random;

/** Three words of each slice say which it is: its first, its middle and its last. The rest is noise, written once. */
final class Payload {
	private static final VarHandle WORD =
		MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
	private final Shape shape;
	private final byte[][] records;

	Payload(Shape shape) {
		this.shape = shape;
		records = new byte[shape.partitions()][shape.record()];
		for (byte[] record : records)
			new Random(1).nextBytes(record);
	}

	private static long word(long step, int rank, int which) {
		return (step << 20 | (long)rank << 4 | which) * 0x9E3779B97F4A7C15L;
	}

	private static int place(int slice, int which) {
		return which == 0 ? 0 : which == 1 ? slice / 2 & ~7 : slice - 8;
	}

	/** The records of a batch, in order of partitions; valid until the next call. */
	byte[][] stamp(long step) {
		for (int rank = 0; rank < shape.ranks; rank++) {
			byte[] record = records[shape.partition(rank)];
			for (int which = 0; which < 3; which++)
				WORD.set(record, shape.start(rank) + place(shape.slice, which), word(step, rank, which));
		}
		return records;
	}

	static void verify(Shape shape, ByteBuffer record, long step, int rank) {
		ByteBuffer view = record.duplicate().order(ByteOrder.LITTLE_ENDIAN);
		if (view.remaining() != shape.record())
			throw new IllegalStateException("step " + step + ": " + view.remaining() + " bytes");
		for (int which = 0; which < 3; which++) {
			int at = view.position() + shape.start(rank) + place(shape.slice, which);
			if (view.getLong(at) != word(step, rank, which))
				throw new IllegalStateException("step " + step + " rank " + rank + ": wrong bytes");
		}
	}
}
