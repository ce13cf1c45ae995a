# shellcheck shell=bash
# Workflows in the box, for the files of tests that move them: source it after lib.sh.
#
# `counter.py NAME TICKS` is the work that most tests give to services: it draws a random token at its start, keeps it in
# memory alone, and writes "TOKEN NUMBER" to a file of its name five times a second. A service that was started again has
# another token, one that lost or repeated a step has a hole or a repetition in its numbers, one that ran twice has both.

WF=/shared/home/user1/wf
EXAMPLES=/shared/home/user1/examples

# ---- the examples of workflows/ ----------------------------------------------------------------------------------------

example() { # NAME: a fresh copy, all daemons at work, no job about
	clear_jobs
	tar -C "$ROOT/workflows" -c "$1" | box exec ctl --user user1 -- sh -c "rm -rf $EXAMPLES/$1 && mkdir -p $EXAMPLES && tar -C $EXAMPLES -x"
}
in_example() { box exec ctl --user user1 -- sh -c "cd $EXAMPLES/$1 && shift && exec \"\$@\"" sh "$@"; } # NAME CMD...
step_said() { [[ $(in_example "$1" cat "$1-$2.out" 2>/dev/null) == *"$3"* ]]; } # NAME JOB TEXT

# ---- workflows of a test's own -----------------------------------------------------------------------------------------

# A fresh folder with the work in it, no job about, all daemons at work. Call it first in each test.
prepare() {
	clear_jobs
	all_nodes_idle
	work_files
}

# The folder and the work alone, where other jobs are about.
work_files() {
	box_as user1 ctl sh -c "rm -rf $WF && mkdir -p $WF"
	in_wf tee counter.py >/dev/null <<-'PY'
		import os, signal, sys, time
		signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)) # as pid 1 it would not hear it otherwise
		name, ticks = sys.argv[1], int(sys.argv[2])
		token = os.urandom(8).hex()
		print("begins", token, flush=True)
		for n in range(1, ticks + 1):
		    with open("/here/" + name, "a") as f:
		        f.write("%s %d\n" % (token, n))
		    time.sleep(0.2)
		print("ends", token, flush=True)
	PY
	in_wf tee job.sh >/dev/null <<-'SH'
		#!/bin/bash
		#SBATCH --job-name=wf --output=wf-%j.out --time=20
		exec smigrate run
	SH
}

nodes_idle() { [[ $(box_exec ctl sinfo -h -p low -o %T) == idle ]]; }
# A node that Slurm has drained fails one test, with the reason, and is given back for those that follow.
all_nodes_idle() {
	local node
	retry 30 nodes_idle && return 0
	echo "not all nodes are idle: $(box_exec ctl sinfo -h -N -p low -o '%N %T: %E')"
	for node in $(box_exec ctl sinfo -h -N -p low -t drain,down -o %N); do
		slurm_log "$node" 'error|drain|NOT ENDING' 15
		box_exec ctl scontrol update "nodename=$node" state=resume
	done
	fail "a test before this one has cost nodes"
}
slurm_log() { # NODE PATTERN LINES: of its slurmd, slurmstepds and smigrated
	box_exec "$1" sh -c 'grep -ahE -- "$1" /var/log/slurmd.log /var/log/smigrated.log | tail -n "$2"' sh "$2" "$3" | sed "s/^/$1: /"
}

in_wf() { box exec ctl --user user1 -- sh -c "cd $WF && exec \"\$@\"" sh "$@"; } # CMD...; keeps its input

# workflow.yaml of services that count; more services, or keys of the last one, come by standard input when `-` is given
counters() { # TICKS NAME... [-]
	local ticks=$1 name
	shift
	{
		printf 'name: wf\nservices:\n'
		for name in "$@"; do
			[[ $name == - ]] || service "$name" "$ticks"
		done
		[[ ${*: -1} != - ]] || cat
	} | in_wf tee workflow.yaml >/dev/null
}
service() { # NAME TICKS
	printf '  %s:\n    image: /images/debian\n    volumes: [".:/here"]\n    network_mode: none\n' "$1"
	printf '    command: [/usr/bin/python3, /here/counter.py, %s, "%s"]\n' "$1" "$2"
}

# A service on the network: its command follows as words of a YAML list.
member() { # NAME WORD...
	local name=$1 words
	shift
	words=$(printf ', "%s"' "$@")
	printf '  %s:\n    image: /images/debian\n    volumes: [".:/here"]\n    network_mode: bridge\n    stop_grace_period: 1s\n' "$name"
	printf '    command: [%s]\n' "${words#, }"
}

# python3 /here/PROGRAM, from standard input.
program() { in_wf tee "$1" >/dev/null; }

