# shellcheck shell=bash
# A cluster's nodes as the kernel sees them: a network, and a cgroup each.

NET=10.77.0 # every cluster has a switch in a network namespace of its own, so all may have the same addresses
address_of() { if [[ $1 == ctl ]]; then echo "$NET.1"; else echo "$NET.$((10 + ${1#n}))"; fi; }

# The bridge stands in a namespace too: the host's own network, and its firewall, have no part in it.
make_switch() {
	local switch
	switch=$(netns_of switch)
	ip netns add "$switch"
	ip -n "$switch" link set lo up
	ip -n "$switch" link add br0 type bridge
	ip -n "$switch" link set br0 up
	# Where the host's kernel has br_netfilter, every frame would go through a firewall that has no rules: a switch has none.
	# shellcheck disable=SC2016 # expanded there
	ip netns exec "$switch" sh -c 'for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$f" ] || echo 0 >"$f"; done'
}

plug_in() { # NODE: its cable is eth0 in a namespace of its own
	local node=$1 switch netns
	switch=$(netns_of switch) netns=$(netns_of "$node")
	ip netns add "$netns"
	# Jumbo frames, as fast networks of clusters have them: a shaped link cuts what it carries into frames, on our two cores.
	ip -n "$switch" link add "$node" mtu 9000 type veth peer name eth0 mtu 9000 netns "$netns"
	ip -n "$switch" link set "$node" master br0 up
	ip -n "$netns" link set lo up
	ip -n "$netns" link set eth0 up
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

# Of a node, or of the whole cluster. By cgroup, so that nothing escapes whatever it is called, and frozen containers die too. Whoever is
# just entering a node comes after that, and is met the next time around.
kill_processes() { # [NODE]
	local top i
	top=$(cgroup_root)/$CLUSTER${1:+/$1}
	[[ -d $top ]] || return 0
	for ((i = 0; i < 200; i++)); do
		{ echo 1 >"$top/cgroup.kill"; } 2>/dev/null || true
		find "$top" -depth -type d -exec rmdir {} + 2>/dev/null || true
		[[ -d $top ]] || break
		sleep 0.05
	done
	((i < 200)) || die "processes of $TOOL '$CLUSTER' do not die; see $top"
	rmdir --ignore-fail-on-non-empty "$(cgroup_root)"
}

unplug() { # [NODE]
	local netns
	if [[ $# -gt 0 ]]; then
		ip -n "$(netns_of switch)" link del "$1"
		ip netns del "$(netns_of "$1")"
		return
	fi
	for netns in $(ip netns list | cut -d ' ' -f 1 | grep "^$PROGRAM\.$CLUSTER\." || true); do
		ip netns del "$netns"
	done
}
