#!/bin/bash
# redis.sh serve | ping. The port follows from the job's id, so that two jobs on one node do not meet.
PORT=${PORT:-$((20000 + ${SLURM_JOB_ID:-0} % 10000))}
case $1 in
serve) exec redis-server --bind 127.0.0.1 --port "$PORT" --save "" --appendonly no --dir /tmp ;;
ping) [[ $(redis-cli -h 127.0.0.1 -p "$PORT" ping) == PONG ]] ;;
esac
