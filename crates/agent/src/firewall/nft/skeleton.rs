//! The fixed part of the rules: tables, base chains, sets. What differs between hosts is only the
//! settings; what differs over time is only the generation.
//!
//! How it works, tried with real packets:
//! * A frame from a port is marked in the bridge family (bit 30) and checked there: MAC,
//!   address, ARP; no DHCP server, no IPv6, no VLAN tags. The mark is what the IP family knows a
//!   packet of an instance by, so that foreign machines on the same bridge, and the operator's own
//!   ssh over an enslaved uplink, are none of our business.
//! * An instance may use all its addresses at all its ports: one with a single default route answers
//!   for the second by the first. Nobody else's address comes from there.
//! * DHCP from a port is what a client of that port may say: the client address in the message is
//!   the port's MAC, no relay (giaddr), port 68, in one piece. dnsmasq believes what is in the message.
//! * What the host sends has no UDP checksum yet: a card would fill it in, a port is none. DHCP
//!   clients read frames and would see a wrong one, so DHCP answers leave by a port with none at all
//!   (RFC 768). The port must keep its `tx` offload, or it would fill in a wrong one. Copies for
//!   an uplink are others.
//! * A port is known by the group of devices that it is in from its making on, not by its name: names
//!   are anybody's. It is never out of such a group, also while it is removed.
//! * Some frames never pass the bridge family: those for the bridge's link-local group, and all of a
//!   port that is in no bridge. What reaches the IP families with a port as its interface is such
//!   a frame, and dropped; bridged packets have the bridge there.
//! * Addresses prove who sent a packet, so nobody else may send from ours: those of a network of
//!   ours come from a bridge, and those of an instance of this host from its port.
//! * Marks may be overwritten by others (a restored `CONNMARK`), so the host's guard knows
//!   instances by their addresses too.
//! * What a bridge forwards carries bit 28: its source address stays. What is routed out by a bridge
//!   (one that has the public interface) goes through NAT like anything else. It is set before the
//!   IP family sees the packet, which believes answers of DHCP servers from the same bridge only,
//!   and again after that, as a combination's number takes its place.
//! * The host's DNS is asked at a gateway's address over its own bridge: a name server that listens
//!   at an address hears whoever has a route to it.
//! * What the IP family has seen carries bit 29, and a port takes no other IP: with
//!   `bridge-nf-call-iptables` off, the groups' rules are not asked for what crosses a bridge, and
//!   it must not pass then.
//! * What is forwarded between bridges and concerns no port of this host passes; what a gateway
//!   forwards for instances of other hosts is tracked, and their hosts filter it.
//! * A packet to an instance looks up address → combination of groups → chain of that combination.
//! * An accepted flow carries the generation in the upper half of its ct mark. Established flows of
//!   the generation pass; others go through the rules again in their original direction, and what
//!   is then denied is dead: its replies are dropped unseen. It is no verdict for ever: a packet in
//!   the original direction is always judged by the rules, so that one that met a transaction
//!   half-way costs itself and not its flow. For the same reason an address whose combination is not
//!   found (a map that is being replaced is empty for a moment) is dropped and not judged.
//! * Nothing that came for a floating address is the host's, whether it is translated or not: not
//!   what conntrack calls invalid (NAT passes that by, and the host would answer with a reset), not
//!   what comes before or after the translation is there. So the guard (`floating_ips`) stays until
//!   the host does not answer for the address any more.
//! * Instances reach the services of a cloud that this host is itself in nowhere: link-local addresses
//!   and `blocked_cidr` are no destinations of theirs. The host's NAT would lend them its identity.
//! * New TCP must be a SYN: with `tcp_loose` an instance's next packet would re-open a flow that was
//!   cut.

use crate::settings::Settings;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// Renders the fixed part.
#[derive(Debug, Clone)]
pub(super) struct Skeleton {
    metadata_port: u16,
    /// What instances without a floating IP leave with; `None`: the host has no address yet.
    source: Option<Ipv4Addr>,
    follows: bool,
    direct: Vec<ipnet::Ipv4Net>,
    blocked: Vec<ipnet::Ipv4Net>,
}

