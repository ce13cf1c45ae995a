# shellcheck shell=bash
# shellcheck disable=SC2034 # used by those that source it
# What a cluster of namespaces (tests/box) and one of guests (tests/vm) have in common: names, paths and small helpers. Everything
# that a cluster leaves in the kernel is found again by these names alone, so that `down` also cleans up after a kill -9.
#
# Whoever sources it has set TOOL (box or vm), CACHE and RUN; use_name sets CLUSTER, STATE and DATA.

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TREE=${BOX_TREE:-${TESTS%/*}} # what the package is made of
PROGRAM=smigrate-$TOOL # the first part of every name that a cluster gives to something in the kernel

say() { [[ ${QUIET:-0} == 1 ]] || echo "$TOOL: $*" >&2; }
warn() { echo "$TOOL: warning: $*" >&2; }
die() {
	echo "$TOOL: $*" >&2
	exit 1
}

use_name() {
	[[ $1 =~ ^[a-z][a-z0-9-]{0,30}$ ]] || die "'$1' is no name for a $TOOL (a-z, 0-9 and -, at most 31 characters)"
	CLUSTER=$1
	STATE=$RUN/$CLUSTER
	DATA=$CACHE/clusters/$CLUSTER
}

need_root() { [[ $EUID -eq 0 ]] || die "must run as root: it makes namespaces, mounts and cgroups"; }

# Bash would hand the lock on to every daemon that it starts: whoever starts one closes descriptor 9. The file that was
# waited for may have gone with a `down`: then the lock is another file's by now.
take_lock() {
	local file=$RUN/$1.lock
	mkdir -p "$RUN"
	while :; do
		exec 9>"$file"
		flock -w "${2:-120}" 9 || die "another $TOOL command holds $file for more than ${2:-120} s"
		[[ ! /proc/self/fd/9 -ef $file ]] || break
	done
}

# ctl and all that are set up, whether or not they live
node_names() { [[ -r $STATE/nodes ]] && cat "$STATE/nodes"; }
netns_of() { echo "$PROGRAM.$CLUSTER.$1"; }

# A cgroup v2 stands at /sys/fs/cgroup, or beside the old controllers on a hybrid host.
cgroup_root() {
	local at
	at=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
	[[ -n $at ]] || die "this host has no cgroup v2 mounted; try: mount -t cgroup2 none /sys/fs/cgroup/unified"
	echo "$at/$PROGRAM"
}

# A pid alone may have been reused: a node's first process is named by pid and start time.
start_time_of() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

# prints the pid, on the host, of the node's first process; fails when the node is down
node_pid() {
	local pid started
	[[ -r $STATE/$1.pid ]] || return 1
	read -r pid started <"$STATE/$1.pid"
	[[ -n $started && $(start_time_of "$pid") == "$started" ]] && echo "$pid"
}

known_node() {
	node_names 2>/dev/null | grep -qxF -- "$1" ||
		die "$TOOL '$CLUSTER' has no node '$1' (nodes: $(node_names 2>/dev/null | xargs || true)); bring it up by: tests/$TOOL/$TOOL --name $CLUSTER up"
}

need_node() {
	known_node "$1"
	node_pid "$1" >/dev/null || die "node '$1' of $TOOL '$CLUSTER' is dead; try: tests/$TOOL/$TOOL --name $CLUSTER power $1 on"
}

cluster_names() { find "$RUN" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' 2>/dev/null | sort; }
