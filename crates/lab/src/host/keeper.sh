# Clears up after a host, from outside: whatever still is in its network or its cgroups (a process of `Host::exec_in` has the maker's pids, and does not end
# with the host's process 1). It reads what to look for, then waits for the end of its input as the host does.
name=$1
# From here on every pid is a name.
cd /proc && read -r init inode && [ -n "$inode" ] || exit 0
if read -r word && [ "$word" = keep ]; then while [ -d "$init" ]; do sleep 0.5; done; fi
trees=$(find /sys/fs/cgroup -maxdepth 2 -type d -name "$name")
left() {
  find [0-9]*/ns/net -maxdepth 0 -lname "net:\\[$inode\\]" 2>/dev/null | cut -d/ -f1
  [ -z "$trees" ] || find $trees -name cgroup.procs -exec cat {} + 2>/dev/null | grep -vx 0
}
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  pids=$(left)
  [ -n "$pids" ] || break
  kill -9 $pids 2>/dev/null
  sleep 0.02
done
for try in 1 2 3 4 5 6 7 8 9 10; do
  [ -n "$trees" ] || break
  find $trees -depth -type d -exec rmdir {} + 2>/dev/null
  trees=$(find /sys/fs/cgroup -maxdepth 2 -type d -name "$name")
  [ -z "$trees" ] || sleep 0.1
done
