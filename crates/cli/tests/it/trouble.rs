//! Faults show where an operator looks first.

use crate::check::Sandbox;

#[test]
fn rows_that_do_not_validate_and_what_is_not_in_force_show_beside_the_lists() {
    let sandbox = Sandbox::on_postgres();
    let check = |line: &str| sandbox.check(line);
    check("network create 10.0.0.0/24 1 256 --network_manager=FlatDHCPManager");
    let clean = check("service list");
    assert!(!clean.contains("stderr"), "{clean}");
    insta::assert_snapshot!(check("db check"), @"
    exit 0
    --- stdout
    1 rows planned, 0 host objects repaired
    --- stderr
    note: fixed_ips has no row for an address that was never handed out: SQL reserves none of those; nova-manage network modify NETWORK --reserve=ADDRESSES does
    ");
    let spoil = "UPDATE networks SET gateway = 'nonsense'; \
        INSERT INTO hosts (name, my_ip, roles, kinds, vcpus, memory_mb, program_version, \
        created_at, seen_at) VALUES ('node', '192.0.2.9', 'network', 'flatdhcp', 1, 1, '0', 0, 0); \
        INSERT INTO host_errors (host, object_key, message, since) \
        SELECT 'node', 'bridge/' || n, 'br' || n || ' is foreign', 0 FROM generate_series(10, 20) n \
        UNION ALL SELECT 'node', 'host/firewall/ip filter FORWARD', 'the chain drops all', 0";
    sandbox.psql(spoil);
    insta::assert_snapshot!(check("service list"), @r#"
    exit 0
    --- stdout
    Binary           Host                                 Zone             Status     State Updated_At
    nova-network     node                                 nova             enabled    XXX   DATE TIME
    --- stderr
    warning: host node: the chain drops all
    warning: host node: bridge/10 is not in force: br10 is foreign
    warning: host node: bridge/11 is not in force: br11 is foreign
    warning: host node: bridge/12 is not in force: br12 is foreign
    warning: host node: bridge/13 is not in force: br13 is foreign
    warning: host node: bridge/14 is not in force: br14 is foreign
    warning: host node: bridge/15 is not in force: br15 is foreign
    warning: host node: bridge/16 is not in force: br16 is foreign
    warning: host node: bridge/17 is not in force: br17 is foreign
    warning: host node: bridge/18 is not in force: br18 is foreign
    warning: host node: 2 more are not in force
    warning: network 1: gateway "nonsense": invalid IPv4 address syntax (hosts keep what they were told before: correct the row)
    "#);
    let lists = [
        "service list node",
        "service list --format json",
        "host list",
        "host list nova",
    ];
    for line in lists {
        let said = check(line);
        assert!(said.starts_with("exit 0\n--- stdout\n"), "{line}: {said}");
        let warnings = said.split_once("--- stderr\n").unwrap().1;
        assert_eq!(warnings.lines().count(), 12, "{line}: {said}");
        assert!(
            warnings.contains("warning: network 1: gateway \"nonsense\""),
            "{line}: {said}"
        );
    }
    let moved = check("host zone node rack-2");
    assert_eq!(moved, "exit 0");
    let listed = check("host list rack-2 --format json");
    assert!(listed.contains("\"zone\": \"rack-2\""), "{listed}");
    // Another zone's hosts are not asked for; rows belong to no zone.
    let elsewhere = check("host list mars");
    assert!(
        !elsewhere.contains("host node:") && elsewhere.contains("warning: network 1:"),
        "{elsewhere}"
    );
    insta::assert_snapshot!(check("db check"), @r#"
    exit 1
    --- stdout
    1 rows planned, 0 host objects repaired
    --- stderr
    note: fixed_ips has no row for an address that was never handed out: SQL reserves none of those; nova-manage network modify NETWORK --reserve=ADDRESSES does
    error: network 1: gateway "nonsense": invalid IPv4 address syntax (hosts keep what they were told before: correct the row)
    "#);
    sandbox.psql("UPDATE networks SET gateway = '10.0.0.1'");
    insta::assert_snapshot!(check("db check"), @"
    exit 0
    --- stdout
    1 rows planned, 0 host objects repaired
    --- stderr
    note: fixed_ips has no row for an address that was never handed out: SQL reserves none of those; nova-manage network modify NETWORK --reserve=ADDRESSES does
    ");
}

#[test]
fn a_move_that_was_undone_is_confirmed_by_command_and_nothing_else_is() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.check("host confirm"), @"
    exit 1
    --- stderr
    error: no interface waits for a confirmation on this host
    ");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let folder = sandbox.path().join("links");
    std::fs::create_dir_all(&folder).unwrap();
    let record = |stage: &str, boot: &str| {
        format!(
            r#"{{"bridge":"br100","boot":"{}","stage":"{stage}"}}"#,
            boot.trim()
        )
    };
    let file = folder.join("confirm-eth1.json");
    std::fs::write(
        folder.join("confirm-eth2.json"),
        record("undone", "an earlier"),
    )
    .unwrap();
    std::fs::write(&file, record("undone", &boot)).unwrap();
    insta::assert_snapshot!(sandbox.check("host confirm eth2"), @"
    exit 1
    --- stderr
    error: interface eth2: does not wait for a confirmation on this host
    ");
    insta::assert_snapshot!(sandbox.check("host confirm"), @"
    exit 0
    --- stdout
    interface eth1: confirmed
    ");
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        record("confirmed", &boot)
    );
    assert_eq!(sandbox.manage("host confirm eth/1").status.code(), Some(2));
}
