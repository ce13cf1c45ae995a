#!/bin/bash
# Keys of Compose at work: what a service is given it has, before a move and after it, and what ends is started again.
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

workflow() { in_wf tee workflow.yaml >/dev/null; } # by standard input
has_controllers() { [[ $(box_exec n1 cat /sys/fs/cgroup/cgroup.controllers) == *memory* ]]; }

# Says what it finds around it, at its start and again whenever somebody asks by a file.
look_around() {
	in_wf tee look.py >/dev/null <<-'PY'
		import os, sys, time
		token = os.urandom(4).hex()
		os.makedirs("/scratch/deep/er", exist_ok=True)
		with open("/scratch/deep/er/token", "w") as f:
		    f.write(token)
		held = open("/scratch/held", "w+")
		held.write(token)
		held.flush()
		os.unlink("/scratch/held")
		def tell(what):
		    def writable(folder):
		        try:
		            open(folder + "/x", "w").close()
		            return "rw"
		        except OSError as e:
		            return os.strerror(e.errno)
		    held.seek(0)
		    fs = os.statvfs("/scratch")
		    facts = {"root": writable("/opt"), "tmp": writable("/tmp"), "var": writable("/var/tmp"), "shm": writable("/dev/shm"),
		        "scratch": writable("/scratch"), "size": fs.f_blocks * fs.f_frsize >> 20, "mode": oct(os.stat("/scratch").st_mode & 0o7777),
		        "owner": os.stat("/scratch").st_uid, "token": open("/scratch/deep/er/token").read() == token, "held": held.read() == token,
		        "secret": open("/run/secrets/pw").read().strip(), "config": open("/etc/look.conf").read().strip(),
		        "host": os.uname().nodename, "env": os.environ.get("FROM_FILE"), "args": " ".join(sys.argv[1:])}
		    try:
		        open("/run/secrets/pw", "a")
		        facts["secret"] = "writable"
		    except OSError:
		        pass
		    print(what, " ".join("%s=%s" % pair for pair in facts.items()), flush=True)
		tell("first")
		while not os.path.exists("/here/again"):
		    time.sleep(0.1)
		tell("again")
	PY
	printf 'hunter2\n' | in_wf tee pw.txt >/dev/null
	printf 'colour=red\n' | in_wf tee look.conf >/dev/null
	printf 'FROM_FILE=${NOBODY_SETS_THIS:-%s}\n' "it is" | in_wf tee look.env >/dev/null
	printf 'IMAGE=/images/debian\n' | in_wf tee .env >/dev/null
	workflow <<-'YAML'
		name: wf
		services:
		  look:
		    image: ${IMAGE}
		    entrypoint: [/usr/bin/python3, /here/look.py]
		    command: one two
		    hostname: watch.tower
		    network_mode: none
		    env_file: look.env
		    read_only: true
		    tmpfs: ["/scratch:size=32m,mode=0750", /run, /tmp]
		    secrets: [pw]
		    configs: [{source: conf, target: /etc/look.conf}]
		    volumes: [{type: bind, source: ., target: /here}]
		secrets: {pw: {file: ./pw.txt}}
		configs: {conf: {file: look.conf}}
	YAML
}

LOOKS='root=Read-only file system tmp=rw var=Read-only file system shm=rw scratch=rw size=32 mode=0o750 owner=2001 token=True held=True secret=hunter2 config=colour=red host=watch.tower env=it is args=one two'

test_what_a_service_is_given_moves_with_it() {
	local job
	prepare
	look_around
	box_as user1 ctl sh -c "cd $WF && smigrate check -q workflow.yaml"
	job=$(submit)
	wait_said "$job" "first" 30
	assert_contains "$(output "$job")" "look | first $LOOKS"
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	in_wf touch again
	wait_done "$job" 40
	assert_contains "$(output "$job")" "look | again $LOOKS"
	assert_eq "$(state "SELECT moved || '/' || restarted FROM migrations WHERE job = $job")" 1/0 'what moved'
	assert_nothing_left "$job"
}

test_the_same_by_way_of_the_disk() {
	local job
	prepare
	look_around
	job=$(submit)
	wait_said "$job" "first" 30
	preempt_to_disk "$job" 3
	wait_moved "$job" 1 60
	in_wf touch again
	wait_done "$job" 40
	assert_contains "$(output "$job")" "look | again $LOOKS"
	assert_nothing_left "$job"
}

# It fails twice, counting in its own writable layer, which a restart keeps; who waits for its success starts then.
test_restart_on_failure() {
	local job
	prepare
	workflow <<-'YAML'
		name: wf
		services:
		  flaky:
		    image: /images/debian
		    network_mode: none
		    restart: on-failure:2
		    command: [/bin/bash, -c, 'echo x >>/tmp/tries; n=$$(wc -l </tmp/tries); echo "try $$n"; ((n == 3))']
		  after:
		    image: /images/debian
		    network_mode: none
		    command: [/bin/echo, "it is complete"]
		    depends_on: {flaky: {condition: service_completed_successfully}}
	YAML
	job=$(submit)
	wait_done "$job" 40
	assert_eq "$(output "$job" | grep -o 'flaky | try .' | tr '\n' ' ')" 'flaky | try 1 flaky | try 2 flaky | try 3 ' tries
	assert_contains "$(output "$job")" 'service flaky ended with status 1; it is started again in 0.2 s (restart: on-failure)'
	assert_contains "$(output "$job")" 'after | it is complete'
	assert_eq "$(state "SELECT attempts || ' ' || exit_status FROM services WHERE workflow = '$job.wf' AND name = 'flaky'")" '3 0' attempts
	assert_nothing_left "$job"
}

