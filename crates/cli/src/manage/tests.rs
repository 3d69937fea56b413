//! The grammar: arguments → command, or the error text with its exit code.

mod absent;
mod help;

use super::grammar::What;
use super::parse;

/// What a command line means, or what is said about it.
fn check(line: &str) -> String {
    let args: Vec<String> = words(line);
    match parse(&args) {
        Err(failure) => format!("exit {}\n{failure}", failure.code),
        Ok(parsed) => {
            let flags: Vec<String> = parsed
                .given
                .iter()
                .map(|g| match &g.value {
                    Some(value) => format!("--{}={value}", g.name),
                    None => format!("--{}", g.name),
                })
                .collect();
            let what = match parsed.what {
                What::Help(text) => text,
                What::Run(command) => format!("{command:?}"),
            };
            [flags.join(" "), what].join("\n").trim().to_owned()
        }
    }
}

/// Splits at spaces; `""` is an empty word.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace()
        .map(|w| {
            if w == "\"\"" {
                String::new()
            } else {
                w.to_owned()
            }
        })
        .collect()
}

/// The parts of a `network create` that differ between spellings.
fn create(line: &str) -> String {
    let text = check(line);
    let Some((_, request)) = text.split_once("request: Request ") else {
        return text;
    };
    let kind = text
        .split("kind: ")
        .nth(1)
        .and_then(|t| t.split(", num").next());
    let num = text
        .split("num_networks: ")
        .nth(1)
        .and_then(|t| t.split(", request").next());
    let kept: Vec<&str> = request
        .trim_matches(['{', '}', ' ', ')'])
        .split(", ")
        .filter(|part| !part.ends_with("None") && !part.ends_with("[]"))
        .filter(|part| !part.starts_with("kind:") && !part.starts_with("num_networks:"))
        .filter(|part| *part != "no_snat: false")
        .collect();
    format!(
        "kind {} num {} {}",
        kind.unwrap(),
        num.unwrap(),
        kept.join(", ")
    )
}

