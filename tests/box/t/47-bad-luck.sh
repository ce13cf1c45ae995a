#!/bin/bash
# Bad input and bad luck: what is told, and that nothing is lost or done twice. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

# ---- at the start --------------------------------------------------------------------------------------------------

test_what_is_missing_is_named() {
	local job
	prepare
	in_wf tee workflow.yaml >/dev/null <<-'END'
		name: wf
		services:
		  image:
		    image: /images/none
		    command: [/bin/true]
		  command:
		    image: /images/debian
		    command: [/bin/nope, "1"]
		  volume:
		    image: /images/debian
		    volumes: ["./nowhere:/here"]
		    command: [/bin/true]
		  later:
		    image: /images/debian
		    command: [/bin/true]
		    depends_on: [volume]
		  well:
		    image: /images/debian
		    command: [/bin/echo, all is well]
	END
	job=$(submit)
	wait_job_state "$job" FAILED 30
	assert_eq "$(job_field "$job" ExitCode)" 125:0 ExitCode
	OUTPUT=$(output "$job")
	assert_contains "$OUTPUT" 'service image cannot start: the image /images/none does not exist on this node'
	assert_contains "$OUTPUT" 'service command cannot start: the command /bin/nope does not exist in the image /images/debian'
	assert_contains "$OUTPUT" "service volume cannot start: "
	assert_contains "$OUTPUT" "$WF/nowhere does not exist on this node"
	assert_contains "$OUTPUT" 'service later cannot start: it needs volume, which failed'
	assert_contains "$OUTPUT" 'well | all is well'
	wait_event "$job" '/bin/nope' 10
	assert_contains "$(box_as user1 ctl smigrate show "$job")" '/images/none does not exist'
	assert_nothing_left "$job"
}

test_never_healthy_and_gone_at_once() {
	local job
	prepare
	in_wf tee workflow.yaml >/dev/null <<-'END'
		name: wf
		services:
		  server:
		    image: /images/debian
		    command: [/bin/sleep, "100"]
		    healthcheck: {test: [CMD, /bin/false], interval: 1s, timeout: 1s, retries: 3}
		  client:
		    image: /images/debian
		    command: [/bin/echo, never]
		    depends_on: {server: {condition: service_healthy}}
		  dies:
		    image: /images/debian
		    command: [/bin/sh, -c, "exit 3"]
		  after:
		    image: /images/debian
		    command: [/bin/echo, never]
		    depends_on: {dies: {condition: service_completed_successfully}}
	END
	job=$(submit)
	wait_job_state "$job" FAILED 40
	assert_eq "$(job_field "$job" ExitCode)" 3:0 'ExitCode: the first failure'
	OUTPUT=$(output "$job")
	assert_contains "$OUTPUT" 'service dies ended with status 3'
	assert_contains "$OUTPUT" 'service after cannot start: it needs dies, which ended with a status other than 0'
	assert_contains "$OUTPUT" 'service server is unhealthy: 3 healthchecks in a row failed, the last one: status 1'
	assert_contains "$OUTPUT" 'service client cannot start: it needs server, which never became healthy'
	[[ $OUTPUT != *never$'\n'* && $OUTPUT != *'| never'* ]] || fail "a service started that should not: $OUTPUT"
	assert_nothing_left "$job"
}

# ---- what CRIU cannot save -------------------------------------------------------------------------------------------

# `hold KIND CMD...`: runs CMD with a descriptor open that CRIU cannot save
make_hold() {
	in_wf tee hold.c >/dev/null <<-'C'
		#include <fcntl.h>
		#include <string.h>
		#include <sys/inotify.h>
		#include <sys/syscall.h>
		#include <unistd.h>
		int main(int argc, char **argv)
		{
			static char params[256];
			int fd;

			if (!strcmp(argv[1], "io_uring")) {
				fd = dup((int)syscall(SYS_io_uring_setup, 4, params)); /* without close-on-exec */
			} else {
				open("/tmp/watched", O_RDWR | O_CREAT, 0600);
				fd = inotify_init();
				inotify_add_watch(fd, "/tmp/watched", IN_MODIFY);
				unlink("/tmp/watched");
			}
			return fd < 0 || execv(argv[2], argv + 2);
		}
	C
	box_as user1 n1 gcc -o "$WF/hold" "$WF/hold.c"
}
holder() { # NAME KIND FALLBACK
	service "$1" 40 | sed "s|command: \[|command: [/here/hold, $2, |"
	[[ -z $3 ]] || printf '    x-migrate: {fallback: %s}\n' "$3"
}

