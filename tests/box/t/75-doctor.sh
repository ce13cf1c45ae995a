#!/bin/bash
# smigrate doctor, on a cluster that is well and on one where things are broken. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

doctor() { box_as user1 "$1" smigrate doctor; } # NODE: to anybody
# The daemon looks anew after 5 s. `! doctor` would hide what it said.
says() { [[ $(doctor "$1" 2>&1) == *"$2"* ]]; } # NODE TEXT
assert_says() { retry 12 says "$1" "$2" || fail "on $1: '$2' is not in: $(doctor "$1" 2>&1)"; }

test_a_cluster_that_is_well() {
	local node
	prepare
	for node in n1 ctl; do
		assert_status 0 doctor "$node"
		assert_contains "$OUTPUT" '0 errors, '
	done
	assert_status 0 doctor n1
	assert_contains "$OUTPUT" 'PreemptType=preempt/partition_prio PreemptMode=REQUEUE'
	assert_contains "$OUTPUT" 'partition low: PreemptMode=REQUEUE GraceTime=20'
	assert_contains "$OUTPUT" 'slurmd has loaded spank_smigrate.so'
	assert_contains "$OUTPUT" "CRIU $(box_exec n1 criu --version | sed -n 's/^Version: //p')"
	assert_eq "$(box_as user1 n1 smigrate doctor --json | box exec n1 -- python3 -c '
import json, sys
print({c["level"] for c in json.load(sys.stdin)["checks"] if c["check"] != "grace"})')" "{'ok'}" 'levels, but of partitions made for tests'
}

test_settings_that_do_not_go_together() {
	prepare
	trap put_back EXIT
	with_conf n1 PollInterval=20 HoldMax=56
	assert_status 0 doctor n1
	assert_contains "$OUTPUT" 'warning  grace      partition low: GraceTime=20 s is not longer than PollInterval=20 s'
	assert_contains "$OUTPUT" 'warning  epilog     HoldMax=56 s, but Slurm ends an epilog after 60 s'
	assert_contains "$OUTPUT" '0 errors, '
}

plugin_back() {
	box_exec n4 sh -c '[ ! -e /run/plugstack.saved ] || mv /run/plugstack.saved /etc/slurm/plugstack.conf; box-stop slurmd; box-start slurmd'
	put_back
	all_nodes_idle
}
test_a_slurmd_without_the_plugin() {
	prepare
	trap plugin_back EXIT
	box_exec n4 sh -c 'cp /etc/slurm/plugstack.conf /run/plugstack.saved; echo "# include /etc/slurm/plugstack.conf.d/*" >/etc/slurm/plugstack.conf; box-stop slurmd; box-start slurmd'
	assert_says n4 'error    plugin     slurmd runs without spank_smigrate.so, and /etc/slurm/plugstack.conf does not name it'
	assert_status 1 doctor n4
	box_exec n4 mv /run/plugstack.saved /etc/slurm/plugstack.conf
	assert_says n4 'names spank_smigrate.so, but the slurmd that runs has not loaded it: restart slurmd'
}

restart_all() {
	box_exec n1 sh -c 'pgrep -x munged >/dev/null || box-start munged'
	box_exec ctl sh -c 'pgrep -x slurmctld >/dev/null || box-start slurmctld'
	put_back
	clear_jobs
	all_nodes_idle
}
test_daemons_that_do_not_answer() {
	local job
	prepare
	trap restart_all EXIT
	counters 600 one
	job=$(submit -w n2)
	wait_ticks one 3 20
	assert_says n1 'ok       peer       n2 answers'
	stop_daemon n2
	assert_says n1 'error    peer       smigrated on n2 does not answer this node'
	assert_status 1 doctor n1
	stop_daemon ctl
	box_exec ctl box-stop slurmctld
	assert_says n1 'error    statehost  smigrated on ctl does not answer this node'
	assert_says n1 'is slurmctld running, and slurm.conf here the cluster'
	box_exec n1 box-stop munged
	assert_says n1 'error    munge      munge does not work here'
	stop_daemon n1
	assert_status 1 doctor n1
	assert_contains "$OUTPUT" 'error    daemon     smigrated on this node cannot be asked'
	restart_all
	assert_status 0 doctor n1
	box_exec ctl scancel "$job" 2>/dev/null || true
}

# ---- the state of all workflows ------------------------------------------------------------------------------------

state_says() { assert_contains "$(box_exec n1 smigrate doctor --state 2>&1 || true)" "$1"; }
remove_strays() {
	box_exec n3 sh -c 'rmdir /var/lib/smigrate/w/999.left /run/smigrate/c/999.left.one 2>/dev/null || true'
	put_back
	clear_jobs
}
test_state_of_all_workflows() {
	local job
	prepare
	trap remove_strays EXIT
	counters 600 one two
	job=$(submit -w n2)
	wait_ticks two 3 20
	assert_status 0 box_exec n1 smigrate doctor --state
	assert_contains "$OUTPUT" '1 workflows, '
	assert_contains "$OUTPUT" '0 errors, 0 warnings'
	box_exec n3 mkdir -p /var/lib/smigrate/w/999.left /run/smigrate/c/999.left.one
	state_says "stray      n3: /var/lib/smigrate/w/999.left is left"
	state_says "stray      n3: container 999.left.one's bundle is left"
	remove_strays
	assert_status 0 box_exec n1 smigrate doctor --state
	assert_status 4 box_as user1 n1 smigrate doctor --state
	box_exec ctl scancel "$job" 2>/dev/null || true
}

# What no daemon knows of: a second life of a service, the daemon of its node away, a service that is dead and whose daemon did not look.
test_state_with_what_must_not_be() {
	local job pid
	prepare
	trap 'start_daemon n2 || true; remove_strays' EXIT
	counters 600 one
	job=$(submit -w n2)
	wait_ticks one 3 20
	# A container of that name that computes on another node, too.
	box_exec n2 cat "/run/smigrate/c/$job.wf.one/plan.json" | jq '.cgroup_dir = "/sys/fs/cgroup/smigrate/twice"' >"$TMP/plan"
	box exec n3 -- bash -es "$job" <<-'SH'
		mkdir -p /sys/fs/cgroup/smigrate/twice "/run/smigrate/c/$1.wf.one"
		sleep 300 </dev/null >/dev/null 2>&1 &
		echo $! >/sys/fs/cgroup/smigrate/twice/cgroup.procs
	SH
	box exec n3 -- tee "/run/smigrate/c/$job.wf.one/plan.json" <"$TMP/plan" >/dev/null
	assert_status 1 box_exec n1 smigrate doctor --state
	assert_contains "$OUTPUT" "error    stray      n3: container $job.wf.one has processes, of which the daemon knows nothing"
	assert_contains "$OUTPUT" "error    twice      service one of $job.wf computes on n2 and on n3"
	box exec n3 -- bash -es "$job" <<-'SH'
		echo 1 >/sys/fs/cgroup/smigrate/twice/cgroup.kill
		sleep 0.3
		rm -r "/run/smigrate/c/$1.wf.one"
		rmdir /sys/fs/cgroup/smigrate/twice
	SH
	assert_status 0 box_exec n1 smigrate doctor --state
	stop_daemon n2
	state_says 'warning  node       n2 cannot be asked'
	state_says "service one of $job.wf (running) is on no node that answers; n2 does not"
	start_daemon n2
	box_exec ctl scancel "$job" 2>/dev/null || true
}

run_tests "$@"