/// Where link-local services of a cloud below are. Ours (metadata) is redirected before.
const LINK_LOCAL: ipnet::Ipv4Net =
    ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(169, 254, 0, 0), 16);

impl Skeleton {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            metadata_port: settings.metadata_port,
            source: usable(settings.routing_source_ip),
            follows: settings.source_follows,
            // Aggregated: an interval set refuses ranges that overlap.
            direct: ipnet::Ipv4Net::aggregate(&settings.dmz_cidr),
            blocked: blocked(&settings.blocked_cidr),
        }
    }

    /// The host has this address; whether the text is another because of it. Where the address is
    /// gone nothing leaves anyway, until there is another.
    pub(super) fn follow(&mut self, source: Option<Ipv4Addr>) -> bool {
        let source = source.and_then(usable);
        let other = self.follows && source.is_some() && self.source != source;
        if other {
            self.source = source;
        }
        other
    }

    /// For tests of the text.
    #[cfg(test)]
    pub(super) fn example() -> Self {
        Self {
            metadata_port: 8775,
            source: Some(Ipv4Addr::new(203, 0, 113, 1)),
            follows: true,
            direct: vec![
                "10.128.0.0/24".parse().expect("a network"),
                "198.51.100.0/24".parse().expect("a network"),
            ],
            blocked: blocked(&["100.100.100.200/32".parse().expect("an address")]),
        }
    }

    /// What the text says, whatever the generation.
    pub(super) fn digest(&self) -> String {
        hex(&Sha256::digest(self.text(0).as_bytes()))
    }

    /// The three tables.
    pub(super) fn text(&self, generation: u16) -> String {
        format!("{}{IP6}{BRIDGE}", self.ip(generation))
    }

    /// `dmz_cidr`: destinations that see the real fixed address.
    fn direct_rule(&self) -> String {
        if self.direct.is_empty() {
            return String::new();
        }
        if self.direct.iter().any(|net| net.prefix_len() == 0) {
            return "\n\t\treturn".to_owned();
        }
        let nets: Vec<_> = self.direct.iter().map(ToString::to_string).collect();
        format!("\n\t\tip daddr {{ {} }} return", nets.join(", "))
    }

    /// `blocked_cidr`: what instances do not reach, unless it is a network of ours.
    fn blocked_rule(&self) -> String {
        let nets: Vec<_> = self.blocked.iter().map(ToString::to_string).collect();
        if self.blocked.iter().any(|net| net.prefix_len() == 0) {
            return "ip daddr != @networks drop".to_owned();
        }
        format!(
            "ip daddr {{ {} }} ip daddr != @networks drop",
            nets.join(", ")
        )
    }

    fn ip(&self, generation: u16) -> String {
        let blocked = self.blocked_rule();
        let metadata = self.metadata_port;
        // Without an address nothing leaves: an instance's own would get no answer.
        let leave = self
            .source
            .map_or_else(|| "drop".to_owned(), |source| format!("snat to {source}"));
        let direct = self.direct_rule();
        let valid = valid_rule(generation);
        let accept = accept_rule(generation);
        format!(
            r#"table ip nova {{
	set bridges {{ type ifname; }}
	set networks {{ type ipv4_addr; flags interval; }}
	set gateways {{ type ifname . ipv4_addr; }}
	set gateway_addresses {{ type ipv4_addr; }}
	map floating_to_fixed {{ type ipv4_addr : ipv4_addr; }}
	map fixed_to_floating {{ type ipv4_addr : ipv4_addr; }}
	set floating_ips {{ type ipv4_addr; }}
	set fixed_ips {{ type ipv4_addr; }}
	map port_groups {{ type ipv4_addr : mark; }}
	map group_chains {{ type mark : verdict; }}

	chain prerouting_guard {{
		type filter hook prerouting priority -300; policy accept;
		iifgroup & 0xff000000 == 0x4e000000 drop
		iifname != "lo" iifname != @bridges ip saddr @networks drop
	}}
	chain nat_prerouting {{
		type nat hook prerouting priority -100; policy accept;
		iifname @bridges ip saddr @fixed_ips ip daddr 169.254.169.254 tcp dport 80 redirect to :{metadata}
		dnat to ip daddr map @floating_to_fixed;
	}}
	chain nat_output {{
		type nat hook output priority -100; policy accept;
		dnat to ip daddr map @floating_to_fixed;
	}}
	chain nat_postrouting {{
		type nat hook postrouting priority 100; policy accept;
		ct status & dnat == dnat ip saddr @networks snat to ip saddr map @fixed_to_floating;
		ct status & dnat == dnat ip saddr @networks {leave}
		ip daddr @networks return
		ip daddr @fixed_ips return{direct}
		snat to ip saddr map @fixed_to_floating;
		ip saddr @networks meta mark & 0x10000000 == 0x10000000 return
		ip saddr @networks {leave}
	}}
	chain forward {{
		type filter hook forward priority 0; policy accept;
		meta mark & 0x40000000 == 0x40000000 goto to_instances
		ip daddr @fixed_ips goto to_instances
		iifname @bridges oifname @bridges return
		ip daddr @networks goto to_instances
		ip saddr @networks goto to_instances
	}}
	chain to_instances {{
		meta mark set meta mark | 0x20000000
		ct state invalid drop
		ct state established,related jump established
		ct state related accept
		ct state established ct direction reply ct mark & 0xffff0000 == 0xdead0000 drop
		ct state established ct direction reply accept
		meta mark & 0x10000000 == 0x10000000 udp sport 67 udp dport 68 ct status & dnat != dnat accept
		ct state new tcp flags & (fin|syn|rst|ack) != syn drop
		meta mark set ip daddr map @port_groups meta mark vmap @group_chains
		ip daddr @fixed_ips drop
		{blocked}
		goto accepted
	}}
	chain established {{
		{valid}
	}}
	chain accepted {{
		{accept}
		meta mark set meta mark | 0x20000000
		accept
	}}
	chain denied {{
		ct state established ct mark set ct mark & 0x0000ffff | 0xdead0000
		drop
	}}
	chain input {{
		type filter hook input priority 0; policy accept;
		meta mark & 0x40000000 == 0x40000000 goto host_services
		iifname @bridges ip saddr @fixed_ips goto host_services
		iifname != "lo" tcp dport {metadata} drop
		iifname != "lo" ct state new,invalid,untracked ip daddr @floating_ips drop
		iifname != "lo" ip daddr @gateway_addresses iifname . ip daddr != @gateways tcp dport 53 drop
		iifname != "lo" ip daddr @gateway_addresses iifname . ip daddr != @gateways udp dport 53 drop
		iifname @bridges tcp dport 53 ip saddr != @networks drop
		iifname @bridges udp dport 53 ip saddr != @networks drop
	}}
	chain output {{
		type filter hook output priority 0; policy accept;
		ip daddr @fixed_ips meta mark set meta mark | 0x20000000
	}}
	chain host_services {{
		ct state established,related accept
		ct state invalid drop
		udp sport 68 udp dport 67 accept
		iifname . ip daddr @gateways udp dport 53 accept
		iifname . ip daddr @gateways tcp dport 53 accept
		iifname . ip daddr @gateways icmp type echo-request accept
		ct original ip daddr 169.254.169.254 tcp dport {metadata} accept
		drop
	}}
}}
"#
        )
    }
}

