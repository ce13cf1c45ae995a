#!/bin/bash
# The workflow's own network: names, ports, who reaches whom, and connections that live on while both ends move.

# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=tests/box/t/workflow.sh
. "$(dirname "$0")/workflow.sh"

result() { box_exec ctl cat "$WF/$1" 2>/dev/null || true; } # FILE
has_result() { [[ -n $(result "$1") ]]; }
wait_result() { retry "$2" has_result "$1" || fail "no $1 after $2 s: $(output "$JOB")"; } # FILE SECONDS

test_names_and_ports() {
	prepare
	program serve.py <<-'PY'
		import os, socket, sys
		s = socket.create_server(("", 80))
		while True:
		    c, who = s.accept()
		    c.sendall(("%s hears %s\n" % (sys.argv[1], who[0])).encode())
		    c.close()
	PY
	program ask.py <<-'PY'
		import socket, sys, time
		def ask(name):
		    for i in range(100):
		        try:
		            with socket.create_connection((name, 80), 2) as c:
		                return c.makefile().readline().strip()
		        except OSError as e:
		            last = e
		            time.sleep(0.1)
		    return "%s: %s" % (name, last)
		lines = [ask("web"), ask("db"), ask("localhost"), socket.gethostname() + " is " + socket.gethostbyname(socket.gethostname())]
		open("/here/asked", "w").write("\n".join(lines) + "\n")
		time.sleep(600)
	PY
	{
		printf 'name: wf\nservices:\n'
		member web /usr/bin/python3 /here/serve.py web
		member db /usr/bin/python3 /here/serve.py db
		member asks /bin/sh -c 'python3 /here/serve.py asks & exec python3 /here/ask.py'
	} | in_wf tee workflow.yaml >/dev/null
	JOB=$(submit --time=20)
	wait_result asked 30
	assert_eq "$(result asked)" $'web hears 10.211.0.4\ndb hears 10.211.0.4\nasks hears 127.0.0.1\nasks is 10.211.0.4'
	# Neither the node nor another user's job sees any of it.
	box_exec "$(node_of "$JOB")" sh -c 'timeout 3 bash -c "</dev/tcp/10.211.0.2/80"' && fail "the node reaches into the network"
	box_exec "$(node_of "$JOB")" ip netns list | grep -q "smigrate-$JOB.wf" || fail "an operator does not find the network by ip netns"
	box_exec ctl scancel "$JOB"
	retry 30 nothing_left "$JOB" || fail "left: $(for n in $(box_nodes); do left_on "$n" "$JOB"; done)"
	retry 10 no_network "$JOB" || fail "the network is left"
}
no_network() { # JOB
	local node
	for node in $(box_nodes); do
		if box_exec "$node" ip netns list | grep -q "smigrate-$1\."; then return 1; fi
	done
}

# One connection carries 1 GB while both of its ends move three times.
test_a_transfer_moves_three_times() {
	local n=0
	prepare
	program transfer.py <<-'PY'
		import hashlib, os, socket, sys, time
		BLOCKS, SIZE = 1024, 1 << 20
		def note(name, text):
		    with open("/here/" + name + ".new", "w") as f:
		        f.write(text + "\n")
		    os.rename("/here/" + name + ".new", "/here/" + name)
		h = hashlib.sha256()
		if sys.argv[1] == "take":
		    server = socket.create_server(("", 7000))
		    c, _ = server.accept()
		    before, got = (c.getsockname(), c.getpeername()), 0
		    while True:
		        data = c.recv(SIZE)
		        if not data:
		            break
		        h.update(data)
		        got += len(data)
		        if got % (16 << 20) < len(data):
		            note("taken", str(got >> 20))
		    assert (c.getsockname(), c.getpeername()) == before
		else:
		    for i in range(100):
		        try:
		            c = socket.create_connection(("take", 7000))
		            break
		        except OSError:
		            time.sleep(0.1)
		    before, got, block = (c.getpeername(), c.getsockname()), 0, os.urandom(SIZE)
		    for i in range(BLOCKS):
		        block = block[1:] + block[:1]
		        c.sendall(block)
		        h.update(block)
		        got += SIZE
		        time.sleep(0.015)
		    assert (c.getpeername(), c.getsockname()) == before
		    c.shutdown(socket.SHUT_WR)
		note(sys.argv[1], "%d %s %s" % (got, before, h.hexdigest()))
	PY
	{
		printf 'name: wf\nservices:\n'
		member take /usr/bin/python3 /here/transfer.py take
		member give /usr/bin/python3 /here/transfer.py give
	} | in_wf tee workflow.yaml >/dev/null
	JOB=$(submit --time=20)
	for n in 1 2 3; do
		retry 60 taken $((n * 160)) || fail "no more than $(result taken) MB came: $(output "$JOB")"
		preempt "$JOB" 3 >/dev/null
		wait_moved "$JOB" "$n" 90
	done
	assert_eq "$(result give)" "" "the transfer was over before the last move"
	wait_result take 120
	wait_result give 30
	assert_eq "$(result take)" "$(result give)" "what was sent, between whom, and what came"
	assert_contains "$(result take)" '1073741824 '
	wait_done "$JOB" 60
	assert_eq "$(state "SELECT SUM(moved) FROM migrations WHERE job = $JOB")" 6
	retry 10 no_network "$JOB" || fail "the network is left"
}
taken() { [[ $(result taken) -ge $1 ]]; } # MB

run_tests "$@"
