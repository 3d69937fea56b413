//! nova's commands that are not here.

use super::check;

#[test]
fn every_command_of_nova_is_there_or_says_what_does_it_instead() {
    let novas = [
        (
            "account",
            "add create modify delete environment list quota remove scrub zipfile",
        ),
        ("agent", "create delete list modify"),
        ("config", "list"),
        ("api_db", "sync version"),
        ("cell", "create delete list"),
        ("db", "sync version"),
        ("drive", "list"),
        ("fixed", "list reserve unreserve"),
        ("flavor", "create delete list"),
        ("floating", "create delete list destroy"),
        ("host", "list"),
        (
            "image",
            "all_register image_register kernel_register ramdisk_register convert",
        ),
        ("instance_type", "create delete list"),
        ("logs", "errors syslog"),
        ("network", "create list quantum_list delete modify"),
        (
            "project",
            "add create modify delete environment list quota remove scrub zipfile",
        ),
        ("role", "add has remove"),
        ("sm", "flavor_create flavor_list backend_add backend_list"),
        (
            "service",
            "list enable disable describe_resource update_resource",
        ),
        ("shell", "bpython ipython python run script export"),
        ("user", "admin create delete exports list modify revoke"),
        ("version", "list"),
        ("vm", "list live_migration block_migration"),
        ("volume", "delete reattach"),
        ("vpn", "list run spawn change"),
        ("vsa", "list"),
    ];
    for (category, actions) in novas {
        for action in actions.split(' ') {
            let said = check(&format!("{category} {action} --help"));
            let known = said.starts_with("usage: ");
            let instead = said.contains(": not built yet: ") || said.contains(": not here");
            assert!(known || instead, "{category} {action}: {said}");
            if !known {
                assert_eq!(said.lines().count(), 2, "code and one line: {said}");
            }
        }
    }
    // The order by place of 2011.3 for all that is here, as scripts have it.
    for line in [
        "user admin root access secret",
        "user create joe access secret",
        "user modify joe access secret T",
        "role add joe netadmin web",
        "role has joe netadmin web",
        "role remove joe netadmin web",
        "project add web joe",
        "account create web joe shop",
        "project modify web joe shop",
        "project environment web joe novarc",
        "project list joe",
        "project quota web cores unlimited",
        "project remove web joe",
        "project zipfile web joe -",
        "network create private 10.0.0.0/8 1 256 F 100 1000 \"\" \"\" br100 eth1 8.8.4.4 9.9.9.9 web 0 u",
        "network modify 10.0.0.0/24 --project=web --host=node1",
        "network modify 10.0.0.0/24 --disassociate-project",
        "fixed list node1",
        "fixed reserve 10.0.0.9",
        "fixed unreserve 10.0.0.9",
        "floating create --ip_range=68.99.26.170/31",
        "floating delete 68.99.26.170/31",
        "floating list node1",
        "vm list node1",
        "service list node1 nova-compute",
        "service enable node1 nova-compute",
        "service disable node1 nova-compute",
        "host list nova",
        "db sync 1",
        "db version",
        "flavor list m1.tiny",
        "config list",
        "version list",
    ] {
        let said = check(line);
        assert!(!said.starts_with("exit"), "{line}: {said}");
    }
    insta::assert_snapshot!(check("vpn run web john"), @r#"Vpn(Run { project: ProjectId("web"), user: Some("john") })"#);
    insta::assert_snapshot!(check("shell"), @"
    exit 2
    error: shell: not here, as there is no Python inside: every command takes --format json for scripts, and docs/schema.md describes the tables
    ");
    insta::assert_snapshot!(check("network modify 10.0.0.0/24 --disassociate-host"), @"
    exit 2
    error: network modify: disassociate_host: not here, as a network always has a gateway: --host=NAME gives it to another host
    ");
    insta::assert_snapshot!(check("service describe_resource node1"), @"
    exit 2
    error: service describe_resource: not built yet: nova-manage host list --format json says what a host is
    ");
}
