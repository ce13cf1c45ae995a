#!/bin/bash
# What the bench of migrations stands on, without a box: that wrong memory is told, and what becomes of the samples.
# shellcheck source=tests/lib.sh
source "$(dirname "$0")/../lib.sh"

BENCH=$ROOT/tests/bench

build_ballast() { ${CC:-gcc} -O2 -D_GNU_SOURCE -o "$TMP/ballast" "$BENCH/ballast.c"; }

# Starts one of 4 MiB and, given yes, spoils a byte of the second page.
ballast_says() { # SPOIL
	python3 - "$TMP" "$1" <<-'PY'
		import os, re, subprocess, sys, time
		tmp, spoil = sys.argv[1:]
		p = subprocess.Popen([tmp + "/ballast", tmp + "/s1", "4", "7", "0.5"])
		def wait_for(name):
		    for _ in range(1000):
		        if os.path.exists(tmp + "/" + name): return
		        time.sleep(0.01)
		    sys.exit("no " + name)
		wait_for("s1.beats")
		if spoil == "yes":
		    at = [int(m[1], 16) for m in re.finditer(r"^(\w+)-(\w+) rw-p 00000000 00:00 0\s*$", open("/proc/%d/maps" % p.pid).read(), re.M)
		          if int(m[2], 16) - int(m[1], 16) >= 4 << 20][0]
		    with open("/proc/%d/mem" % p.pid, "r+b", 0) as mem:
		        mem.seek(at + 4096)
		        byte = mem.read(1)
		        mem.seek(at + 4096)
		        mem.write(bytes([byte[0] ^ 1]))
		open(tmp + "/verify", "w").close()
		wait_for("s1.verdict")
		print(open(tmp + "/s1.verdict").read(), end="")
		p.terminate()
		print(p.wait(10))
	PY
}

test_ballast_stays_what_it_was() {
	build_ballast
	assert_eq "$(ballast_says no)" $'ok 0 of 1024 pages wrong\n143'
	awk '$2 != NR { exit 1 }' "$TMP/s1.beats" || fail "beats out of turn: $(head "$TMP/s1.beats")"
}

test_ballast_tells_wrong_memory() {
	build_ballast
	assert_eq "$(ballast_says yes)" $'WRONG 1 of 1024 pages wrong\n143'
}

# Samples of a strategy, one a line: moves of two services, b after a, of so many seconds, over a link of 1 GB/s.
moves() { # CELL CONTENTS STRATEGY WIRE_BYTES SECONDS...
	local cell=$1 contents=$2 strategy=$3 wire=$4 seconds
	shift 4
	for seconds; do
		jq -n -c --arg cell "$cell" --arg contents "$contents" --arg strategy "$strategy" --argjson wire "$wire" --argjson s "$seconds" '
			def node(cpu; tx): {cpu_us: cpu, tx_bytes: tx, hwm_bytes: 12e6};
			def phase(name; what; from; to): {service: name, phase: what, attempt: 1, start_us: from, end_us: to};
			{round: 1, cell: $cell, link: "10gbit", graph: "none", sizes: "equal", contents: $contents, strategy: $strategy, took_s: 9,
			services: [{name: "a", mib: 500, needs: []}, {name: "b", mib: 500, needs: ["a"]}],
			before: {n1: node(0; 0), n2: node(0; 0)}, after: {n1: node(2e6; $wire), n2: node(1e6; 7)}, gaps_us: {a: ($s * 1e6), b: 1e6},
			migration: {from_node: "n1", to_node: "n2", signal_us: 1000000, saved_us: 2000000, landed_us: 2500000,
			done_us: (1e6 + $s * 1e6), phases: [phase("a"; "freeze"; 1.5e6; 1.5e6), phase("a"; "dump"; 1.5e6; 1.7e6),
			phase("b"; "dump"; 1.5e6; 1.6e6), phase("a"; "restore"; 3e6; 3.4e6), phase("b"; "restore"; 3.4e6; 3.7e6)]}}'
	done
}

make_report() { # MORE-RUNS-JSON
	{
		moves reference random sequential 1048576000 10 12 16
		moves reference random stream 1048576000 2 3 4
		moves shared shared stream 524288000 3
	} | jq -s --argjson more "$1" '{machine: "here", cores: 2, commit: "x", links: {"10gbit": 8e9}, took_s: 60, runs: (. + $more)}' >"$TMP/raw.json"
	python3 "$BENCH/report.py" "$TMP/raw.json" "$TMP/out"
}

# shellcheck disable=SC2016 # the backquotes are Markdown's
test_report_says_what_was_measured() {
	local page
	make_report '[]'
	page=$(cat "$TMP/out.md")
	assert_contains "$page" '| reference | `sequential` | 3 | 12.0 (11.0 to 14.0) | 1.00 | - | 0.50, 1.00, 10.5 | 6.50, 12.0 | 1049 (1.00) | 3.00 | 12.0, 12.0 | 1.05 | 0.90 | 1.50 |'
	assert_contains "$page" '| reference | `stream` | 3 | 3.00 (2.50 to 3.50) | 0.25 |'
	assert_contains "$page" 'at most 0.25 of `sequential`: 0.25, met; at most 0.45 of `pipeline`: not measured'
	assert_contains "$page" "at most 0.6 of the reference's bytes on the wire: 0.50, met"
	assert_contains "$page" 'prediction'\''s median error: not measured'
	assert_eq "$(jq -c '[.goals[] | .met]' "$TMP/out.json")" '[true,false,true,false]'
	python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$TMP/out.svg"
}

# shellcheck disable=SC2016 # the backquotes are Markdown's
test_report_of_a_failed_run() {
	assert_status 1 make_report '[{"round": 2, "cell": "chain", "strategy": "level", "took_s": 9, "failed": "WRONG 3 of 9 pages wrong"}]'
	assert_contains "$(cat "$TMP/out.md")" 'FAILED: round 2, chain, `level`: WRONG 3 of 9 pages wrong'
}

run_tests "$@"
