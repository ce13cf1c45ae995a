# shellcheck shell=bash
# One guest: a QEMU in a cgroup and a network namespace of its own, its disk an overlay of the image's.

memory_of() { if [[ $1 == ctl ]]; then echo 640; else echo "$MEMORY"; fi; } # megabytes
cpus_of() { if [[ $1 == ctl ]]; then echo 1; else echo 2; fi; }
mac_of() { printf '52:54:00:77:00:%02x' "$(address_of "$1" | cut -d . -f 4)"; }

make_overlay() { # NODE
	mkdir -p "$DATA/$1"
	in_qemu qemu-img create -q -f qcow2 -F raw -b /image/disk.img "/data/$1/disk.qcow2"
}

# QEMU's tap in the node's namespace, bridged to its cable.
plug_in_guest() { # NODE
	local netns
	plug_in "$1"
	netns=$(netns_of "$1")
	ip -n "$netns" link add br0 type bridge
	ip -n "$netns" tuntap add tap0 mode tap
	ip -n "$netns" link set tap0 mtu 9000 master br0 up
	ip -n "$netns" link set eth0 master br0
	ip -n "$netns" link set br0 up
}

# Becomes CMD in QEMU's own root, which sees the cluster's folder as /data and the image's as /image.
become_qemu() { # CMD...
	local image
	image=$(cat "$STATE/image")
	# shellcheck disable=SC2016 # expanded by the inner shell
	exec unshare -m --propagation private bash -c '
		image=$1 data=$2; shift 2
		mount --rbind /dev "$image/qemu/dev" && mount -t proc proc "$image/qemu/proc" &&
		mount --bind "$image" "$image/qemu/image" && mount --bind "$data" "$image/qemu/data" &&
		exec chroot "$image/qemu" /usr/bin/env -i PATH=/usr/bin:/bin "$@"' in_qemu "$image" "$DATA" "$@"
}
in_qemu() { (become_qemu "$@"); }

# snapshot: the name of one to begin from; "": it boots, at that time
start_guest() { # NODE SNAPSHOT [SECONDS]
	local node=$1 snapshot=$2 cgroup pid cpus arguments
	cpus=$(cpus_of "$node")
	cgroup=$(cgroup_root)/$CLUSTER/$node
	mkdir -p "$cgroup"
	# shellcheck disable=SC2054 # the commas are QEMU's
	arguments=(
		-name "$node" -nodefaults -display none -M q35 -no-reboot
		-accel "tcg,thread=multi,tb-size=256" -cpu max,la57=off -smp "$cpus" -m "$(memory_of "$node")"
		-kernel /image/vmlinuz -initrd /image/initrd
		-append "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off quiet panic=-1 systemd.hostname=$node guest.address=$(address_of "$node")"
		-drive "file=/data/$node/disk.qcow2,if=virtio,format=qcow2,cache=unsafe,discard=unmap"
		-drive "file=/image/debian.img,if=virtio,format=raw,read-only=on"
		-netdev "tap,id=net,ifname=tap0,script=no,downscript=no" -device "virtio-net-pci,netdev=net,host_mtu=9000,mac=$(mac_of "$node")"
		-device virtio-rng-pci -serial "file:/data/$node/console.log" -qmp "unix:/data/$node/qmp,server=on,wait=off"
	)
	[[ -z ${3-} ]] || arguments+=(-rtc "base=$(date -u -d "@$3" +%Y-%m-%dT%H:%M:%S)")
	[[ -z $snapshot ]] || arguments+=(-loadvm "$snapshot" -S)
	rm -f "$DATA/$node/qmp"
	# shellcheck disable=SC2016 # expanded by the inner shell
	pid=$(
		exec 9>&-
		bash -c 'echo 0 >"$1/cgroup.procs"; shift; setsid "$@" </dev/null >"$0" 2>&1 & echo $!' "$DATA/$node/qemu.log" "$cgroup" \
			nsenter --net="/run/netns/$(netns_of "$node")" "$VM_DIR/vm" --name "$CLUSTER" _qemu qemu-system-x86_64 "${arguments[@]}"
	)
	echo "$pid $(start_time_of "$pid")" >"$STATE/$node.pid"
}

monitor() { # NODE COMMAND...: one line each of QEMU's monitor for people; fails with what it says
	python3 "$VM_DIR/monitor.py" "$DATA/$1/qmp" "${@:2}"
}

wait_monitor() { # NODE: until its QEMU has read the snapshot
	local i
	for ((i = 0; i < 300; i++)); do
		[[ -S $DATA/$1/qmp ]] && return 0
		node_pid "$1" >/dev/null || die "guest $1 has died: $(tail -n 3 "$DATA/$1/qemu.log")"
		sleep 0.1
	done
	die "QEMU of guest $1 does not come up; see $DATA/$1/qemu.log"
}

# ---- commands in a guest ------------------------------------------------------------------------------------------------

SSH=(ssh -q -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=10)

# A connection that serves all commands, since a handshake takes a guest a second. It dies with the guest: it is in its cgroup.
connect() { # NODE SECONDS
	local node=$1 end=$((SECONDS + $2))
	(
		flock -w 60 8
		until "${SSH[@]}" -S "$STATE/$node.ssh" -O check x 2>/dev/null; do
			rm -f "$STATE/$node.ssh"
			node_pid "$node" >/dev/null || die "guest $node has died: $(tail -q -n 3 "$DATA/$node/qemu.log" "$DATA/$node/console.log")"
			((SECONDS < end)) || die "guest $node does not answer; its console: $DATA/$node/console.log"
			# shellcheck disable=SC2016 # expanded by the inner shell
			bash -c 'echo 0 >"$1/cgroup.procs" && shift && exec "$@"' connect "$(cgroup_root)/$CLUSTER/$node" \
				ip netns exec "$(netns_of switch)" "${SSH[@]}" -i "$STATE/key" -M -S "$STATE/$node.ssh" -N -f \
				"root@$(address_of "$node")" </dev/null >/dev/null 2>&1 8>&- 9>&- || sleep 0.3
		done
	) 8>"$STATE/$node.ssh.lock"
}

in_guest() { # NODE CMD...
	local node=$1
	shift
	[[ -S $STATE/$node.ssh ]] || connect "$node" 30
	"${SSH[@]}" -S "$STATE/$node.ssh" x "${@@Q}"
}

set_clock() { in_guest "$1" date -s "@$2" >/dev/null; } # NODE SECONDS
