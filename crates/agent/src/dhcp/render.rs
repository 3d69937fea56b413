//! Renders dnsmasq's command line, its hosts files, and the script that it runs. Pure.
//!
//! Everything but the hosts is on the command line, so the agent compares `/proc/<pid>/cmdline`
//! with the desired arguments: a configuration file could be newer than the process.

use super::files::{self, Files};
use super::item::{HostSpec, RangeSpec};
use ipnet::Ipv4Net;
use novanet_model::{IfName, NetworkId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;

/// The ranges of one bridge.
pub type Ranges = BTreeMap<NetworkId, RangeSpec>;
/// The bindings of one bridge.
pub type Hosts = BTreeMap<Ipv4Addr, HostSpec>;

/// The arguments of the dnsmasq of one bridge. It becomes `user`; `None`: dnsmasq's own choice.
/// `config_file` has further settings of the operator's.
pub fn arguments(
    networks_path: &Path,
    bridge: &IfName,
    ranges: &Ranges,
    config_file: Option<&Path>,
    mtu: Option<u32>,
    user: Option<&str>,
) -> Vec<String> {
    let files = Files::new(networks_path, bridge);
    let mut all = vec![
        "--strict-order".to_owned(),
        // Without a name: not the file that dnsmasq reads by default.
        format!(
            "--conf-file={}",
            config_file.unwrap_or(Path::new("")).display()
        ),
        "--no-hosts".to_owned(),
        "--no-ping".to_owned(),
        // Plain names are instances; servers upstream do not have them.
        "--domain-needed".to_owned(),
        "--bind-interfaces".to_owned(),
        // Not --listen-address: unicast renewals would get no answer.
        format!("--interface={bridge}"),
        "--except-interface=lo".to_owned(),
        format!("--pid-file={}", files.pid().display()),
        format!("--dhcp-hostsfile={}", files.hosts().display()),
        format!("--addn-hosts={}", files.names().display()),
        format!("--dhcp-script={}", files::script(networks_path).display()),
        "--leasefile-ro".to_owned(),
        "--dhcp-authoritative".to_owned(),
        // The MAC identifies a client, and its port proves it; a client id proves nothing.
        "--dhcp-ignore-clid".to_owned(),
        // No answer, not even a refusal, to foreign machines on the same wire.
        "--dhcp-ignore=tag:!known".to_owned(),
    ];
    if let Some(user) = user {
        all.push(format!("--user={user}"));
    }
    if let Some(mtu) = mtu {
        all.push(format!("--dhcp-option=option:mtu,{mtu}"));
    }
    let mut addresses = 0_u64;
    let mut domains = BTreeSet::new();
    let mut dns = Vec::new();
    for (network, range) in ranges {
        addresses += 1 << (32 - range.cidr.prefix_len());
        let tag = format!("net{network}");
        all.push(format!(
            "--dhcp-range=set:{tag},{},static,{},{}s",
            range.start,
            range.cidr.netmask(),
            range.lease_seconds
        ));
        let option = |what: String| format!("--dhcp-option=tag:{tag},option:{what}");
        let (server, router) = (range.server, range.router.unwrap_or(range.server));
        all.push(option(format!("router,{router}")));
        if range.router.is_some() {
            // Clients that take this ignore the router option (RFC 3442): it has the default, too.
            let routes = format!("169.254.169.254/32,{server},0.0.0.0/0,{router}");
            all.push(option(format!("classless-static-route,{routes}")));
        }
        all.push(option(format!("dns-server,{server}")));
        for further in &range.options {
            all.push(format!("--dhcp-option=tag:{tag},{}", further.argument()));
        }
        if !range.domain.is_empty() {
            all.push(format!("--domain={},{}", range.domain, range.cidr.trunc()));
            domains.insert(&range.domain);
        }
        // In their order: dnsmasq asks the first one first.
        for server in &range.dns {
            if !dns.contains(server) {
                dns.push(*server);
            }
        }
    }
    // Servers upstream know neither names of instances nor private addresses.
    all.extend(
        domains
            .into_iter()
            .map(|domain| format!("--local=/{domain}/")),
    );
    all.push(local_zones(ranges));
    if !dns.is_empty() {
        all.push("--no-resolv".to_owned());
        all.extend(dns.into_iter().map(|server| format!("--server={server}")));
    }
    all.push(format!("--dhcp-lease-max={}", addresses.min(1 << 30)));
    all
}

/// Reverse zones of private addresses (RFC 6303).
const PRIVATE: [&str; 11] = [
    "0.in-addr.arpa",
    "10.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "168.192.in-addr.arpa",
    "c.f.ip6.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
];

/// Zones that dnsmasq answers itself: an unknown name in them does not exist.
fn local_zones(ranges: &Ranges) -> String {
    let mut zones: BTreeSet<String> = PRIVATE.iter().map(ToString::to_string).collect();
    zones.extend((16..32).map(|second| format!("{second}.172.in-addr.arpa")));
    let public = ranges
        .values()
        .filter(|range| !range.cidr.addr().is_private());
    zones.extend(public.flat_map(|range| reverse_zones(range.cidr)));
    zones
        .iter()
        .fold("--local=/".to_owned(), |all, zone| all + zone + "/")
}

/// The reverse zones of exactly this network: at most 128, as zones end at whole bytes.
fn reverse_zones(net: Ipv4Net) -> impl Iterator<Item = String> {
    let bytes = usize::from(net.prefix_len().div_ceil(8));
    let whole = u8::try_from(bytes * 8).unwrap_or(32);
    let parts = net.subnets(whole).into_iter().flatten();
    parts.map(move |part| {
        let octets = part.addr().octets();
        let labels = octets[..bytes].iter().rev().map(u8::to_string);
        let labels: Vec<_> = labels.chain(["in-addr.arpa".to_owned()]).collect();
        labels.join(".")
    })
}

/// The networks that a command line serves.
pub(crate) fn networks_of(arguments: &[String]) -> Vec<NetworkId> {
    arguments
        .iter()
        .filter_map(|argument| {
            let tag = argument.strip_prefix("--dhcp-range=set:net")?;
            tag.split(',').next()?.parse().ok()
        })
        .collect()
}

/// One line of the DHCP hosts, nova's `MAC,name.domain,address`.
pub fn host_line(ranges: &Ranges, address: Ipv4Addr, host: &HostSpec) -> String {
    match full_name(ranges, host) {
        Some(name) => format!("{},{name},{address}", host.mac),
        None => format!("{},{address}", host.mac),
    }
}

/// One line of the DNS names. `None`: the host has no name.
pub fn name_line(ranges: &Ranges, address: Ipv4Addr, host: &HostSpec) -> Option<String> {
    let full = full_name(ranges, host)?;
    let short = &host.hostname;
    Some(if full == *short {
        format!("{address}\t{short}")
    } else {
        format!("{address}\t{full} {short}")
    })
}

fn full_name(ranges: &Ranges, host: &HostSpec) -> Option<String> {
    if host.hostname.is_empty() {
        return None;
    }
    let domain = ranges.get(&host.network).map_or("", |range| &range.domain);
    Some(if domain.is_empty() {
        host.hostname.clone()
    } else {
        format!("{}.{domain}", host.hostname)
    })
}

/// The DHCP hosts file.
pub fn hosts_file(ranges: &Ranges, hosts: &Hosts) -> String {
    let mut text = String::new();
    for (address, host) in hosts {
        let _infallible = writeln!(text, "{}", host_line(ranges, *address, host));
    }
    text
}

/// The DNS names file.
pub fn names_file(ranges: &Ranges, hosts: &Hosts) -> String {
    let lines = hosts
        .iter()
        .filter_map(|(address, host)| name_line(ranges, *address, host));
    lines.fold(String::new(), |text, line| text + &line + "\n")
}

/// The script that dnsmasq runs: `--dhcp-script` takes a path only, and `program` needs arguments.
/// It ignores renewals (`old`): dnsmasq reports all leases again at every SIGHUP.
pub fn script(program: &[String]) -> String {
    let quoted: Vec<_> = program
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
        .collect();
    format!(
        "#!/bin/sh\n\
         # Written by novanet. dnsmasq calls it: add|old|del MAC ADDRESS [NAME], or init.\n\
         [ \"$1\" = old ] && exit 0\n\
         exec {} \"$@\"\n",
        quoted.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use novanet_model::MacAddr;

    fn ranges() -> Ranges {
        let range = |net: u8, prefix: u8, domain: &str, dns: &[[u8; 4]]| RangeSpec {
            server: [10, net, 0, 1].into(),
            router: (net == 9).then(|| [10, 9, 0, 254].into()),
            cidr: ipnet::Ipv4Net::new_assert([10, net, 0, 0].into(), prefix),
            start: [10, net, 0, 3].into(),
            lease_seconds: 120,
            domain: domain.to_owned(),
            dns: dns.iter().map(|a| (*a).into()).collect(),
            options: (net == 9)
                .then(|| "ntp-server,10.9.0.9".parse().expect("an option"))
                .into_iter()
                .collect(),
        };
        Ranges::from([
            (NetworkId(1), range(0, 16, "novalocal", &[])),
            (
                NetworkId(7),
                range(9, 24, "", &[[9, 9, 9, 9], [8, 8, 4, 4]]),
            ),
        ])
    }

    fn hosts() -> Hosts {
        let host = |mac: u8, name: &str, network: i64| HostSpec {
            mac: MacAddr([2, 0x16, 0x3e, 0, 0, mac]),
            hostname: name.to_owned(),
            network: NetworkId(network),
        };
        Hosts::from([
            ([10, 0, 0, 4].into(), host(2, "", 1)),
            ([10, 0, 0, 3].into(), host(1, "web", 1)),
            ([10, 9, 0, 3].into(), host(3, "far", 7)),
        ])
    }

    fn bridge() -> IfName {
        IfName::vlan_bridge(100)
    }

    #[test]
    fn the_command_line_of_a_bridge_with_two_networks() {
        let all = arguments(
            Path::new("/net"),
            &bridge(),
            &ranges(),
            Some(Path::new("/etc/nova/dnsmasq.conf")),
            Some(1450),
            Some("root"),
        );
        assert_eq!(networks_of(&all), [NetworkId(1), NetworkId(7)]);
        insta::assert_snapshot!(all.join("\n"), @"
        --strict-order
        --conf-file=/etc/nova/dnsmasq.conf
        --no-hosts
        --no-ping
        --domain-needed
        --bind-interfaces
        --interface=br100
        --except-interface=lo
        --pid-file=/net/nova-br100.pid
        --dhcp-hostsfile=/net/nova-br100.conf
        --addn-hosts=/net/nova-br100.hosts
        --dhcp-script=/net/nova-dhcpbridge
        --leasefile-ro
        --dhcp-authoritative
        --dhcp-ignore-clid
        --dhcp-ignore=tag:!known
        --user=root
        --dhcp-option=option:mtu,1450
        --dhcp-range=set:net1,10.0.0.3,static,255.255.0.0,120s
        --dhcp-option=tag:net1,option:router,10.0.0.1
        --dhcp-option=tag:net1,option:dns-server,10.0.0.1
        --domain=novalocal,10.0.0.0/16
        --dhcp-range=set:net7,10.9.0.3,static,255.255.255.0,120s
        --dhcp-option=tag:net7,option:router,10.9.0.254
        --dhcp-option=tag:net7,option:classless-static-route,169.254.169.254/32,10.9.0.1,0.0.0.0/0,10.9.0.254
        --dhcp-option=tag:net7,option:dns-server,10.9.0.1
        --dhcp-option=tag:net7,option:ntp-server,10.9.0.9
        --local=/novalocal/
        --local=/0.in-addr.arpa/10.in-addr.arpa/127.in-addr.arpa/16.172.in-addr.arpa/168.192.in-addr.arpa/17.172.in-addr.arpa/18.172.in-addr.arpa/19.172.in-addr.arpa/20.172.in-addr.arpa/21.172.in-addr.arpa/22.172.in-addr.arpa/23.172.in-addr.arpa/24.172.in-addr.arpa/25.172.in-addr.arpa/254.169.in-addr.arpa/26.172.in-addr.arpa/27.172.in-addr.arpa/28.172.in-addr.arpa/29.172.in-addr.arpa/30.172.in-addr.arpa/31.172.in-addr.arpa/8.e.f.ip6.arpa/9.e.f.ip6.arpa/a.e.f.ip6.arpa/b.e.f.ip6.arpa/c.f.ip6.arpa/d.f.ip6.arpa/
        --no-resolv
        --server=9.9.9.9
        --server=8.8.4.4
        --dhcp-lease-max=65792
        ");
    }

    #[test]
    fn the_reverse_zones_of_a_network_are_exactly_its_own() {
        let zones = |net: &str| reverse_zones(net.parse().expect("a network")).collect::<Vec<_>>();
        assert_eq!(zones("198.51.100.0/24"), ["100.51.198.in-addr.arpa"]);
        assert_eq!(
            zones("198.51.100.0/23"),
            ["100.51.198.in-addr.arpa", "101.51.198.in-addr.arpa"]
        );
        assert_eq!(zones("8.0.0.0/8"), ["8.in-addr.arpa"]);
        let few = zones("198.51.100.8/30");
        assert_eq!(few.len(), 4);
        assert_eq!(few[3], "11.100.51.198.in-addr.arpa");
    }

    #[test]
    fn the_hosts_files_have_novas_lines() {
        insta::assert_snapshot!(hosts_file(&ranges(), &hosts()), @"
        02:16:3e:00:00:01,web.novalocal,10.0.0.3
        02:16:3e:00:00:02,10.0.0.4
        02:16:3e:00:00:03,far,10.9.0.3
        ");
        insta::assert_snapshot!(names_file(&ranges(), &hosts()).replace('\t', "<tab>"), @"
        10.0.0.3<tab>web.novalocal web
        10.9.0.3<tab>far
        ");
    }

    #[test]
    fn the_script_quotes_the_program_and_drops_renewals() {
        let program = ["/opt/it's here/novanet".to_owned(), "dhcpbridge".to_owned()];
        insta::assert_snapshot!(script(&program), @r#"
        #!/bin/sh
        # Written by novanet. dnsmasq calls it: add|old|del MAC ADDRESS [NAME], or init.
        [ "$1" = old ] && exit 0
        exec '/opt/it'\''s here/novanet' 'dhcpbridge' "$@"
        "#);
    }
}
