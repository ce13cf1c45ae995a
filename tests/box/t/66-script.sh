#!/bin/bash
# `sbatch --migrate` without a file: the batch script itself moves. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

# A script from standard input as job.sh; what a test leaves in the folder of the one before is gone.
script() { prepare && in_wf tee job.sh >/dev/null; }
submit_script() { in_wf sbatch --parsable -p low -o wf-%j.out "$@"; } # [SBATCH-ARG...] job.sh [ARG...]
exit_code() { job_field "$1" ExitCode; }
counted() { ticks "$1"; }
has_counted() { (($(counted "$1") >= $2)); }
wait_counted() { retry "$3" has_counted "$1" "$2" || fail "$1 has $(counted "$1") lines, wanted $2"; } # FILE N SECONDS
assert_counted() { # FILE N: from 1 to N, none missing, none twice
	seq "$2" | in_wf cmp - "$1" || fail "$1: $(in_wf cat "$1" | tr '\n' ' ')"
}

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
	job=$(submit_script --migrate -w n1,n2,n3 -N 1 --job-name="it's \"my\" job" job.sh 'two words' '$x;"y" *')
	wait_counted numbers 5 20
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
	wait_counted numbers 5 20
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

# Without a trap it dies of the signal as it would have, and so does what it waits for, before its next line. One that ignores it
# gets Slurm's KillWait (10 s in the box), no more. One that the user alone has signalled goes on.
test_what_ends_a_script() {
	local plain stubborn own began=$SECONDS
	script <<-'SH'
		#!/bin/bash
		echo ready
		sleep 300
		echo 'one line more'
	SH
	printf '#!/bin/bash\ntrap "" TERM\necho ready\nwhile :; do sleep 1; done\n' | in_wf tee stubborn.sh >/dev/null
	printf '#!/bin/bash\ntrap "echo heard TERM" TERM\necho ready\nfor ((i = 0; i < 40; i++)); do sleep 0.1; done\necho end\n' |
		in_wf tee own.sh >/dev/null
	plain=$(submit_script --migrate job.sh)
	stubborn=$(submit_script --migrate stubborn.sh)
	own=$(submit_script --migrate own.sh)
	wait_said "$plain" ready 20
	wait_said "$stubborn" ready 20
	wait_said "$own" ready 20
	box_as user1 ctl scancel --batch --signal=TERM "$own"
	box_as user1 ctl scancel "$plain" "$stubborn"
	began=$SECONDS
	wait_wf "$plain" stopped 10
	((SECONDS - began < 8)) || fail "took $((SECONDS - began)) s"
	[[ $(output "$plain") != *'one line more'* ]] || fail "it went on: $(output "$plain")"
	wait_done "$own" 20
	assert_eq "$(output "$own" | grep -v CANCELLED)" $'ready\nheard TERM\nend' # Slurm says that of every such signal
	wait_wf "$stubborn" stopped 30
	((SECONDS - began >= 8)) || fail "it had $((SECONDS - began)) s only"
	assert_nothing_left "$plain"
	assert_nothing_left "$stubborn"
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

# Nothing of the script is done twice where it cannot come back, and the file is named.
test_a_file_on_the_nodes_own_disk_is_named() {
	local job
	script <<-'SH'
		#!/bin/bash
		exec 9>>/tmp/only-here
		echo ready
		for ((i = 0; i < 600; i++)); do sleep 0.1; done
	SH
	job=$(submit_script --migrate job.sh)
	wait_said "$job" ready 20
	preempt "$job" 3 >/dev/null
	wait_event "$job" 'tmp/only-here' 40
	assert_contains "$(events "$job")" 'a file that it has open does not exist on this node'
	[[ $(output "$job" | grep -c ready) == 1 ]] || fail "it has begun twice: $(output "$job")"
	box_as user1 ctl scancel "$job"
	box_exec ctl sh -c 'rm -f /tmp/only-here'
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

test_the_daemon_is_upgraded_beside_it() {
	local job node
	script <<-'SH'
		#!/bin/bash
		for ((i = 1; i <= 70; i++)); do echo "$i" >>numbers; sleep 0.1; done
		echo 'to its end'
	SH
	trap put_back EXIT
	job=$(submit_script --migrate job.sh)
	wait_counted numbers 3 20
	node=$(node_of "$job")
	stop_daemon "$node" KILL
	sleep 1
	start_daemon "$node"
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	wait_done "$job" 40
	assert_counted numbers 70
	assert_eq "$(output "$job")" 'to its end'
}

# One that hangs: after a while it runs without, and not a second time when the daemon is back.
test_a_stuck_daemon_at_the_start() {
	local job
	script <<-'SH'
		#!/bin/bash
		echo "script says $SLURM_JOB_ID"
	SH
	trap daemon_goes_on EXIT
	box_exec n1 sh -c 'kill -STOP $(cat /run/box/smigrated.pid)'
	job=$(submit_script -w n1 --migrate job.sh)
	wait_said "$job" 'not protected: smigrated has not answered within' 50
	wait_said "$job" "script says $job" 10
	daemon_goes_on
	wait_job_state "$job" COMPLETED 40
	sleep 1
	assert_eq "$(output "$job" | grep -c 'script says')" 1
	assert_nothing_left "$job"
}
daemon_goes_on() { box_exec n1 sh -c 'kill -CONT $(cat /run/box/smigrated.pid)'; }

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
	wait_counted numbers 3 20
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

# Where CRIU cannot save what runs on the node's root: a slurmd of its own root, an overlay over the node's overlay.
test_a_root_that_cannot_be_saved_is_said_at_the_start() {
	local job
	script <<-'SH'
		#!/bin/bash
		echo "it ran as $(id -un)"
	SH
	trap own_slurmd EXIT
	box_exec n4 sh -c 'box-stop slurmd; mkdir -p /var/lib/smigrate/over/u /var/lib/smigrate/over/w /run/over
		cat >/run/over.sh <<-"END"
			set -e
			mount -t overlay overlay -o lowerdir=/,upperdir=/var/lib/smigrate/over/u,workdir=/var/lib/smigrate/over/w /run/over
			for dir in proc sys dev run shared var/lib/smigrate; do mount --rbind "/$dir" "/run/over/$dir"; done
			cd /run/over && mkdir -p old && pivot_root . old && umount -l /old
			exec box-start slurmd
		END
		unshare -m --propagation private sh /run/over.sh'
	retry 30 node_n4_idle || fail "slurmd on n4 does not come back"
	job=$(submit_script -w n4 --migrate job.sh)
	wait_done "$job" 40
	assert_contains "$(output "$job")" 'overlay over another overlay'
	assert_contains "$(output "$job")" 'runs without protection'
	assert_contains "$(output "$job")" 'it ran as user1'
	assert_contains "$(events "$job")" 'overlay over another overlay'
}
node_n4_idle() { [[ $(box_exec ctl sinfo -h -n n4 -p low -o %T) == idle ]]; }
own_slurmd() {
	box_exec n4 sh -c 'box-stop slurmd; rm -rf /var/lib/smigrate/over; box-start slurmd'
	retry 30 node_n4_idle || fail "slurmd on n4 does not come back"
}

# No daemon, or one that says no: it runs as it would have, and says that nothing protects it.
test_unprotected_but_not_harmed() {
	local job
	script <<-'SH'
		#!/bin/bash
		echo "script says <$1> ${SMIGRATE_SCRIPT_PATH-} ${SMIGRATE_SCRIPT-}"
		srun echo a step
		exit 4
	SH
	trap put_back EXIT
	stop_daemon n1
	job=$(submit_script -w n1 --migrate job.sh 'an argument')
	wait_job_state "$job" FAILED 40
	assert_contains "$(output "$job")" 'not protected'
	assert_contains "$(output "$job")" 'script says <an argument>'
	assert_contains "$(output "$job")" 'a step'
	assert_eq "$(exit_code "$job")" 4:0
}

run_tests "$@"
