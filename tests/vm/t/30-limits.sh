#!/bin/bash
# A job's limits hold for its containers, their own limits too, and what the kernel kills for them is told as such.
# shellcheck disable=SC2016 # what is expanded in the guest
# shellcheck source=guests.sh
. "$(dirname "$0")/guests.sh"

# Takes MB megabytes, says so, and counts on.
eater() { # NAME MB [KEY...]: a service; each KEY is a line of YAML
	local name=$1 mb=$2 key
	shift 2
	program eat.py <<-'PY'
		import signal, sys, time
		signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
		m = b"x" * (int(sys.argv[2]) << 20)
		open("/here/" + sys.argv[1], "w").write("has it\n")
		time.sleep(60)
	PY
	printf '  %s:\n    image: /images/debian\n    volumes: [".:/here"]\n    network_mode: none\n' "$name"
	printf '    command: [/usr/bin/python3, /here/eat.py, %s, "%s"]\n' "$name" "$mb"
	for key; do printf '    %s\n' "$key"; done
}
workflow() { { printf 'name: wf\nservices:\n'; cat; } | in_wf tee workflow.yaml >/dev/null; }
ends() { # JOB
	retry 90 is_over "$1" || fail "job $1 is $(job_state "$1")"
}
is_over() { [[ $(job_state "$1") =~ ^(FAILED|COMPLETED|OUT_OF_MEMORY|CANCELLED)$ ]]; }

test_the_jobs_memory_limit_holds() {
	local job
	prepare
	eater big 400 | workflow
	job=$(submit -w n1 --mem=150M)
	ends "$job"
	assert_contains "$(output "$job")" 'out of memory'
	assert_eq "$(box_exec ctl sh -c "cat $WF/big 2>/dev/null || :")" '' 'what it wrote'
	assert_nothing_left "$job"
}

test_a_services_memory_limit_holds() {
	local job
	prepare
	{ eater small 10; eater big 200 'mem_limit: 64m'; } | workflow
	job=$(submit -w n1 --mem=400M)
	retry 60 said "$job" 'out of memory' || fail "nothing said: $(output "$job")"
	assert_contains "$(output "$job")" 'big'
	assert_eq "$(box_exec ctl cat "$WF/small")" 'has it' small
	box_exec ctl scancel "$job"
	retry 30 no_jobs || fail 'the job does not end'
	assert_nothing_left "$job"
}

test_pids_and_cpus() {
	local job dir
	prepare
	eater one 5 'pids_limit: 20' 'cpus: 0.5' | workflow
	job=$(submit -w n1 --mem=200M)
	retry 60 box_exec ctl test -e "$WF/one" || fail 'it does not run'
	dir=/sys/fs/cgroup$(box_exec n1 sh -c 'cut -d : -f 3 /proc/$(pgrep -f "^/usr/bin/python3 /here/eat.py")/cgroup')
	assert_eq "$(box_exec n1 cat "$dir/pids.max")" 20 pids.max
	assert_eq "$(box_exec n1 cat "$dir/cpu.max")" '50000 100000' cpu.max
	box_exec ctl scancel "$job"
	retry 30 no_jobs || fail 'the job does not end'
}

# The node's disk is a device that a job of Slurm may not open (ConstrainDevices), and so may no container.
test_the_jobs_devices_hold() {
	local job
	prepare
	printf '  one:\n    image: /images/debian\n    volumes: [".:/here"]\n    network_mode: none\n    command: [/bin/sh, -c, "cat /proc/1/cgroup; ls -l /dev; sleep 30"]\n' | workflow
	job=$(submit -w n1)
	wait_said "$job" null 60
	[[ $(output "$job") != *vda* ]] || fail 'it sees the disk'
	box_exec ctl scancel "$job"
	retry 30 no_jobs || fail 'the job does not end'
}

test_a_frozen_ancestor_is_seen() {
	local job dir
	prepare
	counters 100 one
	job=$(submit_on n1 n2 -w n1,n2 -N 1)
	wait_ticks one 3 60
	dir=/sys/fs/cgroup$(box_exec n1 sh -c 'cut -d : -f 3 /proc/$(pgrep -f "^/usr/bin/python3 /here/counter.py")/cgroup')
	box_exec n1 sh -c 'echo 1 >"$1"' sh "$dir/../cgroup.freeze"
	assert_status 1 box_exec ctl smigrate move "$job" --to n2
	assert_contains "$OUTPUT" 'frozen'
	box_exec n1 sh -c 'echo 0 >"$1"' sh "$dir/../cgroup.freeze"
	wait_job_state "$job" COMPLETED 90
	assert_exact one 100
	assert_nothing_left "$job"
}

run_tests "$@"