submit() { in_wf sbatch --parsable -p low --migrate=workflow.yaml "$@" job.sh; } # [SBATCH-ARG...]; prints the job's id
# On that node, though its own list has others, too, where it may go on: these are drained until it runs. A running job's list cannot
# be changed.
submit_on() { # NODE OTHER,OTHER... [SBATCH-ARG...]; prints the job's id
	local job
	box_exec ctl scontrol update "NodeName=$2" State=DRAIN Reason=begin
	job=$(submit "${@:3}") || return
	wait_job_state "$job" RUNNING 20
	box_exec ctl scontrol update "NodeName=$2" State=RESUME
	retry 20 nodes_answer "$2"
	echo "$job"
}
nodes_answer() { [[ $(box_exec ctl sinfo -h -N -n "$1" -o %T) != *'*'* ]]; } # NODE,NODE...
node_of() { job_field "$1" BatchHost; }
output() { box_exec ctl cat "$WF/wf-$1.out" 2>/dev/null || true; }
said() { [[ $(output "$1") == *"$2"* ]]; }                                       # JOB TEXT
wait_said() { retry "$3" said "$1" "$2" || fail "job $1 never said '$2': $(output "$1")"; } # JOB TEXT SECONDS

# A job of user2's in `high` takes the node (default: where JOB runs) for SECONDS; prints its id. Slurm gives 20 s of grace.
preempt() { # JOB [SECONDS [NODE]]
	submit_as user2 -p high -w "${3:-$(node_of "$1")}" --exclusive -o /dev/null --wrap "sleep ${2:-5}"
}

# No node but the job's is free: what is saved goes to the disk. Until they are back the job waits.
others_away() { box_exec ctl scontrol update NodeName=n2,n3,n4 State=DRAIN Reason=test; }
others_back() { box_exec ctl scontrol update NodeName=n2,n3,n4 State=RESUME 2>/dev/null || true; } # also where they never were away
preempt_to_disk() { # JOB SECONDS
	others_away
	preempt "$1" "$2" >/dev/null
	wait_wf "$1" saved 30
	others_back
}
state() { box_exec ctl sqlite3 -cmd '.timeout 5000' /var/lib/smigrate/state.db "$1"; } # SQL over the cluster's state
status_json() { box_as user1 "${2:-ctl}" smigrate status --json "$1"; }                     # JOB [NODE]
wf_state() { state "SELECT state FROM workflows WHERE job = $1"; }
svc_state() { state "SELECT state FROM services WHERE workflow LIKE '$1.%' AND name = '$2'"; }
wf_is() { [[ $(wf_state "$1") == "$2" ]]; }
svc_is() { [[ $(svc_state "$1" "$2") == "$3" ]]; }
wait_wf() { # JOB STATE SECONDS
	retry "$3" wf_is "$1" "$2" || fail "workflow of job $1 is '$(wf_state "$1")', wanted $2: $(box_exec ctl smigrate show "$1" 2>&1)"
}
wait_svc() { # JOB SERVICE STATE SECONDS
	retry "$4" svc_is "$1" "$2" "$3" || fail "service $2 of job $1 is '$(svc_state "$1" "$2")', wanted $3"
}
# All services of a job have been moved N times and the last move is over.
moved() { [[ $(state "SELECT COUNT(*) FROM migrations WHERE job = $1 AND state = 'done'") == "$2" ]]; } # JOB N
wait_moved() { # JOB N SECONDS
	retry "$3" moved "$1" "$2" ||
		fail "job $1 has not moved $2 times: $(box_exec ctl smigrate show "$1" 2>&1); $(job_field "$1" JobState)/$(job_field "$1" Reason); $(output "$1")"
}
events() { state "SELECT level || ': ' || text FROM events WHERE job = $1 ORDER BY time_us"; } # JOB
wait_event() { retry "$3" has_event "$1" "$2" || fail "no event '$2' of job $1: $(events "$1")"; } # JOB TEXT SECONDS
has_event() { [[ $(events "$1") == *"$2"* ]]; }

ticks() { box_exec ctl sh -c "cat $WF/$1 2>/dev/null | wc -l"; } # NAME
ticking() { (($(ticks "$1") >= $2)); }
wait_ticks() { retry "$3" ticking "$1" "$2" || fail "$1 has counted to $(ticks "$1") only, wanted $2"; } # NAME N SECONDS

