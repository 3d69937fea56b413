# Clears up after a host, from outside: whatever still is in its network or its cgroups (a process of `Host::exec_in` has the maker's pids, and does not end
# with the host's process 1). It waits for the end of its input as the host does. Its output is the host's network, so that the inode number stays that
# network's until this ends: a free number goes to the next host.
name=$1 init=$2 inode=$3
# From here on every pid is a name.
cd /proc || exit 1
if read -r word && [ "$word" = keep ]; then
  while [ "$(readlink "$init/ns/net")" = "net:[$inode]" ]; do sleep 0.5; done
fi
trees=$(find /sys/fs/cgroup -maxdepth 2 -type d -name "$name")
left() {
  find [0-9]*/ns/net -maxdepth 0 -lname "net:\\[$inode\\]" 2>/dev/null | cut -d/ -f1
  [ -z "$trees" ] || find $trees -name cgroup.procs -exec cat {} + 2>/dev/null | grep -vx 0
  true
}
# On a busy machine what was killed takes its time to end.
try=0
while pids=$(left) && [ -n "$pids" ] && [ $((try += 1)) -le 500 ]; do
  kill -9 $pids 2>/dev/null
  sleep 0.02
done
try=0
while [ -n "$trees" ] && [ $((try += 1)) -le 100 ]; do
  find $trees -depth -type d -exec rmdir {} + 2>/dev/null
  trees=$(find /sys/fs/cgroup -maxdepth 2 -type d -name "$name")
  [ -z "$trees" ] || sleep 0.1
done
