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
        }
    }
    insta::assert_snapshot!(check("vpn run web john"), @"
    exit 2
    error: vpn: not built yet: there is no Cloudpipe VPN; a floating IP leads to an instance from outside
    ");
    insta::assert_snapshot!(check("shell"), @"
    exit 2
    error: shell: not here, as there is no Python inside: every command takes --format json for scripts, and docs/schema.md describes the tables
    ");
    insta::assert_snapshot!(check("service enable node1 nova-compute"), @"
    exit 2
    error: service enable: not built yet: a host whose agent is stopped gets no new instances, and what runs there goes on; nova-manage host zone HOST ZONE takes one out of a zone
    ");
}
