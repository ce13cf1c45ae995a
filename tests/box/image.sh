# shellcheck shell=bash
# The cached images: Debian 13 with Slurm, runc and a CRIU that knows this kernel, and beside it a small root file
# system for containers. Slurm is that of the release, or the newest that Debian's archive has ($BOX_SLURM). A folder's
# name is a hash of the recipe, so a changed recipe builds anew.

SLURM_PACKAGES=(slurmctld slurmd slurmdbd slurm-client libslurm-dev) # libslurm-dev has slurm/spank.h too
NODE_PACKAGES=(
	munge libmunge-dev runc umoci mariadb-server
	libyaml-dev libsqlite3-dev sqlite3 libjansson-dev libssl-dev liblz4-dev libcmocka-dev
	gcc libc6-dev make pkg-config debhelper dpkg-dev rsync fakeroot iproute2 iptables nftables procps tini psmisc tar coreutils python3
	strace util-linux ncat less
)
CONTAINER_PACKAGES=(redis-server redis-tools python3 procps coreutils bash ncat postgresql python3-psycopg2 hpcc)

recipe_hash() {
	cat "$BOX_DIR/image.sh" "$BOX_DIR/../cluster/debian.sh" | sha256sum | cut -c 1-16
}

# stable or newest
use_slurm() {
	[[ $1 == stable || $1 == newest ]] || die "Slurm is stable (Debian 13's) or newest (that of Debian's archive), not '$1'"
	BOX_SLURM=$1
}

# "" or "-newest": what differs by Slurm's release has it in its name
variant() { if [[ $BOX_SLURM == newest ]]; then echo -newest; fi; }

image_dir() { echo "$CACHE/image-$(recipe_hash)$(variant)"; }

# CRIU older than 4.2 cannot dump a TCP socket on Linux >= 6.16; only sid has a newer one. The newest Slurm brings the C library that
# it was built with.
build_node_root() { # ROOT MIRROR
	local root=$1 release=$SUITE
	bootstrap "$root" "$2"
	add_sid "$root" "$2"
	in_root "$root" apt-get -q install -y --no-install-recommends "${NODE_PACKAGES[@]}"
	if [[ $BOX_SLURM == newest ]]; then release=sid; fi
	in_root "$root" apt-get -q install -y --no-install-recommends -t "$release" "${SLURM_PACKAGES[@]}"
	in_root "$root" apt-get -q install -y --no-install-recommends criu/sid
	in_root "$root" sh -c 'dpkg --compare-versions "$(dpkg-query -W -f "\${Version}" criu)" ge 4.2'
	add_accounts "$root"
	forget_apt "$root"
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

# A build works in a folder of its own and renames it when all is done: a killed one leaves only rubbish, which the
# next build sweeps away. (What a killed build left running still holds the lock, so the next one waits for its end.)
build_image() {
	local image tmp log=$CACHE/build.log
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
	BOX_SLURM=$BOX_SLURM build_roots "$tmp" "$log" root=build_node_root debian=build_container_root
	mv -T "$tmp" "$image"
	# Older recipes' images go, unless a box may stand on one.
	if [[ -z $(cluster_names) ]]; then find "$CACHE" -maxdepth 1 -name 'image-*' ! -name "image-$(recipe_hash)*" -exec rm -rf {} +; fi
	exec 9>&-
}
