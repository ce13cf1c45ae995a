# shellcheck shell=bash
# What makes guests a cluster: keys, names, Slurm's configuration, one /shared, and the package of this tree.

guest_slurm_conf() { # NODES CPUS MEMORY
	slurm_conf "$1" "$2" "$3" cgroup 0 | sed '
		s|^TaskPlugin=.*|TaskPlugin=task/cgroup,task/affinity|
		s|^JobAcctGatherType=.*|JobAcctGatherType=jobacct_gather/cgroup|
		s|^SelectTypeParameters=.*|SelectTypeParameters=CR_Core_Memory|
		/^SlurmdParameters=/d'
	echo 'SlurmctldLogFile=/var/log/slurmctld.log'
	echo 'SlurmdLogFile=/var/log/slurmd.log'
}

# One folder that has what every node gets on its disk, beside the package.
write_site() { # NODES EXTRA_SLURM_CONF EXTRA_SMIGRATE_CONF
	local site=$DATA/site
	mkdir -p "$site"/etc/{slurm/plugstack.conf.d,munge,smigrate,exports.d} "$site/etc/systemd/system/smigrated.service.d" "$site/usr/local/lib/box"
	head -c 128 /dev/urandom >"$site/etc/munge/munge.key"
	hosts >"$site/etc/hosts"
	guest_slurm_conf "$1" "$(cpus_of n1)" $(($(memory_of n1) - 200)) >"$site/etc/slurm/slurm.conf"
	[[ -z $2 ]] || cat "$2" >>"$site/etc/slurm/slurm.conf"
	printf 'CgroupPlugin=cgroup/v2\nConstrainCores=yes\nConstrainRAMSpace=yes\nConstrainDevices=yes\n' >"$site/etc/slurm/cgroup.conf"
	echo 'include /etc/slurm/plugstack.conf.d/*' >"$site/etc/slurm/plugstack.conf"
	echo StateHost=ctl >"$site/etc/smigrate/smigrate.conf"
	[[ -z $3 ]] || cat "$3" >>"$site/etc/smigrate/smigrate.conf"
	echo "/shared $NET.0/24(rw,async,no_root_squash,no_subtree_check,fsid=1)" >"$site/etc/exports.d/shared.exports"
	printf '[Mount]\nWhat=ctl:/shared\nWhere=/shared\nType=nfs4\nOptions=vers=4.2,actimeo=1\n' >"$site/etc/systemd/system/shared.mount"
	printf '[Service]\nStandardOutput=append:/var/log/smigrated.log\nStandardError=inherit\n' >"$site/etc/systemd/system/smigrated.service.d/log.conf"
	cp "$("$VM_DIR/../box/box" tools)/enter" "$site/usr/local/lib/box/"
}

# The guest has what the site and the package bring, and its daemons run.
settle() { # NODE PACKAGE
	local node=$1 not_here=exports.d
	set_clock "$node" "$(date +%s.%N)"
	# whoever exports it must not have a unit that mounts it
	if [[ $node == ctl ]]; then not_here=shared.mount; fi
	tar -C "$DATA/site" -c --exclude="$not_here" --owner=0 --group=0 . | in_guest "$node" tar -C / -x --no-same-owner --no-overwrite-dir
	# shellcheck disable=SC2016 # for the guest's shell
	in_guest "$node" sh -ec '
		chown munge: /etc/munge/munge.key
		chmod 400 /etc/munge/munge.key
		systemctl daemon-reload
		systemctl -q enable --now munge
		if [ "$(hostname)" = ctl ]; then
			install -d -m 1777 /shared
			for n in 1 2; do install -d -m 0755 -o 200$n -g 200$n /shared/home/user$n; done
			systemctl -q enable --now nfs-server
		else
			i=0
			until systemctl -q enable --now shared.mount; do
				i=$((i + 1))
				[ $i -lt 100 ]
				sleep 0.5
			done
		fi'
	in_guest "$node" sh -ec 'cat >/root/smigrate.deb && dpkg --force-confold -i /root/smigrate.deb >/root/dpkg.log 2>&1' <"$2" ||
		die "the package cannot be installed on $node: $(in_guest "$node" tail -n 5 /root/dpkg.log)"
	if [[ $node == ctl ]]; then in_guest ctl systemctl -q enable --now slurmctld; else in_guest "$node" systemctl -q enable --now slurmd; fi
}

wait_idle() { # NODES SECONDS
	local end=$((SECONDS + $2)) idle
	while ((SECONDS < end)); do
		idle=$(in_guest ctl timeout 5 sinfo -h -N -p low -t idle -o %N 2>/dev/null | wc -l) || idle=0
		[[ $idle == "$1" ]] && return 0
		sleep 0.3
	done
	in_guest ctl sh -c 'sinfo -N -p low; grep -hE "fatal|error" /var/log/slurmctld.log | tail' >&2 || true
	die "not all guests are idle in $2 s; then: tests/vm/vm --name $CLUSTER down"
}
