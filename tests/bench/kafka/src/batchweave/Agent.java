/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.io.BufferedReader;
import java.io.InputStreamReader;

/**
 * One side of the Kafka rows: does what its input asks for, one command a line, and answers with one line of JSON. It stays
 * for all rounds, so that what it runs has been compiled when it is measured. Arguments: the broker's address, and the one
 * it has for clients at a distance.
 */
final class Agent {
	private final Clients near;
	private final Clients far;
	private final Topics topics;

	private Agent(String near, String far) {
		this.near = new Clients(near);
		this.far = new Clients(far);
		topics = new Topics(this.near);
	}

	private String answer(Args args) throws Exception {
		if (args.verb.equals("remove")) {
			topics.remove(args.text("topic"));
			return "{}";
		}
		Shape shape = new Shape(args);
		Clients clients = args.number("far", 0) != 0 ? far : near;
		switch (args.verb) {
		case "create":
			topics.create(shape, args.number("sync") != 0);
			return "{}";
		case "ingest":
			return new Ingest(clients, shape).run(args.number("producers"), args.number("batches"), args.real("seconds"));
		case "paced":
			return new Paced(clients, shape).run(args.number("steps"), args.real("pause"));
		default:
			return read(args, new Readers(clients, shape, args.number("readers", 1), args.number("depth", 1)));
		}
	}

	private static String read(Args args, Readers readers) throws Exception {
		switch (args.verb) {
		case "tail":
			return readers.tail(args.number("steps"));
		case "catchup":
			return readers.catchUp(args.number("steps"));
		case "seek":
			return readers.seek(args.number("steps"), args.number("times"), args.number("seed"));
		case "loop":
			return readers.loop(args.number("steps"), args.real("compute"));
		default:
			throw new IllegalArgumentException("unknown command " + args.verb);
		}
	}

	public static void main(String[] args) throws Exception {
		Agent agent = new Agent(args[0], args[1]);
		BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
		for (String line = input.readLine(); line != null; line = input.readLine())
			System.out.println(agent.answer(new Args(line)));
		System.exit(0);
	}
}
