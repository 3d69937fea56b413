//! The base ruleset: tables, base chains and sets. Hosts differ by their policy only, moments by
//! the generation only. Depends on the policy.
//!
//! How it works (each point was tried with real packets):
//! * **Marks.** The bridge family marks a frame from a port (bit 30) and checks it: MAC, address,
//!   ARP; no DHCP server, no IPv6, no VLAN tags. The IP family recognises an instance's packet by
//!   the mark, so foreign machines on the same bridge, and the operator's own ssh over an enslaved
//!   uplink, do not meet these rules.
//! * An instance may use all its addresses at all its ports: an instance with a single default
//!   route answers for the second address by the first port. No other address comes from there.
//! * **DHCP** from a port contains what a client of that port may say: the client address in the
//!   message is the port's MAC, no relay (giaddr), port 68, in one piece. dnsmasq trusts the
//!   message.
//! * The host's own packets have no UDP checksum yet: a network card would fill it in, a port does
//!   not. DHCP clients read frames and would see a wrong checksum, so DHCP answers leave by a port
//!   without any (RFC 768). The port must keep its `tx` offload, or it would fill in a wrong one.
//!   Copies for an uplink are separate packets.
//! * **Ports** are recognised by their device group, which they have from creation on, not by
//!   name: any program may choose a name. A port stays in the group until the kernel removes it.
//! * Some frames never pass the bridge family: those for the bridge's link-local group, and all
//!   frames of a port outside a bridge. A packet that reaches the IP families with a port as its
//!   interface is such a frame, and is dropped; bridged packets have the bridge as interface.
//! * Addresses prove the sender, so no other machine may send from ours: packets from a network of
//!   ours come from a bridge, and packets from an instance of this host come from its port.
//! * Other rules may overwrite marks (a restored `CONNMARK`), so the guard of the host recognises
//!   instances by their addresses too.
//! * A packet that a bridge forwards carries bit 28: it keeps its source address. A packet that is
//!   routed out by a bridge (one with the public interface) passes NAT. A first chain sets bit 28
//!   before the IP family sees the packet, because that family accepts answers of DHCP servers on
//!   the same bridge only; a second chain sets it again, because a combination's number replaced
//!   it.
//! * Instances ask the host's DNS at a gateway's address over its own bridge only: a name server
//!   that listens at an address hears every machine with a route to it.
//! * A packet that passed the IP family carries bit 29, and a port takes no other IP packet: with
//!   `bridge-nf-call-iptables` off, bridged packets do not meet the groups' rules, and must not
//!   pass.
//! * An instance whose network has another machine as its gateway may still send through this host:
//!   its packet carries bit 30 and not 28 then, and is dropped. Other machines on that bridge meet
//!   no rule of ours: the bridge may be the host's own LAN.
//! * Packets between bridges that concern no port of this host pass; flows that a gateway forwards
//!   for instances of other hosts are tracked, and those hosts filter them.
//! * **Groups.** A packet to an instance takes the path address → combination of groups → chain of
//!   that combination.
//! * **Generation.** An accepted flow carries it in the upper half of its ct mark. Established
//!   flows of the valid generation pass; others pass the rules again in their original direction,
//!   and a denied flow is dead: its replies are dropped without the rules. A packet in the original
//!   direction always meets the rules again, so that a packet that meets a transaction half-way
//!   costs itself and not its flow. For the same reason a packet to an address without a
//!   combination is dropped and the flow not denied: a map is empty for a moment while it is
//!   replaced.
//! * **Floating IPs.** No packet to a floating IP is for the host, translated or not: also not a
//!   packet that conntrack calls invalid (NAT skips it, and the host would answer with a reset),
//!   nor one from before or after the translation. So an address stays in the guard (`floating_ips`)
//!   until the host does not answer for it any more.
//! * **VPN.** Behind a Cloudpipe's port are its VPN clients too: frames with any MAC that is no
//!   instance's, and with a client's address. To others, a client is in the Cloudpipe's groups; the
//!   chains of its project's groups let clients in.
//! * Instances do not reach the services of a cloud that this host is itself an instance of:
//!   link-local addresses and `blocked_cidr`. The host's NAT would lend them its identity.
//! * A DHCP request is accepted before invalid packets are dropped: the kernel takes the conntrack
//!   entry from broadcasts that a bridge in promiscuous mode (tcpdump) hands to the host.
//! * A network without SNAT (`direct_networks`) leaves with its own addresses; answers of others
//!   find the way by the operator's routes. Hairpin through a floating IP is translated all the
//!   same: the answer would not pass this host.
//! * Provider rules drop before anything accepts, established flows too.
//! * New TCP must be a SYN: with `tcp_loose` an instance's next packet would re-open a flow that
//!   the agent ended.