fn blocked(more: &[ipnet::Ipv4Net]) -> Vec<ipnet::Ipv4Net> {
    ipnet::Ipv4Net::aggregate(&[more, &[LINK_LOCAL]].concat())
}

/// Nobody outside answers to 127.0.0.1.
fn usable(source: Ipv4Addr) -> Option<Ipv4Addr> {
    (!source.is_loopback() && !source.is_unspecified()).then_some(source)
}

/// Bytes as text.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The transaction that makes another generation the valid one.
pub(super) fn generation_text(generation: u16) -> String {
    let valid = valid_rule(generation);
    let accept = accept_rule(generation);
    format!(
        "flush chain ip nova established\nadd rule ip nova established {valid}\n\
         flush chain ip nova accepted\nadd rule ip nova accepted {accept}\n\
         add rule ip nova accepted meta mark set meta mark | 0x20000000\n\
         add rule ip nova accepted accept\n"
    )
}

/// The generation in a listing of the chain that knows it.
pub(super) fn generation_in(listing: &str) -> Option<u16> {
    let words = listing.split(|c: char| !c.is_ascii_alphanumeric());
    let mut marks = words.filter_map(|word| u32::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    // The mask comes first.
    let mark = marks
        .next_back()
        .filter(|mark| mark.trailing_zeros() >= 16)?;
    u16::try_from(mark >> 16).ok().filter(|found| *found != 0)
}

fn valid_rule(generation: u16) -> String {
    format!("ct mark & 0xffff0000 == 0x{generation:04x}0000 accept")
}

fn accept_rule(generation: u16) -> String {
    format!("ct mark set ct mark & 0x0000ffff | 0x{generation:04x}0000")
}

/// Instances have no IPv6 address, so nothing of theirs is forwarded or answered. The bridge
/// family drops it at the port already; this holds for what came in before the port's mark did.
const IP6: &str = r"table ip6 nova {
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

const BRIDGE: &str = r"table bridge nova {
	set port_mac { type ifname . ether_addr; }
	set port_dhcp_mac { typeof iifname . @th,288,48; }
	set port_mac_ip { type ifname . ether_addr . ipv4_addr; }
	set port_macs { type ether_addr; }
	set port_ips { type ipv4_addr; }

	chain prerouting_guard {
		type filter hook prerouting priority -300; policy accept;
		iifgroup & 0xff000000 == 0x4e000000 meta mark set 0x40000000 goto from_port
		ether saddr @port_macs drop
		ether type arp arp saddr ip @port_ips drop
		ether type ip ip saddr @port_ips drop
	}
	chain from_port {
		iifname . ether saddr != @port_mac drop
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
		drop
	}
	chain to_port_multicast {
		ether type arp accept
		ether type ip udp sport 67 udp dport 68 accept
		drop
	}
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_leave_with_the_hosts_address_and_never_with_127_0_0_1() {
        let with = |source| Skeleton {
            source,
            ..Skeleton::example()
        };
        let text = with(None).text(1);
        assert!(!text.contains("snat to 127."), "{text}");
        assert_eq!(
            text.matches("\t\tip saddr @networks drop\n").count(),
            1,
            "{text}"
        );
        let mut skeleton = with(usable(Ipv4Addr::LOCALHOST));
        assert_eq!(skeleton.text(1), text);
        let (one, two) = (Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(203, 0, 113, 3));
        assert!(!skeleton.follow(None));
        assert!(!skeleton.follow(Some(Ipv4Addr::LOCALHOST)));
        assert!(skeleton.follow(Some(one)) && !skeleton.follow(Some(one)));
        assert_eq!(skeleton.text(1).matches("snat to 203.0.113.2\n").count(), 2);
        // Gone for a moment: as it was. Another one: with that.
        assert!(!skeleton.follow(None) && skeleton.follow(Some(two)));
        let mut fixed = Skeleton {
            follows: false,
            ..with(Some(one))
        };
        assert!(!fixed.follow(Some(two)), "somebody gave it");
    }

    #[test]
    fn ports_are_known_by_the_group_that_they_are_made_in() {
        use crate::netlink::ownership::{PORTS, PORTS_MASK};
        let text = Skeleton::example().text(1);
        let known = format!("group & 0x{PORTS_MASK:08x} == 0x{PORTS:08x} ");
        assert_eq!(text.matches(&known).count(), 4);
        assert!(!text.contains("nv*"));
    }

    #[test]
    fn the_generation_is_read_back_from_a_listing() {
        let listing = |mark: &str| {
            format!("chain established {{\n ct mark & 0xffff0000 == {mark} accept\n}}")
        };
        for generation in [1, 0x00ff, 0xdeae, u16::MAX] {
            let mark = format!("0x{:08x}", u32::from(generation) << 16);
            assert_eq!(generation_in(&listing(&mark)), Some(generation));
            let short = format!("chain established {{ ct mark {mark}/16 accept }}");
            assert_eq!(generation_in(&short), Some(generation));
        }
        assert_eq!(generation_in(&listing("0x00000007")), None);
        assert_eq!(generation_in("chain established { }"), None);
    }
}
