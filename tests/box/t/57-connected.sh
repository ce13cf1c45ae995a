#!/bin/bash
# Services as people run them that hold connections to one another, moved again and again while they work.
# Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

begin() { # NAME TEXT-THAT-SAYS-IT-WORKS [VARIABLE=VALUE...]: sets JOB
	local name=$1 text=$2
	shift 2
	example "$name"
	JOB=$(in_example "$name" env "$@" sbatch --parsable -p low --migrate=workflow.yaml job.sh)
	retry 60 step_said "$name" "$JOB" "$text" || fail "no '$text' of $name: $(in_example "$name" cat "$name-$JOB.out")"
}
move_times() { # N
	local n
	for ((n = 1; n <= $1; n++)); do
		preempt "$JOB" 2 >/dev/null
		wait_moved "$JOB" "$n" 90
		sleep 0.5
	done
	assert_eq "$(state "SELECT SUM(restarted) FROM migrations WHERE job = $JOB")" 0 'services that began anew'
}
ends_well() { # NAME
	in_example "$1" touch stop
	wait_done "$JOB" 120
	in_example "$1" ./check "$1-$JOB.out"
}

# Transactions over sessions from before the first move, and one transaction that is open all the time.
TIMEOUT_test_postgres_ten_times=600
test_postgres_ten_times() {
	begin postgres 'sessions are open' ROUNDS=10000000
	move_times 10
	ends_well postgres
}

test_subscribers_hear_all() {
	begin channel 'all are there' NUMBERS=10000000
	move_times 2
	ends_well channel
}

test_requests_and_a_download() {
	begin web 'begun' REQUESTS=10000000 MB=600 MB_PER_S=40
	retry 10 step_said web "$JOB" connected || fail 'the client is not connected'
	move_times 2
	step_said web "$JOB" bytes= && fail 'the download was over before the last move'
	ends_well web
}

run_tests "$@"
