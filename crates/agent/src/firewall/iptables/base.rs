//! The chains of iptables that every host has, under nova's names, and the jumps to them. The order
//! inside is that of the nftables backend, whose `base_ruleset` has the reasons; depends on the
//! policy.
//!
//! What differs from it: an `ACCEPT` ends the built-in chain, so that foreign rules of the same
//! chain do not see the packet; therefore the jumps come first, and `RETURN` leads to the foreign
//! rules where the nftables backend leaves the verdict open. The nat table takes no `DROP`.

use super::ipset::{FLOATING_FIXED, name};
use super::names::{
    ACCEPTED, BOTTOM, Chains, ESTABLISHED, FALLBACK, FLOATING_SNAT, FORWARD, HOST, INPUT, Jump,
    LOCAL, NO_SOURCE, OUTPUT, POSTROUTING, PREROUTING, PROVIDER, SNAT, TOP, Table,
};
use crate::firewall::nft::item::Set;
use crate::firewall::policy::HostPolicy;

/// The first rule of the chain that is the ownership tag of all others.
pub(super) const TAG: &str = "-m comment --comment \"made by novanet\"";
/// The jumps of IPv4.
pub(super) const JUMPS: [Jump; 7] = [
    (Table::Filter, "FORWARD", TOP),
    (Table::Filter, "INPUT", INPUT),
    (Table::Filter, "OUTPUT", OUTPUT),
    (Table::Nat, "PREROUTING", PREROUTING),
    (Table::Nat, "OUTPUT", OUTPUT),
    (Table::Nat, "POSTROUTING", POSTROUTING),
    (Table::Raw, "PREROUTING", PREROUTING),
];

/// The jumps of IPv6.
pub(super) const JUMPS6: [Jump; 3] = [
    (Table::Filter, "FORWARD", TOP),
    (Table::Filter, "INPUT", INPUT),
    (Table::Raw, "PREROUTING", PREROUTING),
];

const FROM_PORT: &str = "-m devgroup --src-group 0x4e000000/0xff000000 -j DROP";
const PORT_MARK: &str = "-m mark --mark 0x40000000/0x40000000";
const SEEN: &str = "-j MARK --set-xmark 0x20000000/0x20000000";
const BRIDGED: &str = "-m mark --mark 0x10000000/0x10000000";
const TRANSLATED: &str = "-m conntrack --ctstate DNAT";

fn is(set: Set, side: &str) -> String {
    format!("-m set --match-set {} {side}", name(set))
}

fn is_not(set: Set, side: &str) -> String {
    format!("-m set ! --match-set {} {side}", name(set))
}

/// The chains of IPv4, without what follows from host objects.
pub(super) fn chains(policy: &HostPolicy, generation: u16) -> Chains {
    let mut chains = Chains::new();
    let mut add = |table, chain: &str, lines: Vec<String>| {
        chains.insert((table, chain.to_owned()), lines);
    };
    filter(policy, &mut add);
    for (chain, lines) in of_generation(generation) {
        add(Table::Filter, chain, lines);
    }
    nat(policy, &mut add);
    add(
        Table::Raw,
        PREROUTING,
        vec![
            FROM_PORT.to_owned(),
            format!(
                "! -i lo {} {} -j DROP",
                is_not(Set::Bridges, "src,src"),
                is(Set::Networks, "src")
            ),
        ],
    );
    chains
}

