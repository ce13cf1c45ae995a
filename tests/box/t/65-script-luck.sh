#!/bin/bash
# The ends of a plain script, and what may happen to the daemon beside it. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"
# shellcheck source=script.sh
. "$(dirname "$0")/script.sh"

# Without a trap it dies of the signal as it would have, and so does what it waits for, before its next line. One that ignores it
# gets Slurm's KillWait (10 s in the box) less a second, and is over before Slurm kills it. One that the user alone has signalled
# goes on.
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

test_the_daemon_is_upgraded_beside_it() {
	local job node
	script <<-'SH'
		#!/bin/bash
		for ((i = 1; i <= 70; i++)); do echo "$i" >>numbers; sleep 0.1; done
		echo 'to its end'
	SH
	trap put_back EXIT
	job=$(submit_script --migrate job.sh)
	wait_ticks numbers 3 20
	node=$(node_of "$job")
	stop_daemon "$node" KILL
	sleep 1
	start_daemon "$node"
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	wait_done "$job" 40
	assert_counted numbers 70
	# Slurm may say that it ends the first run's script
	assert_eq "$(output "$job" | grep -v ' error: \*\*\* JOB ')" 'to its end'
}

# No daemon, or one that hangs: after a while a script runs as it would have, and says that nothing protects it; and not a second
# time when the daemon goes on.
test_a_daemon_that_does_not_answer() {
	local stuck gone
	script <<-'SH'
		#!/bin/bash
		echo "script says <$1> ${SMIGRATE_SCRIPT_PATH-} ${SMIGRATE_SCRIPT-}"
		srun echo a step
		exit 4
	SH
	trap daemons_go_on EXIT
	box_exec n1 sh -c 'kill -STOP $(cat /run/box/smigrated.pid)'
	stop_daemon n2
	stuck=$(submit_script -w n1 --migrate job.sh 'an argument')
	gone=$(submit_script -w n2 --migrate job.sh 'an argument')
	wait_job_state "$gone" FAILED 40
	assert_contains "$(output "$gone")" 'not protected: '
	wait_said "$stuck" 'not protected: smigrated has not answered within' 50
	wait_said "$stuck" 'a step' 10
	daemons_go_on
	wait_job_state "$stuck" FAILED 40
	for job in "$gone" "$stuck"; do
		assert_eq "$(output "$job" | grep 'script says')" 'script says <an argument>  '
		assert_contains "$(output "$job")" 'a step'
		assert_eq "$(exit_code "$job")" 4:0
		assert_nothing_left "$job"
	done
}
daemons_go_on() {
	box_exec n1 sh -c 'kill -CONT $(cat /run/box/smigrated.pid)'
	put_back
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

# What a container could not give it.
test_jobs_that_a_container_would_harm() {
	local job
	script <<-'SH'
		#!/bin/bash
		echo "script says <$1>"
		srun echo a step
		exit 4
	SH
	job=$(in_wf env SLURM_JOB_GPUS=0 sbatch --parsable -p low -o wf-%j.out --migrate job.sh 'with a GPU')
	wait_job_state "$job" FAILED 20
	assert_contains "$(output "$job")" 'not protected: the job has GPUs'
	assert_contains "$(output "$job")" 'a step'
	job=$(box_exec ctl sbatch --parsable -p low -D "$WF" -o wf-%j.out --migrate "$WF/job.sh" "of root's")
	wait_job_state "$job" FAILED 20
	assert_contains "$(output "$job")" "not protected: a script of root's"
	assert_contains "$(output "$job")" "script says <of root's>"
}

run_tests "$@"
