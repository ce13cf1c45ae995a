# shellcheck shell=bash
# What the nodes of a box have on their disks: Slurm's configuration, keys, names, and the programs of this tree.

# Who is the user in the image, as UID:GID.
id_in() { awk -F: -v user="$2" '$1 == user { print $3 ":" $4 }' "$1/root/etc/passwd"; } # IMAGE USER

slurm_release() { awk '/^Package: slurmctld$/ { it = 1 } it && /^Version:/ { sub(/-.*/, "", $2); print $2; exit }' "$1/root/var/lib/dpkg/status"; } # IMAGE

# The layer between the image and the node's own: all that makes this box this box.
write_site() { # IMAGE EXTRA_SLURM_CONF EXTRA_SMIGRATE_CONF NODES CPUS MEMORY PROCTRACK ACCOUNTING
	local site=$DATA/site image=$1 id
	id=$(id_in "$image" munge)
	mkdir -p "$site"/{etc/slurm/plugstack.conf.d,etc/smigrate,usr/local/sbin,var/log,var/spool/slurmd}
	install -d -m 0700 "$site/etc/munge"
	install -d "$site/var/lib/slurm/slurmctld"
	chown "$(id_in "$image" slurm)" "$site/var/lib/slurm/slurmctld"
	head -c 128 /dev/urandom >"$site/etc/munge/munge.key"
	chmod 0400 "$site/etc/munge/munge.key"
	chown -R "$id" "$site/etc/munge"
	hosts >"$site/etc/hosts"
	slurm_conf "${@:4}" >"$site/etc/slurm/slurm.conf"
	[[ -z $2 ]] || cat "$2" >>"$site/etc/slurm/slurm.conf"
	echo StateHost=ctl >"$site/etc/smigrate/smigrate.conf" # in place of the package's
	[[ -z $3 ]] || cat "$3" >>"$site/etc/smigrate/smigrate.conf"
	[[ $8 == 0 ]] || write_accounting "$site" "$(id_in "$image" slurm)"
	cgroup_conf "$7" >"$site/etc/slurm/cgroup.conf"
	echo 'include /etc/slurm/plugstack.conf.d/*' >"$site/etc/slurm/plugstack.conf"
	mkdir -p "$site/usr/local/lib/box"
	cp "$BOX_DIR"/node/box-* "$site/usr/local/sbin/"
	cp "$(tools_dir)"/{enter,prlimit-shim.so} "$site/usr/local/lib/box/"
	if is_hybrid; then cp "$(tools_dir)/hybrid-shim.so" "$site/usr/local/lib/box/"; fi
	if lacks_sys_resource; then cp "$BOX_DIR/node/criu" "$site/usr/local/sbin/"; fi
}

# slurmdbd reads no file of its own that others could read, too. (box-boot looks for that file.)
write_accounting() { # SITE OWNER
	cat >"$1/etc/slurm/slurmdbd.conf" <<-END
		DbdHost=ctl
		SlurmUser=slurm
		AuthType=auth/munge
		DebugLevel=info
		LogTimeFormat=iso8601_ms,format_stderr
		PidFile=/run/slurmdbd.pid
		StorageType=accounting_storage/mysql
		StorageHost=localhost
		StorageUser=slurm
		StorageLoc=slurm_acct_db
	END
	chown "$2" "$1/etc/slurm/slurmdbd.conf"
	chmod 0600 "$1/etc/slurm/slurmdbd.conf"
}

is_hybrid() { [[ $(wc -l </proc/self/cgroup) -gt 1 ]]; }

lacks_sys_resource() { # capability 24
	local bounding
	bounding=$(awk '$1 == "CapBnd:" { print $2 }' /proc/self/status)
	(((0x$bounding >> 24 & 1) == 0))
}

write_shared() {
	local n
	install -d -m 1777 "$DATA/shared"
	install -d "$DATA/shared/home"
	for n in 1 2; do install -d -m 0755 -o 200$n -g 200$n "$DATA/shared/home/user$n"; done
}

# Without CAP_SYS_RESOURCE the pages that CRIU may hold in pipes are limited, and lazy pages fail at 64 MB.
raise_pipe_limits() {
	sysctl -q -w fs.pipe-user-pages-soft=0 fs.pipe-max-size=67108864 2>/dev/null ||
		warn "cannot set fs.pipe-user-pages-soft: CRIU's lazy pages may fail"
	# each restore has one for a moment, and root's of all nodes count as one user's
	sysctl -q -w fs.inotify.max_user_instances=8192 2>/dev/null || warn "cannot raise fs.inotify.max_user_instances"
}

