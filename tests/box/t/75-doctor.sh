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

run_tests "$@"