use super::base_bridge::{BRIDGE, IP6};
use super::families::Families;
use crate::firewall::policy::HostPolicy;
use sha2::{Digest, Sha256};

/// Renders the base ruleset of one host.
#[derive(Debug, Clone)]
pub(super) struct BaseRuleset {
    /// `None`: another backend renders the IP families.
    policy: Option<HostPolicy>,
}

impl BaseRuleset {
    pub(super) fn new(policy: HostPolicy) -> Self {
        Self {
            policy: Some(policy),
        }
    }

    /// The bridge family's part alone.
    pub(super) fn of_bridges() -> Self {
        Self { policy: None }
    }

    /// The families that it has tables in.
    pub(super) fn families(&self) -> Families {
        match self.policy {
            Some(_) => Families::All,
            None => Families::Bridge,
        }
    }

    /// What the IP families follow from.
    pub(super) fn policy(&self) -> Option<&HostPolicy> {
        self.policy.as_ref()
    }

    /// See [`HostPolicy::follow`].
    pub(super) fn follow(&mut self, source: Option<std::net::Ipv4Addr>) -> bool {
        let policy = self.policy.as_mut();
        policy.is_some_and(|policy| policy.follow(source))
    }

    /// For tests of the text.
    #[cfg(test)]
    pub(super) fn example() -> Self {
        Self::new(HostPolicy::example())
    }

    /// The digest of the text, in hex, without the generation.
    pub(super) fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.text(0).as_bytes()))
    }

    /// The tables.
    pub(super) fn text(&self, generation: u16) -> String {
        match &self.policy {
            Some(policy) => format!("{}{IP6}{BRIDGE}", ip(policy, generation)),
            None => BRIDGE.to_owned(),
        }
    }
}

/// `dmz_cidr`: destinations that see the real fixed address.
fn direct_rule(policy: &HostPolicy) -> String {
    if policy.direct.is_empty() {
        return String::new();
    }
    if policy.direct.iter().any(|net| net.prefix_len() == 0) {
        return "\n\t\treturn".to_owned();
    }
    let nets: Vec<_> = policy.direct.iter().map(ToString::to_string).collect();
    format!("\n\t\tip daddr {{ {} }} return", nets.join(", "))
}

/// `force_snat_range`: destinations that are translated for every network.
fn forced_rule(policy: &HostPolicy, leave: &str) -> String {
    if policy.forced.is_empty() {
        return String::new();
    }
    if policy.forced.iter().any(|net| net.prefix_len() == 0) {
        return format!("\n\t\tip saddr @direct_networks {leave}");
    }
    let nets: Vec<_> = policy.forced.iter().map(ToString::to_string).collect();
    let nets = nets.join(", ");
    format!("\n\t\tip saddr @direct_networks ip daddr {{ {nets} }} {leave}")
}

/// `blocked_cidr`: what instances do not reach, unless it is a network of ours.
fn blocked_rule(policy: &HostPolicy) -> String {
    if policy.blocked.iter().any(|net| net.prefix_len() == 0) {
        return "ip daddr != @networks drop".to_owned();
    }
    let nets: Vec<_> = policy.blocked.iter().map(ToString::to_string).collect();
    format!(
        "ip daddr {{ {} }} ip daddr != @networks drop",
        nets.join(", ")
    )
}

