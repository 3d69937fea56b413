#!/bin/sh
# OpenVPN calls this when a client connects or leaves, as nobody. A file for each session, named by
# the client's address and port, says which certificate it came with: serial, then common name.
session=/run/openvpn/sessions/${trusted_ip:-$trusted_ip6}:$trusted_port
case $script_type in
client-connect)
	printf '%s\n%s\n' "$tls_serial_hex_0" "$common_name" >"$session" || exit 1
	# Once more: the list may have changed since the handshake began. From now on `refresh` sees
	# the session.
	list=$(/lib/cloudpipe/revoked) || exit 1
	if echo "$list" | grep -qx "$(/lib/cloudpipe/revoked "$tls_serial_hex_0")"; then
		rm -f "$session"
		exit 1
	fi
	;;
client-disconnect) rm -f "$session" ;;
esac
exit 0
