#!/bin/bash
# `sbatch --migrate` without a file: the batch script itself moves. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"
# shellcheck source=script.sh
. "$(dirname "$0")/script.sh"

test_a_loop_goes_on_at_the_same_line() {
	local job first second
	script <<-'SH'
		#!/bin/bash
		echo "begins with $# arguments: <$1> <$2>"
		cd sub
		exec 7>>../fd7
		for ((i = 1; i <= 60; i++)); do
			echo "$i" | cat | tee -a ../numbers >&7
			printf '%s ' "$i"
			sleep 0.1
		done
		echo "ends on $(hostname) in $(pwd)"
		exit 7
	SH
	in_wf mkdir sub
	job=$(submit_script --migrate --job-name="it's \"my\" job" job.sh 'two words' '$x;"y" *')
	wait_ticks numbers 5 20
	first=$(node_of "$job")
	preempt "$job" 2 >/dev/null
	wait_moved "$job" 1 30
	second=$(node_of "$job")
	[[ $second != "$first" ]] || fail "it is still on $first"
	preempt "$job" 2 >/dev/null
	wait_moved "$job" 2 30
	wait_job_state "$job" FAILED 40
	assert_eq "$(exit_code "$job")" 7:0 'exit code'
	assert_counted numbers 60
	assert_counted fd7 60
	assert_eq "$(output "$job" | grep -v ' 60 ends')" 'begins with 2 arguments: <two words> <$x;"y" *>' output
	assert_eq "$(output "$job" | tail -n 1)" "$(seq -s ' ' 60) ends on $(node_of "$job") in $WF/sub" 'end of the output'
	assert_eq "$(job_field "$job" Restarts)" 2 Restarts
	assert_nothing_left "$job"
}

test_an_array_that_its_user_requeues() {
	local job n
	script <<-'SH'
		#!/bin/bash
		#SBATCH --migrate --array=1-2
		for ((i = 1; i <= 40; i++)); do echo "$i" >>"numbers.$SLURM_ARRAY_TASK_ID"; sleep 0.1; done
	SH
	job=$(submit_script job.sh)
	for n in 1 2; do wait_ticks "numbers.$n" 3 20; done
	for n in 1 2; do box_as user1 ctl scontrol requeue "${job}_$n"; done
	for n in 1 2; do wait_ticks "numbers.$n" 40 40; done
	sleep 1
	for n in 1 2; do assert_counted "numbers.$n" 40; done
}

test_by_way_of_the_disk_and_in_python() {
	local job
	script <<-'SH'
		#!/usr/bin/python3
		import os, time
		token = os.urandom(8).hex()
		for i in range(1, 51):
		    with open("numbers", "a") as f:
		        f.write("%d\n" % i)
		    time.sleep(0.1)
		print(token, os.environ["SLURM_JOB_ID"], os.getcwd())
	SH
	job=$(submit_script --migrate job.sh)
	wait_ticks numbers 5 20
	preempt_to_disk "$job" 3
	wait_moved "$job" 1 60
	wait_done "$job" 30
	assert_counted numbers 50
	assert_contains "$(output "$job")" " $job $WF"
	assert_nothing_left "$job"
}

