#!/bin/sh
# The payload's script: makes the server's configuration from the image's template and starts it.
# Capitals in braces are filled in by novanet.
set -e
umask 077
for file in server.key ca.crt server.crt; do cp $file /etc/openvpn/$file; done
cp crl.pem /etc/openvpn/crl.pem.new
# OpenVPN reads these as nobody.
chmod 644 /etc/openvpn/crl.pem.new /etc/openvpn/ca.crt /etc/openvpn/server.crt
mv /etc/openvpn/crl.pem.new /etc/openvpn/crl.pem
sed -e 's/VPN_IP/{VPN_IP}/g' -e 's/DHCP_SUBNET/{NETMASK}/g' -e 's/DHCP_LOWER/{FIRST_CLIENT}/g' \
	-e 's/DHCP_UPPER/{LAST_CLIENT}/g' -e 's/MAX_CLIENTS/{CLIENTS}/g' \
	-e 's/PROJECT/{PROJECT}/g' \
	/etc/openvpn/server.conf.template >/etc/openvpn/server.conf
/etc/init.d/openvpn start
