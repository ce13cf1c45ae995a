#!/bin/bash
# Suspension: by hand, by preemption, by gang scheduling's turns. Brings up a box of its own, whose PreemptMode is SUSPEND,GANG.
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

suspend() { box_exec ctl scontrol suspend "$1"; }
resume() { box_exec ctl scontrol resume "$1"; }
migrating() { printf 'x-migrate: {on_suspend: migrate}\n' | in_wf tee -a workflow.yaml >/dev/null; }
moves() { state "SELECT COUNT(*) FROM migrations WHERE job = $1"; }
frozen() { [[ $(state "SELECT COUNT(*) FROM services WHERE workflow LIKE '$1.%' AND state <> 'frozen'") == 0 ]]; } # JOB: all of its services
others_drained() { box_exec ctl scontrol update NodeName=n2,n3 State=DRAIN Reason=test; }
others_resumed() { box_exec ctl scontrol update NodeName=n2,n3 State=RESUME; }

# A connection that is used all the time, a timer, and a healthcheck that is under way as it happens.
TIMEOUT_test_a_minute=180
test_a_minute() {
	local job before
	prepare
	program talk.py <<-'PY'
		import socket, sys, time
		if sys.argv[1] == "server":
		    s = socket.create_server(("", 7000))
		    c = s.accept()[0]
		    for line in c.makefile():
		        c.sendall(line.encode())
		else:
		    time.sleep(1)
		    c = socket.create_connection(("server", 7000))
		    f = c.makefile("rw")
		    for n in range(1, 61):
		        f.write("%d\n" % n); f.flush()
		        assert f.readline() == "%d\n" % n
		        open("/here/talk", "a").write("x %d\n" % n)
		        time.sleep(0.2)
	PY
	program timer.py <<-'PY'
		import signal, time
		n = 0
		def beat(*_):
		    global n
		    n += 1
		    open("/here/timer", "a").write("x %d\n" % n)
		signal.signal(signal.SIGALRM, beat)
		signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
		while n < 60:
		    signal.pause()
	PY
	{
		printf 'name: wf\nservices:\n'
		member server /usr/bin/python3 /here/talk.py server
		printf '    healthcheck: {test: [CMD, /bin/sleep, "2"], interval: 1s, timeout: 3s, retries: 1}\n'
		member client /usr/bin/python3 /here/talk.py client
		member timer /usr/bin/python3 /here/timer.py
	} | in_wf tee workflow.yaml >/dev/null
	job=$(submit -p susp)
	wait_ticks talk 10 30
	wait_ticks timer 10 30
	suspend "$job"
	wait_wf "$job" suspended 5
	retry 5 frozen "$job" || fail "not all services stand still: $(box_exec ctl smigrate show "$job")"
	before="$(ticks talk) $(ticks timer)"
	sleep 60
	assert_eq "$(ticks talk) $(ticks timer)" "$before" 'ticks in a minute of suspension'
	resume "$job"
	wait_wf "$job" running 5
	assert_eq "$(state "SELECT health FROM services WHERE workflow LIKE '$job.%' AND name = 'server'")" healthy health
	wait_done "$job" 60
	assert_eq "$(box_exec ctl sh -c "cut -d ' ' -f 2 $WF/talk | tr '\n' ' '")" "$(seq -s ' ' 1 60) " 'what was said'
	assert_eq "$(box_exec ctl sh -c "cut -d ' ' -f 2 $WF/timer | tr '\n' ' '")" "$(seq -s ' ' 1 60) " 'beats of the timer'
	assert_eq "$(moves "$job")" 0 moves
	[[ $(events "$job") != *unhealthy* ]] || fail "the healthcheck did not survive: $(events "$job")"
	assert_nothing_left "$job"
}

# It is moved as soon as it is suspended, its hold is taken off, and its priority is what it was.
test_moves_to_a_free_node() {
	local job began took
	prepare
	counters 60 one two
	migrating
	job=$(submit -p susp -w n1)
	box_exec ctl scontrol update jobid="$job" Priority=4711
	wait_ticks two 3 20
	# its own node list names n1 alone: nowhere to go
	suspend "$job"
	wait_event "$job" 'suspended, and stays' 10
	resume "$job"
	wait_wf "$job" running 5
	box_exec ctl scancel "$job"
	assert_nothing_left "$job"

	prepare
	counters 60 one two
	migrating
	job=$(submit -p susp)
	wait_ticks two 3 20
	began=$(date +%s%3N)
	suspend "$job"
	wait_moved "$job" 1 20
	took=$(state "SELECT total_s FROM v_migrations WHERE job = $job")
	awk -v t="$took" 'BEGIN { exit !(t < 5) }' || fail "it ran again after $took s ($(($(date +%s%3N) - began)) ms in all)"
	assert_eq "$(state "SELECT cause FROM migrations WHERE job = $job")" suspend cause
	wait_done "$job" 60
	assert_exact one 60
	assert_exact two 60
	assert_nothing_left "$job"
}

# Nowhere to go: it stands still, and goes on where it is; or elsewhere, if a node comes free.
test_stays_where_no_node_is_free() {
	local job high
	prepare
	trap others_resumed EXIT
	counters 60 one
	migrating
	job=$(submit -p susp)
	wait_ticks one 3 20
	others_drained
	high=$(preempt "$job" 4)
	wait_wf "$job" suspended 20
	wait_event "$job" 'suspended, and stays' 10
	wait_wf "$job" running 30
	wait_done "$job" 60
	assert_exact one 60
	assert_eq "$(moves "$job")" 0 moves
	wait_done "$high" 30
	assert_nothing_left "$job"
}

