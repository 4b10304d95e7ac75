# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by tests/package/run: its Debian, started by its own systemd in namespaces of this machine.

check_systemd() {
	need_packages tests/package/run systemd-container || exit 1
	enter_root
	in_root apt-get update -qq
	cp "$deb" "$root/var/tmp/package.deb"
	in_root apt-get install -y -qq --no-install-recommends systemd systemd-sysv dbus /var/tmp/package.deb >/dev/null
	umount "$root/dev" "$root/proc"
	cp tests/package/machine "$root/var/tmp/machine"
	cat >"$root/etc/systemd/system/check.service" <<'END'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/var/tmp/machine
StandardOutput=file:/var/tmp/said
StandardError=file:/var/tmp/said
[Install]
WantedBy=default.target
END
	in_root systemctl enable -q check.service
	systemd-nspawn --quiet --register=no --keep-unit --boot --directory="$root" --bind=/dev/fuse --capability=all \
		--system-call-filter='@mount' --console=pipe </dev/null >"$work/console.log" 2>&1 || true
	cat "$root/var/tmp/said" 2>/dev/null || tail -n 30 "$work/console.log"
	grep -qx passed "$root/var/tmp/said" || die "the unit does not do what it should"
}
