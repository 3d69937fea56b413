//! nova.conf from files, the environment and the command line.

use crate::check::{Sandbox, show};
use std::fs;

#[test]
fn every_slip_in_nova_conf_is_reported_at_once_with_file_and_line() {
    let sandbox = Sandbox::new();
    fs::write(
        sandbox.path().join("nova.conf"),
        "--usr_project_ca\n--cnt_vpn_clients=5\n--vlan_intreface=eth1\n[DEFAULT]\nmy_ip = 10.0.0\n",
    )
    .unwrap();
    insta::assert_snapshot!(sandbox.check("--flagfile=nova.conf network list"), @r#"
    exit 1
    --- stderr
    error: nova.conf:1: unknown flag usr_project_ca: did you mean use_project_ca?
    error: nova.conf:3: unknown flag vlan_intreface: did you mean vlan_interface?
    error: nova.conf:5: flag my_ip "10.0.0": must be an IPv4 address
    "#);
}

#[test]
fn the_command_line_wins_over_the_file_over_the_environment() {
    let sandbox = Sandbox::new();
    fs::write(
        sandbox.path().join("nova.conf"),
        "--vlan_start=200\n--flagfile=more.conf\n",
    )
    .unwrap();
    fs::write(
        sandbox.path().join("more.conf"),
        "[DEFAULT]\nvpn_start = 2000\nshare_dhcp_address = true\n",
    )
    .unwrap();
    let args = [
        "manage",
        "--flagfile=nova.conf",
        "config",
        "list",
        "--format=table",
        "--network_size=64",
    ];
    let output = sandbox
        .command(&args)
        .env("NOVANET_VLAN_START", "300")
        .env("NOVANET_PUBLIC_INTERFACE", "eth9")
        .output()
        .unwrap();
    let text = show(&output, sandbox.path());
    let given: Vec<&str> = text.lines().filter(|l| !l.ends_with("(default)")).collect();
    insta::assert_snapshot!(given.join("\n"), @"
    exit 0
    --- stdout
    state_path = DIR  (environment NOVANET_STATE_PATH)
    host = cloud1  (environment NOVANET_HOST)
    my_ip = 192.0.2.7  (environment NOVANET_MY_IP)
    vlan_start = 200  (nova.conf:1)
    network_size = 64  (command line)
    public_interface = eth9  (environment NOVANET_PUBLIC_INTERFACE)
    vpn_start = 2000  (more.conf:2)
    --- stderr
    warning: more.conf:3: flag share_dhcp_address has no effect: not built yet
    ");
}

#[test]
fn a_flag_file_that_is_not_there_is_named() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.check("--flagfile=absent.conf network list"), @"
    exit 1
    --- stderr
    error: flag file absent.conf: No such file or directory (os error 2): give another with --flagfile=FILE, or none with --flagfile=
    ");
    fs::write(sandbox.path().join("a.conf"), "--flagfile=a.conf\n").unwrap();
    insta::assert_snapshot!(sandbox.check("--flagfile=a.conf network list"), @"
    exit 1
    --- stderr
    error: a.conf:1: flag file a.conf: includes itself
    ");
}

#[test]
fn a_file_that_is_missing_inside_another_hides_no_other_mistake() {
    let sandbox = Sandbox::new();
    fs::write(
        sandbox.path().join("nova.conf"),
        "--usr_project_ca\n--flagfile=more.conf\n--flagfile=/nonexistent\nuse_ipv6 = maybe\nnonsense\n--my_ip=1\n",
    )
    .unwrap();
    fs::write(sandbox.path().join("more.conf"), "--vlan_start=0\n").unwrap();
    insta::assert_snapshot!(sandbox.check("--flagfile=nova.conf network list --vlan_intreface=eth1"), @"
    exit 2
    --- stderr
    error: network list: unknown option --vlan_intreface: did you mean --vlan_interface?
    ");
    insta::assert_snapshot!(sandbox.check("--usr_project_ca network list"), @"
    exit 2
    --- stderr
    error: network list: unknown option --usr_project_ca: did you mean --use_project_ca?
    ");
    insta::assert_snapshot!(sandbox.check("--flagfile=nova.conf network list --vlan_start=0"), @r#"
    exit 1
    --- stderr
    error: nova.conf:1: unknown flag usr_project_ca: did you mean use_project_ca?
    error: nova.conf:3: flag file /nonexistent: No such file or directory (os error 2): correct the path or take the line out
    error: nova.conf:4: flag use_ipv6 "maybe": must be true or false
    error: nova.conf:5: "nonsense" is not a flag: write --flag=value or flag = value
    error: nova.conf:6: flag my_ip "1": must be an IPv4 address
    error: flag vlan_start "0": must be a number from 1 to 4094
    "#);
}

#[test]
fn a_flag_of_another_program_in_nova_conf_stops_no_command() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.check("db sync"), "exit 0");
    fs::write(
        sandbox.path().join("nova.conf"),
        "--ec2_url=http://192.0.2.7:8773/services/Cloud\nFAKE_subdomain=ec2\n",
    )
    .unwrap();
    insta::assert_snapshot!(sandbox.check("--flagfile=nova.conf user list"), @"
    exit 0
    --- stderr
    warning: nova.conf:1: not used: unknown flag ec2_url: nova-manage config list shows all of them
    warning: nova.conf:2: not used: unknown flag FAKE_subdomain: nova-manage config list shows all of them
    ");
    insta::assert_snapshot!(sandbox.check("--ec2_url=x user list"), @"
    exit 2
    --- stderr
    error: user list: unknown option --ec2_url: --help shows what there is
    ");
}

#[test]
fn config_list_works_with_a_broken_nova_conf_and_shows_what_is_wrong() {
    let sandbox = Sandbox::new();
    fs::write(
        sandbox.path().join("nova.conf"),
        "--vlan_start=0\n--usr_project_ca\n--vpn_start=$vlan_start\nnonsense\n--flagfile=/absent\n--my_ip=10.0.0.1\n",
    )
    .unwrap();
    let said = sandbox.check("--flagfile=nova.conf config list --noverbose --format table");
    let given: Vec<&str> = said.lines().filter(|l| !l.ends_with("(default)")).collect();
    insta::assert_snapshot!(given.join("\n"), @r#"
    exit 0
    --- stdout
    state_path = DIR  (environment NOVANET_STATE_PATH)
    host = cloud1  (environment NOVANET_HOST)
    my_ip = 10.0.0.1  (nova.conf:6)
    verbose = false  (command line)
    --- stderr
    error: nova.conf:1: flag vlan_start "0": must be a number from 1 to 4094
    error: nova.conf:2: unknown flag usr_project_ca: did you mean use_project_ca?
    error: nova.conf:3: flag vpn_start "0": must be a number from 1 to 65535
    error: nova.conf:4: "nonsense" is not a flag: write --flag=value or flag = value
    error: nova.conf:5: flag file /absent: No such file or directory (os error 2): correct the path or take the line out
    "#);
    let json = sandbox.manage("--flagfile=nova.conf config list --format json");
    let rows: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(rows.as_array().unwrap().len() > 50);
    insta::assert_snapshot!(sandbox.check("config list --vlan_start=0"), @r#"
    exit 2
    --- stderr
    error: flag vlan_start "0": must be a number from 1 to 4094
    "#);
}

#[test]
fn config_list_shows_what_the_running_service_has() {
    let sandbox = Sandbox::new();
    let server = crate::euca::Server::start(&sandbox);
    let said = novanet_lab::eventually(std::time::Duration::from_secs(20), || {
        let said = sandbox.check("config list --format table");
        let shown = said.contains("novanet server (pid");
        shown.then_some(said).ok_or("not yet")
    })
    .unwrap();
    let mut lines = said.lines();
    assert!(
        lines.any(|l| l == "ec2_listen_port = 8773  (default)"),
        "{said}"
    );
    let line = lines.next().unwrap();
    let port = format!("runs with \"{}\"  (command line)", server.port);
    assert!(
        line.starts_with("    novanet server (pid ") && line.ends_with(&port),
        "{line}"
    );
    drop(server);
    let said = sandbox.check("config list --format table");
    assert!(!said.contains("runs with"), "{said}");
}

#[test]
fn flags_without_effect_take_their_value_either_way() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.check("db sync"), "exit 0");
    let line = "--rabbit_host mq --ca_path /ca --fake_network --nouse_ipv6 user list";
    insta::assert_snapshot!(sandbox.check(line), @"exit 0");
}

#[test]
fn a_password_is_not_shown() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .manage("config list --format table --sql_connection=postgresql://nova:s3cret@db/nova");
    let text = show(&output, sandbox.path());
    assert!(
        text.contains("sql_connection = postgresql://nova:***@db/nova  (command line)"),
        "{text}"
    );
    assert!(!text.contains("s3cret"), "{text}");
    let plain = sandbox.check("config list --sql_connection=postgresql://nova:s3cret@db/nova");
    let line = "\nsql_connection = postgresql://nova:***@db/nova\n";
    assert!(plain.contains(line), "nova printed name and value: {plain}");
    let second = "config list --format json --sql_connection=postgresql://u:pw1@h/x?password=pw2";
    let text = show(&sandbox.manage(second), sandbox.path());
    assert!(text.contains("u:***@h/x?password=***"), "{text}");
    assert!(!text.contains("pw1") && !text.contains("pw2"), "{text}");
}
