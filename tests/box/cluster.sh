# shellcheck shell=bash
# What the nodes of a box have on their disks: Slurm's configuration, keys, names, and the programs of this tree.

node_list() { if [[ $1 == 1 ]]; then echo n1; else echo "n[1-$1]"; fi; }

slurm_conf() { # NODES CPUS MEMORY PROCTRACK ACCOUNTING
	local i
	cat <<-END
		ClusterName=box
		SlurmctldHost=ctl
		SlurmUser=slurm
		AuthType=auth/munge
		CredType=cred/munge
		StateSaveLocation=/var/lib/slurm/slurmctld
		SlurmdSpoolDir=/var/spool/slurmd
		SlurmctldPidFile=/run/slurmctld.pid
		SlurmdPidFile=/run/slurmd.pid
		SlurmctldDebug=info
		SlurmdDebug=verbose
		LogTimeFormat=iso8601_ms,format_stderr
		ProctrackType=proctrack/$4
		TaskPlugin=task/none
		JobAcctGatherType=jobacct_gather/none
		MpiDefault=none
		SelectType=select/cons_tres
		SelectTypeParameters=CR_Core
		PreemptType=preempt/partition_prio
		PreemptMode=REQUEUE
		PrologFlags=Contain
		PlugStackConfig=/etc/slurm/plugstack.conf
		# the machine under the box may be smaller than its nodes say
		SlurmdParameters=config_overrides
		ReturnToService=2
		JobRequeue=1
		KillWait=10
		PrologEpilogTimeout=60
		# Slurm counts by the clock on the wall: a machine that stood still for its default minute would drain nodes
		UnkillableStepTimeout=300
		# without CAP_SYS_RESOURCE no limit of the submitter's can be raised again
		PropagateResourceLimits=NONE
		SlurmctldTimeout=30
		SlurmdTimeout=60
		SchedulerType=sched/backfill
		SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1,preempt_reorder_count=1
	END
	if [[ $5 == 1 ]]; then printf 'AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=ctl\nAccountingStorageEnforce=associations,limits,qos\n'; fi
	for ((i = 1; i <= $1; i++)); do
		echo "NodeName=n$i NodeAddr=$(address_of "n$i") CPUs=$2 RealMemory=$3 State=UNKNOWN"
	done
	cat <<-END
		PartitionName=low Nodes=$(node_list "$1") Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 MaxTime=INFINITE
		PartitionName=high Nodes=$(node_list "$1") PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
		PartitionName=low0 Nodes=$(node_list "$1") PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 MaxTime=INFINITE
		PartitionName=low2 Nodes=$(node_list "$1") PriorityTier=1 PreemptMode=REQUEUE GraceTime=2 MaxTime=INFINITE
		PartitionName=cancel0 Nodes=$(node_list "$1") PriorityTier=1 PreemptMode=CANCEL GraceTime=0 MaxTime=INFINITE
		PartitionName=cancel2 Nodes=$(node_list "$1") PriorityTier=1 PreemptMode=CANCEL GraceTime=2 MaxTime=INFINITE
		PartitionName=cancel20 Nodes=$(node_list "$1") PriorityTier=1 PreemptMode=CANCEL GraceTime=20 MaxTime=INFINITE
		PartitionName=spare Nodes=$(node_list "$1") PriorityTier=1 PreemptMode=OFF MaxTime=INFINITE
	END
}

cgroup_conf() { # PROCTRACK
	if [[ $1 == cgroup ]]; then
		printf 'CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes\n'
	else
		echo CgroupPlugin=disabled
	fi
}

hosts() {
	local node
	echo "127.0.0.1 localhost"
	for node in $(node_names); do echo "$(address_of "$node") $node"; done
}

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
	echo StateHost=ctl >"$site/etc/smigrate/smigrate.conf" # in place of what `make install` brought
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

# Runs a command in the image, writable but for itself alone, with the tree at its own path. The mounts end with it.
in_scratch() { # ROOT TREE CMD...
	local root=$1 tree=$2 scratch
	shift 2
	scratch=$(mktemp -d)
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare -m --propagation private bash -ec '
		root=$1 tree=$2 scratch=$3; shift 3
		mount -t tmpfs tmpfs "$scratch"
		mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
		mount -t overlay overlay -o "lowerdir=$root,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
		mkdir -p "$scratch/root$tree"
		mount --bind "$tree" "$scratch/root$tree"
		mount -t proc proc "$scratch/root/proc"
		mount --rbind /dev "$scratch/root/dev"
		exec chroot "$scratch/root" /usr/bin/env -i -C "$tree" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
			LC_ALL=C.UTF-8 "$@"' in_scratch "$root" "$tree" "$scratch" "$@" || {
		rmdir "$scratch"
		return 1
	}
	rmdir "$scratch"
}

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

tree_build() { echo "build/box$(variant)"; }

# Builds this tree with the image's own compiler and libraries, at its own path, installs it into build/box/root, and leaves a copy:
# what lies under a live overlay must not change when the tree is built again, nor be taken while another box has it built.
build_tree() { # IMAGE COPY
	local image=$1 copy=$2 build log plugins
	build=$(tree_build) log=$TREE/$(tree_build).log
	if [[ ! -e $TREE/Makefile ]]; then
		warn "no Makefile in $TREE yet: plain Slurm, without smigrate"
		return 0
	fi
	plugins=$(cd "$image/root" && dirname "$(find usr/lib -name auth_munge.so)")
	mkdir -p "$TREE/$build"
	(
		flock -w 600 8
		in_scratch "$image/root" "$TREE" sh -ec '
			rm -rf "$2/root"
			make -j"$(nproc)" BUILD="$2" PREFIX=/usr SYSCONFDIR=/etc PLUGINDIR="$1" all
			make BUILD="$2" PREFIX=/usr SYSCONFDIR=/etc PLUGINDIR="$1" DESTDIR="$PWD/$2/root" install
			' build "/$plugins" "$build" >"$log" 2>&1 9>&-
		rm -rf "$copy" && cp -a "$TREE/$build/root" "$copy"
	) 8>"$TREE/$build.lock" || {
		grep -E 'error|Error|\*\*\*' "$log" | head -n 15 >&2
		die "the tree does not build in the image; see $log"
	}
	[[ -x $copy/usr/sbin/smigrated ]] || warn "make install brought no smigrated: plain Slurm"
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
	die "not all nodes are idle; logs: $DATA/NODE/upper/var/log; then: tests/box/box --name $BOX down"
}

# box-boot of ctl registers the cluster and its people, then starts slurmctld.
wait_accounting() {
	local end=$((SECONDS + 60))
	until in_node ctl test -e /run/box/accounting; do
		((SECONDS < end)) || die "accounting is not up in 60 s; logs: $DATA/ctl/upper/var/log; then: tests/box/box --name $BOX down"
		sleep 0.2
	done
}

in_node() { # NODE CMD...
	(exec 9>&-; enter_node "$1" root "${@:2}")
}
