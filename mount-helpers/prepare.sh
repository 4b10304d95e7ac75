# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by quickstart and tests/run: what a fresh Debian lacks.  Each function says its failure.

# need_packages NAME PACKAGE...: installs what is missing; NAME begins the sentences.
need_packages() {
	local name=$1 missing=() package
	shift
	command -v dpkg-query >/dev/null || return 0	# not Debian: CMake will name what is missing
	for package in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
			missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ]; then
		echo "$name: install these packages first, or run this as root: ${missing[*]}" >&2
		return 1
	fi
	echo "$name: installing ${missing[*]}"
	if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }; then
		echo "$name: apt-get could not install ${missing[*]}" >&2
		return 1
	fi
}

# provide_fuse NAME: makes /dev/fuse usable when that is in our power.
provide_fuse() {
	if [ ! -c /dev/fuse ] && [ "$(id -u)" = 0 ]; then
		modprobe fuse 2>/dev/null || true
		[ -c /dev/fuse ] || mknod -m 666 /dev/fuse c 10 229 2>/dev/null || true
	fi
	# Opening it is the only proof: a device node may stand there without a driver or a permission.
	(: <>/dev/fuse) 2>/dev/null && return 0
	echo "$1: /dev/fuse cannot be opened, so nothing can be mounted here; load the fuse module, or" \
		"give this container the device (docker run --device /dev/fuse --cap-add SYS_ADMIN)" >&2
	return 1
}