# Not UTF-8, newlines, nothing at all; exported or not.
test_environment_as_slurm_makes_it() {
	local odd how plain job
	local -A jobs
	script <<-'SH'
		#!/bin/bash
		#SBATCH --comment=x --time=7
		env -0 | grep -azEv '^(SLURM_(JOB_ID|JOBID|TASK_PID|JOB_(START|END)_TIME|SPANK|OPEN_MODE|JOB_NODELIST|NODELIST|JOB_NAME)|SLURMD|_SLURM|SMIGRATE_|_=|SHLVL|TMPDIR)' |
			sort -z >"$1"
		umask >>"$1"
		ulimit -a >>"$1"
		id >>"$1"
		pwd >>"$1"
	SH
	odd=$'ODD=a\xff\xfeb\nsecond line\tand "quotes" \\ and a trailing newline\n'
	for how in ALL NONE ODD,EMPTY; do
		jobs[plain.$how]=$(in_wf env "$odd" EMPTY= sbatch --parsable -w n1 -p low --export="$how" -o wf-%j.out job.sh "plain.$how")
		jobs[moving.$how]=$(in_wf env "$odd" EMPTY= sbatch --parsable -w n1 -p low --export="$how" -o wf-%j.out --migrate job.sh \
			"moving.$how")
	done
	for how in ALL NONE ODD,EMPTY; do
		plain=${jobs[plain.$how]} job=${jobs[moving.$how]}
		wait_done "$plain" 20
		wait_done "$job" 20
		in_wf cmp "plain.$how" "moving.$how" || in_wf diff -a "plain.$how" "moving.$how" ||
			fail "another environment with --export=$how"
		assert_eq "$(output "$job")" '' "output with --export=$how"
		assert_eq "$(wf_state "$job")" 'done' "workflow with --export=$how"
	done
}

# Slurm's ways to signal a batch script.
test_signals_reach_the_script() {
	local job
	script <<-'SH'
		#!/bin/bash
		trap 'echo heard USR1' USR1
		trap 'echo heard TERM; exit 9' TERM
		echo ready
		for ((i = 0; i < 600; i++)); do sleep 0.1; done
	SH
	job=$(submit_script --migrate job.sh)
	wait_said "$job" ready 20
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 30
	box_as user1 ctl scancel --batch --signal=USR1 "$job"
	wait_said "$job" 'heard USR1' 10
	job_is "$job" RUNNING || fail "USR1 has ended it"
	box_as user1 ctl scancel "$job"
	wait_said "$job" 'heard TERM' 10
	wait_wf "$job" stopped 10
	assert_nothing_left "$job"
}

test_srun_and_smigrate_run_are_refused_inside() {
	local job inner
	script <<-'SH'
		#!/bin/bash
		srun true
		echo "srun: $?"
		smigrate run x.yaml
		echo "run: $?"
		sbatch --parsable -o inner-%j.out --wrap 'srun echo from the inner job'
		squeue -h -o %A -j "$SLURM_JOB_ID"
	SH
	job=$(submit_script --migrate job.sh)
	wait_done "$job" 30
	assert_contains "$(output "$job")" 'srun inside a script under --migrate without a file cannot be moved'
	assert_contains "$(output "$job")" 'srun: 1'
	assert_contains "$(output "$job")" 'submit with --migrate=FILE'
	assert_contains "$(output "$job")" 'run: 2'
	inner=$(output "$job" | grep -E '^[0-9]+$' | head -n 1)
	wait_done "$inner" 30
	assert_eq "$(in_wf cat "inner-$inner.out")" 'from the inner job'
}

# A prompt without an end of line, bytes, what background processes say; stdin from a file.
test_output_goes_out_as_it_comes() {
	local job
	script <<-'SH'
		#!/bin/bash
		printf 'prompt> '
		sleep 2
		read -r line
		printf '%s\0\377|' "$line"
		echo error >&2
		(sleep 100; echo never) &
	SH
	echo 'a line of input' | in_wf tee input >/dev/null
	job=$(submit_script --migrate --input=input job.sh)
	wait_said "$job" 'prompt> ' 20
	job_is "$job" RUNNING || fail "it has ended"
	wait_done "$job" 20
	assert_eq "$(box_exec ctl sh -c "od -An -c $WF/wf-$job.out" | tr -s ' \n')" "$(printf 'prompt> a line of input\0\377|error\n' | od -An -c | tr -s ' \n')"
}

