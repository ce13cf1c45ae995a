#!/bin/bash
# What a running service holds that a move will not carry, told before it is too late. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

check_job() { box exec ctl --user "${1:-user1}" -- smigrate check --job "$JOB" "${@:2}"; } # [USER [OPTION...]]

test_check_of_a_job() {
	local out
	prepare
	in_wf tee hold.py >/dev/null <<-'PY'
		import ctypes, socket, time
		fault = ctypes.CDLL(None).syscall(323, 1)  # userfaultfd, for user mode only
		far = socket.create_connection(("ctl", 6817))
		near = socket.create_server(("127.0.0.1", 0))
		own = socket.create_connection(near.getsockname())
		print("holds" if fault >= 0 else "no userfaultfd", flush=True)
		time.sleep(600)
	PY
	{
		printf 'name: wf\nservices:\n'
		printf '  holds:\n    image: /images/debian\n    volumes: [".:/here"]\n    network_mode: host\n'
		printf '    command: [/usr/bin/python3, /here/hold.py]\n'
		service clean 600
	} | in_wf tee workflow.yaml >/dev/null
	JOB=$(submit)
	wait_said "$JOB" 'holds | holds' 30
	wait_ticks clean 2 30
	out=$(check_job || true)
	assert_contains "$out" 'holds: it holds a userfaultfd, which CRIU cannot save: it cannot be saved as it is'
	assert_contains "$out" 'holds: it has a connection to 10.77.0.1 port 6817 over the node'\''s network, which is closed at a move'
	[[ $out != *clean:* && $out != *127.0.0.1* ]] || fail "it complains of what moves: $out"
	assert_status 1 check_job user1 --quiet
	out=$(check_job user1 --json || true)
	assert_eq "$(jq -c '[.obstacles[] | [.service, .fatal]] | sort' <<<"$out")" '[["holds",false],["holds",true]]'
	assert_status 3 check_job user2
	box_exec ctl scancel "$JOB"
}

test_nothing_in_the_way() {
	prepare
	counters 600 one
	JOB=$(submit)
	wait_ticks one 2 30
	assert_eq "$(check_job)" "$JOB.wf on $(node_of "$JOB"): nothing is known that would not move"
	box_exec ctl scancel "$JOB"
	retry 20 no_such_job || fail "it is not gone: $(check_job 2>&1)"
}
no_such_job() { [[ $(check_job user1 --json 2>&1) == *"no workflow of job $JOB"* ]]; }

run_tests "$@"
