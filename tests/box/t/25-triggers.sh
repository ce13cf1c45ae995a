#!/bin/bash
# Every way in which Slurm takes a node, or may seem to, in every mode of preemption: the table of smigrate-triggers(7), row by row.
# A row is a trigger in one partition: its mode and its GraceTime. Brings up boxes of its own: in one each lane has two nodes, so that
# several rows take place at one time; the other has SUSPEND,GANG.
#
#   TRIGGERS=all   all rows (make triggers); else a sample: of each trigger three, so that it meets each mode and each grace
#   SEED=N         another sample
#   LANES=N        rows at one time (default 3)
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"
# shellcheck source=lanes.sh
. "$(dirname "$0")/lanes.sh"

TICKS=30
export OTHERS_COUNT=1 # rows take place beside one another
LANES=${LANES:-3}
TRIGGERS=${TRIGGERS:-sample}
SEED=${SEED:-1}
PARTITIONS=(low0 low2 low cancel0 cancel2 cancel20)

# ---- what a row is made of -------------------------------------------------------------------------------------------------

job='' # of the row

begin() { # [SBATCH-ARG...]
	# A row before this one that failed has left its job behind, which writes to the same files.
	box_exec ctl sh -c 'squeue -h -o "%A %Z" | grep -x -- "[0-9]* $1" | cut -d " " -f 1 | xargs -r scancel' sh "$WF"
	work_files
	[[ -n ${SCRIPT-} ]] && in_wf tee job.sh <<<"$SCRIPT" >/dev/null
	counters "$TICKS" one two
	[[ -z $OTHERS ]] || set -- -x "$OTHERS" "$@"
	job=$(submit -p "$PART" "$@")
	wait_ticks one 3 40
	wait_ticks two 3 40
}
# For some seconds; where it merely stands still meanwhile, for long enough to see that.
preempt_it() { # [SECONDS]
	local seconds=${1:-2}
	[[ $MODE != SUSPEND || $seconds -gt 7 ]] || seconds=7
	preempt "$job" "$seconds" >/dev/null
}
# All services counted to the end in one life, after so many moves; Slurm's own word of it is good, or what CANCEL makes of a grace.
ends_right() { # MOVES [CAUSES]
	local state=COMPLETED
	wait_wf "$job" 'done' 60
	assert_exact one "$TICKS"
	assert_exact two "$TICKS"
	assert_eq "$(state "SELECT COUNT(*) FROM migrations WHERE job = $job")" "$1" moves
	[[ $# -lt 2 ]] || assert_eq "$(state "SELECT GROUP_CONCAT(cause) FROM (SELECT cause FROM migrations WHERE job = $job ORDER BY id)")" "$2" causes
	[[ $MODE != CANCEL || $GRACE == 0 || ${2-} != *preempt* ]] || state=PREEMPTED
	wait_job_state "$job" "$state" 30
	assert_eq "$(job_field "$job" ExitCode)" 0:0 ExitCode
	assert_nothing_left "$job"
}
ends_stopped() { # WORD-OF-THE-REASON
	wait_wf "$job" stopped 60
	assert_contains "$(state "SELECT message FROM workflows WHERE job = $job")" "$1"
	assert_nothing_left "$job"
	assert_eq "$(lives one) $(lives two)" '1 1' lives
}
standing() { [[ $(state "SELECT COUNT(*) FROM services WHERE workflow LIKE '$job.%' AND state = 'frozen'") == 2 ]]; }
stands_still() {
	local before
	wait_wf "$job" suspended 20
	retry 10 standing || fail "not all services stand still: $(box_exec ctl smigrate show "$job")"
	before="$(ticks one) $(ticks two)"
	sleep 1.5
	assert_eq "$(ticks one) $(ticks two)" "$before" 'ticks while suspended'
}
# What a preemption comes to in this mode, until it runs again.
comes_back() { # MOVES [SECONDS]
	if [[ $MODE == SUSPEND ]]; then
		stands_still
		wait_wf "$job" running 40
	else
		wait_moved "$job" "$1" "${2:-60}"
	fi
}
preempted_ends_right() { if [[ $MODE == SUSPEND ]]; then ends_right 0; else ends_right 1 preempt; fi; }
scontrol() { box_exec ctl scontrol "$@"; }
node_state() { scontrol update "nodename=$1" "state=$2" reason=test; } # NODE STATE

# ---- the triggers ----------------------------------------------------------------------------------------------------------

trigger_preempt() {
	begin
	preempt_it
	comes_back 1
	preempted_ends_right
}

trigger_preempt_again_at_once() {
	begin
	preempt_it
	comes_back 1
	preempt_it
	comes_back 2
	if [[ $MODE == SUSPEND ]]; then ends_right 0; else ends_right 2 preempt,preempt; fi
}

trigger_suspend_and_resume() {
	begin
	scontrol suspend "$job"
	stands_still
	scontrol resume "$job"
	wait_wf "$job" running 10
	ends_right 0
}

# Its CPUs are free meanwhile: who comes finds room, and nobody is preempted.
trigger_suspend_then_preempt() {
	local high
	begin
	scontrol suspend "$job"
	stands_still
	high=$(preempt "$job" 2)
	wait_job_state "$high" COMPLETED 40
	wf_is "$job" suspended || fail "the workflow is $(wf_state "$job")"
	scontrol resume "$job"
	ends_right 0
}

trigger_scancel() {
	begin
	box_as user1 ctl scancel "$job"
	wait_job_state "$job" CANCELLED 60
	ends_stopped 'the job was cancelled'
}

# Under CANCEL with a grace it may bear Slurm's mark of that (see give_job_back), and is PREEMPTED for Slurm.
is_scancelled() { job_is "$job" CANCELLED || { [[ $PART == cancel2* ]] && job_is "$job" PREEMPTED; }; }
trigger_scancel_while_preempted() {
	begin
	preempt_it 3
	sleep "0.$((RANDOM % 10))"
	box_as user1 ctl scancel "$job"
	retry 60 is_scancelled || fail "the job is $(job_state "$job")"
	wait_wf "$job" stopped 60
	assert_nothing_left "$job"
	assert_eq "$(lives one) $(lives two)" '1 1' lives
}

# Saved, and waiting: in SUSPEND it merely stands still.
trigger_scancel_while_held() {
	begin
	scontrol hold "$job" || true
	preempt_it 4
	wait_wf "$job" "$([[ $MODE == SUSPEND ]] && echo suspended || echo saved)" 40
	box_as user1 ctl scancel "$job"
	wait_job_state "$job" CANCELLED 60
	wait_wf "$job" stopped 60
	assert_nothing_left "$job"
}

# To the steps, as scancel does it: the services are none of them.
trigger_signal_to_the_steps() {
	begin
	box_as user1 ctl scancel --signal=TERM "$job"
	box_as user1 ctl scancel --signal=USR1 "$job"
	sleep 1
	ends_right 0
}

trigger_signal_to_the_script() {
	begin
	box_as user1 ctl scancel --batch --signal=TERM "$job"
	ends_stopped ''
}

trigger_scancel_of_a_step() {
	SCRIPT=$'#!/bin/bash\n#SBATCH --job-name=wf --output=wf-%j.out --time=20\nsrun --overlap sleep 1000 &\nsmigrate run\nexit $?' begin
	box_as user1 ctl scancel "$job.0"
	ends_right 0
}

# Slurm looks twice a minute.
trigger_time_limit() {
	TICKS=1000
	begin
	scontrol update "jobid=$job" EndTime=now
	wait_job_state "$job" TIMEOUT 90
	ends_stopped 'time limit'
}

trigger_new_time_limit() {
	begin
	scontrol update "jobid=$job" TimeLimit=45
	preempt_it
	comes_back 1
	assert_eq "$(job_field "$job" TimeLimit)" 00:45:00 TimeLimit
	preempted_ends_right
}

# Slurm refuses it for a job that runs.
trigger_new_partition() {
	begin
	! scontrol update "jobid=$job" partition=spare 2>/dev/null || fail 'the partition of a running job could be changed'
	ends_right 0
}

trigger_node_drained() {
	local node
	begin
	node=$(node_of "$job")
	node_state "$node" DRAIN
	sleep 1
	ends_right 0
	node_state "$node" RESUME
}

# Slurm holds it for dead, its daemon lives: nothing is lost.
trigger_node_down() {
	local node
	begin
	node=$(node_of "$job")
	node_state "$node" DOWN
	wait_moved "$job" 1 60
	node_state "$node" RESUME 2>/dev/null || true # it may be back by itself (ReturnToService)
	ends_right 1
}

trigger_requeue() {
	begin
	box_as user1 ctl scontrol requeue "$job"
	wait_moved "$job" 1 60
	ends_right 1 requeue
}

trigger_requeuehold() {
	begin
	box_as user1 ctl scontrol requeuehold "$job"
	wait_wf "$job" saved 40
	wait_job_state "$job" PENDING 40
	sleep 2
	job_is "$job" PENDING || fail "the job is $(job_state "$job")"
	box_as user1 ctl scontrol release "$job"
	wait_moved "$job" 1 150
	ends_right 1 requeue
}

# Gang scheduling does not resume by itself what is held.
trigger_hold_then_preempt() {
	begin
	scontrol hold "$job"
	preempt_it
	if [[ $MODE == SUSPEND ]]; then
		stands_still
		wait_no_other 40
		wf_is "$job" suspended || fail "the workflow is $(wf_state "$job")"
		scontrol resume "$job"
		ends_right 0
		return
	fi
	wait_wf "$job" saved 60
	wait_job_state "$job" PENDING 60
	sleep 2
	job_is "$job" PENDING || fail "the job is $(job_state "$job")"
	scontrol release "$job"
	comes_back 1
	preempted_ends_right
}
alone() { [[ $(box_exec ctl squeue -h -o %A) == "$job" ]]; }
wait_no_other() { retry "$1" alone || fail "other jobs are there: $(box_exec ctl squeue -h)"; } # SECONDS; where rows come one by one

trigger_move() {
	begin
	box_as user1 ctl smigrate move "$job"
	ends_right 1 move
}

# Whichever comes first, it leaves the node once, or stands still, and all counts go on.
trigger_move_and_preempt_at_once() {
	begin
	box_as user1 ctl smigrate move --no-wait "$job"
	preempt_it
	wait_wf "$job" 'done' 90
	assert_exact one "$TICKS"
	assert_exact two "$TICKS"
	assert_eq "$(state "SELECT COUNT(*) FROM migrations WHERE job = $job AND restarted > 0")" 0 'moves that lost something'
	assert_nothing_left "$job"
}

trigger_move_and_scancel_at_once() {
	begin
	box_as user1 ctl smigrate move --no-wait "$job"
	sleep "0.$((RANDOM % 10))"
	box_as user1 ctl scancel "$job"
	wait_job_state "$job" CANCELLED 60
	wait_wf "$job" stopped 60
	assert_nothing_left "$job"
	assert_eq "$(lives one) $(lives two)" '1 1' lives
}

# A slurmd that dies between the job's last signal and its epilog never comes to that, and slurmctld asks again only after
# KillWait + 2 x MessageTimeout (25 s here), when it next purges (once a minute).
trigger_slurmd_restarts() {
	local node
	begin
	node=$(node_of "$job")
	preempt_it
	box_exec "$node" box-stop slurmd KILL
	sleep 1
	box_exec "$node" box-start slurmd
	comes_back 1 120
	preempted_ends_right
}

# An epilog that ends while no slurmctld is there, just as the next one asks for it again, is lost likewise.
trigger_slurmctld_restarts() {
	begin
	preempt_it 12
	wait_state_said
	box_exec ctl box-stop slurmctld TERM
	sleep 3
	box_exec ctl box-start slurmctld
	retry 30 box_exec ctl scontrol ping >/dev/null
	comes_back 1 120
	preempted_ends_right
}
# The preemption has begun.
wait_state_said() { retry 20 has_begun || fail "no preemption: $(scontrol show job "$job")"; }
has_begun() { [[ $(wf_state "$job") != running || $(job_field "$job" PreemptTime) != None ]]; }

# ---- rows and lanes --------------------------------------------------------------------------------------------------------

SERIAL='^slurmctld_restarts ' # what others would notice

triggers() {
	local name
	shopt -s extdebug
	for name in $(compgen -A function trigger_); do declare -F "$name"; done | sort -n -k 2 | cut -d ' ' -f 1 | sed 's/^trigger_//'
	shopt -u extdebug
}

all_rows() { # of the box with lanes: TRIGGER PARTITION
	local t p k=$SEED
	for t in $(triggers); do
		k=$((k + 1))
		for p in "${!PARTITIONS[@]}"; do
			# three of six: each grace once, both modes
			[[ $TRIGGERS == all || $(((p % 3 + p / 3 + k) % 2)) == 0 ]] && echo "$t ${PARTITIONS[p]}"
		done
	done
}

set_row() { # PARTITION
	PART=$1
	case $PART in low | low[0-9]) MODE=REQUEUE ;; cancel*) MODE=CANCEL ;; *) MODE=SUSPEND ;; esac
	case $PART in low | cancel20) GRACE=20 ;; *2) GRACE=2 ;; *) GRACE=0 ;; esac
}