# Nothing of the script is done twice where it cannot come back, and the file is named: also before.
test_a_file_on_the_nodes_own_disk_is_named() {
	local job node out
	script <<-'SH'
		#!/bin/bash
		exec 7>>/opt/user1/file 8>>on-shared 9>>/tmp/only-here 6</etc/passwd
		echo ready
		for ((i = 0; i < 600; i++)); do sleep 0.1; done
	SH
	trap here_only_away EXIT
	for node in $(box_nodes); do box_exec "$node" install -d -o user1 /opt/user1; done
	job=$(submit_script --migrate job.sh)
	wait_said "$job" ready 20
	out=$(box_as user1 ctl smigrate check --job "$job" || true)
	assert_contains "$out" "script: it has /tmp/only-here open for writing, on this node's own disk"
	assert_contains "$out" 'script: it has /opt/user1/file open'
	assert_eq "$(grep -c '' <<<"$out")" 2 'lines'
	preempt "$job" 3 >/dev/null
	wait_event "$job" 'does not exist on this node' 40
	[[ $(events "$job") == *"a file that it has open does not exist on this node (CRIU: Can't open file "@(tmp/only-here|opt/user1/file)* ]] ||
		fail "no file is named: $(events "$job")"
	[[ $(output "$job" | grep -c ready) == 1 ]] || fail "it has begun twice: $(output "$job")"
	box_as user1 ctl scancel "$job"
}
here_only_away() {
	local node
	for node in $(box_nodes); do box_exec "$node" rm -rf /tmp/only-here /opt/user1; done
}

# As Slurm requeues any job: from the beginning, with the environment of the new run.
test_a_script_that_cannot_be_saved_begins_again() {
	local job first
	script <<-'SH'
		#!/usr/bin/python3
		import os, socket, time
		s = socket.socket(socket.AF_UNIX)
		s.connect("/run/munge/munge.socket.2")
		print("begins, restart", os.environ.get("SLURM_RESTART_COUNT", "0"), "on", os.environ["SLURMD_NODENAME"], flush=True)
		time.sleep(4)
		print("ends", flush=True)
	SH
	job=$(submit_script -x n3,n4 --migrate job.sh)
	wait_said "$job" 'begins, restart 0' 20
	first=$(node_of "$job")
	preempt "$job" 3 >/dev/null
	wait_said "$job" "begins, restart 1 on $(other_than "$first")" 60
	assert_contains "$(output "$job")" 'a UNIX socket connects it with a process outside'
	wait_done "$job" 40
	assert_eq "$(output "$job" | grep -c ends)" 1
	assert_nothing_left "$job"
}
other_than() { if [[ $1 == n1 ]]; then echo n2; else echo n1; fi; }

# It waits until the node is what the other was, and goes on then.
test_a_mount_that_the_next_node_lacks() {
	local job to
	script <<-'SH'
		#!/bin/bash
		echo ready
		for ((i = 1; i <= 50; i++)); do echo "$i" >>numbers; sleep 0.1; done
	SH
	trap scratch_away EXIT
	box_exec ctl scontrol update NodeName=n3,n4 State=DRAIN Reason=test
	for to in n1 n2; do
		box_exec "$to" sh -c 'mkdir -p "/scratch disk" && mount -t tmpfs tmpfs "/scratch disk" && mkdir -m 700 "/scratch disk/closed" &&
			mkdir "/scratch disk/closed/in" && mount -t tmpfs tmpfs "/scratch disk/closed/in"'
	done
	job=$(submit_script --migrate job.sh)
	wait_ticks numbers 3 20
	[[ $(node_of "$job") == n1 ]] || to=n1
	box_exec "$to" umount -R '/scratch disk'
	preempt "$job" 8 >/dev/null
	wait_event "$job" 'mounted at /scratch disk' 40
	box_exec "$to" sh -c 'mount -t tmpfs tmpfs "/scratch disk"'
	wait_moved "$job" 1 30
	wait_done "$job" 40
	assert_counted numbers 50
}
scratch_away() {
	local node
	others_back
	for node in $(box_nodes); do box_exec "$node" sh -c 'umount -R "/scratch disk"; rmdir "/scratch disk"' 2>/dev/null || true; done
}

run_tests "$@"
