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

# MPI ranks over shared memory.
test_linpack() {
	begin linpack 'round 1 begins' N=2500 ROUNDS=2
	sleep 2
	move_times 1
	retry 180 step_said linpack "$JOB" 'round 2 begins' || fail 'no second round'
	preempt "$JOB" 2 >/dev/null
	wait_moved "$JOB" 2 90
	ends_well linpack
}

# A connected UNIX socket whose other end is another service: CRIU cannot carry that, and it is said.
test_a_unix_socket_between_services_is_named() {
	prepare
	program unix.py <<-'PY'
		import os, socket, sys, time
		s, path = socket.socket(socket.AF_UNIX), "/here/socket"
		if sys.argv[1] == "serve":
		    s.bind(path)
		    s.listen()
		    c, _ = s.accept()
		    print("accepted", flush=True)
		else:
		    while s.connect_ex(path):
		        time.sleep(0.1)
		    print("connected", flush=True)
		while True:
		    time.sleep(1)
	PY
	{
		printf 'name: wf
services:
'
		member serve /usr/bin/python3 /here/unix.py serve
		member use /usr/bin/python3 /here/unix.py use
		member other /usr/bin/sleep 600
	} | in_wf tee workflow.yaml >/dev/null
	JOB=$(submit)
	wait_said "$JOB" connected 30
	wait_said "$JOB" accepted 30
	preempt "$JOB" 2 >/dev/null
	wait_moved "$JOB" 1 60
	assert_contains "$(output "$JOB")" 'service serve is started again, it could not be saved: a UNIX socket connects it with a process outside its container'
	assert_contains "$(output "$JOB")" 'service use is started again, it could not be saved: a UNIX socket connects it with a process outside its container'
	assert_eq "$(state "SELECT moved || ' ' || restarted FROM migrations WHERE job = $JOB")" '1 2' 'moved, restarted'
}

run_tests "$@"
