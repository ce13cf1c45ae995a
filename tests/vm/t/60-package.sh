#!/bin/bash
# The Debian package on a machine with systemd: upgrade, removal and purge, with jobs about.
# shellcheck disable=SC2016 # what is expanded in the guest
# shellcheck source=guests.sh
. "$(dirname "$0")/guests.sh"

TICKS=100
NEXT=/root/next.deb

# The same as another version.
make_next() { # NODE
	box_exec "$1" sh -ec '
		rm -rf /root/next && dpkg-deb -R /root/smigrate.deb /root/next
		sed -i "s/^Version: .*/&+next/" /root/next/DEBIAN/control
		dpkg-deb --root-owner-group -b /root/next '"$NEXT"' >/dev/null'
}
daemon_pid() { box_exec "$1" systemctl show -P MainPID smigrated; }

test_what_it_brings() {
	local list
	list=$(box_exec n1 dpkg -L smigrate)
	assert_contains "$list" /usr/lib/systemd/system/smigrated.service
	assert_contains "$list" /slurm-wlm/spank_smigrate.so
	assert_contains "$list" /etc/slurm/plugstack.conf.d/smigrate.conf
	assert_contains "$list" /usr/lib/tmpfiles.d/smigrate.conf
	assert_eq "$(box_exec n1 systemctl is-enabled smigrated)" enabled smigrated
	assert_eq "$(box_exec n1 sysctl -n fs.inotify.max_user_instances)" 1024 'inotify instances'
	assert_eq "$(box_exec n1 stat -c '%a %U' /var/lib/smigrate)" '700 root' StateDir
	box_exec n1 smigrate doctor >/dev/null
}

# What the unit takes away, from the daemon and from all that it starts.
test_the_unit_is_hardened() {
	local bounding
	bounding=$(box_exec n1 sh -c 'awk "/^CapBnd/ { print \$2 }" "/proc/$(pidof smigrated)/status"')
	(((0x$bounding >> 16 & 1) == 0)) || fail 'it could load modules'
	(((0x$bounding >> 17 & 1) == 0)) || fail 'it could reach I/O ports'
	(((0x$bounding >> 25 & 1) == 1)) || fail 'it cannot set the clocks of time namespaces'
	assert_status 1 box_exec n1 systemd-run -q --pipe --wait -p DevicePolicy=closed -p 'DeviceAllow=char-pts rwm' head -c 1 /dev/vda
	assert_eq "$(box_exec n1 systemctl show -P DevicePolicy smigrated)" closed DevicePolicy
}

test_upgrade_touches_no_container() {
	local job before
	prepare
	counters "$TICKS" one two
	job=$(submit_on n1 n2 -w n1,n2 -N 1)
	wait_ticks one 3 60
	wait_ticks two 3 60
	make_next n1
	before=$(daemon_pid n1)
	box_exec n1 sh -c "dpkg --force-confold -i $NEXT >/root/dpkg.log 2>&1" || fail "$(box_exec n1 cat /root/dpkg.log)"
	[[ $(daemon_pid n1) != "$before" ]] || fail 'the daemon was not restarted'
	retry 20 daemon_answers n1 || fail 'the daemon does not answer'
	preempt "$job" 30 n1 >/dev/null
	wait_moved "$job" 1 90
	wait_job_state "$job" COMPLETED 120
	assert_exact one "$TICKS"
	assert_exact two "$TICKS"
	assert_nothing_left "$job"
}

test_purge_keeps_what_is_saved() {
	local job said
	prepare
	counters "$TICKS" one
	job=$(submit_on n1 n2 -w n1,n2 -N 1)
	wait_ticks one 3 60
	box_exec ctl scontrol update NodeName=n2 State=DRAIN Reason=test
	preempt "$job" 60 n1 >/dev/null
	wait_wf "$job" saved 60
	said=$(box_exec n1 sh -c 'dpkg --purge smigrate 2>&1 </dev/null')
	assert_contains "$said" "is kept"
	assert_contains "$said" "$job.wf"
	box_exec n1 sh -c '[ ! -e /etc/smigrate/smigrate.conf ] && [ ! -e /usr/sbin/smigrated ]' || fail 'something of the package is left'
	box_exec n1 sh -ec 'mkdir -p /etc/smigrate && echo StateHost=ctl >/etc/smigrate/smigrate.conf
		dpkg --force-confold -i /root/smigrate.deb >/root/dpkg.log 2>&1'
	box_exec ctl scontrol update NodeName=n2 State=RESUME
	wait_job_state "$job" COMPLETED 180
	assert_exact one "$TICKS"
}

test_purge_takes_all_else() {
	clear_jobs
	box_exec n2 sh -c 'dpkg --purge smigrate >/root/dpkg.log 2>&1 </dev/null'
	assert_eq "$(box_exec n2 sh -c 'ls -d /var/lib/smigrate /run/smigrate /etc/smigrate /usr/libexec/smigrate 2>/dev/null || :')" '' 'what is left'
}

run_tests "$@"
