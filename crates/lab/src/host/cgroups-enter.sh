# Runs before init.sh in a host with cgroups of its own: makes one in every tree, enters it, and lets cgroups-mount.sh make it the root of what the host
# sees. Where any of this is refused, the host keeps the machine's cgroups.
name=$1 mount_them=$2 next=$3
set -- /sys/fs/cgroup /sys/fs/cgroup/*
enter() {
  [ -e "$1/cgroup.procs" ] || return 0
  mkdir "$1/$name" || return 1
  for kind in cpus mems; do
    [ ! -e "$1/cpuset.$kind" ] || cat "$1/cpuset.$kind" >"$1/$name/cpuset.$kind"
  done
  echo 0 >"$1/$name/cgroup.procs"
}
for tree; do enter "$tree" || exec sh -c "$next"; done
exec unshare --cgroup sh -c "$mount_them" cgroups "$next" "$@"