test_restart_gives_up() {
	local job
	prepare
	workflow <<-'YAML'
		name: wf
		services:
		  bad: {image: /images/debian, network_mode: none, restart: "on-failure:1", command: [/bin/sh, -c, exit 7]}
	YAML
	job=$(submit)
	wait_job_state "$job" FAILED 40
	assert_eq "$(job_field "$job" ExitCode)" 7:0 'exit code'
	assert_eq "$(state "SELECT attempts FROM services WHERE workflow = '$job.wf'")" 2 attempts
	assert_nothing_left "$job"
}

# A server that always comes back: also on the next node, and no more when nobody needs it.
test_restart_always_over_a_move() {
	local job before
	prepare
	{
		printf 'name: wf\nservices:\n'
		service work 80
		printf '    depends_on: {server: {condition: service_healthy}}\n'
		cat <<-'YAML'
			  server:
			    image: /images/debian
			    network_mode: none
			    restart: always
			    volumes: [".:/here"]
			    healthcheck: {test: [CMD, "true"], start_interval: 100ms}
			    command: [/bin/bash, -c, 'echo life >>/here/lives; sleep 1.5; exit 3']
		YAML
	} | workflow
	job=$(submit)
	wait_ticks lives 2 30
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	before=$(ticks lives)
	wait_ticks lives $((before + 1)) 30
	wait_done "$job" 60
	assert_exact work 80
	assert_eq "$(state "SELECT state || ' ' || exit_status FROM services WHERE workflow = '$job.wf' AND name = 'server'")" 'exited 0' server
	assert_nothing_left "$job"
}

test_scancel_ends_what_always_comes_back() {
	local job
	prepare
	workflow <<-'YAML'
		name: wf
		services:
		  again: {image: /images/debian, network_mode: none, restart: always, command: [/bin/echo, "once more"]}
	YAML
	job=$(submit)
	wait_said "$job" 'once more' 20
	box_as user1 ctl scancel "$job"
	wait_wf "$job" stopped 20
	assert_nothing_left "$job"
}

test_a_daemon_that_is_restarted_starts_it_again() {
	local job node
	prepare
	trap put_back EXIT
	workflow <<-'YAML'
		name: wf
		services:
		  again:
		    image: /images/debian
		    network_mode: none
		    restart: on-failure
		    command: [/bin/bash, -c, 'echo x >>/tmp/tries; n=$$(wc -l </tmp/tries); echo "try $$n"; sleep 3; ((n == 2))']
	YAML
	job=$(submit)
	wait_said "$job" 'try 1' 20
	node=$(node_of "$job")
	stop_daemon "$node" KILL
	sleep 4
	start_daemon "$node"
	wait_done "$job" 40
	assert_contains "$(output "$job")" 'again | try 2'
	assert_nothing_left "$job"
}

test_ulimits() {
	local job
	prepare
	workflow <<-'YAML'
		name: wf
		services:
		  a:
		    image: /images/debian
		    network_mode: none
		    ulimits: {nofile: {soft: 300, hard: 400}, core: 0, nproc: 4000}
		    volumes: [".:/here"]
		    command: [/bin/bash, -c, 'echo "soft $$(ulimit -Sn) hard $$(ulimit -Hn)"; until [ -e /here/again ]; do sleep 0.1; done; echo "then $$(ulimit -Hn)"']
	YAML
	job=$(submit)
	wait_said "$job" 'soft 300 hard 400' 20
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	in_wf touch again
	wait_done "$job" 40
	assert_contains "$(output "$job")" 'then 400'
	in_wf sed -i 's/soft: 300, hard: 400/soft: 300, hard: 100000000/' workflow.yaml
	job=$(submit)
	wait_job_state "$job" FAILED 30
	assert_contains "$(output "$job")" "the ulimit 'nofile' of 100000000 is above the job's own hard limit"
	assert_nothing_left "$job"
}

limited() {
	workflow <<-'YAML'
		name: wf
		services:
		  a:
		    image: /images/debian
		    network_mode: none
		    mem_limit: 200m
		    cpus: 0.5
		    pids_limit: 77
		    command: [/bin/sleep, "3"]
	YAML
}

test_limits_that_no_controller_keeps_are_told() {
	local job
	! has_controllers || skip "this box's cgroups have the controllers: the next test looks at them"
	prepare
	limited
	job=$(submit)
	wait_done "$job" 40
	assert_contains "$(output "$job")" 'service a runs without its mem_limit, cpus, pids_limit: the cgroups of'
}

test_limits_hold() {
	local job dir
	has_controllers || skip "this box's cgroups have no memory, cpu and pids controllers, which only the machine's owner can give them"
	prepare
	limited
	job=$(submit)
	wait_svc "$job" a running 20
	dir=$(box_exec "$(node_of "$job")" find /sys/fs/cgroup -type d -name "$job.wf.a")
	assert_eq "$(box_exec "$(node_of "$job")" cat "$dir/memory.max")" $((200 << 20)) memory.max
	assert_eq "$(box_exec "$(node_of "$job")" cat "$dir/cpu.max")" '50000 100000' cpu.max
	assert_eq "$(box_exec "$(node_of "$job")" cat "$dir/pids.max")" 77 pids.max
	[[ $(output "$job") != *'runs without'* ]] || fail "told of a limit that holds"
	wait_done "$job" 40
}

run_tests "$@"
