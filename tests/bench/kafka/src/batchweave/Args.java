/* SPDX-License-Identifier: Apache-2.0 */
package batchweave;

import java.util.HashMap;
import java.util.Map;

/** One command: a verb and key=value words. A missing key is an error that names it. */
final class Args {
	final String verb;
	private final Map<String, String> values = new HashMap<>();

	Args(String line) {
		String[] words = line.trim().split("\\s+");
		verb = words[0];
		for (int i = 1; i < words.length; i++) {
			int at = words[i].indexOf('=');
			values.put(words[i].substring(0, at), words[i].substring(at + 1));
		}
	}

	String text(String key) {
		String value = values.get(key);
		if (value == null)
			throw new IllegalArgumentException(verb + " needs " + key);
		return value;
	}

	int number(String key) {
		return Integer.parseInt(text(key));
	}

	double real(String key) {
		return Double.parseDouble(text(key));
	}

	int number(String key, int otherwise) {
		return values.containsKey(key) ? number(key) : otherwise;
	}
}
