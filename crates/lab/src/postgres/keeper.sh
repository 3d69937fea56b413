# Makes a PostgreSQL cluster (without syncing: it is new), runs the server, and takes it away with its folder when nobody needs it any more:
# at the end of its own input, or, for a server that several processes share, when the last of them let go of the lock on FOLDER/users.
#   keeper BIN FOLDER USER PORT AS SHARED ARGUMENTS...    AS: a prefix that changes the user, or nothing. SHARED: the file that names the shared server.
bin=$1 folder=$2 user=$3 port=$4 as=$5 shared=$6; shift 6
server=
# SIGQUIT is PostgreSQL's immediate shutdown: the data goes away anyway.
stop() { [ -z "$server" ] || { kill -QUIT "$server" && wait "$server"; } 2>/dev/null; rm -rf "$folder"; }
trap stop EXIT
exec 3<&0 </dev/null 2>"$folder/log"

$as "$bin/initdb" -D "$folder/data" -U "$user" -A trust -E UTF8 --locale=C.UTF-8 --no-sync >&2 || { echo "initdb: $(cat "$folder/log")"; exit 1; }
$as "$bin/postgres" -D "$folder/data" -p "$port" -k "$folder" "$@" >&2 3<&- &
server=$!
until "$bin/pg_isready" -q -h "$folder" -p "$port"; do
  kill -0 "$server" || { echo "postgres: $(cat "$folder/log")"; server=; exit 1; }
  sleep 0.02
done
echo ready
exec >&2

if [ -z "$shared" ]; then
  cat <&3
  exit
fi
while flock -x "$folder/users" sleep 2; do
  # Who wants to share holds this lock while looking; so from here to the end of this script nobody does.
  exec 9<"$shared" && flock -x 9
  if flock -n -x "$folder/users" true; then rm "$shared"; exit; fi
  exec 9<&-
done
