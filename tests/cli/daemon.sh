# A daemon that answers from prepared documents. For tests of the command line to source, after tests/lib.sh.
# shellcheck shell=bash

# Starts it; REPLIES is its JSON of answers.
daemon() { # REPLIES
	export SMIGRATE_SOCKET=$TMP/smigrated.sock
	printf '%s' "$1" >"$TMP/replies"
	python3 "$ROOT/tests/cli/fake_daemon.py" "$SMIGRATE_SOCKET" "$TMP/replies" "$TMP/requests" &
	# shellcheck disable=SC2064 # the id of now
	trap "kill $! 2>/dev/null || true" EXIT
	retry 10 test -S "$SMIGRATE_SOCKET"
}