#[test]
fn the_manuals_network_create_is_range_number_size() {
    insta::assert_snapshot!(create("network create 192.168.0.0/24 8 32"), @r#"kind None num Some(8) label: "private", range: 192.168.0.0/24, network_size: Some(32)"#);
    insta::assert_snapshot!(create("--flagfile=/etc/nova/nova.conf network create 10.1.171.0/24 1 256"), @r#"kind None num Some(1) label: "private", range: 10.1.171.0/24, network_size: Some(256)"#);
    insta::assert_snapshot!(create("network create 10.0.0.0/16 2 256 200 2000"), @r#"kind None num Some(2) label: "private", range: 10.0.0.0/16, network_size: Some(256), vlan: Some(200), vpn_port: Some(2000)"#);
}

#[test]
fn bexars_network_create_has_no_ipv6_gateway_before_the_label() {
    insta::assert_snapshot!(create(r#"network create 10.0.0.0/16 2 256 200 2000 "" lab"#), @r#"kind None num Some(2) label: "lab", range: 10.0.0.0/16, network_size: Some(256), vlan: Some(200), vpn_port: Some(2000)"#);
    insta::assert_snapshot!(create(r#"network create 10.0.0.0/16 2 256 200 2000 "" "" lab"#), @r#"kind None num Some(2) label: "lab", range: 10.0.0.0/16, network_size: Some(256), vlan: Some(200), vpn_port: Some(2000)"#);
    insta::assert_snapshot!(create("network create 10.0.0.0/16 2 256 200 2000 fd00::/48 fd00::1"), @r#"
    exit 2
    error: network create: fixed_range_v6 "fd00::/48": IPv6 is not built yet: leave it out
    "#);
}

#[test]
fn the_word_that_was_meant_as_the_range_is_named() {
    insta::assert_snapshot!(check("network create 10.0.0.0"), @r#"
    exit 2
    error: network create: fixed_range_v4 "10.0.0.0": must look like 10.0.0.0/24
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0 1 256"), @r#"
    exit 2
    error: network create: fixed_range_v4 "10.0.0.0": must look like 10.0.0.0/24
    "#);
    insta::assert_snapshot!(check("network create 010.0.0.0/24"), @r#"
    exit 2
    error: network create: fixed_range_v4 "010.0.0.0/24": must look like 10.0.0.0/24
    "#);
    insta::assert_snapshot!(check("network create abc"), @r#"
    exit 2
    error: network create: fixed_range_v4 is missing: range to carve from, like 10.0.0.0/24 ("abc" does not look like one and was taken for the label)
    "#);
    insta::assert_snapshot!(check("network create abc 1 256"), @r#"
    exit 2
    error: network create: fixed_range_v4 "abc": must look like 10.0.0.0/24
    "#);
    insta::assert_snapshot!(check("network create private 10.0.0.0 1 256"), @r#"
    exit 2
    error: network create: fixed_range_v4 "10.0.0.0": must look like 10.0.0.0/24
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0.0 10.0.0.0/24"), @r#"Network(Create(Create { kind: None, num_networks: None, request: Request { kind: Vlan, label: "10.0.0.0.0", range: 10.0.0.0/24, num_networks: 1, network_size: None, gateway: None, dhcp_server: None, dhcp_start: None, bridge: None, bridge_interface: None, vlan: None, vpn_port: None, vpn_address: None, dns: [], domain: None, dhcp_options: [], no_snat: false, multi_host: None, mtu: None, project: None } }))"#);
}

#[test]
fn all_that_is_missing_is_said_in_one_line() {
    insta::assert_snapshot!(check("vm run"), @"
    exit 2
    error: vm run: image and project are missing (image: the image, like ami-00000001; project: the project that owns them)
    ");
    insta::assert_snapshot!(check("project create"), @"
    exit 2
    error: project create: name and manager are missing (name: the project's name; manager: the user who manages it)
    ");
    insta::assert_snapshot!(check("project create web --manger john"), @"
    exit 2
    error: project create: unknown option --manger: did you mean --manager?
    ");
}

#[test]
fn help_and_version_are_answers() {
    insta::assert_snapshot!(check("--version"), @"0.1.0");
    insta::assert_snapshot!(check("network list --version"), @"0.1.0");
    insta::assert_snapshot!(check("help network"), @"
    Available actions for network category:
        create         make networks: carve NUM_NETWORKS subnets of NETWORK_SIZE addresses from a range
        list           all networks
        show           everything about one network
        delete         remove a network that no instance uses
        modify         change a network; its hosts follow while instances run

    Example:
        nova-manage network create private 10.0.0.0/24 1 256
    ");
    assert_eq!(check("help help"), check("--help"));
    insta::assert_snapshot!(check("network create --help"), @"
    usage: nova-manage network create FIXED_RANGE_V4 [NUM_NETWORKS] [NETWORK_SIZE] [VLAN] [VPN] [FIXED_RANGE_V6] [GATEWAY_V6] [LABEL]
       or: nova-manage network create LABEL FIXED_RANGE_V4 [NUM_NETWORKS] [NETWORK_SIZE] [MULTI_HOST] [VLAN] [VPN] [FIXED_RANGE_V6] [GATEWAY_V6] [BRIDGE] [BRIDGE_INTERFACE] [DNS1] [DNS2] [PROJECT_ID] [PRIORITY] [UUID]

    make networks: carve NUM_NETWORKS subnets of NETWORK_SIZE addresses from a range

    By place or as --name=value:
        label              name for people (private)
        fixed_range_v4     range to carve from, like 10.0.0.0/24
        num_networks       how many (flag num_networks)
        network_size       addresses in each, a power of two
        multi_host         T: a gateway on every host
        vlan               first VLAN id, 1 to 4094 (the next free ones)
        vpn                first public UDP port of the VPNs (the next free ones)
        fixed_range_v6     IPv6 range; not built yet
        gateway_v6         IPv6 gateway; not built yet
        bridge             bridge (br100; VLAN networks: br<vlan>)
        bridge_interface   interface under the bridge (each host's own flag)
        dns1               first DNS server
        dns2               second DNS server
        project_id         project that gets it
        priority           taken and not used, as in nova
        uuid               taken and not used, as in nova

    As --name=value:
        kind               flat, flatdhcp or vlan (flag network_manager)
        gateway            gateway of one network (its first address); of a flatdhcp network: another machine
        dhcp_server        the host's own address in a flatdhcp network with a --gateway (the first free one)
        dhcp_start         first address for instances of one network
        vpn_ip             public address of the VPN (flag vpn_ip)
        domain             DNS domain of the instances (flag dhcp_domain)
        dhcp_option        DHCP option for the instances, like ntp-server,10.0.0.9; may be given several times
        snat               T or F: F: the host translates nothing, and instances leave with their own addresses
        mtu                MTU (each host's own flag)

    Example:
        nova-manage network create private 10.0.0.0/24 1 256
    ");
    insta::assert_snapshot!(check("vm run --help"), @"
    usage: nova-manage vm run IMAGE PROJECT

    start instances

    By place or as --name=value:
        image              the image, like ami-00000001
        project            the project that owns them

    As --name=value:
        type               size (m1.tiny)
        count              how many (1)
        key                key pair for ssh
        group              security group; may be given several times (default)
        user_data_file     file with user data
        network            network of an interface; may be given several times (the project's, or all shared ones)
        user               user whose they are, with the key pair (the project's manager)
        timeout            how many seconds --wait waits (120)

    As --name:
        wait               wait until they run

    Example:
        nova-manage vm run ami-00000001 web --type=m1.small --key=mykey --wait
    ");
    insta::assert_snapshot!(check("db sync --version=7"), @"Db(Sync { version: Some(7) })");
}

#[test]
fn diablos_network_create_has_the_label_first() {
    insta::assert_snapshot!(create(r#"network create private 10.0.0.0/16 2 256 T 200 2000 "" "" br100 eth1 8.8.8.8 8.8.4.4 web"#), @r#"kind None num Some(2) label: "private", range: 10.0.0.0/16, network_size: Some(256), bridge: Some(IfName("br100")), bridge_interface: Some(IfName("eth1")), vlan: Some(200), vpn_port: Some(2000), dns: [8.8.8.8, 8.8.4.4], multi_host: Some(true), project: Some(ProjectId("web""#);
    insta::assert_snapshot!(create("network create private --fixed_range_v4=10.0.0.0/24 --num_networks=1 --network_size=256"), @r#"kind None num Some(1) label: "private", range: 10.0.0.0/24, network_size: Some(256)"#);
    insta::assert_snapshot!(create("network create --label=private --fixed_range_v4 10.0.0.0/24 --bridge br100 --bridge-interface eth1 --multi_host=T"), @r#"kind None num None label: "private", range: 10.0.0.0/24, bridge: Some(IfName("br100")), bridge_interface: Some(IfName("eth1")), multi_host: Some(true)"#);
    insta::assert_snapshot!(create("network create 10.0.0.0/24 --label private --multi_host --kind flatdhcp"), @r#"kind Some(FlatDhcp) num None label: "private", range: 10.0.0.0/24, multi_host: Some(true)"#);
}

#[test]
fn a_command_is_known_by_the_beginning_of_its_words() {
    insta::assert_snapshot!(check("NET li"), @"Network(List)");
    insta::assert_snapshot!(check("account list"), @"Project(List { user: None })");
    insta::assert_snapshot!(check("flav list m1.tiny"), @r#"InstanceType(List { name: Some("m1.tiny") })"#);
    insta::assert_snapshot!(check("f list"), @r#"
    exit 2
    error: "f" could be more than one category: firewall, fixed, floating
    "#);
    insta::assert_snapshot!(check("user l"), @"User(List)");
    insta::assert_snapshot!(check("version"), @"Version");
    insta::assert_snapshot!(check("config list"), @"Config");
}

#[test]
fn slips_in_category_action_and_options_are_named() {
    insta::assert_snapshot!(check("netwrok list"), @r#"
    exit 2
    error: "netwrok" is no category: did you mean network?
    "#);
    insta::assert_snapshot!(check("quantum list"), @r#"
    exit 2
    error: "quantum" is no category: there are audit, config, db, firewall, fixed, floating, host, image, instance_type, network, project, role, service, user, version, vm, vpn
    "#);
    insta::assert_snapshot!(check("network craete"), @r#"
    exit 2
    error: "craete" is no action of network: did you mean create?
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0/24 --vlna=3 --netwrok_size=4"), @"
    exit 2
    error: network create: unknown option --vlna: did you mean --vlan?
    error: network create: unknown option --netwrok_size: did you mean --network_size?
    ");
    insta::assert_snapshot!(check("network list extra"), @r#"
    exit 2
    error: network list: "extra" is one word too many
    "#);
    insta::assert_snapshot!(check("network list --frobnicate"), @"
    exit 2
    error: network list: unknown option --frobnicate: --help shows what there is
    ");
    insta::assert_snapshot!(check("network create"), @"
    exit 2
    error: network create: fixed_range_v4 is missing: range to carve from, like 10.0.0.0/24
    ");
    insta::assert_snapshot!(check("network create a 10.0.0.0/24 --label b"), @r#"
    exit 2
    error: network create: fixed_range_v4 "a": must look like 10.0.0.0/24
    "#);
    insta::assert_snapshot!(check("network list --format yaml"), @r#"
    exit 2
    error: network list: format "yaml": must be table, json or plain
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0/24 --vlan"), @"
    exit 2
    error: network create: option --vlan needs a value: first VLAN id, 1 to 4094 (the next free ones)
    ");
}

#[test]
fn values_that_cannot_be_are_refused_before_anything_is_done() {
    insta::assert_snapshot!(check("network create 10.0.0.5/24"), @r#"
    exit 2
    error: network create: fixed_range_v4 "10.0.0.5/24": has host bits set: did you mean 10.0.0.0/24?
    "#);
    insta::assert_snapshot!(check("network create 10.0.0/24 1 256"), @r#"
    exit 2
    error: network create: fixed_range_v4 "10.0.0/24": must look like 10.0.0.0/24
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0/24 --vlan 0"), @r#"
    exit 2
    error: network create: vlan "0": must be a number from 1 to 4094
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0/24 --vlan 4095"), @r#"
    exit 2
    error: network create: vlan "4095": must be a number from 1 to 4094
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0/24 --vlan abc"), @r#"
    exit 2
    error: network create: vlan "abc": must be a number from 1 to 4094
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0/24 --bridge br12345678901234"), @r#"
    exit 2
    error: network create: bridge "br12345678901234": is too long: the kernel takes at most 15 bytes
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0/24 x 256"), @r#"
    exit 2
    error: network create: num_networks "x": must be a number from 1 to 65536
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0/24 --kind quantum"), @r#"
    exit 2
    error: network create: kind "quantum": must be FlatManager, FlatDHCPManager or VlanManager (or flat, flatdhcp, vlan)
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0/24 --gateway 10.0.0"), @r#"
    exit 2
    error: network create: gateway "10.0.0": must be an IPv4 address
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0/24 --fixed_range_v6 fd00::/64"), @r#"
    exit 2
    error: network create: fixed_range_v6 "fd00::/64": IPv6 is not built yet: leave it out
    "#);
    insta::assert_snapshot!(check("network create 10.0.0.0/24 --multi_host=maybe"), @r#"
    exit 2
    error: network create: multi_host "maybe": must be T or F
    "#);
    insta::assert_snapshot!(check("fixed reserve 10.0.0"), @r#"
    exit 2
    error: fixed reserve: address "10.0.0": must be an IPv4 address like 10.0.0.7
    "#);
    insta::assert_snapshot!(check("floating create 68.99.26.171/31"), @r#"
    exit 2
    error: floating create: ip_range "68.99.26.171/31": has host bits set: did you mean 68.99.26.170/31?
    "#);
    insta::assert_snapshot!(check("floating create 68.0.0.0/8"), @r#"
    exit 2
    error: floating create: ip_range "68.0.0.0/8": is too large: at most a /16 at once
    "#);
    insta::assert_snapshot!(check("floating create nonsense"), @r#"
    exit 2
    error: floating create: ip_range "nonsense": must look like 68.99.26.170/31 or 68.99.26.170
    "#);
    insta::assert_snapshot!(check("vm terminate 7"), @r#"
    exit 2
    error: vm terminate: instance id "7": must look like i-0000000a
    "#);
    insta::assert_snapshot!(check("vm run ami-1 web --type m9.huge"), @r#"
    exit 2
    error: vm run: type "m9.huge": not known: nova-manage instance_type list shows them
    "#);
    insta::assert_snapshot!(check("project create a/b john"), @r#"
    exit 2
    error: project create: name "a/b": must be 1 to 64 letters, digits, '_', '-' or '.', and not start with '-' or '.'
    "#);
    insta::assert_snapshot!(check("image build windows"), @r#"
    exit 2
    error: image build: what "windows": must be tiny or cloudpipe
    "#);
}

#[test]
fn flags_may_stand_anywhere_and_take_their_value_either_way() {
    insta::assert_snapshot!(check("--state_path /tmp/x --verbose network list --noverbose --my-ip=10.0.0.1 --format json"), @"
    --state_path=/tmp/x --verbose --noverbose --my_ip=10.0.0.1
    Network(List)
    ");
    insta::assert_snapshot!(check("network -network_manager=FlatManager list"), @"
    --network_manager=FlatManager
    Network(List)
    ");
    // A name that is both: the command's own after it, nova's flag before it.
    insta::assert_snapshot!(create("--num_networks=3 network create 10.0.0.0/24 --num_networks=2"), @r#"kind None num Some(2) label: "private", range: 10.0.0.0/24"#);
}

#[test]
fn the_manuals_other_commands_are_understood() {
    insta::assert_snapshot!(check("user admin john"), @r#"User(Create { name: "john", access: None, secret: None, admin: true })"#);
    insta::assert_snapshot!(check("user create john access s3cret"), @r#"User(Create { name: "john", access: Some("access"), secret: Some("…"), admin: false })"#);
    insta::assert_snapshot!(check("project create web john"), @r#"Project(Create { name: ProjectId("web"), manager: "john", description: "" })"#);
    insta::assert_snapshot!(check("floating create my-hostname 68.99.26.170/31"), @r#"Floating(Create { range: 68.99.26.170/31, host: Some("my-hostname"), pool: None, interface: None })"#);
    insta::assert_snapshot!(check("floating create 68.99.26.170"), @"Floating(Create { range: 68.99.26.170/32, host: None, pool: None, interface: None })");
    insta::assert_snapshot!(check("floating destroy my-hostname 68.99.26.170/31"), @"Floating(Delete { range: 68.99.26.170/31 })");
    insta::assert_snapshot!(check("floating list"), @"Floating(List { host: None })");
    insta::assert_snapshot!(check("fixed reserve 10.0.0.9 10.0.0.10"), @"Fixed(Reserve { addresses: [10.0.0.9, 10.0.0.10] })");
    insta::assert_snapshot!(check("network delete 10.0.0.0/24"), @"Network(Delete(Cidr(10.0.0.0/24), false))");
    insta::assert_snapshot!(check("network show private"), @r#"Network(Show(Name("private")))"#);
    insta::assert_snapshot!(check("host plan --diff"), @"Host(Plan { host: None, diff: true })");
    insta::assert_snapshot!(check("host cleanup --dry-run"), @"Host(Cleanup { host: None, dry_run: true, force: false })");
    insta::assert_snapshot!(check("vm run ami-00000001 web --count 2 --group default --group www --wait"), @r#"Vm(Run(Run { image: AmiId(1), project: ProjectId("web"), instance_type: "m1.tiny", count: 2, key: None, groups: ["default", "www"], user_data_file: None, networks: [], user: None, wait: Some(120s) }))"#);
    insta::assert_snapshot!(check("vm terminate i-1 i-00000002"), @"Vm(Terminate { instances: [InstanceId(1), InstanceId(2)], wait: None })");
    insta::assert_snapshot!(check("audit list i-0000000a --limit 5"), @r#"Audit(List { object: Some("i-0000000a"), limit: 5 })"#);
}

#[test]
fn every_command_of_the_operators_handbook_is_there() {
    for line in [
        "db sync",
        "db version",
        "db check",
        "user list",
        "project list",
        "network list",
        "fixed list",
        "floating list",
        "instance_type list",
        "image list",
        "vm list",
        "service list",
        "host list",
        "firewall show",
        "firewall list",
        "firewall block 192.0.2.0/24 tcp 8000-8099",
        "firewall unblock 192.0.2.7",
        "firewall explain --from 10.0.0.3 --to i-1 --port 22",
        "config list",
        "audit list",
        "version",
    ] {
        assert!(parse(&words(line)).is_ok(), "{line}");
    }
}

#[test]
fn no_command_line_makes_it_panic() {
    // Every word after every other, three deep: a few thousand lines.
    let some = [
        "network",
        "create",
        "list",
        "vm",
        "run",
        "fixed",
        "reserve",
        "--",
        "-",
        "-1",
        "--vlan",
        "--format",
        "--format=json",
        "--help",
        "--flagfile",
        "--noverbose",
        "=",
        "--=",
        "10.0.0.0/24",
        "\u{e4}",
        "--multi_host",
        "f",
    ];
    for a in some {
        for b in some {
            for c in some {
                let args: Vec<String> = [a, b, c].map(str::to_owned).to_vec();
                if let Err(failure) = parse(&args) {
                    assert_eq!(failure.code, 2, "{args:?}");
                    assert!(!failure.message.is_empty(), "{args:?}");
                }
            }
        }
    }
}