fn ip(policy: &HostPolicy, generation: u16) -> String {
    let blocked = blocked_rule(policy);
    let metadata = policy.metadata_port;
    // Without an address nothing leaves: an instance's own would get no answer.
    let leave = policy
        .source
        .map_or_else(|| "drop".to_owned(), |source| format!("snat to {source}"));
    let direct = direct_rule(policy);
    let forced = forced_rule(policy, &leave);
    let valid = valid_rule(generation);
    let accept = accept_rule(generation);
    format!(
        r#"table ip nova {{
	set bridges {{ type ifname; }}
	set unrouted_bridges {{ type ifname; }}
	set networks {{ type ipv4_addr; flags interval; }}
	set direct_networks {{ type ipv4_addr; flags interval; }}
	set gateways {{ type ifname . ipv4_addr; }}
	set gateway_addresses {{ type ipv4_addr; }}
	map floating_to_fixed {{ type ipv4_addr : ipv4_addr; counter; }}
	map fixed_to_floating {{ type ipv4_addr : ipv4_addr; counter; }}
	set floating_ips {{ type ipv4_addr; }}
	set fixed_ips {{ type ipv4_addr; }}
	map port_groups {{ type ipv4_addr : mark; }}
	map group_chains {{ type mark : verdict; }}
	map vpn_forwards {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; }}

	chain prerouting_guard {{
		type filter hook prerouting priority -300; policy accept;
		iifgroup & 0xff000000 == 0x4e000000 drop
		iifname != "lo" iifname != @bridges ip saddr @networks drop
	}}
	chain nat_prerouting {{
		type nat hook prerouting priority -100; policy accept;
		iifname @bridges ip saddr @fixed_ips ip daddr 169.254.169.254 tcp dport 80 redirect to :{metadata}
		dnat to ip daddr map @floating_to_fixed;
		dnat ip to ip daddr . udp dport map @vpn_forwards
	}}
	chain nat_output {{
		type nat hook output priority -100; policy accept;
		dnat to ip daddr map @floating_to_fixed;
		dnat ip to ip daddr . udp dport map @vpn_forwards
	}}
	chain nat_postrouting {{
		type nat hook postrouting priority 100; policy accept;
		ct status & dnat == dnat ip saddr @networks snat to ip saddr map @fixed_to_floating;
		ct status & dnat == dnat ip saddr @networks {leave}
		ip daddr @networks return
		ip daddr @fixed_ips return{direct}
		snat to ip saddr map @fixed_to_floating;
		ip saddr @networks meta mark & 0x10000000 == 0x10000000 return{forced}
		ip saddr @direct_networks return
		ip saddr @networks {leave}
	}}
	chain forward {{
		type filter hook forward priority 0; policy accept;
		iifname @unrouted_bridges meta mark & 0x50000000 == 0x40000000 drop
		meta mark & 0x40000000 == 0x40000000 goto to_instances
		ip daddr @fixed_ips goto to_instances
		iifname @bridges oifname @bridges return
		ip daddr @networks goto to_instances
		ip saddr @networks goto to_instances
	}}
	chain to_instances {{
		meta mark set meta mark | 0x20000000
		jump provider_rules
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
	chain provider_rules {{
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
		udp sport 68 udp dport 67 accept
		ct state invalid drop
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_address_of_the_host_nothing_leaves() {
        let mut policy = HostPolicy::example();
        policy.source = None;
        let text = BaseRuleset::new(policy).text(1);
        assert!(!text.contains("snat to 127."), "{text}");
        let leaves = "\t\tip saddr @networks drop\n";
        assert_eq!(text.matches(leaves).count(), 1, "{text}");
        let text = BaseRuleset::example().text(1);
        assert_eq!(text.matches("snat to 203.0.113.1\n").count(), 3);
    }

    #[test]
    fn ports_are_known_by_the_group_that_they_are_made_in() {
        use crate::netlink::ownership::{PORTS, PORTS_MASK};
        let text = BaseRuleset::example().text(1);
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
