# shellcheck shell=bash
# Rows of a table, several at one time: each lane has two nodes of a box and a folder of its own, and takes the next row that nobody
# has taken. A row is one line of words; the file that sources this one defines `row WORDS... LANE NODES`, and begins its work with
# lanes_main "$@".

lanes_bad=0 lanes_total=0 box_base=''
OTHERS=''

# What the row may use and what not: sets LANE, WF and OTHERS, the nodes of the other lanes.
lanes_enter() { # LANE NODES
	local nodes=$2 others=() n
	LANE=$1
	WF=/shared/home/user1/wf$LANE
	for ((n = 1; n <= nodes; n++)); do
		((nodes <= 3 || (n - 1) / 2 + 1 == LANE)) || others+=("n$n")
	done
	OTHERS=$(IFS=,; echo "${others[*]}")
}

# In a process of its own; its output and its end go to a file.
lanes_row() { # WORDS... LANE NODES
	set -eEu -o pipefail
	trap 'echo "FAILED (exit $?) at ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR
	lanes_enter "${@: -2}"
	TMP=$(mktemp -d) && export TMP
	trap 'rm -rf "$TMP"' EXIT
	row "${@:1:$#-2}"
}

lanes_run_lane() { # LANE NODES DIR
	local lane=$1 nodes=$2 dir=$3 line number=0 status start
	while read -r line; do
		number=$((number + 1))
		mkdir "$dir/$number.taken" 2>/dev/null || continue
		start=$SECONDS status=0
		# shellcheck disable=SC2086 # words
		timeout -k 5 "${ROW_TIMEOUT:-240}" bash "$0" --row $line "$lane" "$nodes" >"$dir/$number.log" 2>&1 </dev/null || status=$?
		echo "$status $((SECONDS - start))" >"$dir/$number.new"
		mv "$dir/$number.new" "$dir/$number.end"
	done <"$dir/rows"
}

# Runs the rows that come by standard input, and prints how each ended: "ok N - WORDS" or "not ok N - WORDS" with its output. A row
# that ends with 77 has not come to what it is about, one with 76 has lost work, as the rules allow it, and has said so.
lanes_run() { # NODES LANES
	local lane pids=() dir rows
	rows=$(cat)
	[[ -n $rows ]] || return 0
	dir=$(mktemp -d)
	printf '%s\n' "$rows" >"$dir/rows"
	for ((lane = 1; lane <= $2; lane++)); do
		lanes_run_lane "$lane" "$1" "$dir" &
		pids+=($!)
	done
	lanes_print "$dir" "${pids[@]}"
	wait "${pids[@]}"
	rm -rf "$dir"
}

# In their order, each as soon as it is over.
lanes_print() { # DIR PID...
	local line number=0 status took
	while read -r line; do
		number=$((number + 1)) lanes_total=$((lanes_total + 1)) status=99 took=0
		while [[ ! -e $1/$number.end ]] && kill -0 "${@:2}" 2>/dev/null; do sleep 0.3; done
		[[ ! -e $1/$number.end ]] || read -r status took <"$1/$number.end"
		if [[ $status == 0 ]]; then
			echo "ok $lanes_total - $(row_name "$line") # $took s"
		elif [[ $status == 76 ]]; then
			echo "ok $lanes_total - $(row_name "$line") # $took s, work was lost, and that was told"
		elif [[ $status == 77 ]]; then
			echo "ok $lanes_total - $(row_name "$line") # $took s, not come to"
		else
			echo "not ok $lanes_total - $(row_name "$line") # $took s"
			sed 's/^/#   /' "$1/$number.log"
			lanes_bad=1
		fi
	done <"$1/rows"
}
row_name() { echo "$1"; } # LINE; a file may have its own

# A box beside the one of the file's name; its name ends so. box_base is set by lanes_main.
lanes_smigrate_conf='' # a line for it
lanes_box() { # NAME-SUFFIX NODES [SLURM-CONF-LINE...]
	local conf nodes=$2
	export BOX=$box_base$1
	conf=$(mktemp -d)
	shift 2
	printf '%s\n' "$@" >"$conf/slurm"
	echo "$lanes_smigrate_conf" >"$conf/smigrate"
	box up --nodes "$nodes" --slurm-conf "$conf/slurm" --smigrate-conf "$conf/smigrate" || lanes_bad=1 # its rows say so, too
	rm -rf "$conf"
}

lanes_box_down() { BOX=$box_base$1 box down; } # NAME-SUFFIX
lanes_ok() { [[ $lanes_bad == 0 ]]; }

lanes_main() {
	box_base=$BOX
	if [[ ${1-} == --row ]]; then
		shift
		lanes_row "$@"
	else
		main "$@"
	fi
}
