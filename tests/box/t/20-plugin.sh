#!/bin/bash
# The plugin and its sentinel on real Slurm, against a stand-in for the daemon. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"

NODE=n1
LOG=/run/box/fake-smigrated.log
PLUGSTACK=/etc/slurm/plugstack.conf.d/smigrate.conf

# What a test has changed in the box is put back when it ends, however it ends.
put_back() {
	box_exec "$NODE" sh -c "rm -f $LOG; [ ! -e /run/plugstack.saved ] || mv /run/plugstack.saved $PLUGSTACK"
	stop_fake
	rm_home
	box_exec "$NODE" sh -c '! command -v smigrated >/dev/null || box-start smigrated 2>/dev/null' || true
}
rm_home() { box_as user1 ctl sh -c 'rm -rf /shared/home/user1/plugin'; }

# user1's folder with a good and a bad workflow file, and no job about
prepare() {
	trap put_back EXIT
	clear_jobs
	rm_home
	box_as user1 ctl sh -c 'mkdir -p /shared/home/user1/plugin'
	in_home <<-'END' tee good.yaml >/dev/null
		name: good
		services:
		  one:
		    image: /images/debian
		    command: [sleep, "1"]
	END
	echo 'services: [' | in_home tee bad.yaml >/dev/null
}
in_home() { box exec ctl --user user1 -- sh -c 'cd /shared/home/user1/plugin && exec "$@"' sh "$@"; }

