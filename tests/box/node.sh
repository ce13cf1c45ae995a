# shellcheck shell=bash
# A box's nodes as the kernel sees them: a network of their own, a cgroup each, and a tree of processes each.

NET=10.77.0 # every box has a switch in a network namespace of its own, so all boxes may have the same addresses
address_of() { if [[ $1 == ctl ]]; then echo "$NET.1"; else echo "$NET.$((10 + ${1#n}))"; fi; }

# The bridge stands in a namespace too: the host's own network, and its firewall, have no part in a box.
make_switch() {
	local switch
	switch=$(netns_of switch)
	ip netns add "$switch"
	ip -n "$switch" link set lo up
	ip -n "$switch" link add br0 type bridge
	ip -n "$switch" link set br0 up
}

plug_in() {
	local node=$1 switch netns
	switch=$(netns_of switch) netns=$(netns_of "$node")
	ip netns add "$netns"
	# Jumbo frames, as fast networks of clusters have them: a shaped link cuts what it carries into frames, on our two cores.
	ip -n "$switch" link add "$node" mtu 9000 type veth peer name eth0 mtu 9000 netns "$netns"
	ip -n "$switch" link set "$node" master br0 up
	ip -n "$netns" addr add "$(address_of "$node")/24" dev eth0
	ip -n "$netns" link set lo up
	ip -n "$netns" link set eth0 up
}

# Each `unshare` is a bash whose first child is the new pid namespace's first process: so its pid on the host is
# known here, and nothing outside waits for it.
boot_node() {
	local node=$1 lower=$2 container_root=$3 cgroup pid
	cgroup=$(cgroup_root)/$BOX/$node
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
	pid=$(node_pid "$node") || die "node '$node' of box '$BOX' is dead"
	join_cgroup "$(cgroup_root)/$BOX/$node/exec" || die "cannot join the cgroup of node '$node'"
	exec nsenter -t "$pid" -m -p -u -n -i -C -r -w /usr/local/lib/box/enter -u "$user" "$@"
}

set_link() { # NODE RATE|off
	local node=$1 rate=$2 side burst=256kb
	# At gigabits that is spent before a loaded machine's timer fires again, and the link falls short of its rate.
	[[ $rate != *gbit ]] || burst=1mb
	for side in "$(netns_of "$node") eth0" "$(netns_of switch) $node"; do
		# shellcheck disable=SC2086 # two words: namespace, device
		set -- $side
		tc -n "$1" qdisc del dev "$2" root 2>/dev/null || true
		[[ $rate != off ]] || continue
		tc -n "$1" qdisc add dev "$2" root tbf rate "$rate" burst "$burst" latency 50ms ||
			die "tc does not take the rate '$rate' (examples: 100mbit, 1gbit, 10gbit)"
	done
}

link_rate() {
	local rate
	rate=$(tc -n "$(netns_of "$1")" qdisc show dev eth0 2>/dev/null | sed -n 's/.*tbf.* rate \([^ ]*\).*/\1/p')
	echo "${rate:-off}"
}

# Of a node, or of the whole box. By cgroup, so that nothing escapes whatever it is called, and frozen containers die too. Whoever is
# just entering a node (enter_node) comes after that, and is met the next time around.
kill_processes() { # [NODE]
	local top i
	top=$(cgroup_root)/$BOX${1:+/$1}
	[[ -d $top ]] || return 0
	for ((i = 0; i < 200; i++)); do
		{ echo 1 >"$top/cgroup.kill"; } 2>/dev/null || true
		find "$top" -depth -type d -exec rmdir {} + 2>/dev/null || true
		[[ -d $top ]] || break
		sleep 0.05
	done
	((i < 200)) || die "processes of box '$BOX' do not die; see $top"
	rmdir --ignore-fail-on-non-empty "$(cgroup_root)"
}

unplug() { # [NODE]
	local netns
	if [[ $# -gt 0 ]]; then
		ip -n "$(netns_of switch)" link del "$1"
		ip netns del "$(netns_of "$1")"
		return
	fi
	for netns in $(ip netns list | cut -d ' ' -f 1 | grep "^$PROGRAM\.$BOX\." || true); do
		ip netns del "$netns"
	done
}
