#!/bin/bash
# The server: its data lie in the container's own layer, which moves with it, and it listens on the workflow's network alone.
set -eu -o pipefail
bin=$(echo /usr/lib/postgresql/*/bin)
export PGDATA=/tmp/pgdata LC_ALL=C.UTF-8
"$bin/initdb" --username=bank --auth=trust --no-sync >/tmp/initdb.log 2>&1 || { cat /tmp/initdb.log; exit 1; }
echo 'host all all all trust' >>"$PGDATA/pg_hba.conf"
exec "$bin/postgres" -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections=200 -c log_min_messages=warning
