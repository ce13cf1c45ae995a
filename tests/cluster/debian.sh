# shellcheck shell=bash
# shellcheck disable=SC2016 # expanded by apt, or in the root
# Root file systems of Debian, made on this host by what its own apt can reach.

SUITE=trixie

# The mirror is whatever this host's own apt uses for Debian.
host_mirror() {
	local uri
	uri=$(apt-get indextargets 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' --format '$(REPO_URI)' | head -n 1)
	[[ -n $uri ]] || uri=$(apt-get indextargets 'Created-By: Packages' --format '$(REPO_URI)' | grep -m 1 '/debian/*$')
	[[ -n $uri ]] || die "apt knows no Debian mirror on this host; run apt-get update, or set BOX_MIRROR"
	echo "${uri%/}"
}

# Runs a command in a root file system that is being built, in a mount namespace that ends with it.
in_root() {
	local root=$1
	shift
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare -m --propagation private bash -c '
		root=$1; shift
		mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" &&
		exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
			DEBIAN_FRONTEND=noninteractive "$@"' in_root "$root" "$@"
}

# Lets apt in the chroot reach what apt on the host reaches, and keeps daemons from being started.
prepare_apt() {
	local root=$1
	cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
	cp -L /etc/hosts "$root/etc/hosts"
	apt-config dump | grep -iE '^Acquire::(http|https)::' >"$root/etc/apt/apt.conf.d/90host" || true
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/box"
	printf 'path-exclude=/usr/share/%s/*\n' doc man locale info >>"$root/etc/dpkg/dpkg.cfg.d/box"
}

forget_apt() {
	rm -rf "$1"/var/cache/apt/*.bin "$1"/var/cache/apt/archives "$1"/var/lib/apt/lists "$1/etc/apt/apt.conf.d/90host" \
		"$1"/var/log/*.log "$1/etc/resolv.conf"
	: >"$1/etc/hosts"
}

bootstrap() { # ROOT MIRROR
	debootstrap --variant=minbase --include=ca-certificates "$SUITE" "$1" "$2"
	prepare_apt "$1"
}

# The newest of some packages beside the release's. The priority keeps everything else on it, and a mirror frozen in time has an index
# past its date.
add_sid() { # ROOT MIRROR
	echo "deb [check-valid-until=no] $2 sid main" >"$1/etc/apt/sources.list.d/sid.list"
	printf 'Package: *\nPin: release a=unstable\nPin-Priority: 100\n' >"$1/etc/apt/preferences.d/sid"
	in_root "$1" apt-get -q update
}

add_accounts() {
	in_root "$1" sh -ec '
		groupadd -g 2100 lab
		for n in 1 2; do
			groupadd -g 200$n user$n
			useradd -M -u 200$n -g 200$n -d /shared/home/user$n -s /bin/bash user$n
		done
		usermod -aG lab user1'
}

# Builds root file systems in a folder, each by a function called with its ROOT and a MIRROR; all at once: one waits for the network
# while the other unpacks. Each in a program of its own, where set -e holds and nothing can hang for ever.
build_roots() { # FOLDER LOG NAME=FUNCTION...
	local tmp=$1 log=$2 what parts=() part ok=1 mirror
	shift 2
	mirror=${BOX_MIRROR:-$(host_mirror)}
	for what; do
		timeout -k 10 1500 "$TESTS/$TOOL/$TOOL" _root "${what#*=}" "$tmp/${what%%=*}" "$mirror" >"$log.${what%%=*}" 2>&1 </dev/null &
		parts+=($!)
	done
	trap 'kill -TERM "${parts[@]}" 2>/dev/null; wait; rm -rf "$tmp"; exit 130' INT TERM HUP
	for part in "${parts[@]}"; do wait "$part" || ok=0; done
	trap - INT TERM HUP
	for what; do cat "$log.${what%%=*}" && rm "$log.${what%%=*}"; done >"$log"
	[[ $ok == 0 ]] || return 0
	grep -E '^(E:|W: Fail)|[Ee]rror' "$log" | tail -n 5 >&2
	rm -rf "$tmp"
	die "the image could not be built; see $log"
}
