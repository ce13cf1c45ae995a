#!/bin/bash
# Where Slurm tracks processes without cgroups. Brings up a box of its own beside the one that is up.
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

TIMEOUT_test_hashchain_moves_without_cgroups=600
test_hashchain_moves_without_cgroups() {
	local job
	BOX=$BOX-lp
	trap 'box down' EXIT
	box up --proctrack linuxproc --nodes 2
	tar -C "$ROOT/workflows" -c hashchain | box exec ctl --user user1 -- tar -C /shared/home/user1 -x
	in_hashchain() { box exec ctl --user user1 -- sh -c 'cd /shared/home/user1/hashchain && exec "$@"' sh "$@"; }
	began() { in_hashchain grep -q 'chain4 | step 300000' "hashchain-$job.out" 2>/dev/null; }
	job=$(in_hashchain env STEPS=3000000 sbatch --parsable -p low --migrate=workflow.yaml job.sh)
	retry 30 began || fail 'no step is said'
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 60
	wait_done "$job" 120
	in_hashchain env STEPS=3000000 ./check "hashchain-$job.out"
	assert_eq "$(job_field "$job" Restarts)" 1 Restarts
	assert_eq "$(in_hashchain grep -c ' | step 300000$' "hashchain-$job.out")" 4 'first steps'
	assert_nothing_left "$job"
}

run_tests "$@"
