#!/bin/bash
# Whom smigrated serves, and with what. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

# Python for all tests: messages as the daemon takes them (four bytes of length, then JSON) on its socket and its port.
client() { # USER NODE [ARG...]; the program by standard input
	{
		cat <<-'PY'
			import json, os, socket, struct, subprocess, sys, time, hashlib
			def local():
			    s = socket.socket(socket.AF_UNIX)
			    s.connect("/run/smigrate/smigrated.sock") # waits while the backlog is full
			    s.settimeout(20)
			    return s
			def peer(host):
			    s = socket.create_connection((host, 6822), 20)
			    s.settimeout(20)
			    return s
			def send(s, msg):
			    text = msg if isinstance(msg, bytes) else json.dumps(msg).encode()
			    s.sendall(struct.pack(">I", len(text)) + text)
			def take(s, n):
			    got = b""
			    while len(got) < n:
			        part = s.recv(n - len(got))
			        if not part:
			            return None
			        got += part
			    return got
			def recv(s):
			    head = take(s, 4)
			    return head and json.loads(take(s, struct.unpack(">I", head)[0]))
			def ask(msg):
			    s = local()
			    send(s, msg)
			    return recv(s)
		PY
		cat
	} | box exec "$2" --user "$1" -- python3 - "${@:3}"
}

