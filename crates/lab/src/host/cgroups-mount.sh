# In the new cgroup namespace: mounts every tree again, now with the host's own cgroup as its root. Process 1 steps into a leaf, as only leaves of cgroup v2
# may hold processes once controllers are on.
next=$1; shift
old= new=
for tree; do
  if [ -e "$tree/cgroup.controllers" ]; then new=$tree; elif [ -e "$tree/cgroup.procs" ]; then old="$old $tree"; fi
done
# The same tree is not mounted over itself, so the machine's view goes first.
umount -Rl /sys/fs/cgroup
[ "$new" = /sys/fs/cgroup ] || mount -t tmpfs -o mode=755 cgroups /sys/fs/cgroup
mkdir -p $old $new
for tree in $old; do
  kind=${tree##*/}; [ "$kind" != systemd ] || kind=none,name=systemd
  mount -t cgroup -o "$kind" cgroup "$tree"
done
if [ -n "$new" ]; then
  mount -t cgroup2 cgroup2 "$new" && mkdir "$new/init" && echo 0 >"$new/init/cgroup.procs"
  for kind in $(cat "$new/cgroup.controllers"); do echo "+$kind" >"$new/cgroup.subtree_control"; done
fi
exec sh -c "$next"