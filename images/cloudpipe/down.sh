#!/bin/sh
# OpenVPN calls this when it ends: down.sh BRIDGE TAP … It runs as nobody by then and may do
# nothing: the kernel takes a tap that ends out of its bridge.
bridge=$1 tap=$2
brctl delif "$bridge" "$tap" 2>/dev/null
ip link set dev "$tap" down 2>/dev/null
exit 0