# What user1 runs, said by a service of it; the workflow's last service is `sh`.
run_sh() { # SCRIPT [YAML-LINE...]
	prepare
	{
		printf 'name: wf\nservices:\n  sh:\n    image: /images/debian\n    network_mode: none\n'
		printf '    command: [/bin/sh, -c, %s]\n' "$(jq -Rs . <<<"${1//\$/\$\$}")"
		shift
		[[ $# == 0 ]] || printf '    %s\n' "$@"
	} | in_wf tee workflow.yaml >/dev/null
	job=$(submit)
	retry 30 job_over "$job" || fail "job $job does not end"
}
job_over() { [[ $(job_state "$1") =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT)$ ]]; }

# ---- the owner and the others --------------------------------------------------------------------------------------

test_others_see_nothing() {
	local job node
	prepare
	counters 100 one
	job=$(submit)
	wait_ticks one 3 20
	wait_svc "$job" one running 10
	assert_contains "$(box_as user1 ctl smigrate status)" "$job.wf"
	assert_contains "$(box_as user1 ctl smigrate show "$job")" running
	for node in ctl "$(node_of "$job")"; do
		assert_status 3 box_as user2 "$node" smigrate status "$job"
		[[ $(box_as user2 "$node" smigrate status --all --json) != *"$job.wf"* ]] || fail "user2 sees the workflow on $node"
		for id in "$job" "$job.wf" "$job.wf.1"; do
			assert_status 3 box_as user2 "$node" smigrate show "$id"
			[[ $OUTPUT != *one* ]] || fail "show tells: $OUTPUT"
		done
		[[ $(box_as user2 "$node" smigrate history --json) != *"$job.wf"* ]] || fail "user2 sees the history on $node"
		# what the request says of uids counts for nothing
		assert_contains "$(client user2 "$node" <<<'print(ask({"op": "status", "uid": 2001, "job": 0, "all": True}))')" "'workflows': []"
		assert_contains "$(client user2 "$node" <<<'print(ask({"op": "query", "uid": -1, "ask": {"op": "status"}}))')" error
	done
	! box_as user2 ctl scancel "$job" || fail "scancel of another user's job ends well"
	job_is "$job" RUNNING || fail "user2 cancelled the job"
	box_exec ctl scancel "$job"
	assert_nothing_left "$job"
}

# A workflow is its job's: user2's own job with a workflow of the same name is another one, and outside a job there is none.
test_others_cannot_attach() {
	local job node other
	prepare
	counters 40 one
	job=$(submit)
	wait_ticks one 3 20
	node=$(node_of "$job")
	assert_status 2 box_as user2 "$node" smigrate run "$WF/workflow.yaml"
	assert_status 2 box_as user1 "$node" smigrate run "$WF/workflow.yaml"
	assert_contains "$OUTPUT" 'in no job'
	cat <<-'SH' | box exec ctl --user user2 -- sh -c 'mkdir -p /shared/home/user2/wf && cd /shared/home/user2/wf && cat >job.sh'
		#!/bin/bash
		#SBATCH -p low --output=wf-%j.out --time=5
		printf 'name: wf\nservices:\n  one:\n    image: /images/debian\n    command: [/bin/echo, mine alone]\n' >workflow.yaml
		smigrate run workflow.yaml
	SH
	other=$(box exec ctl --user user2 -- sh -c "cd /shared/home/user2/wf && sbatch --parsable -w $node job.sh")
	wait_done "$other" 30
	OUTPUT=$(box_exec ctl cat "/shared/home/user2/wf/wf-$other.out")
	assert_contains "$OUTPUT" 'one | mine alone'
	[[ $OUTPUT != *begins* ]] || fail "user2's job got user1's output: $OUTPUT"
	job_is "$job" RUNNING || fail "user1's job is $(job_state "$job")"
	wait_done "$job" 40
	assert_exact one 40
}

# The daemon knows a caller's job by an ancestor that is a slurmstepd of root's: this one is the user's, and hides that.
test_a_feigned_step_is_in_no_job() {
	local job node
	prepare
	counters 40 one
	in_wf tee feign.c >/dev/null <<-'C'
		#include <stdlib.h>
		#include <sys/prctl.h>
		#include <sys/wait.h>
		#include <unistd.h>
		__attribute__((constructor)) static void feign(void)
		{
			int status;

			unsetenv("LD_PRELOAD");
			prctl(PR_SET_DUMPABLE, 0); /* /proc/PID is root's now */
			if (!fork()) {
				execlp("smigrate", "smigrate", "run", getenv("FILE"), NULL);
				_exit(99);
			}
			wait(&status);
			_exit(WEXITSTATUS(status));
		}
	C
	box_as user1 n1 gcc -shared -fPIC -o "$WF/feign.so" "$WF/feign.c"
	job=$(submit)
	wait_ticks one 3 20
	node=$(node_of "$job")
	assert_status 2 box_as user1 "$node" bash -c \
		"FILE=$WF/workflow.yaml LD_PRELOAD=$WF/feign.so exec -a 'slurmstepd: [$job.batch]' \"\$(readlink -f /usr/sbin/slurmstepd)\""
	assert_contains "$OUTPUT" 'in no job'
	wait_done "$job" 40
	assert_exact one 40
}

# Another user's process, put before the daemon as if it ran the workflow of user1's job.
test_a_job_is_what_slurm_says() {
	local job node
	prepare
	counters 40 one
	job=$(submit)
	wait_ticks one 3 20
	node=$(node_of "$job")
	OUTPUT=$(client user2 "$node" "$job" <<-'PY'
		import array
		s = local()
		text = json.dumps({"op": "run", "attach": True, "job": int(sys.argv[1]), "workflow": sys.argv[1] + ".wf",
		                   "spec": {"name": "wf", "services": [{"name": "one", "image": "/images/debian", "command": ["/bin/true"]}]}}).encode()
		s.sendmsg([struct.pack(">I", len(text))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1, 2]))])
		s.sendall(text)
		print(recv(s))
	PY
	)
	assert_contains "$OUTPUT" error
	assert_contains "$OUTPUT" 'in no job'
	wait_done "$job" 40
	assert_exact one 40
}

test_the_plugins_words_are_roots() {
	local job node op
	prepare
	counters 40 one
	job=$(submit)
	wait_ticks one 3 20
	node=$(node_of "$job")
	for op in job_prolog job_check job_signal job_epilog container_note; do
		OUTPUT=$(client user1 "$node" "$op" "$job" <<<'print(ask({"op": sys.argv[1], "job": int(sys.argv[2]), "signal": 15, "step": "extern"}))')
		assert_contains "$OUTPUT" EPERM
	done
	for op in report claim fetch release where nonsense ''; do
		OUTPUT=$(client user1 "$node" "$op" "$job" <<<'print(ask({"op": sys.argv[1], "workflow": sys.argv[2] + ".wf", "restarts": 9, "items": []}))')
		assert_contains "$OUTPUT" error
	done
	wait_svc "$job" one running 10
	wait_done "$job" 40
	assert_exact one 40
}

# ---- inside a container --------------------------------------------------------------------------------------------

