# shellcheck shell=bash
# The cached images: Debian 13 with Slurm, runc and a CRIU that knows this kernel, and beside it a small root file
# system for containers. Slurm is that of the release, or the newest that Debian's archive has ($BOX_SLURM). A folder's
# name is a hash of the recipe, so a changed recipe builds anew.

SUITE=trixie
SLURM_PACKAGES=(slurmctld slurmd slurmdbd slurm-client libslurm-dev) # libslurm-dev has slurm/spank.h too
NODE_PACKAGES=(
	munge libmunge-dev runc umoci mariadb-server
	libyaml-dev libsqlite3-dev sqlite3 libjansson-dev libssl-dev liblz4-dev libcmocka-dev
	gcc libc6-dev make pkg-config iproute2 iptables nftables procps tini psmisc tar coreutils python3
	strace util-linux ncat less
)
CONTAINER_PACKAGES=(redis-server redis-tools python3 procps coreutils bash ncat postgresql python3-psycopg2 hpcc)

recipe_hash() {
	sha256sum <"$BOX_DIR/image.sh" | cut -c 1-16
}

# stable or newest
use_slurm() {
	[[ $1 == stable || $1 == newest ]] || die "Slurm is stable (Debian 13's) or newest (that of Debian's archive), not '$1'"
	BOX_SLURM=$1
}

# "" or "-newest": what differs by Slurm's release has it in its name
variant() { if [[ $BOX_SLURM == newest ]]; then echo -newest; fi; }

image_dir() { echo "$CACHE/image-$(recipe_hash)$(variant)"; }

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

# CRIU older than 4.2 cannot dump a TCP socket on Linux >= 6.16; only sid has a newer one. The priority keeps
# everything else on trixie, and a mirror frozen in time has an index past its date. The newest Slurm brings the C library
# that it was built with.
build_node_root() { # ROOT MIRROR
	local root=$1 release=$SUITE
	bootstrap "$root" "$2"
	echo "deb [check-valid-until=no] $2 sid main" >"$root/etc/apt/sources.list.d/sid.list"
	printf 'Package: *\nPin: release a=unstable\nPin-Priority: 100\n' >"$root/etc/apt/preferences.d/sid"
	in_root "$root" apt-get -q update
	in_root "$root" apt-get -q install -y --no-install-recommends "${NODE_PACKAGES[@]}"
	if [[ $BOX_SLURM == newest ]]; then release=sid; fi
	in_root "$root" apt-get -q install -y --no-install-recommends -t "$release" "${SLURM_PACKAGES[@]}"
	in_root "$root" apt-get -q install -y --no-install-recommends criu/sid
	in_root "$root" sh -c 'dpkg --compare-versions "$(dpkg-query -W -f "\${Version}" criu)" ge 4.2'
	add_accounts "$root"
	forget_apt "$root"
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

# The same for every Slurm: an image that is there already lends it.
build_container_root() { # ROOT MIRROR
	local there
	for there in "$CACHE/image-$(recipe_hash)"*/debian; do
		[[ ! -d $there ]] || { cp -al "$there" "$1" && return 0; }
	done
	bootstrap "$1" "$2"
	in_root "$1" apt-get -q install -y --no-install-recommends "${CONTAINER_PACKAGES[@]}"
	add_accounts "$1" # initdb wants a name for its uid
	forget_apt "$1"
}

# Builds one root file system in a bash of its own, where set -e holds and nothing can hang for ever.
build_part() { # FUNCTION ROOT MIRROR LOG
	timeout -k 10 1500 bash -c 'set -eu -o pipefail; . "$1/common.sh"; . "$1/image.sh"; use_slurm "$2"; shift 2; "$@"' \
		build "$BOX_DIR" "$BOX_SLURM" "$1" "$2" "$3" >"$4" 2>&1 </dev/null
}

# A build works in a folder of its own and renames it when all is done: a killed one leaves only rubbish, which the
# next build sweeps away. (What a killed build left running still holds the lock, so the next one waits for its end.)
build_image() {
	local image tmp mirror log=$CACHE/build.log parts=() part ok=1
	image=$(image_dir)
	[[ -d $image ]] && return 0
	need_root
	command -v apt-get >/dev/null || die "no apt-get here: the image can be built on Debian and its kin only"
	"$BOX_DIR/../deps" box || die "the host lacks packages (see above)"
	mkdir -p "$CACHE" && chmod 0755 "$CACHE"
	take_lock build 1800
	[[ -d $image ]] && return 0 # another build was faster
	say "building the image $image (a minute or two; log: $log)"
	rm -rf "$CACHE"/tmp.*
	tmp=$CACHE/tmp.$$
	mkdir -p "$tmp"
	mirror=${BOX_MIRROR:-$(host_mirror)}
	# Two at once: one waits for the network while the other unpacks.
	build_part build_node_root "$tmp/root" "$mirror" "$log" & parts+=($!)
	build_part build_container_root "$tmp/debian" "$mirror" "$log.2" & parts+=($!)
	trap 'kill -TERM "${parts[@]}" 2>/dev/null; wait; rm -rf "$tmp"; exit 130' INT TERM HUP
	for part in "${parts[@]}"; do wait "$part" || ok=0; done
	trap - INT TERM HUP
	cat "$log.2" >>"$log" && rm -f "$log.2"
	if [[ $ok == 0 ]]; then
		grep -E '^(E:|W: Fail)|[Ee]rror' "$log" | tail -n 5 >&2
		rm -rf "$tmp"
		die "the image could not be built; see $log"
	fi
	mv -T "$tmp" "$image"
	# Older recipes' images go, unless a box may stand on one.
	if [[ -z $(box_names) ]]; then find "$CACHE" -maxdepth 1 -name 'image-*' ! -name "image-$(recipe_hash)*" -exec rm -rf {} +; fi
	exec 9>&-
}