# One life from 1 to N, whatever came between.
assert_exact() { # NAME N
	box_exec ctl awk -v n="$2" '
		{ if (NR == 1) token = $1; if ($1 != token || $2 != NR) { print "line " NR ": " $0 " (began as " token ")"; bad = 1; exit 1 } }
		END { if (!bad && NR != n) { print "ends at " NR; exit 1 } }' "$WF/$1" || fail "$1 did not go on exactly; wanted $2 ticks of one life"
}
# How often it began.
lives() { box_exec ctl sh -c "cut -d ' ' -f 1 $WF/$1 | sort -u | wc -l"; }

wait_done() { # JOB SECONDS
	wait_job_state "$1" COMPLETED "$2"
}

# Nothing of a job is left on any node: containers, processes, mounts, cgroups, folders.
nothing_left() { # JOB
	local node
	for node in $(box_nodes); do
		[[ -z $(left_on "$node" "$1") ]] || return 1
	done
}
left_on() { # NODE JOB; OTHERS_COUNT=1: so do other jobs
	box exec "$1" -- bash -s "$2" "${OTHERS_COUNT-}" <<-'SH'
		for f in /run/smigrate/*/"$1".wf* /run/smigrate/jobs/"$1" /var/lib/smigrate/w/"$1".*; do [[ ! -e $f ]] || echo "$f"; done
		grep -E "smigrate/([^ ]*/)?$1\.wf" /proc/mounts
		pgrep -a -f "smigrate-shim.*[ /]$1\.wf"
		[[ -n ${2-} ]] || pgrep -a -f counter.py
		find /sys/fs/cgroup -type d \( -path "*/smigrate/$1.wf.*" -o -path "*/job_$1/smigrate*" -o -path "*/smigrate/job_$1*" \
			-o -path "*_slurmstepd.scope/s?????????????/smigrate*" \) # a SLUID does not name the job: of any
		exit 0
	SH
}
assert_nothing_left() { # JOB
	local node
	retry 20 nothing_left "$1" || {
		for node in $(box_nodes); do
			[[ -n $(left_on "$node" "$1") ]] || continue
			left_on "$node" "$1" | sed "s/^/left on $node: /"
			slurm_log "$node" "((\\[|job |JOB |JobId=)$1\\b|\\b$1\\.wf)" 25
			box_exec "$node" ps -A --forest -o pid,stat,wchan:20,etime,args | sed "s/^/$node: /"
		done
		fail "job $1 left something behind"
	}
}
box_nodes() { box_exec ctl sinfo -h -N -p low -o %N; }

# ---- what is asked of slurmctld ------------------------------------------------------------------------------------------
#
# sdiag counts questions by type; all daemons are root's. slurmd's own types are others than those that smigrate asks, and
# while a test counts, no Slurm command of its own asks one of these.

OURS='REQUEST_(JOB_INFO|JOB_USER_INFO|JOB_STATE|FED_INFO|BUILD_INFO|PARTITION_INFO|NODE_INFO|JOB_WILL_RUN|UPDATE_JOB|KILL_JOB|CANCEL_JOB|JOB_REQUEUE|SIGNAL|SUSPEND)'
count_anew() { box_exec ctl sdiag --reset >/dev/null; }
questions() { # "COUNT TYPE" a line
	box_exec ctl sdiag | sed -n '/by message type/,/by user/p' | sed -nE "s/^\s*(${OURS}[A-Z_]*) .*count:([0-9]+) .*/\3 \1/p"
}
sum() { awk '{ n += $1 } END { print n + 0 }'; }

# ---- the daemon ------------------------------------------------------------------------------------------------------

daemon_answers() { box_exec "$1" smigrate status >/dev/null 2>&1; } # NODE
start_daemon() { # NODE
	box_exec "$1" box-start smigrated >/dev/null 2>&1 || true
	retry 15 daemon_answers "$1" || fail "smigrated on $1 does not answer: $(box_exec "$1" tail -n 5 /var/log/smigrated.log)"
}
stop_daemon() { box_exec "$1" box-stop smigrated "${2:-TERM}"; } # NODE [SIGNAL]
# smigrated.conf for the time of one test: lines are added on the node, and its daemon starts anew.
with_conf() { # NODE LINE...
	local node=$1
	shift
	box_exec "$node" sh -c 'cp -n /etc/smigrate/smigrate.conf /run/smigrate.conf.saved; printf "%s\n" "$@" >>/etc/smigrate/smigrate.conf' sh "$@"
	stop_daemon "$node"
	start_daemon "$node"
}
# What a test may have changed is put back; for `trap put_back EXIT`.
put_back() {
	local node
	for node in ctl $(box_nodes); do
		box_exec "$node" sh -c '[ ! -e /run/smigrate.conf.saved ] || { mv /run/smigrate.conf.saved /etc/smigrate/smigrate.conf; box-stop smigrated; }
			pgrep -x smigrated >/dev/null || box-start smigrated' || true
	done
}