test_what_cannot_be_saved_starts_again() {
	local job
	prepare
	make_hold
	{ holder ring io_uring ''; holder watch inotify restart; } | counters 40 one two -
	job=$(submit)
	wait_ticks ring 3 20
	wait_ticks watch 3 20
	wait_ticks two 3 20
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	wait_done "$job" 60
	assert_exact one 40
	assert_exact two 40
	assert_eq "$(lives ring) $(lives watch)" '2 2' 'lives of those that cannot be saved'
	OUTPUT=$(output "$job")
	assert_contains "$OUTPUT" 'service ring is started again, it could not be saved: it holds an io_uring, which CRIU cannot save'
	assert_contains "$OUTPUT" 'service watch is started again, it could not be saved: it watches (inotify)'
	OUTPUT=$(box_exec ctl smigrate show "$job")
	assert_contains "$OUTPUT" 'io_uring'
	assert_contains "$OUTPUT" 'inotify'
	[[ $OUTPUT != *'errno 0'* ]] || fail "no words: $OUTPUT"
	assert_eq "$(state "SELECT moved || ' ' || restarted FROM migrations WHERE job = $job")" '2 2' 'moved and restarted'
	assert_nothing_left "$job"
}

test_what_cannot_be_saved_fails_if_the_user_says_so() {
	local job
	prepare
	make_hold
	holder ring io_uring fail | counters 40 one -
	job=$(submit)
	wait_ticks ring 3 20
	wait_ticks one 3 20
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	wait_job_state "$job" FAILED 60
	assert_eq "$(job_field "$job" ExitCode)" 125:0 ExitCode
	assert_exact one 40
	assert_eq "$(lives ring)" 1 lives
	assert_contains "$(output "$job")" 'counts as failed (x-migrate.fallback: fail)'
	assert_contains "$(box_exec ctl smigrate show "$job")" 'io_uring'
	wait_svc "$job" ring failed 10
	assert_nothing_left "$job"
}

# ---- the daemon is away --------------------------------------------------------------------------------------------

# The submit host's daemon, which keeps the cluster's state, is down all the time: the move goes by Slurm's own record.
test_state_host_is_down() {
	local job from
	prepare
	trap put_back EXIT
	stop_daemon ctl
	counters 40 one two
	job=$(submit)
	wait_ticks two 3 20
	from=$(node_of "$job")
	retry 5 has_note "$job" "$from" || fail "AdminComment: $(box_exec ctl scontrol show job "$job" | grep Admin)"
	preempt "$job" 20 >/dev/null
	retry 40 runs_elsewhere "$job" "$from" || fail "job is $(job_state "$job") on $(node_of "$job")"
	wait_said "$job" 'all services run again' 30
	assert_status 0 box_as user1 "$(node_of "$job")" smigrate status "$job"
	assert_contains "$OUTPUT" 'the state host does not answer'
	wait_done "$job" 40
	assert_exact one 40
	assert_exact two 40
	assert_eq "$(wf_state "$job")" '' 'what the state host knows'
	start_daemon ctl
	wait_wf "$job" 'done' 60
	moved "$job" 1 || fail "not reported: $(box_exec ctl smigrate show "$job")"
	assert_nothing_left "$job"
}
has_note() { [[ $(box_exec ctl scontrol show job "$1") == *"smigrate node=$2]"* ]]; }
runs_elsewhere() { job_is "$1" RUNNING && [[ $(node_of "$1") != "$2" ]]; }

test_daemon_is_down_at_the_start() {
	local job
	prepare
	trap put_back EXIT
	stop_daemon n1
	counters 10 one
	job=$(submit -w n1)
	wait_job_state "$job" RUNNING 20
	wait_said "$job" 'not protected' 20
	wait_said "$job" 'waiting up to' 10
	start_daemon n1
	wait_done "$job" 40
	assert_exact one 10
	clear_jobs
	all_nodes_idle
}

# The services run on without their keeper, the job is elsewhere before it is back: nothing is lost, nothing runs twice.
test_daemon_is_down_at_the_preemption() {
	local job
	prepare
	trap put_back EXIT
	counters 300 one two
	job=$(submit)
	wait_ticks one 3 20
	wait_ticks two 3 20
	assert_eq "$(node_of "$job")" n1
	stop_daemon n1 KILL
	preempt "$job" 60 >/dev/null
	retry 60 job_is "$job" PENDING || fail "job is $(job_state "$job")"
	retry 20 starts "$job" || fail "job is $(job_state "$job")"
	wait_said "$job" 'nothing is started twice' 20
	sleep 2
	assert_eq "$(lives one) $(lives two)" '1 1' 'lives while the keeper is away'
	start_daemon n1
	wait_moved "$job" 1 40
	[[ $(node_of "$job") != n1 ]] || fail 'it runs on n1'
	assert_eq "$(left_on n1 "$job")" '' 'left on n1'
	wait_done "$job" 100
	assert_exact one 300
	assert_exact two 300
	assert_nothing_left "$job"
}
starts() {
	box_exec ctl scontrol update jobid="$1" StartTime=now >/dev/null 2>&1
	job_is "$1" RUNNING
}

# ---- the disk is full --------------------------------------------------------------------------------------------

