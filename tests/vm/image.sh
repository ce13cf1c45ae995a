# shellcheck shell=bash
# The cached image: QEMU in a root of its own (Debian 12's panics the guests), a disk with Debian 13, systemd, Slurm, runc and CRIU,
# and one with a container's root. The folder's name is a hash of the recipe, so a changed recipe builds anew.

QEMU_PACKAGES=(qemu-system-x86 qemu-utils)
GUEST_PACKAGES=(
	systemd-sysv dbus udev kmod openssh-server linux-image-cloud-amd64 initramfs-tools nfs-kernel-server nfs-common
	slurmctld slurmd slurm-client libslurm42t64 munge runc umoci libyaml-0-2 sqlite3 libjansson4 libssl3t64 liblz4-1 libnet1
	iproute2 iptables nftables procps psmisc util-linux python3 ncat less strace
)
DISK_MB=6000

recipe_hash() { find "$VM_DIR/image.sh" "$VM_DIR/image" "$VM_DIR/../cluster/debian.sh" -type f -print0 | sort -z | xargs -0 cat | sha256sum | cut -c 1-16; }
image_dir() { echo "$CACHE/image-$(recipe_hash)"; }

build_qemu_root() { # ROOT MIRROR
	bootstrap "$1" "$2"
	in_root "$1" apt-get -q install -y --no-install-recommends "${QEMU_PACKAGES[@]}"
	mkdir "$1/data" "$1/image"
	forget_apt "$1"
}

# A release of Slurm and of CRIU as in the box.
build_guest_root() { # ROOT MIRROR
	local root=$1
	bootstrap "$root" "$2"
	add_sid "$root" "$2"
	in_root "$root" apt-get -q install -y --no-install-recommends "${GUEST_PACKAGES[@]}"
	# CRIU brings a newer libnl, of which NFS wants all parts alike.
	in_root "$root" apt-get -q install -y --no-install-recommends --no-remove criu/sid libnl-genl-3-200/sid
	in_root "$root" sh -ec 'cd /opt && apt-get -q download criu/trixie && dpkg -x criu_*.deb criu-older && rm criu_*.deb' # for a test (it wants libnet1)
	add_accounts "$root"
	tar -C "$VM_DIR/image" -c . | tar -C "$root" -x --no-same-owner
	mkdir -p "$root/var/spool/slurmd" "$root/shared" "$root/images/debian"
	echo localhost >"$root/etc/hostname"
	echo '/dev/vdb /images/debian ext4 ro' >"$root/etc/fstab"
	in_root "$root" sh -ec '
		install -d -o slurm /var/lib/slurm/slurmctld
		install -d -m 0700 /root/.ssh
		ssh-keygen -q -t ed25519 -N "" -C vm -f /root/.ssh/id_ed25519
		cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
		systemctl -q enable guest-net ssh
		systemctl -q disable slurmctld slurmd munge nfs-server
		systemctl -q mask getty@tty1.service serial-getty@ttyS0.service systemd-logind.service nfs-blkmap.service \
			apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer'
	forget_apt "$root"
	rm -f "$root/usr/sbin/policy-rc.d"
}

# Files go straight into a file system: nothing is mounted, no loop device is needed.
make_disk() { # FOLDER IMAGE MEGABYTES MKE2FS-ARG...
	mke2fs -q -t ext4 "${@:4}" -m 0 -d "$1" "$2" "$3m"
}

build_image() {
	local image tmp log=$CACHE/build.log containers
	image=$(image_dir)
	[[ -d $image ]] && return 0
	need_root
	"$VM_DIR/../deps" box vm || die "the host lacks packages (see above)"
	containers=$("$VM_DIR/../box/box" build)/debian
	mkdir -p "$CACHE" && chmod 0755 "$CACHE"
	take_lock build 1800
	[[ -d $image ]] && return 0 # another build was faster
	say "building the image $image (some minutes; log: $log)"
	rm -rf "$CACHE"/tmp.*
	tmp=$CACHE/tmp.$$
	mkdir -p "$tmp"
	build_roots "$tmp" "$log" qemu=build_qemu_root guest=build_guest_root
	cp "$tmp"/guest/boot/vmlinuz-* "$tmp/vmlinuz"
	cp "$tmp"/guest/boot/initrd.img-* "$tmp/initrd"
	cp "$tmp/guest/root/.ssh/id_ed25519" "$tmp/key"
	make_disk "$tmp/guest" "$tmp/disk.img" "$DISK_MB" -J size=32 # as on any node: it has to outlive a cut of the power
	make_disk "$containers" "$tmp/debian.img" 1500 -O ^has_journal # only ever read
	rm -rf "$tmp/guest"
	mv -T "$tmp" "$image"
	if [[ -z $(cluster_names) ]]; then find "$CACHE" -maxdepth 1 -name 'image-*' ! -name "image-$(recipe_hash)" -exec rm -rf {} +; fi
	exec 9>&-
}
