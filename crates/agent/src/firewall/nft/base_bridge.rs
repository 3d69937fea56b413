//! The base ruleset's tables in the families ip6 and bridge, the same on every host. See
//! `base_ruleset` for the reasons.

/// Instances have no IPv6 address, so nothing of theirs is forwarded or answered. The bridge
/// family drops it at the port already; this holds for what came in before the port's mark did.
pub(super) const IP6: &str = r"table ip6 nova {
	chain prerouting_guard {
		type filter hook prerouting priority -300; policy accept;
		iifgroup & 0xff000000 == 0x4e000000 drop
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		meta mark & 0x40000000 == 0x40000000 drop
	}
	chain input {
		type filter hook input priority 0; policy accept;
		meta mark & 0x40000000 == 0x40000000 drop
	}
}
";

/// Anti-spoofing: what may enter and leave a port.
pub(super) const BRIDGE: &str = r"table bridge nova {
	set port_mac { type ifname . ether_addr; }
	set port_dhcp_mac { typeof iifname . @th,288,48; }
	set port_mac_ip { type ifname . ether_addr . ipv4_addr; }
	set port_macs { type ether_addr; }
	set port_ips { type ipv4_addr; }
	set vpn_ports { type ifname; }
	set vpn_port_ips { type ifname . ipv4_addr; }

	chain prerouting_guard {
		type filter hook prerouting priority -300; policy accept;
		iifgroup & 0xff000000 == 0x4e000000 meta mark set 0x40000000 goto from_port
		ether saddr @port_macs drop
		ether type arp arp saddr ip @port_ips drop
		ether type ip ip saddr @port_ips drop
	}
	chain from_port {
		iifname . ether saddr != @port_mac goto from_vpn_client
		ether type arp goto from_port_arp
		ether type ip goto from_port_ip
		drop
	}
	chain from_port_arp {
		arp htype != 1 drop
		arp ptype != ip drop
		arp plen != 4 drop
		iifname . arp saddr ether . arp saddr ip @port_mac_ip accept
		iifname . arp saddr ether @port_mac arp operation request arp saddr ip 0.0.0.0 accept
		drop
	}
	chain from_port_ip {
		icmp type redirect drop
		udp sport 67 drop
		udp dport 67 goto from_port_dhcp
		iifname . ether saddr . ip saddr @port_mac_ip accept
		drop
	}
	chain from_port_dhcp {
		ip frag-off & 0x3fff != 0 drop
		udp sport != 68 drop
		@th,64,24 != 0x010106 drop
		@th,256,32 != 0 drop
		iifname . @th,288,48 @port_dhcp_mac goto from_port_dhcp_client
		drop
	}
	chain from_port_dhcp_client {
		iifname . ether saddr . ip saddr @port_mac_ip accept
		ip saddr 0.0.0.0 ip daddr 255.255.255.255 accept
		drop
	}
	chain from_vpn_client {
		iifname != @vpn_ports drop
		ether saddr @port_macs drop
		ether type arp goto from_vpn_client_arp
		ether type ip udp sport 67 drop
		ether type ip iifname . ip saddr @vpn_port_ips accept
		drop
	}
	chain from_vpn_client_arp {
		arp htype != 1 drop
		arp ptype != ip drop
		arp plen != 4 drop
		arp saddr ether @port_macs drop
		iifname . arp saddr ip @vpn_port_ips accept
		arp operation request arp saddr ip 0.0.0.0 accept
		drop
	}
	chain forward_mark {
		type filter hook forward priority -10; policy accept;
		meta mark set meta mark | 0x10000000
	}
	chain forward_mark_again {
		type filter hook forward priority 10; policy accept;
		meta mark set meta mark | 0x10000000
	}
	chain postrouting_guard {
		type filter hook postrouting priority 0; policy accept;
		oifgroup & 0xff000000 == 0x4e000000 goto to_port
	}
	chain to_port {
		ether type ip udp sport 67 udp dport 68 @th,48,16 set 0
		oifname . ether saddr @port_mac ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 drop
		ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 goto to_port_multicast
		ether type ip meta mark & 0x20000000 != 0x20000000 drop
		ether type ip oifname . ether daddr . ip daddr @port_mac_ip accept
		ether type arp oifname . ether daddr @port_mac accept
		ether type ip oifname . ip daddr @vpn_port_ips accept
		ether type arp oifname . arp daddr ip @vpn_port_ips accept
		drop
	}
	chain to_port_multicast {
		ether type arp accept
		ether type ip udp sport 67 udp dport 68 accept
		drop
	}
}
";
