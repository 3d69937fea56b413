# Process 1 of a host. It reaps what is orphaned in the host, and ends when its standard input does: its maker dropped the host, or died.
# Only `wait` reaps, so the reading happens in the background (where input is the null device unless another is given).
# Its /proc is not shared with threads of other pid namespaces that look in.
mount -t proc -o nosuid,nodev,noexec proc /proc && mount --make-private /proc || exit 1
exec 3<&0
{ read -r word <&3 && [ "$word" = keep ] && exec sleep infinity; } >&2 &
echo ready; exec >&2; wait $!