/// The chains that know the valid generation.
pub(super) fn of_generation(generation: u16) -> [(&'static str, Vec<String>); 2] {
    let mark = format!("0x{generation:x}0000/0xffff0000");
    [
        (
            ESTABLISHED,
            vec![format!("-m connmark --mark {mark} -j ACCEPT")],
        ),
        (
            ACCEPTED,
            vec![
                format!("-j CONNMARK --set-xmark {mark}"),
                SEEN.to_owned(),
                "-j ACCEPT".to_owned(),
            ],
        ),
    ]
}

/// The chains of IPv6: nothing of an instance passes.
pub(super) fn chains6() -> Chains {
    let drop = vec![format!("{PORT_MARK} -j DROP")];
    [
        ((Table::Filter, TOP.to_owned()), drop.clone()),
        ((Table::Filter, INPUT.to_owned()), drop),
        (
            (Table::Raw, PREROUTING.to_owned()),
            vec![FROM_PORT.to_owned()],
        ),
    ]
    .into()
}

fn filter(policy: &HostPolicy, add: &mut impl FnMut(Table, &str, Vec<String>)) {
    let bridges = (is(Set::Bridges, "src,src"), is(Set::Bridges, "dst,dst"));
    let to_networks = is(Set::Networks, "dst");
    let to_fixed = is(Set::FixedIps, "dst");
    let top = vec![
        TAG.to_owned(),
        format!(
            "{} -m mark --mark 0x40000000/0x50000000 -j DROP",
            is(Set::UnroutedBridges, "src,src")
        ),
        format!("{PORT_MARK} -g {FORWARD}"),
        format!("{to_fixed} -g {FORWARD}"),
        format!("{} {} -j RETURN", bridges.0, bridges.1),
        format!("{to_networks} -g {FORWARD}"),
        format!("{} -g {FORWARD}", is(Set::Networks, "src")),
    ];
    add(Table::Filter, TOP, top);
    let reply = "-m conntrack --ctstate ESTABLISHED --ctdir REPLY";
    let mut forward = vec![
        SEEN.to_owned(),
        format!("-j {PROVIDER}"),
        "-m conntrack --ctstate INVALID -j DROP".to_owned(),
        format!("-m conntrack --ctstate RELATED,ESTABLISHED -j {ESTABLISHED}"),
        "-m conntrack --ctstate RELATED -j ACCEPT".to_owned(),
        format!("{reply} -m connmark --mark 0xdead0000/0xffff0000 -j DROP"),
        format!("{reply} -j ACCEPT"),
        format!(
            "-p udp {BRIDGED} -m udp --sport 67 --dport 68 -m conntrack ! --ctstate DNAT -j ACCEPT"
        ),
        "-p tcp -m conntrack --ctstate NEW -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP"
            .to_owned(),
        format!("-j {LOCAL}"),
        format!("{to_fixed} -j DROP"),
    ];
    let blocked = policy.blocked.iter().map(|net| {
        let to = match net.prefix_len() {
            0 => String::new(),
            _ => format!("-d {net} "),
        };
        format!("{to}{} -j DROP", is_not(Set::Networks, "dst"))
    });
    forward.extend(blocked);
    if policy.source.is_none() {
        forward.push(format!("-j {NO_SOURCE}"));
        add(Table::Filter, NO_SOURCE, no_source(policy));
    }
    forward.push(format!("-g {ACCEPTED}"));
    add(Table::Filter, FORWARD, forward);
    add(Table::Filter, PROVIDER, Vec::new());
    add(Table::Filter, LOCAL, Vec::new());
    add(
        Table::Filter,
        FALLBACK,
        vec![
            "-m conntrack --ctstate ESTABLISHED -j CONNMARK --set-xmark 0xdead0000/0xffff0000"
                .to_owned(),
            "-j DROP".to_owned(),
        ],
    );
    input(policy, add);
    add(Table::Filter, OUTPUT, vec![format!("{to_fixed} {SEEN}")]);
}

/// The host has no address yet: what would leave with it does not leave.
fn no_source(policy: &HostPolicy) -> Vec<String> {
    let mut lines = vec![
        format!("{BRIDGED} -j RETURN"),
        format!("{} -j RETURN", is(Set::Networks, "dst")),
        format!("{} -j RETURN", is(Set::FixedIps, "dst")),
    ];
    lines.extend(direct(policy));
    lines.push(format!("-m set --match-set {FLOATING_FIXED} src -j RETURN"));
    let direct = is(Set::DirectNetworks, "src");
    lines.extend(forced(policy).map(|to| format!("{to}{direct} -j DROP")));
    lines.push(format!("{direct} -j RETURN"));
    lines.push(format!("{} -j DROP", is(Set::Networks, "src")));
    lines
}

/// `force_snat_range`: destinations that are translated for every network.
fn forced(policy: &HostPolicy) -> impl Iterator<Item = String> {
    policy.forced.iter().map(|net| match net.prefix_len() {
        0 => String::new(),
        _ => format!("-d {net} "),
    })
}

/// `dmz_cidr`: destinations that see the fixed IP.
fn direct(policy: &HostPolicy) -> impl Iterator<Item = String> {
    policy.direct.iter().map(|net| match net.prefix_len() {
        0 => "-j RETURN".to_owned(),
        _ => format!("-d {net} -j RETURN"),
    })
}

fn input(policy: &HostPolicy, add: &mut impl FnMut(Table, &str, Vec<String>)) {
    let metadata = policy.metadata_port;
    let on_bridge = is(Set::Bridges, "src,src");
    let mut lines = vec![
        format!("{PORT_MARK} -g {HOST}"),
        format!("{on_bridge} {} -g {HOST}", is(Set::FixedIps, "src")),
        format!("! -i lo -p tcp -m tcp --dport {metadata} -j DROP"),
        format!(
            "! -i lo -m conntrack --ctstate INVALID,NEW,UNTRACKED {} -j DROP",
            is(Set::FloatingIps, "dst")
        ),
    ];
    for protocol in ["tcp", "udp"] {
        lines.push(format!(
            "! -i lo -p {protocol} {} {} -m {protocol} --dport 53 -j DROP",
            is(Set::GatewayAddresses, "dst"),
            is_not(Set::Gateways, "dst,src")
        ));
    }
    for protocol in ["tcp", "udp"] {
        lines.push(format!(
            "-p {protocol} {on_bridge} {} -m {protocol} --dport 53 -j DROP",
            is_not(Set::Networks, "src")
        ));
    }
    add(Table::Filter, INPUT, lines);
    let gateway = is(Set::Gateways, "dst,src");
    add(
        Table::Filter,
        HOST,
        vec![
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".to_owned(),
            "-p udp -m udp --sport 68 --dport 67 -j ACCEPT".to_owned(),
            "-m conntrack --ctstate INVALID -j DROP".to_owned(),
            format!("-p udp {gateway} -m udp --dport 53 -j ACCEPT"),
            format!("-p tcp {gateway} -m tcp --dport 53 -j ACCEPT"),
            format!("-p icmp {gateway} -m icmp --icmp-type 8 -j ACCEPT"),
            format!(
                "-p tcp -m conntrack --ctorigdst 169.254.169.254 -m tcp --dport {metadata} \
                 -j ACCEPT"
            ),
            "-j DROP".to_owned(),
        ],
    );
}

fn nat(policy: &HostPolicy, add: &mut impl FnMut(Table, &str, Vec<String>)) {
    let metadata = policy.metadata_port;
    add(
        Table::Nat,
        PREROUTING,
        vec![format!(
            "-d 169.254.169.254/32 -p tcp {} {} -m tcp --dport 80 -j REDIRECT --to-ports {metadata}",
            is(Set::Bridges, "src,src"),
            is(Set::FixedIps, "src")
        )],
    );
    add(Table::Nat, OUTPUT, Vec::new());
    let from_networks = is(Set::Networks, "src");
    let mut lines = vec![
        format!("{from_networks} {TRANSLATED} -g {SNAT}"),
        format!("{} -j RETURN", is(Set::Networks, "dst")),
        format!("{} -j RETURN", is(Set::FixedIps, "dst")),
    ];
    lines.extend(direct(policy));
    lines.push(format!("-j {BOTTOM}"));
    add(Table::Nat, POSTROUTING, lines);
    add(Table::Nat, BOTTOM, vec![format!("-j {SNAT}")]);
    let mut lines = vec![
        format!("-j {FLOATING_SNAT}"),
        format!("{BRIDGED} -m conntrack ! --ctstate DNAT -j RETURN"),
    ];
    let leave = policy.source;
    let direct = is(Set::DirectNetworks, "src");
    if let Some(source) = leave {
        let snat = format!("{direct} -j SNAT --to-source {source}");
        lines.extend(forced(policy).map(|to| format!("{to}{snat}")));
    }
    lines.push(format!("{direct} -m conntrack ! --ctstate DNAT -j RETURN"));
    lines.extend(leave.map(|source| format!("{from_networks} -j SNAT --to-source {source}")));
    add(Table::Nat, SNAT, lines);
    add(Table::Nat, FLOATING_SNAT, Vec::new());
}
