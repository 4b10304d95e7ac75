/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.io.BufferedReader;
import java.io.InputStreamReader;

/**
 * One side of the Kafka rows: does what its input asks for, one command a line, and answers with one line of JSON. It stays
 * for all rounds, so that what it runs has been compiled when it is measured.
 */
final class Agent {
	private final Clients clients;
	private final Topics topics;

	private Agent(String broker) {
		clients = new Clients(broker);
		topics = new Topics(clients);
	}

	private String answer(Args args) throws Exception {
		if (args.verb.equals("remove")) {
			topics.remove(args.text("topic"));
			return "{}";
		}
		Shape shape = new Shape(args);
		switch (args.verb) {
		case "create":
			topics.create(shape, args.number("sync") != 0);
			return "{}";
		case "ingest":
			return new Ingest(clients, shape).run(args.number("producers"), args.number("batches"), args.real("seconds"));
		case "paced":
			return new Paced(clients, shape).run(args.number("steps"), args.real("interval"));
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
		Agent agent = new Agent(args[0]);
		BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
		for (String line = input.readLine(); line != null; line = input.readLine())
			System.out.println(agent.answer(new Args(line)));
		System.exit(0);
	}
}
