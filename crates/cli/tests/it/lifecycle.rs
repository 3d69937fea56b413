//! A network from creation to scrub with `nova-manage`, without a server: what is changed, what a
//! dry run says, what is refused.

use crate::check::Sandbox;

/// A cloud with a VLAN network of project web, and one without a project.
fn cloud() -> Sandbox {
    let sandbox = Sandbox::new();
    for line in [
        "user admin ann",
        "project create web ann",
        "network create 10.1.171.0/24 1 256 --project_id web",
        "network create 10.1.172.0/24 1 256 --label spare",
    ] {
        let made = sandbox.manage(line);
        assert!(made.status.success(), "{line}: {made:?}");
    }
    sandbox
}

#[test]
fn modify_changes_what_it_names_and_nothing_else() {
    let sandbox = cloud();
    let before = sandbox.check("network show 1");
    insta::assert_snapshot!(sandbox.check("network modify 1 --vlan=200 --gateway=10.1.171.254 --dns=192.0.2.1,192.0.2.2 --reserve=10.1.171.8/30,10.1.171.20 --label=shop"), @"
    exit 0
    --- stderr
    note: instances learn it with their next lease (within 120 s) or reboot; until then those without the new gateway reach their own network only
    ");
    insta::assert_snapshot!(sandbox.check("network show shop"), @"
    exit 0
    --- stdout
    bridge:              br200
    bridge_interface:    None
    cidr:                10.1.171.0/24
    dhcp_options:        None
    dhcp_server:         None
    dhcp_start:          10.1.171.3
    dns:                 192.0.2.1, 192.0.2.2
    domain:              None
    free:                246
    gateway:             10.1.171.254
    host:                None
    id:                  1
    injected:            false
    kind:                vlan
    label:               shop
    mtu:                 None
    multi_host:          false
    project:             web
    snat:                true
    subnet:              subnet-00000001
    used:                0
    uuid:                UUID
    vlan:                200
    vpn_private_address: 10.1.171.2
    vpn_public_address:  None
    vpn_public_port:     1000
    ");
    let back = "network modify 1 --vlan=100 --gateway=10.1.171.1 --dns=none \
         --unreserve=10.1.171.8-10.1.171.11,10.1.171.20 --label=private";
    assert_eq!(sandbox.check(back).lines().next(), Some("exit 0"));
    let restored = sandbox.check("network show 1");
    assert_eq!(restored, before);
}

#[test]
fn modify_names_the_wrong_argument() {
    let sandbox = cloud();
    insta::assert_snapshot!(sandbox.check("network modify 1"), @"
    exit 2
    --- stderr
    error: network modify: say what is to be changed, such as --vlan=ID or --host=NAME (nova-manage network modify --help lists all; nova-manage project scrub PROJECT takes a project's networks from it)
    ");
    insta::assert_snapshot!(sandbox.check("network modify 1 --vlan=101"), @r#"
    exit 1
    --- stderr
    error: vlan "101": is already in use by network 2 (spare): choose another, or leave it out for the next free one
    "#);
    insta::assert_snapshot!(sandbox.check("network modify 1 --reserve=10.1.171.9-10.1.171.3"), @r#"
    exit 2
    --- stderr
    error: network modify: reserve "10.1.171.9-10.1.171.3": ends before it begins
    "#);
    insta::assert_snapshot!(sandbox.check("network modify 1 --reserve=10.0.0.0/8"), @r#"
    exit 2
    --- stderr
    error: network modify: reserve "10.0.0.0/8": at most 4096 addresses at once
    "#);
    insta::assert_snapshot!(sandbox.check("network modify 1 --dns=ns1"), @r#"
    exit 2
    --- stderr
    error: network modify: dns "ns1": must be an IPv4 address, or several with commas, or none
    "#);
}

#[test]
fn a_dry_run_says_what_blocks_and_changes_nothing() {
    let sandbox = cloud();
    let before = sandbox.check("network list");
    insta::assert_snapshot!(sandbox.check("network delete 1 --dry-run"), @"
    exit 0
    --- stdout
    step  action  host            object                 detail
    -     blocks  -               project web            owns it (scrub it first: nova-manage project scrub web)
    ");
    insta::assert_snapshot!(sandbox.check("network delete 1 --dry-run --format=json"), @r#"
    exit 0
    --- stdout
    [
      {
        "step": null,
        "action": "blocks",
        "host": null,
        "object": "project web",
        "detail": "owns it (scrub it first: nova-manage project scrub web)"
      }
    ]
    "#);
    insta::assert_snapshot!(sandbox.check("project scrub ghost --dry-run"), @"
    exit 1
    --- stderr
    error: project ghost not found
    ");
    assert_eq!(sandbox.check("network list"), before);
    insta::assert_snapshot!(sandbox.check("project scrub web --terminate-instances"), @"
    exit 0
    --- stdout
    network 10.1.171.0/24: is nobody's now
    ");
}