# StateDir on a file system of SIZE for the time of a test
small_disk() { # NODE SIZE [CONF-LINE...]
	local node=$1 size=$2
	shift 2
	stop_daemon "$node"
	box_exec "$node" mount -t tmpfs -o "size=$size,mode=700" tmpfs /var/lib/smigrate
	if [[ $# == 0 ]]; then start_daemon "$node"; else with_conf "$node" "$@"; fi
}
large_disk() { # NODE
	stop_daemon "$1" || true
	box_exec "$1" sh -c 'while findmnt -n -t tmpfs /var/lib/smigrate >/dev/null; do umount -l /var/lib/smigrate; done; rm -rf /run/smigrate/spare'
	put_back
}
# counts like the others, with MB of its own that no compression helps with
fat() { # NAME TICKS MB
	in_wf sh -c "sed '/^token/a ballast = os.urandom($3 << 20)' counter.py >fat.py" </dev/null
	service "$1" "$2" | sed 's|/here/counter.py|/here/fat.py|'
}

test_disk_full_without_a_spare() {
	local job
	prepare
	trap 'large_disk n1; others_back' EXIT
	small_disk n1 30m
	fat fat 40 60 | counters 40 one -
	job=$(submit)
	wait_ticks one 3 20
	wait_ticks fat 3 20
	assert_eq "$(node_of "$job")" n1
	preempt_to_disk "$job" 3
	wait_moved "$job" 1 40
	wait_done "$job" 60
	assert_eq "$(lives fat)" 2 'lives of the one that found no room'
	assert_contains "$(output "$job")" 'service fat cannot be saved: no space left'
	assert_contains "$(box_exec ctl smigrate show "$job")" 'no space left'
	# the other one moved if it came first; else it, too, was told of
	[[ $(lives one) == 1 || $(output "$job") == *'service one cannot be saved'* ]] || fail "one began $(lives one) times without a word"
}

test_disk_full_with_a_spare() {
	local job
	prepare
	trap 'large_disk n1; others_back' EXIT
	small_disk n1 30m SpareDir=/run/smigrate/spare
	fat fat 40 60 | counters 40 one -
	job=$(submit)
	wait_ticks one 3 20
	wait_ticks fat 3 20
	assert_eq "$(node_of "$job")" n1
	preempt_to_disk "$job" 3
	wait_moved "$job" 1 40
	wait_done "$job" 60
	assert_exact one 40
	assert_exact fat 40
	assert_eq "$(box_exec n1 find /run/smigrate/spare -mindepth 1)" '' 'left in SpareDir'
}

# ---- kill -9 -------------------------------------------------------------------------------------------------------

# Kills the node's daemon as soon as COMMAND runs there, and has it started again; in the background.
kill_when() { # NODE COMMAND-PATTERN
	box exec "$1" -- bash -s "$2" <<-'SH'
		for ((i = 0; i < 6000; i++)); do
			pgrep -f "$1" >/dev/null && break
			sleep 0.005
		done
		kill -KILL "$(cat /run/box/smigrated.pid)" && echo killed
		rm -f /run/box/smigrated.pid
		sleep 0.5
		box-start smigrated
	SH
}

test_kill_9_in_the_middle_of_a_save() {
	local job
	prepare
	trap put_back EXIT
	fat fat 60 100 | counters 60 one two -
	job=$(submit)
	wait_ticks two 3 20
	wait_ticks fat 3 20
	assert_eq "$(node_of "$job")" n1
	kill_when n1 '^runc .*checkpoint' >"$TMP/killed" &
	sleep 0.5
	preempt "$job" 20 >/dev/null
	wait $!
	assert_contains "$(cat "$TMP/killed")" killed
	retry 60 has_moved_somehow "$job" || fail "$(box_exec ctl smigrate show "$job"): $(job_state "$job") $(output "$job")"
	wait_done "$job" 60
	assert_exact one 60
	assert_exact two 60
	assert_exact fat 60
	assert_nothing_left "$job"
}
has_moved_somehow() { [[ $(node_of "$1") != n1 ]] && wf_is "$1" running; }

test_kill_9_in_the_middle_of_landing() {
	local job others
	prepare
	trap put_back EXIT
	fat fat 60 100 | counters 60 one two -
	others=$(box_nodes | grep -vx 'n[12]' | paste -s -d ,)
	job=$(submit ${others:+-x "$others"})
	wait_ticks two 3 20
	wait_ticks fat 3 20
	assert_eq "$(node_of "$job")" n1
	kill_when n2 '^runc .*restore' >"$TMP/killed" &
	sleep 0.5
	preempt "$job" 20 >/dev/null
	wait $!
	assert_contains "$(cat "$TMP/killed")" killed
	wait_moved "$job" 1 60
	assert_eq "$(node_of "$job")" n2
	retry 10 nothing_on n1 "$job" || fail "left on n1: $(left_on n1 "$job")"
	wait_done "$job" 60
	assert_exact one 60
	assert_exact two 60
	assert_exact fat 60
	assert_nothing_left "$job"
}

nothing_on() { [[ -z $(left_on "$1" "$2") ]]; }

run_tests "$@"
