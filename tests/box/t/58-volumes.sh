#!/bin/bash
# Volumes of a workflow: folders of the node that services share, and that move with them; and files that are mounted one by one. Needs a
# box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

# One writes numbers into a file that it holds open, the other reads them from a descriptor of its own, wherever they are.
shared_numbers() { # NUMBERS
	in_wf tee share.py >/dev/null <<-'PY'
		import os, sys, time
		numbers = int(sys.argv[2])
		if sys.argv[1] == "write":
		    os.symlink("numbers", "/vol/link")
		    os.mkdir("/vol/private", 0o700)
		    f = open("/vol/numbers", "a")
		    for n in range(1, numbers + 1):
		        f.write("%d\n" % n)
		        f.flush()
		        time.sleep(0.05)
		else:
		    while not os.path.exists("/vol/link"):
		        time.sleep(0.05)
		    f, want, line = open("/vol/link"), 1, ""
		    print("reads", flush=True)
		    while want <= numbers:
		        line += f.readline()
		        if not line.endswith("\n"):
		            time.sleep(0.02)
		            continue
		        if int(line) != want:
		            print("FAULT", repr(line), "is not", want, flush=True)
		        want, line = want + 1, ""
		    s = os.stat("/vol/private")
		    print("answer=%s %d" % ("ok" if (s.st_mode & 0o777, s.st_uid) == (0o700, os.getuid()) else "wrong", want - 1), flush=True)
	PY
	{
		printf 'name: wf\nvolumes:\n  data:\n  other: {driver: local}\nservices:\n'
		for name in write read; do
			printf '  %s:\n    image: /images/debian\n    volumes: [".:/here:ro", "data:/vol", {type: volume, source: other, target: /other}]\n' "$name"
			printf '    network_mode: none\n    command: [/usr/bin/python3, /here/share.py, %s, "%s"]\n' "$name" "$1"
		done
	} | in_wf tee workflow.yaml >/dev/null
}

test_a_volume_moves() {
	prepare
	shared_numbers 400
	JOB=$(submit)
	wait_said "$JOB" 'read | reads' 30
	preempt_to_disk "$JOB" 2
	wait_moved "$JOB" 1 60
	preempt "$JOB" 2 >/dev/null # through memory
	wait_moved "$JOB" 2 60
	preempt "$JOB" 2 >/dev/null
	wait_moved "$JOB" 3 60
	wait_said "$JOB" 'answer=ok 400' 60
	wait_done "$JOB" 30
	[[ $(output "$JOB") != *FAULT* ]] || fail "$(output "$JOB")"
	assert_eq "$(state "SELECT SUM(restarted) FROM migrations WHERE job = $JOB")" 0 'began anew'
	assert_nothing_left "$JOB"
}

# An editor writes a new file and renames it: the container still has the old one. So has it of the workflow's hosts, where a daemon
# has made them anew. Where it goes on it has what is there now.
test_a_file_that_is_replaced_meanwhile() {
	prepare
	in_wf tee word <<<one >/dev/null
	in_wf tee workflow.yaml >/dev/null <<-'YAML'
		name: wf
		services:
		  a:
		    image: /images/debian
		    volumes: [".:/here", "./word:/word:ro"]
		    command: [sh, -c, 'for n in $$(seq 80); do echo "$$n $$(cat /word) $$(getent hosts b | wc -l)" >>/here/seen; sleep 0.3; done']
		  b: {image: /images/debian, command: [sleep, "20"]}
	YAML
	JOB=$(submit)
	retry 30 seen 'one 1'
	in_wf sh -c 'echo two >word.new && mv word.new word'
	box_exec "$(node_of "$JOB")" sh -c 'cd /run/smigrate/net && for f in *.hosts; do cp $f $f.new && mv $f.new $f; done'
	preempt "$JOB" 2 >/dev/null
	wait_moved "$JOB" 1 60
	retry 20 seen 'two 1' || fail "$(in_wf cat seen)"
	wait_done "$JOB" 60
	assert_eq "$(in_wf awk '$1 != NR || $3 != 1' seen)" '' 'lines out of order, or without the name of b'
	assert_eq "$(in_wf cat word)" two 'the file itself'
	assert_nothing_left "$JOB"
}
seen() { [[ $(in_wf cat seen 2>/dev/null) == *" $1"* ]]; } # WORDS

test_a_volume_that_is_not_declared() {
	prepare
	printf 'services: {a: {image: /images/debian, command: "true", volumes: ["data:/vol"]}}\n' | in_wf tee workflow.yaml >/dev/null
	assert_contains "$(in_wf smigrate check workflow.yaml 2>&1 || true)" "the volume 'data' is not declared: add it to the file's own \`volumes\`"
}

run_tests "$@"