test_rights_of_a_container() {
	local job
	run_sh 'id; grep -E "^(Cap|NoNewPrivs|Seccomp:)" /proc/self/status; cp /usr/bin/id /tmp/rootid && chmod 4755 /tmp/rootid && /tmp/rootid -u
		find / -xdev -perm -4000 -user 0 2>/dev/null | head -3; for f in $(find / -xdev -perm -4000 -user 0 2>/dev/null); do case $f in */su) echo | $f -c id;; esac; done 2>&1
		mount -t tmpfs x /mnt 2>&1; mknod /tmp/disk b 8 0 2>&1; kill -0 1 && echo init is mine; ls /proc | grep -c "^[0-9]"; touch /etc/passwd 2>&1'
	wait_said "$job" 'sh | uid=2001' 5
	OUTPUT=$(output "$job")
	assert_contains "$OUTPUT" 'gid=2001'
	assert_contains "$OUTPUT" '2100' # the group lab
	assert_eq "$(grep -c 'Cap[A-Za-z]*:.*0000000000000000' <<<"$OUTPUT")" 5 'empty capability sets'
	assert_contains "$OUTPUT" $'NoNewPrivs:\t1'
	[[ $OUTPUT != *'uid=0'* && $OUTPUT != *'| 0'$'\n'* ]] || fail "root: $OUTPUT"
	assert_contains "$OUTPUT" 'mknod: /tmp/disk: Operation not permitted'
	retry 10 is_reported "$job" || fail "the state host knows nothing of job $job"
	assert_eq "$(state "SELECT uid || ' ' || gid FROM workflows WHERE job = $job")" '2001 2001' owner
}

is_reported() { [[ -n $(wf_state "$1") ]]; }

test_rights_after_a_move() {
	local job node pid
	prepare
	counters 40 one
	job=$(submit)
	wait_ticks one 3 20
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	node=$(node_of "$job")
	OUTPUT=$(box_exec "$node" sh -c 'cat /proc/$(pgrep -o -f counter.py)/status')
	assert_contains "$OUTPUT" $'Uid:\t2001\t2001\t2001\t2001'
	assert_contains "$OUTPUT" $'Gid:\t2001\t2001\t2001\t2001'
	assert_eq "$(grep -c '^Cap[A-Za-z]*:.*0000000000000000' <<<"$OUTPUT")" 5 'empty capability sets'
	assert_contains "$OUTPUT" $'NoNewPrivs:\t1'
	assert_contains "$(grep ^Groups <<<"$OUTPUT")" 2100
	wait_done "$job" 40
	assert_exact one 40
}

test_volumes_are_what_the_user_may_read() {
	local job source
	box_as user2 ctl sh -c 'mkdir -p /shared/home/user2/secret/sub && echo hush >/shared/home/user2/secret/sub/word && chmod 700 /shared/home/user2/secret'
	for source in /root /shared/home/user2/secret /shared/home/user2/secret/sub /var/lib/smigrate /etc/shadow /etc/munge/munge.key /proc/1/root /proc/1/cwd/root; do
		run_sh 'find /stolen | head; cat /stolen/word /stolen' "volumes: [\"$source:/stolen\"]"
		job_is "$job" FAILED || fail "$source: the job is $(job_state "$job"): $(output "$job")"
		OUTPUT=$(output "$job")
		assert_contains "$OUTPUT" 'service sh cannot start'
		[[ $OUTPUT != *'sh | /stolen'* && $OUTPUT != *hush* ]] || fail "$source was read: $OUTPUT"
	done
	# through a link of his own
	in_wf ln -s /shared/home/user2/secret link
	printf 'name: wf\nservices:\n  sh:\n    image: /images/debian\n    volumes: ["./link:/stolen"]\n    command: [/bin/cat, /stolen/sub/word]\n' |
		in_wf tee workflow.yaml >/dev/null
	job=$(submit)
	wait_job_state "$job" FAILED 30
	assert_contains "$(output "$job")" 'cannot be read by uid 2001'
	[[ $(output "$job") != *hush* ]] || fail 'read through a link'
}

test_folders_are_roots() {
	local node path
	prepare
	counters 40 one
	job=$(submit)
	wait_ticks one 3 20
	node=$(node_of "$job")
	for path in /var/lib/smigrate "/var/lib/smigrate/w/$job.wf" "/var/lib/smigrate/w/$job.wf/one" /run/smigrate/c; do
		assert_eq "$(box_exec "$node" stat -c '%a %U' "$path")" '700 root' "$path"
	done
	assert_eq "$(box_exec "$node" stat -c '%a %U' /run/smigrate)" '755 root'
	assert_eq "$(box_exec "$node" stat -c '%a %U' /run/smigrate/smigrated.sock)" '666 root'
	assert_status 2 box_as user1 "$node" ls /var/lib/smigrate
	preempt "$job" 20 >/dev/null
	wait_wf "$job" saved 30 || true
	box_exec ctl scancel "$job"
	assert_nothing_left "$job"
}