# The priority's suspension; nobody asks for a move.
test_preempted_by_suspension() {
	local job before
	prepare
	counters 40 one
	job=$(submit -p susp)
	wait_ticks one 3 20
	preempt "$job" 5 >/dev/null
	wait_wf "$job" suspended 20
	retry 5 frozen "$job" || fail "it does not stand still: $(box_exec ctl smigrate show "$job")"
	before=$(ticks one)
	sleep 2
	assert_eq "$(ticks one)" "$before" 'ticks of a suspended service'
	wait_wf "$job" running 30
	wait_done "$job" 60
	assert_exact one 40
	assert_eq "$(moves "$job") $(job_field "$job" Restarts)" '0 0' 'moves and restarts'
	assert_nothing_left "$job"
}

# Two jobs take turns of 5 s on one node: each has its own, and nothing is moved though there are free nodes.
TIMEOUT_test_turns=150
test_turns() {
	local a b turns
	prepare
	counters 120 one
	migrating
	a=$(submit -p turns --exclusive=user)
	wait_ticks one 3 20
	in_wf sed 's/, one,/, two,/; s/^  one:/  two:/; s/^name: wf/name: other/' workflow.yaml | in_wf tee other.yaml >/dev/null
	b=$(in_wf sbatch --parsable -p turns -n 4 --migrate=other.yaml job.sh)
	wait_ticks two 3 60
	wait_done "$a" 90
	wait_done "$b" 90
	assert_exact one 120
	assert_exact two 120
	turns=$(state "SELECT COUNT(*) FROM events WHERE job IN ($a, $b) AND text LIKE 'the job is suspended%'")
	((turns >= 2)) || fail "there were $turns turns"
	assert_eq "$(moves "$a") $(moves "$b")" '0 0' moves
	assert_nothing_left "$a"
	assert_nothing_left "$b"
}

test_scancel_of_a_suspended_job() {
	local job
	prepare
	counters 600 one two
	job=$(submit -p susp)
	wait_ticks two 3 20
	suspend "$job"
	wait_wf "$job" suspended 10
	box_as user1 ctl scancel "$job"
	wait_job_state "$job" CANCELLED 60
	wait_wf "$job" stopped 20
	assert_nothing_left "$job"
}

# A suspended job keeps its memory, and is preempted for that: it goes, and the hold that Slurm puts on a job that was requeued so is not there to stay.
test_suspended_then_preempted() {
	local job
	prepare
	counters 40 one
	job=$(submit -p low2 --mem=3000)
	wait_ticks one 3 20
	suspend "$job"
	wait_wf "$job" suspended 10
	submit_as user2 -p high -w "$(node_of "$job")" --mem=3000 -o /dev/null --wrap 'sleep 3' >/dev/null
	wait_moved "$job" 1 60
	wait_done "$job" 60
	assert_exact one 40
	assert_eq "$(state "SELECT cause FROM migrations WHERE job = $job")" preempt cause
	assert_nothing_left "$job"
}

# The user's own requeue of a suspended job is held by Slurm, and that is his business.
test_requeue_of_a_suspended_job_is_held() {
	local job
	prepare
	counters 40 one
	job=$(submit -p susp)
	wait_ticks one 3 20
	suspend "$job"
	wait_wf "$job" suspended 10
	box_exec ctl scontrol requeue "$job"
	wait_wf "$job" saved 30
	wait_job_state "$job" PENDING 40
	sleep 3
	job_is "$job" PENDING || fail "the job is $(job_state "$job")"
	box_exec ctl scontrol release "$job"
	wait_moved "$job" 1 30 # its StartTime had been set to now already
	wait_done "$job" 60
	assert_exact one 40
	assert_nothing_left "$job"
}

test_a_daemon_that_comes_back_leaves_it_standing() {
	local job before
	prepare
	trap put_back EXIT
	counters 60 one
	job=$(submit -p susp -w n1)
	wait_ticks one 3 20
	suspend "$job"
	wait_wf "$job" suspended 10
	retry 5 frozen "$job" || fail 'it does not stand still'
	before=$(ticks one)
	stop_daemon n1 KILL
	start_daemon n1
	sleep 2
	assert_eq "$(ticks one)" "$before" 'ticks of a suspended service'
	# resumed while nobody listens
	stop_daemon n1 KILL
	resume "$job"
	start_daemon n1
	wait_wf "$job" running 10
	wait_done "$job" 60
	assert_exact one 60
	assert_nothing_left "$job"
}

own_conf=$(mktemp)
cat >"$own_conf" <<'END'
PreemptMode=SUSPEND,GANG
SchedulerTimeSlice=5
SelectTypeParameters=CR_Core_Memory
DefMemPerNode=100
PartitionName=susp Nodes=ALL PriorityTier=1 PreemptMode=SUSPEND MaxTime=INFINITE
PartitionName=turns Nodes=n1 PriorityTier=1 PreemptMode=OFF OverSubscribe=FORCE:2 MaxTime=INFINITE
END
own_box susp --nodes 3 --slurm-conf "$own_conf"
rm -f "$own_conf"
run_tests "$@"