# Runs a command in the image, with the tree at its own path. It is writable: what is written goes into the folder LAYER, or, where that
# is "", nowhere. The mounts end with it.
in_layer() { # ROOT LAYER TREE CMD...
	local root=$1 layer=$2 tree=$3 scratch status=0
	shift 3
	scratch=$(mktemp -d)
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare -m --propagation private bash -ec '
		root=$1 layer=$2 tree=$3 scratch=$4; shift 4
		mount -t tmpfs tmpfs "$scratch"
		mkdir "$scratch/root"
		upper=${layer:-$scratch/upper} work=${layer:-$scratch/upper}.work
		mkdir -p "$upper" "$work"
		mount -t overlay overlay -o "lowerdir=$root,upperdir=$upper,workdir=$work" "$scratch/root"
		mkdir -p "$scratch/root$tree"
		mount --bind "$tree" "$scratch/root$tree"
		mount -t proc proc "$scratch/root/proc"
		mount --rbind /dev "$scratch/root/dev"
		exec chroot "$scratch/root" /usr/bin/env -i -C "$tree" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
			LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"' in_layer "$root" "$layer" "$tree" "$scratch" "$@" || status=$?
	rmdir "$scratch"
	[[ -z $layer ]] || rm -rf "$layer.work"
	return "$status"
}
in_scratch() { in_layer "$1" '' "${@:2}"; } # ROOT TREE CMD...

# The box's own C programs, built by the image's compiler once for each version of them.
build_tools() { # IMAGE
	local tools tmp=$CACHE/tools.$$
	tools=$(tools_dir)
	[[ -d $tools ]] && return 0
	rm -rf "$tmp" && mkdir -p "$tmp"
	cp "$BOX_DIR"/{enter,*-shim}.c "$tmp/"
	in_scratch "$1/root" "$tmp" sh -ec '
		gcc -O2 -Wall -Wextra -o enter enter.c
		for shim in *-shim.c; do gcc -O2 -Wall -Wextra -shared -fPIC -o "${shim%.c}.so" "$shim"; done' || die "the box's own programs do not build"
	mv -T "$tmp" "$tools" 2>/dev/null || rm -rf "$tmp" # another box was faster
}

tools_dir() { echo "$CACHE/tools-$(cat "$BOX_DIR"/{enter,*-shim}.c "$BOX_DIR/image.sh" | sha256sum | cut -c 1-16)$(variant)"; }

# What a package is made of: with the same name it is the same one.
package_hash() { # IMAGE
	(cd "$TREE" && find Makefile LICENSE README.md CHANGELOG.md core etc spank_plugin workflows -type f -print0 | sort -z |
		xargs -0 sha256sum; echo "$1") | sha256sum | cut -c 1-16
}

# The package of this tree, made by the image's own compiler and libraries, once for each state of the tree. Prints its path.
build_package() { # IMAGE
	local image=$1 build package log plugins
	[[ -e $TREE/Makefile ]] || die "no Makefile in $TREE"
	build=build/box$(variant)
	package=$TREE/$build/packages/$(package_hash "$image").deb log=$TREE/$build.log
	plugins=$(cd "$image/root" && dirname "$(find usr/lib -name auth_munge.so)")
	mkdir -p "$TREE/$build"
	(
		flock -w 600 8
		[[ ! -e $package ]] || exit 0 # another box was faster
		in_scratch "$image/root" "$TREE" env PLUGINDIR="/$plugins" make BUILD="$build" deb >"$log" 2>&1 9>&-
		mkdir -p "$(dirname "$package")" && rm -f "$(dirname "$package")"/*
		cp "$TREE/$build"/deb/smigrate_*.deb "$package.new"
		mv "$package.new" "$package"
	) 8>"$TREE/$build.lock" || {
		grep -E 'error|Error|\*\*\*' "$log" "$TREE/$build/deb/build.log" | head -n 15 >&2
		die "the tree does not build in the image; see $log"
	}
	echo "$package"
}

# What the package makes of the image is a layer of the nodes' file systems.
install_package() { # IMAGE PACKAGE LAYER
	local log=$DATA/install.log
	mkdir -p "$DATA/package"
	cp "$2" "$DATA/package/smigrate.deb"
	in_layer "$1/root" "$3" "$DATA/package" dpkg --force-unsafe-io -i smigrate.deb >"$log" 2>&1 || {
		cat "$log" >&2
		die "the package cannot be installed in the image"
	}
}

wait_idle() { # NODES
	local end=$((SECONDS + 40)) idle
	while ((SECONDS < end)); do
		idle=$(in_node ctl timeout 3 sinfo -h -N -p low -t idle -o %N 2>/dev/null | wc -l) || idle=0
		[[ $idle == "$1" ]] && return 0
		# A wrong line in slurm.conf ends it at once.
		in_node ctl pgrep -x slurmctld >/dev/null || break
		sleep 0.1
	done
	grep -hE 'fatal|error' "$DATA"/*/upper/var/log/slurm*.log | grep -v 'No such file\|NOTE\|Controller .* is not enabled' |
		sort | uniq -c | tail -n 15 >&2
	die "not all nodes are idle; logs: $DATA/NODE/upper/var/log; then: tests/box/box --name $CLUSTER down"
}

# box-boot of ctl registers the cluster and its people, then starts slurmctld.
wait_accounting() {
	local end=$((SECONDS + 60))
	until in_node ctl test -e /run/box/accounting; do
		((SECONDS < end)) || die "accounting is not up in 60 s; logs: $DATA/ctl/upper/var/log; then: tests/box/box --name $CLUSTER down"
		sleep 0.2
	done
}

in_node() { # NODE CMD...
	(exec 9>&-; enter_node "$1" root "${@:2}")
}
