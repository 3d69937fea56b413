#!/bin/sh
# OpenVPN calls this when its tap is there: up.sh BRIDGE TAP MTU … The tap becomes a port of the
# bridge.
bridge=$1 tap=$2 mtu=$3
ip link set dev "$tap" mtu "$mtu" promisc on up
brctl addif "$bridge" "$tap"
