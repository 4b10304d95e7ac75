# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by tests/run: the S3 stores that tests talk to, started once for all of them.

engines=$PWD/build/engines
engines_started=()

# start_engine NAME VARIABLE LOG: exports "ENDPOINT KEY SECRET", which is how tests find it.
start_engine() {
	local dir=$engines/$1.$$
	mkdir -p "$engines"
	rm -rf "$3"
	engines_started+=("$dir")
	mount-helpers/one-node-s3 start "$dir" --engine "$1" --log "$3" >/dev/null || return 1
	# shellcheck source=/dev/null
	export "$2=$(. "$dir/env" && echo "$AWS_ENDPOINT_URL_S3 $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY")"
}

# For a trap.
# shellcheck disable=SC2317
stop_engines() {
	local dir
	for dir in "${engines_started[@]}"; do mount-helpers/one-node-s3 stop "$dir" || true; done
}

# Leaves the program for later runs, and its sources nowhere.
build_versity() {
	local version=v1.8.0
	export VERSITYGW=$engines/versitygw-$version
	[ ! -x "$VERSITYGW" ] || return 0
	echo "tests/run: building the Versity gateway $version"
	mkdir -p "$engines"
	GOBIN=$engines GOPATH=$engines/go GOCACHE=$engines/cache \
		go install -modcacherw "github.com/versity/versitygw/cmd/versitygw@$version" \
		>"$engines/versity.log" 2>&1 || return 1
	mv "$engines/versitygw" "$VERSITYGW"
	rm -rf "$engines/go" "$engines/cache"
}