# The node's daemon is replaced; `no_daemon` leaves none.
no_daemon() {
	box_exec "$NODE" sh -c 'box-stop smigrated >/dev/null 2>&1 || true'
	stop_fake
}
start_fake() {
	no_daemon
	box exec "$NODE" -- sh -c 'mkdir -p /run/box && cat >/run/box/fake-smigrated' <"$ROOT/tests/box/fake-smigrated"
	box_exec "$NODE" sh -c "cd /; setsid python3 /run/box/fake-smigrated $LOG $* >/run/box/fake.out 2>&1 </dev/null & echo \$! >/run/box/fake.pid"
	retry 5 box_exec "$NODE" sh -c '[ -S /run/smigrate/smigrated.sock ] && [ -e '"$LOG"' ]' ||
		fail "the stand-in does not start: $(box_exec "$NODE" cat /run/box/fake.out)"
}
stop_fake() {
	box_exec "$NODE" sh -c '[ ! -e /run/box/fake.pid ] || kill -KILL "$(cat /run/box/fake.pid)" 2>/dev/null
		rm -f /run/box/fake.pid /run/smigrate/smigrated.sock /run/smigrate/jobs/*'
}
heard() { box_exec "$NODE" grep -F -- "$1" "$LOG" 2>/dev/null; }
times_heard() { heard "$1" | wc -l || true; }

plugin_line() { # the node's plugstack line for this test
	box_exec "$NODE" sh -c "cp -n $PLUGSTACK /run/plugstack.saved; echo '$1' >$PLUGSTACK"
}

refused() { # WHY SBATCH-ARG...
	local before why=$1
	shift
	before=$(box_exec ctl squeue -h -t all | wc -l)
	assert_status 1 in_home sbatch "$@"
	assert_contains "$OUTPUT" "$why"
	assert_contains "$OUTPUT" "nothing was submitted"
	assert_eq "$(box_exec ctl squeue -h -t all | wc -l)" "$before" "jobs"
}

submit() { in_home sbatch --parsable -w "$NODE" "$@"; }
output_of() { box_exec ctl cat "/shared/home/user1/plugin/slurm-$1.out"; }
sentinels() { box_exec "$NODE" pgrep -a -x -f 'smigrate-sentinel .*' || true; }
no_sentinels() { [[ -z $(sentinels) ]]; }
# Not drained, and no job at its end there. "idle" is not asked for: a node has been seen "mixed" for 15 s after a job's end.
assert_node_well() {
	retry 30 node_empty || fail "$NODE is not empty: $(box_exec ctl squeue -h -w "$NODE" -t all -o '%i %T %r'; box_exec "$NODE" ps -e -o pid,etimes,stat,args)"
	assert_eq "$(box_exec ctl sinfo -h -n "$NODE" -o '%E' | sort -u)" none "$NODE: $(box_exec ctl sinfo -h -n "$NODE" -o '%T')"
}
node_empty() {
	local jobs
	jobs=$(box_exec ctl squeue -h -w "$NODE" -t R,CG,S,SI) && [[ -z $jobs ]]
}

# ---- submitting ----------------------------------------------------------------------------------------------------

test_a_bad_file_is_refused() {
	prepare
	refused bad.yaml --migrate=bad.yaml --wrap true
	refused none.yaml --migrate=none.yaml --wrap true
	assert_status 0 in_home sbatch --migrate=good.yaml --wrap true
}

test_script_and_environment_forms() {
	prepare
	printf '#!/bin/bash\n#SBATCH --migrate=%s\necho "file=$SMIGRATE_FILE"\n' bad.yaml | in_home tee bad.sh >/dev/null
	printf '#!/bin/bash\n#SBATCH --migrate=%s\necho "file=$SMIGRATE_FILE"\n' good.yaml | in_home tee good.sh >/dev/null
	refused bad.yaml bad.sh
	refused bad.yaml --migrate=bad.yaml good.sh
	assert_status 1 in_home env SBATCH_MIGRATE=bad.yaml sbatch --wrap true
	assert_contains "$OUTPUT" bad.yaml
	# the command line counts more than the environment, and that more than the script
	assert_status 0 in_home env SBATCH_MIGRATE=bad.yaml sbatch --migrate=good.yaml --wrap true
	assert_status 0 in_home env SBATCH_MIGRATE=good.yaml sbatch bad.sh
	local job
	job=$(submit good.sh)
	wait_job_state "$job" COMPLETED 20
	assert_contains "$(output_of "$job")" "file=/shared/home/user1/plugin/good.yaml"
}

test_the_file_is_relative_to_the_submit_folder() {
	local job
	prepare
	job=$(submit --chdir=/tmp -o /shared/home/user1/plugin/slurm-%j.out --migrate=good.yaml --wrap 'echo "file=$SMIGRATE_FILE"')
	wait_job_state "$job" COMPLETED 20
	assert_contains "$(output_of "$job")" "file=/shared/home/user1/plugin/good.yaml"
}

test_a_job_that_cannot_be_requeued_is_refused() {
	prepare
	refused 'cannot be moved' --migrate=good.yaml --no-requeue --wrap true
	refused 'cannot be moved' --no-req --migrate=good.yaml --wrap true
	printf '#!/bin/bash\n#SBATCH --no-requeue\ntrue\n' | in_home tee no.sh >/dev/null
	refused 'cannot be moved' --migrate=good.yaml no.sh
	assert_status 1 in_home env SBATCH_NO_REQUEUE=1 sbatch --migrate=good.yaml --wrap true
	assert_contains "$OUTPUT" 'cannot be moved'
	# what only looks like it: an argument of the script, and one that a later option takes back
	printf '#!/bin/bash\ntrue\n' | in_home tee yes.sh >/dev/null
	assert_status 0 in_home sbatch --migrate=good.yaml yes.sh --no-requeue
	assert_status 0 in_home sbatch --migrate=good.yaml --requeue no.sh
	# and such a job without --migrate is none of our business
	assert_status 0 in_home sbatch no.sh
}

test_a_site_that_does_not_requeue() {
	prepare
	box_exec ctl sh -c 'sed s/JobRequeue=1/JobRequeue=0/ /etc/slurm/slurm.conf >/run/norequeue.conf'
	assert_status 1 in_home env SLURM_CONF=/run/norequeue.conf sbatch --migrate=good.yaml --wrap true
	assert_contains "$OUTPUT" 'add --requeue'
	assert_status 0 in_home env SLURM_CONF=/run/norequeue.conf sbatch --requeue --migrate=good.yaml --wrap true
}

test_not_supported_yet() {
	prepare
	refused 'several nodes' -N2 --migrate=good.yaml --wrap true
	refused 'several nodes' -N1-2 --migrate=good.yaml --wrap true
	printf '#!/bin/bash\ntrue\n' | in_home tee yes.sh >/dev/null
	refused 'heterogeneous' --migrate=good.yaml -n1 : -n1 yes.sh
}

test_refuses_where_it_is_optional_too() {
	prepare
	box_exec ctl sh -c "cp $PLUGSTACK /run/plugstack.saved"
	local kind
	for kind in optional required; do
		box_exec ctl sh -c "echo '$kind spank_smigrate.so' >$PLUGSTACK"
		refused bad.yaml --migrate=bad.yaml --wrap true
		refused 'cannot be moved' --migrate=good.yaml --no-requeue --wrap true
	done
	box_exec ctl mv /run/plugstack.saved "$PLUGSTACK"
}

test_other_tools_refuse_it() {
	local tool
	prepare
	for tool in srun salloc; do
		assert_status 255 in_home "$tool" --migrate=good.yaml true
		assert_contains "$OUTPUT" 'is for batch jobs'
	done
	assert_status 0 in_home env SBATCH_MIGRATE=good.yaml srun true
}

test_output_is_appended() {
	local job
	prepare
	no_daemon
	job=$(submit --migrate=good.yaml --wrap 'echo run ${SLURM_RESTART_COUNT:-0}; sleep ${SLURM_RESTART_COUNT:+0} 30')
	wait_job_state "$job" RUNNING 20
	retry 10 said "$job" 'run 0' || fail "no output"
	box_exec ctl scontrol requeue "$job"
	retry 40 start_again "$job" || fail "job $job does not start again"
	retry 20 said "$job" 'run 1' || fail "not run again: $(output_of "$job")"
	assert_contains "$(output_of "$job")" 'run 0'
	box_exec ctl scancel "$job"

	assert_status 0 in_home sbatch --migrate=good.yaml --open-mode=truncate --wrap true
	assert_contains "$OUTPUT" 'output is emptied'
	assert_status 0 in_home sbatch --migrate=good.yaml --open-mode=append --wrap true
	[[ $OUTPUT != *warning* ]] || fail "a warning: $OUTPUT"
}
said() { output_of "$1" 2>/dev/null | grep -qF -- "$2"; }
start_again() {
	box_exec ctl scontrol update jobid="$1" StartTime=now >/dev/null 2>&1
	[[ $(job_field "$1" Restarts) == 1 ]] && job_is "$1" RUNNING
}

# ---- inside a job --------------------------------------------------------------------------------------------------

test_steps_and_jobs_inside_are_left_in_peace() {
	local job
	prepare
	start_fake
	cat >"$TMP/outer.sh" <<-'END'
		#!/bin/bash
		srun --overlap echo step ok
		sbatch --parsable -o inner.out --no-requeue --wrap 'echo inner file=$SMIGRATE_FILE' >inner.id
		salloc -Q -w n2 srun echo salloc ok </dev/null
		# explicit is another matter
		sbatch --migrate=bad.yaml --wrap true && echo bad was taken
		true
	END
	box exec ctl --user user1 -- sh -c 'cat >/shared/home/user1/plugin/outer.sh' <"$TMP/outer.sh"
	job=$(in_home env SBATCH_MIGRATE=good.yaml sbatch --parsable -w "$NODE" outer.sh)
	wait_job_state "$job" COMPLETED 30
	assert_contains "$(output_of "$job")" 'step ok'
	assert_contains "$(output_of "$job")" 'salloc ok'
	assert_contains "$(output_of "$job")" 'nothing was submitted'
	[[ $(output_of "$job") != *'was taken'* ]] || fail "a bad file was taken inside a job"
	retry 20 inner_done || fail "the inner job did not run"
	assert_eq "$(in_home cat inner.out)" 'inner file='
	assert_eq "$(times_heard '"job_prolog"')" 1 'jobs that the daemon heard of'
}
inner_done() { in_home grep -q inner inner.out 2>/dev/null; }

test_daemon_down_the_job_runs_and_is_told() {
	local job
	prepare
	no_daemon
	job=$(submit --migrate=good.yaml --wrap 'echo it ran')
	wait_job_state "$job" COMPLETED 20
	assert_contains "$(output_of "$job")" 'it ran'
	assert_contains "$(output_of "$job")" "smigrated on $NODE does not answer: this job is not protected"
	assert_eq "$(output_of "$job" | wc -l)" 2 lines
	job=$(submit --wrap 'echo it ran')
	wait_job_state "$job" COMPLETED 20
	assert_eq "$(output_of "$job")" 'it ran' "a job without --migrate"
	assert_node_well
}

# As in an upgrade, in the very moment in which a job starts.
test_daemon_away_for_a_moment_at_the_start() {
	local job
	prepare
	start_fake
	box_exec "$NODE" sh -c "cd /; kill -KILL \$(cat /run/box/fake.pid); rm -f $LOG
		setsid sh -c 'for i in \$(seq 3000); do ! pgrep -f \"[s]lurmstepd spank prolog\" >/dev/null || break; sleep 0.01; done
			echo \$\$ >/run/box/fake.pid; exec python3 /run/box/fake-smigrated $LOG' >/run/box/fake.out 2>&1 </dev/null &"
	job=$(submit --migrate=good.yaml --wrap 'echo it ran')
	wait_job_state "$job" COMPLETED 40
	assert_eq "$(output_of "$job")" 'it ran'
	[[ -n $(heard '"job_prolog","job":'"$job") ]] || fail "no prolog: $(heard '')"
	assert_node_well
}

test_the_daemons_no_is_passed_on() {
	local job
	prepare
	start_fake --unprotected "'no such image: \"x\"'"
	job=$(submit --migrate=good.yaml --wrap true)
	wait_job_state "$job" COMPLETED 20
	assert_contains "$(output_of "$job")" 'this job is not protected: no such image: "x"'
}

test_daemon_hears_of_coming_and_going() {
	local job
	prepare
	start_fake
	job=$(submit --migrate=good.yaml --wrap 'srun true')
	wait_job_state "$job" COMPLETED 20
	retry 10 heard '"job_epilog","job":'"$job" || fail "no epilog: $(heard '')"
	assert_contains "$(heard '"job_prolog"')" '"job":'"$job"',"uid":2001,"file":"good.yaml"'
	assert_contains "$(heard '"job_check"')" '"job":'"$job"
	assert_eq "$(output_of "$job")" '' output
	job=$(submit --wrap true)
	wait_job_state "$job" COMPLETED 20
	assert_eq "$(times_heard "\"job\":$job")" 0 "what was said of a job without --migrate"
}

test_odd_file_names_reach_the_daemon() {
	local job
	prepare
	start_fake
	in_home cp good.yaml $'o"d\\d\tn\xc3\xa4me.yaml'
	job=$(submit --migrate=$'o"d\\d\tn\xc3\xa4me.yaml' --wrap true)
	wait_job_state "$job" COMPLETED 20
	assert_contains "$(heard '"job_prolog"')" '"file":"o\"d\\d\u0009n\u00c3\u00a4me.yaml"'
}

# ---- sentinels -----------------------------------------------------------------------------------------------------

test_sentinels_hear_the_grace() {
	local job high
	prepare
	start_fake
	job=$(submit --exclusive --migrate=good.yaml --wrap 'srun --overlap sleep 1000; sleep 1000')
	wait_job_state "$job" RUNNING 20
	retry 10 three_sentinels || fail "sentinels: $(sentinels)"
	high=$(submit -p high --exclusive --wrap true)
	retry 10 heard "\"job_signal\",\"job\":$job,\"step\":\"extern\",\"signal\":15" || fail "not heard: $(heard '')"
	retry 10 heard "\"job_signal\",\"job\":$job,\"step\":\"0\",\"signal\":15" || fail "not heard by step 0: $(heard '')"
	job_is "$job" RUNNING || fail "job $job is $(job_state "$job"), the grace should be on"
	wait_job_state "$high" COMPLETED 60
	retry 10 no_sentinels || fail "left behind: $(sentinels)"
	box_exec ctl scancel "$job"
}
three_sentinels() { [[ $(sentinels | wc -l) == 3 ]]; }

test_sentinels_hear_suspend_and_resume() {
	local job step
	prepare
	start_fake
	job=$(submit --migrate=good.yaml --wrap 'sleep 1000')
	wait_job_state "$job" RUNNING 20
	retry 10 heard '"job_check"' || fail "the batch step has not begun"
	sleep 1
	box_exec ctl scontrol suspend "$job"
	for step in extern batch; do
		retry 10 heard "\"step\":\"$step\",\"signal\":20" || fail "$step did not hear: $(heard '')"
	done
	box_exec ctl scontrol resume "$job"
	for step in extern batch; do
		retry 10 heard "\"step\":\"$step\",\"signal\":18" || fail "$step did not hear: $(heard '')"
	done
	box_exec ctl scancel "$job"
	wait_job_state "$job" CANCELLED 20
	retry 20 no_sentinels || fail "left behind: $(sentinels)"
}

test_a_sentinel_dies_with_its_slurmstepd() {
	local job
	prepare
	no_daemon
	job=$(submit --migrate=good.yaml --wrap 'sleep 1000')
	wait_job_state "$job" RUNNING 20
	retry 10 has_sentinel "$job batch" || fail "none: $(sentinels)"
	box_exec "$NODE" pkill -KILL -f "slurmstepd: \[$job.batch\]"
	retry 5 has_no_sentinel "$job batch" || fail "left behind: $(sentinels)"
	box_exec ctl scancel "$job"
	clear_jobs
	box_exec "$NODE" pkill -KILL -u user1 || true # the script, which has lost its keeper
	assert_node_well
}
has_sentinel() { sentinels | grep -qF "smigrate-sentinel $1"; }
has_no_sentinel() { ! has_sentinel "$1"; }

# slurmstepd sleeps for a second when it finds a process left in a step's container: a sentinel must not be it.
test_sentinels_hold_up_no_step() {
	local job took
	prepare
	start_fake
	job=$(submit --migrate=good.yaml --wrap 'date +%s%N; for i in 1 2 3 4 5 6 7 8 9 10; do srun true; done; date +%s%N')
	wait_job_state "$job" COMPLETED 60
	took=$(output_of "$job" | grep -x '[0-9]*' | { read -r a; read -r b; echo $(((b - a) / 1000000)); })
	((took < 8000)) || fail "ten steps took $took ms"
}

# ---- a daemon that is stuck ----------------------------------------------------------------------------------------

test_a_stuck_daemon_holds_no_step_and_drains_no_node() {
	local job began
	prepare
	plugin_line 'optional spank_smigrate.so hold_max=4'
	start_fake
	job=$(submit --migrate=good.yaml --wrap 'sleep 2')
	wait_job_state "$job" RUNNING 20
	retry 10 heard '"job_check"' || fail "the batch step has not begun"
	box_exec "$NODE" sh -c 'kill -STOP $(cat /run/box/fake.pid)'
	began=$SECONDS
	wait_job_state "$job" COMPLETED 30
	# a job that meets a stuck daemon at its start
	job=$(submit --migrate=good.yaml --wrap 'echo it ran')
	wait_job_state "$job" COMPLETED 30
	((SECONDS - began < 25)) || fail "took $((SECONDS - began)) s"
	assert_contains "$(output_of "$job")" 'it ran'
	assert_contains "$(output_of "$job")" 'does not answer'
	retry 20 no_sentinels || fail "left behind: $(sentinels)"
	assert_node_well
}

test_epilog_waits_for_a_save() {
	local job began
	prepare
	start_fake --epilog-wait 4
	job=$(submit --migrate=good.yaml --wrap true)
	retry 10 heard '"job_epilog"' || fail "no epilog"
	began=$SECONDS
	job_is "$job" COMPLETING || fail "job $job is $(job_state "$job") while its epilog waits"
	wait_job_state "$job" COMPLETED 20
	((SECONDS - began >= 3)) || fail "the epilog did not wait"
	assert_node_well
}

test_epilog_outlives_a_daemons_restart() {
	local job
	prepare
	start_fake --epilog-wait 60
	job=$(submit --migrate=good.yaml --wrap true)
	retry 10 heard '"job_epilog"' || fail "no epilog"
	start_fake
	wait_job_state "$job" COMPLETED 10
	assert_eq "$(times_heard '"job_epilog"')" 2 'times that the epilog asked'
}

test_epilog_ends_before_the_sites_limit() {
	local job
	prepare
	plugin_line 'optional spank_smigrate.so hold_max=600'
	set_epilog_limit 8
	trap 'set_epilog_limit 60; put_back' EXIT
	start_fake --epilog-wait 100
	job=$(submit --migrate=good.yaml --wrap true)
	wait_job_state "$job" COMPLETED 30
	assert_eq "$(heard '"job_epilog"' | grep -o '"hold_s":[0-9]*')" '"hold_s":3'
	assert_node_well
}
set_epilog_limit() {
	box_exec "$NODE" sh -c "sed -i 's/^PrologEpilogTimeout=.*/PrologEpilogTimeout=$1/' /etc/slurm/slurm.conf
		box-stop slurmd && box-start slurmd"
	retry 20 node_idle || fail "$NODE does not come back"
}
node_idle() { [[ $(box_exec ctl sinfo -h -n "$NODE" -o %T | sort -u) == idle ]]; }

test_works_where_it_is_required() {
	local job
	prepare
	plugin_line 'required spank_smigrate.so'
	no_daemon
	job=$(submit --migrate=good.yaml --wrap 'srun echo it ran')
	wait_job_state "$job" COMPLETED 20
	assert_contains "$(output_of "$job")" 'it ran'
	start_fake
	job=$(submit --migrate=good.yaml --wrap 'srun echo it ran')
	wait_job_state "$job" COMPLETED 20
	assert_eq "$(output_of "$job")" 'it ran'
	assert_node_well
}

run_tests "$@"
