//! `nova-manage` on a real database, with no server running.

use crate::check::{Sandbox, show};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

fn flat(sandbox: &Sandbox) {
    let made = sandbox.manage("network create 10.0.0.0/24 1 256 --network_manager=FlatDHCPManager");
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn the_first_command_on_an_empty_state_path_makes_the_database() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.check("network create 10.0.0.0/8 1 16777216 --bridge br100 --network_manager=FlatDHCPManager"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("network list --format json"), @r#"
    exit 0
    --- stdout
    [
      {
        "id": 1,
        "label": "private",
        "kind": "flatdhcp",
        "cidr": "10.0.0.0/8",
        "gateway": "10.0.0.1",
        "dhcp_server": null,
        "dhcp_start": "10.0.0.2",
        "dns": [],
        "domain": null,
        "dhcp_options": [],
        "snat": true,
        "bridge": "br100",
        "bridge_interface": null,
        "vlan": null,
        "vpn_public_address": null,
        "vpn_public_port": null,
        "vpn_private_address": null,
        "project": null,
        "host": null,
        "multi_host": false,
        "injected": false,
        "mtu": null,
        "uuid": "UUID",
        "subnet": "subnet-00000001",
        "used": 0,
        "free": 16777213
      }
    ]
    "#);
    let mode = fs::metadata(sandbox.path().join("nova.sqlite"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_manuals_vlan_networks_follow_each_other() {
    let sandbox = Sandbox::new();
    for third in 171..=174 {
        let made = sandbox.manage(&format!("network create 10.1.{third}.0/24 1 256"));
        assert!(made.status.success(), "{made:?}");
    }
    insta::assert_snapshot!(sandbox.check("network list"), @"
    exit 0
    --- stdout
    id   	IPv4              	IPv6           	start address  	DNS1           	DNS2           	VlanID         	project        	uuid
    1    	10.1.171.0/24     	None           	10.1.171.3     	None           	None           	100            	None           	UUID
    2    	10.1.172.0/24     	None           	10.1.172.3     	None           	None           	101            	None           	UUID
    3    	10.1.173.0/24     	None           	10.1.173.3     	None           	None           	102            	None           	UUID
    4    	10.1.174.0/24     	None           	10.1.174.3     	None           	None           	103            	None           	UUID
    ");
    insta::assert_snapshot!(sandbox.check("network show 10.1.172.0/24"), @"
    exit 0
    --- stdout
    bridge:              br101
    bridge_interface:    None
    cidr:                10.1.172.0/24
    dhcp_options:        None
    dhcp_server:         None
    dhcp_start:          10.1.172.3
    dns:                 None
    domain:              None
    free:                252
    gateway:             10.1.172.1
    host:                None
    id:                  2
    injected:            false
    kind:                vlan
    label:               private
    mtu:                 None
    multi_host:          false
    project:             None
    snat:                true
    subnet:              subnet-00000002
    used:                0
    uuid:                UUID
    vlan:                101
    vpn_private_address: 10.1.172.2
    vpn_public_address:  None
    vpn_public_port:     1001
    ");
    insta::assert_snapshot!(sandbox.check("network create 10.1.175.0/24 1 256 --vlan 102"), @r#"
    exit 1
    --- stderr
    error: vlan "102": is already in use by network 3 (private): choose another, or leave it out for the next free one
    "#);
    insta::assert_snapshot!(sandbox.check("network delete private"), @"
    exit 1
    --- stderr
    error: network private: there are 4 of this label: say which by subnet: 10.1.171.0/24, 10.1.172.0/24, 10.1.173.0/24, 10.1.174.0/24
    ");
    insta::assert_snapshot!(sandbox.check("network delete 99"), @"
    exit 1
    --- stderr
    error: network 99 not found: nova-manage network list shows them
    ");
    insta::assert_snapshot!(sandbox.check("network delete 10.1.171.0/24"), @"exit 0");
    // The VLAN that became free is the next one used.
    sandbox.manage("network create again 10.1.171.0/24 1 256");
    insta::assert_snapshot!(sandbox.check("network list --format table"), @"
    exit 0
    --- stdout
    id IPv4          IPv6 start address DNS1 DNS2 VlanID project uuid                                 used free
    2  10.1.172.0/24 None 10.1.172.3    None None 101    None    UUID 0    252
    3  10.1.173.0/24 None 10.1.173.3    None None 102    None    UUID 0    252
    4  10.1.174.0/24 None 10.1.174.3    None None 103    None    UUID 0    252
    5  10.1.171.0/24 None 10.1.171.3    None None 100    None    UUID 0    252
    ");
}

#[test]
fn what_cannot_be_is_refused_with_one_line_and_nothing_is_done() {
    let sandbox = Sandbox::new();
    flat(&sandbox);
    insta::assert_snapshot!(sandbox.check("network create 10.0.0.0/24 1 100 --kind flat"), @r#"
    exit 2
    --- stderr
    error: network create: network_size "100": must be a power of two, e.g. 64 or 128
    "#);
    insta::assert_snapshot!(sandbox.check("network create 10.0.1.0/24 3 128 --kind flat"), @r#"
    exit 2
    --- stderr
    error: network create: fixed_range_v4 "10.0.1.0/24": network range is not big enough to fit 3 networks. Network size is 128: the range has 256 addresses, so at most 2 of them
    "#);
    insta::assert_snapshot!(sandbox.check("network create 10.0.0.0/24 1 256 --kind flat"), @r#"
    exit 1
    --- stderr
    error: fixed_range_v4 "10.0.0.0/24": cidr already in use: 10.0.0.0/24 is network 1 (private); 0 of the 1 /24 asked for are free here: choose another range
    "#);
    insta::assert_snapshot!(sandbox.check("network create 10.0.0.0/16 1 65536 --kind flat"), @r#"
    exit 1
    --- stderr
    error: fixed_range_v4 "10.0.0.0/16": requested cidr (10.0.0.0/16) conflicts with existing smaller cidr (10.0.0.0/24), network 1 (private); 0 of the 1 /16 asked for are free here: choose another range
    "#);
    insta::assert_snapshot!(sandbox.check("network create 10.0.0.0/25 1 128 --kind flat"), @r#"
    exit 1
    --- stderr
    error: fixed_range_v4 "10.0.0.0/25": requested cidr (10.0.0.0/25) conflicts with existing supernet (10.0.0.0/24), network 1 (private): choose a range outside it
    "#);
    insta::assert_snapshot!(sandbox.check("network create 10.2.0.0/24 1 256 --kind flat --project_id nobody"), @"
    exit 1
    --- stderr
    error: project nobody not found
    ");
    insta::assert_snapshot!(sandbox.check("fixed reserve 10.9.9.9"), @r#"
    exit 1
    --- stderr
    error: address "10.9.9.9": is in none of the networks
    "#);
    insta::assert_snapshot!(sandbox.check("fixed reserve 10.0.0.1"), @r#"
    exit 1
    --- stderr
    error: address "10.0.0.1": is kept by the network itself (network and gateway)
    "#);
    insta::assert_snapshot!(sandbox.check("fixed unreserve 10.0.0.7"), @"
    exit 1
    --- stderr
    error: fixed IP 10.0.0.7: is not reserved by hand (nova-manage fixed list shows what is)
    ");
    insta::assert_snapshot!(sandbox.check("floating delete 68.99.26.170"), @"
    exit 1
    --- stderr
    error: floating IP 68.99.26.170/32 not found
    ");
    insta::assert_snapshot!(sandbox.check("project create web nobody"), @"
    exit 1
    --- stderr
    error: user nobody not found
    ");
    insta::assert_snapshot!(sandbox.check("user delete nobody"), @"
    exit 1
    --- stderr
    error: user nobody not found
    ");
    insta::assert_snapshot!(sandbox.check("vm terminate i-1"), @"
    exit 1
    --- stderr
    error: instance i-00000001 not found
    ");
    insta::assert_snapshot!(sandbox.check("vm run ami-1 nobody"), @"
    exit 1
    --- stderr
    error: project nobody not found: nova-manage project list shows them
    ");
    insta::assert_snapshot!(sandbox.check("image delete ami-00000009"), @"
    exit 1
    --- stderr
    error: image ami-00000009 not found
    ");
    insta::assert_snapshot!(sandbox.check("image register absent.tar"), @"
    exit 1
    --- stderr
    error: image register: absent.tar: No such file or directory (os error 2)
    ");
    insta::assert_snapshot!(sandbox.check("firewall show"), @"
    exit 1
    --- stderr
    error: agent at DIR/agent.sock: no agent runs on this host: start novanet agent (or novanet up)
    ");
    insta::assert_snapshot!(sandbox.check("host plan cloud2"), @"
    exit 1
    --- stderr
    error: host cloud2: this is cloud1, so the server at DIR/server.sock was asked: no server runs there (run this on cloud2 itself, or where novanet server runs)
    ");
    insta::assert_snapshot!(sandbox.check("host cleanup cloud2"), @"
    exit 1
    --- stderr
    error: host cloud2: this is cloud1, and cleanup ends what runs on a host: on cloud2 itself, type: nova-manage host cleanup (--dry-run shows from here what it would remove)
    ");
    insta::assert_snapshot!(sandbox.check("network list"), @"
    exit 0
    --- stdout
    id   	IPv4              	IPv6           	start address  	DNS1           	DNS2           	VlanID         	project        	uuid
    1    	10.0.0.0/24       	None           	10.0.0.2       	None           	None           	None           	None           	UUID
    ");
}

#[test]
fn every_command_that_says_something_says_it_in_json_too() {
    let sandbox = Sandbox::new();
    for (line, keys) in [
        ("version", &["version"] as &[&str]),
        ("user admin john", &["name", "access", "secret"]),
        ("user exports john", &["name", "access", "secret"]),
        ("db check", &["rows", "repaired", "bad"]),
    ] {
        let output = sandbox.manage(&format!("{line} --format json"));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        for key in keys {
            assert!(said.get(key).is_some(), "{line}: no {key} in {said}");
        }
    }
    insta::assert_snapshot!(sandbox.check("db check --format json"), @r#"
    exit 0
    --- stdout
    {
      "rows": 0,
      "repaired": [],
      "bad": []
    }
    "#);
    let version = sandbox.manage("db version --format json");
    let version: i64 = serde_json::from_slice(&version.stdout).unwrap();
    assert!(version > 0);
}

#[test]
fn a_vlan_network_is_made_without_a_word() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.check("network create 10.0.0.0/24 1 256"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("network create 10.1.0.0/24 1 256 --kind flatdhcp --vpn 5"), @r#"
    exit 2
    --- stderr
    error: network create: vpn "5": a flatdhcp network has no VPN: leave it out or choose VlanManager
    "#);
    insta::assert_snapshot!(sandbox.check("network create 10.1.0.0/24 --kind flat --vpn_ip 192.0.2.1"), @r#"
    exit 2
    --- stderr
    error: network create: vpn_ip "192.0.2.1": a flat network has no VPN: leave it out or choose VlanManager
    "#);
}

#[test]
fn the_manuals_floating_addresses_are_two() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.check("floating create my-hostname 68.99.26.170/31"), @"
    exit 0
    --- stderr
    note: host my-hostname not used: a floating address is on the host of its instance's network
    ");
    insta::assert_snapshot!(sandbox.check("floating create 68.99.26.170"), @"
    exit 0
    --- stderr
    note: all addresses of 68.99.26.170/32 were there already
    ");
    insta::assert_snapshot!(sandbox.check("floating list"), @"
    exit 0
    --- stdout
    None	68.99.26.170	None
    None	68.99.26.171	None
    ");
    insta::assert_snapshot!(sandbox.check("floating destroy my-hostname 68.99.26.170/31"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("floating list --format json"), @"
    exit 0
    --- stdout
    []
    ");
}

#[test]
fn reserved_addresses_are_listed_in_novas_columns() {
    let sandbox = Sandbox::new();
    flat(&sandbox);
    insta::assert_snapshot!(sandbox.check("fixed reserve 10.0.0.9 10.0.0.10"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("fixed unreserve 10.0.0.9"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("fixed list"), @"
    exit 0
    --- stdout
    network           	IP address     	MAC address      	hostname       	host
    10.0.0.0/24       	10.0.0.9       	None             	None           	None
    10.0.0.0/24       	10.0.0.10      	None             	None           	None
    ");
    insta::assert_snapshot!(sandbox.check("fixed list --format=table"), @"
    exit 0
    --- stdout
    network     IP address MAC address hostname host state
    10.0.0.0/24 10.0.0.9   None        None     None free
    10.0.0.0/24 10.0.0.10  None        None     None reserved
    ");
    assert_eq!(
        sandbox.check("fixed list --format plain"),
        sandbox.check("fixed list"),
        "without a terminal a list is plain"
    );
    insta::assert_snapshot!(sandbox.check("fixed list --format=csv"), @r#"
    exit 2
    --- stderr
    error: fixed list: format "csv": must be table, json or plain
    "#);
}

#[test]
fn instance_types_are_printed_as_nova_did() {
    let sandbox = Sandbox::new();
    let table = sandbox.check("instance_type list --format table");
    assert!(
        table.contains("name      memory MB vcpus disk GB flavor id\n"),
        "{table}"
    );
    insta::assert_snapshot!(sandbox.check("instance_type list"), @"
    exit 0
    --- stdout
    m1.tiny: Memory: 512MB, VCPUS: 1, Storage: 0GB, FlavorID: 1, Swap: 0MB, RXTX Quota: 0GB, RXTX Cap: 0MB
    m1.small: Memory: 2048MB, VCPUS: 1, Storage: 20GB, FlavorID: 2, Swap: 0MB, RXTX Quota: 0GB, RXTX Cap: 0MB
    m1.medium: Memory: 4096MB, VCPUS: 2, Storage: 40GB, FlavorID: 3, Swap: 0MB, RXTX Quota: 0GB, RXTX Cap: 0MB
    m1.large: Memory: 8192MB, VCPUS: 4, Storage: 80GB, FlavorID: 4, Swap: 0MB, RXTX Quota: 0GB, RXTX Cap: 0MB
    m1.xlarge: Memory: 16384MB, VCPUS: 8, Storage: 160GB, FlavorID: 5, Swap: 0MB, RXTX Quota: 0GB, RXTX Cap: 0MB
    ");
    insta::assert_snapshot!(sandbox.check("flavor list m9"), @r#"
    exit 1
    --- stderr
    error: instance type "m9": not known: there are m1.tiny, m1.small, m1.medium, m1.large, m1.xlarge
    "#);
}

#[test]
fn empty_lists_keep_their_titles() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.check("db sync"), "exit 0");
    for line in ["vm list", "service list", "host list", "image list"] {
        let text = sandbox.check(line);
        assert!(text.starts_with("exit 0\n--- stdout\n"), "{line}: {text}");
        assert_eq!(text.lines().count(), 3, "{line}: {text}");
        assert_eq!(
            sandbox.check(&format!("{line} --format json")),
            "exit 0\n--- stdout\n[]"
        );
    }
}

#[test]
fn the_database_is_made_checked_and_versioned() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.check("db version"), @"
    exit 1
    --- stderr
    error: no database in DIR (novanet up or nova-manage db sync makes one)
    ");
    insta::assert_snapshot!(sandbox.check("db sync"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("db check"), @"
    exit 0
    --- stdout
    0 rows planned, 0 host objects repaired
    ");
    let newest = sandbox.check("db version");
    let newest = newest.lines().last().unwrap();
    insta::assert_snapshot!(sandbox.check("db sync 7000").replace(&format!("knows {newest} "), "knows NEWEST "), @"
    exit 2
    --- stderr
    error: db sync: version 7000: this program knows NEWEST only: leave it out
    ");
    insta::assert_snapshot!(sandbox.check(&format!("db sync {newest}")), @"exit 0");
}

#[test]
fn the_binary_says_what_it_can_do() {
    let sandbox = Sandbox::new();
    let run = |args: &[&str]| show(&sandbox.command(args).output().unwrap(), sandbox.path());
    for applet in [
        "up",
        "server",
        "agent",
        "manage",
        "dhcpbridge",
        "euca",
        "image",
        "demo",
        "completion",
        "man",
    ] {
        let said = run(&[applet, "--help"]);
        assert!(said.starts_with("exit 0\n--- stdout\n"), "{said}");
        assert!(said.contains("\nExample:\n    "), "{applet}: {said}");
    }
    insta::assert_snapshot!(run(&[]), @"
    exit 2
    --- stderr
    usage: novanet COMMAND [argument …]

        up           a whole cloud on this host
        server       the EC2 API and the controllers (nova-api)
        agent        this host's networks and instances (nova-network, nova-compute)
        manage       the operator's command line (nova-manage)
        dhcpbridge   called by dnsmasq (nova-dhcpbridge)
        euca         a small EC2 client (euca-*)
        image        build and register images (nova-manage image)
        demo         the main job in a sandbox
        completion   shell completion for bash, zsh and fish
        man          man pages of all commands
        version      the version

    novanet COMMAND --help says more. Links named nova-manage, nova-api, nova-network,
    nova-compute, nova-dhcpbridge and euca-* do the same under the old names.

    Example:
        novanet up
    ");
    insta::assert_snapshot!(run(&["manege", "list"]), @"
    exit 2
    --- stderr
    error: novanet manege: no such command: did you mean manage?
    ");
    insta::assert_snapshot!(run(&["network", "list"]), @"
    exit 2
    --- stderr
    error: novanet network: no such command: did you mean novanet manage network list?
    ");
    insta::assert_snapshot!(run(&["version"]), @"
    exit 0
    --- stdout
    novanet 0.1.0
    ");
    for args in [
        &["--version"] as &[&str],
        &["up", "--version"],
        &["euca", "euca-describe-groups", "--version"],
        &["dhcpbridge", "--version"],
    ] {
        assert_eq!(run(args), run(&["version"]), "{args:?}");
    }
    assert_eq!(run(&["manage", "--version"]), run(&["manage", "version"]));
    assert_eq!(run(&["manage", "help"]), run(&["manage", "--help"]));
    assert_eq!(
        run(&["manage", "help", "network", "create"]),
        run(&["manage", "network", "create", "--help"])
    );
    insta::assert_snapshot!(run(&["dhcpbridge", "--help"]), @"
    exit 0
    --- stdout
    usage: novanet dhcpbridge add|old|del MAC ADDRESS [NAME]
       or: novanet dhcpbridge init

    Writes a lease event into this host's journal, or prints the leases that it holds. dnsmasq calls it,
    with NOVANET_LEASES, NOVANET_DHCP_HOSTS and NOVANET_BRIDGE in its environment.

    Example:
        novanet dhcpbridge add 02:16:3e:00:00:01 10.0.0.2 i-00000001
    ");
}
