# shellcheck shell=bash
# A box's nodes: a tree of processes each, in namespaces of their own.

# Each `unshare` is a bash whose first child is the new pid namespace's first process: so its pid on the host is
# known here, and nothing outside waits for it.
boot_node() { # NODE LOWER CONTAINER_ROOT
	local node=$1 lower=$2 container_root=$3 cgroup pid
	ip -n "$(netns_of "$node")" addr add "$(address_of "$node")/24" dev eth0
	cgroup=$(cgroup_root)/$CLUSTER/$node
	mkdir -p "$cgroup" "$DATA/$node"
	# shellcheck disable=SC2016 # expanded by the inner shells
	pid=$(
		exec 9>&-
		bash -c 'echo 0 >"$1/cgroup.procs" && shift && exec "$@"' join "$cgroup" \
			nsenter --net="/run/netns/$(netns_of "$node")" \
			unshare -m -p -u -i -C --propagation private \
			bash -c 'setsid "$@" </dev/null >"$0" 2>&1 & echo $!' "$DATA/$node/init.log" \
			"$BOX_DIR/node/init" "$node" "$DATA/$node" "$DATA/shared" "$lower" "$container_root"
	)
	echo "$pid $(start_time_of "$pid")" >"$STATE/$node.pid"
}

wait_booted() { # [NODE]
	local node pid i
	for node in ${1:-$(node_names)}; do
		for ((i = 0; ; i++)); do
			pid=$(node_pid "$node") || die "node $node died at once: $(tail -n 3 "$DATA/$node/init.log")"
			[[ -e /proc/$pid/root/run/box/booted ]] && break
			((i < 600)) || die "node $node has not booted in 30 s: $(tail -n 3 "$DATA/$node/init.log")"
			sleep 0.05
		done
	done
}

# What is empty in a cgroup may be removed at any moment by whoever is in the node.
join_cgroup() { # DIR
	local i
	for ((i = 0; i < 5; i++)); do
		mkdir -p "$1"
		if { echo 0 >"$1/cgroup.procs"; } 2>/dev/null; then return 0; fi
	done
	return 1
}

# Becomes CMD in the node. Only the node's cgroup is joined from here, and in it a leaf for those outside the node's pid namespace
# (nsenter itself): slurmd gives up when it finds such a process beside it. enter.c does the rest.
enter_node() { # NODE USER CMD...
	local node=$1 user=$2 pid
	shift 2
	pid=$(node_pid "$node") || die "node '$node' of box '$CLUSTER' is dead"
	join_cgroup "$(cgroup_root)/$CLUSTER/$node/exec" || die "cannot join the cgroup of node '$node'"
	exec nsenter -t "$pid" -m -p -u -n -i -C -r -w /usr/local/lib/box/enter -u "$user" "$@"
}

