# shellcheck shell=bash
# Plain scripts under `sbatch --migrate`: source it after workflow.sh.

# A script from standard input as job.sh; what a test leaves in the folder of the one before is gone.
script() { prepare && in_wf tee job.sh >/dev/null; }
submit_script() { in_wf sbatch --parsable -p low -o wf-%j.out "$@"; } # [SBATCH-ARG...] job.sh [ARG...]
exit_code() { job_field "$1" ExitCode; }
assert_counted() { # FILE N: from 1 to N, none missing, none twice
	seq "$2" | in_wf cmp - "$1" || fail "$1: $(in_wf cat "$1" | tr '\n' ' ')"
}