# The images themselves, while the job waits for its own node.
test_images_are_roots() {
	local job high
	prepare
	counters 40 one
	job=$(submit -w n1)
	wait_ticks one 3 20
	high=$(preempt "$job" 4)
	wait_wf "$job" saved 30
	assert_eq "$(box_exec n1 stat -c '%a %U' "/var/lib/smigrate/w/$job.wf/one/images")" '700 root'
	assert_status 1 box_as user1 n1 test -r "/var/lib/smigrate/w/$job.wf/one/images/core-1.img"
	wait_job_state "$high" COMPLETED 40
	wait_done "$job" 60
	assert_exact one 40
}

# ---- rubbish -------------------------------------------------------------------------------------------------------

test_rubbish_harms_nothing() {
	local job node before
	prepare
	counters 40 one
	job=$(submit)
	wait_ticks one 3 20
	node=$(node_of "$job")
	before=$(box_exec "$node" cat /run/box/smigrated.pid)
	client user2 "$node" "$node" <<-'PY'
		doors = [local, lambda: peer(sys.argv[1])]
		keep = []
		for door in doors:
		    for text in (os.urandom(100000), b"\xff\xff\xff\xff" + b"x" * 1000, b"\x00\xff\xff\xff", b"\x00\x00\x00\x00", b"\x00\x00\x00\x02{}",
		                 b"\x00\x00\x00\x05[[[[[", struct.pack(">I", 1 << 20) + b"[" * (1 << 20), struct.pack(">I", 16) + b'{"op":"run"',
		                 struct.pack(">I", 14) + b'{"op":["run"]}', struct.pack(">I", 13) + b'{"op":"run"}\0', b"GET / HTTP/1.0\r\n\r\n"):
		        try:
		            s = door()
		            s.sendall(text)
		            s.close()
		        except OSError:
		            pass
		    for n in range(200):
		        door().close()
		    for n in range(100):          # half a message, then silence
		        s = door()
		        try:
		            s.sendall(b"\x00\x00\x10\x00{\"op\":")
		        except OSError:
		            pass
		        keep.append(s)
		began = time.time()
		print(json.dumps(ask({"op": "status", "job": 0})))
		assert time.time() - began < 5, "answered only after %.1f s" % (time.time() - began)
	PY
	box_as user1 "$node" timeout 10 smigrate status "$job" >/dev/null
	assert_eq "$(box_exec "$node" cat /run/box/smigrated.pid)" "$before" 'pid of smigrated'
	box_exec "$node" kill -0 "$before" || fail "smigrated is dead: $(box_exec "$node" tail -n 5 /var/log/smigrated.log)"
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	wait_done "$job" 40
	assert_exact one 40
}

# A request between daemons, right in every respect but that it is signed by a user's credential.
test_a_users_credential_is_no_daemons() {
	local job node who
	prepare
	counters 40 one
	job=$(submit)
	wait_ticks one 3 20
	node=$(node_of "$job")
	for who in user1 root; do
		OUTPUT=$(client "$who" n1 "$node" "$job" <<-'PY'
			to = sys.argv[1]
			s = peer(to)
			nonce = recv(s)["nonce"]
			body, cnonce = json.dumps({"op": "claim", "workflow": sys.argv[2] + ".wf", "restarts": 0}), "c" * 32
			h = hashlib.sha256()
			for part in ("request", "n1", to, nonce, cnonce, body):
			    h.update(struct.pack("=Q", len(part)) + part.encode())
			cred = subprocess.run(["munge", "-n", "-s", h.hexdigest(), "-u", "0"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
			send(s, {"from": "n1", "to": to, "cnonce": cnonce, "body": body, "cred": cred})
			print(recv(s))
		PY
		)
		if [[ $who == root ]]; then # else this test would show nothing
			assert_contains "$OUTPUT" body
		else
			assert_contains "$OUTPUT" 'of uid 2001 refused'
		fi
	done
	wait_done "$job" 40
	assert_exact one 40
}

run_tests "$@"