row() { # TRIGGER PARTITION
	set_row "$2"
	"trigger_$1"
}
row_name() { echo "${1/ / in }"; }

main() {
	local rows susp wanted
	wanted=$(IFS='|'; echo "${*:-.}")
	rows=$(all_rows | grep -E -- "$wanted")
	susp=$(triggers | sed 's/$/ susp/' | grep -E -- "$wanted" | awk -v all="$TRIGGERS" -v s="$SEED" 'all == "all" || (NR + s) % 3 == 0')
	echo "1..$(printf '%s\n%s\n' "$rows" "$susp" | grep -c .)"
	trap "lanes_box_down -lanes; lanes_box_down -gang" EXIT
	if [[ -n $rows ]]; then
		lanes_box -lanes $((LANES * 2)) 'KillWait=5'
		lanes_run $((LANES * 2)) "$LANES" < <(grep -vE "$SERIAL" <<<"$rows")
		lanes_run 2 1 < <(grep -E "$SERIAL" <<<"$rows")
		box down
	fi
	if [[ -n $susp ]]; then
		lanes_box -gang 3 'KillWait=5' 'PreemptMode=SUSPEND,GANG' 'PartitionName=susp Nodes=ALL PriorityTier=1 PreemptMode=SUSPEND MaxTime=INFINITE'
		lanes_run 3 1 <<<"$susp"
	fi
	lanes_ok
}

lanes_main "$@"
