//! Users, projects, members, roles and zones: rights, and the placement of hosts.

use crate::check::{Sandbox, show};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn roles_are_given_asked_for_and_taken_as_in_nova() {
    let sandbox = Sandbox::new();
    for line in [
        "user create boss",
        "user create joe",
        "project create web boss",
    ] {
        assert!(sandbox.manage(line).status.success(), "{line}");
    }
    insta::assert_snapshot!(sandbox.check("role add joe netadmin web"), @"
    exit 1
    --- stderr
    error: user joe: is no member of project web (add it: nova-manage project add web joe)
    ");
    insta::assert_snapshot!(sandbox.check("project add web joe"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("role add joe sysadmin"), @"
    exit 0
    --- stderr
    note: the role sysadmin counts in the projects where user joe has it, too: nova-manage role add joe sysadmin PROJECT
    ");
    insta::assert_snapshot!(sandbox.check("role remove joe sysadmin"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("role add joe netadmin web"), @"
    exit 0
    --- stderr
    note: the role netadmin counts in project web when user joe has it in all projects, too: nova-manage role add joe netadmin
    ");
    insta::assert_snapshot!(sandbox.check("role has joe netadmin web"), @"
    exit 0
    --- stdout
    False
    ");
    insta::assert_snapshot!(sandbox.check("role add joe netadmin"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("role has joe netadmin web"), @"
    exit 0
    --- stdout
    True
    ");
    insta::assert_snapshot!(sandbox.check("role has joe sysadmin"), @"
    exit 0
    --- stdout
    False
    ");
    insta::assert_snapshot!(sandbox.check("role list"), @"
    exit 0
    --- stdout
    user                	role        	project
    joe                 	netadmin    	None
    joe                 	netadmin    	web
    ");
    insta::assert_snapshot!(sandbox.check("role remove joe netadmin"), @"
    exit 0
    --- stderr
    note: user joe was given the role netadmin in project web, too: without the one in all projects it does not count (nova-manage role remove joe netadmin web)
    ");
    insta::assert_snapshot!(sandbox.check("role list joe --format json"), @r#"
    exit 0
    --- stdout
    [
      {
        "user": "joe",
        "role": "netadmin",
        "project": "web"
      }
    ]
    "#);
    insta::assert_snapshot!(sandbox.check("role add joe king"), @r#"
    exit 2
    --- stderr
    error: role "king": must be one of cloudadmin, itsec, sysadmin, netadmin, developer
    "#);
    insta::assert_snapshot!(sandbox.check("project remove web boss"), @"
    exit 1
    --- stderr
    error: user boss: manages project web
    ");
    insta::assert_snapshot!(sandbox.check("project remove web joe"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("role list"), @"
    exit 0
    --- stdout
    user                	role        	project
    ");
    insta::assert_snapshot!(sandbox.check("audit list joe"), @"
    exit 0
    --- stdout
    when                     who          from            project      what                     which                detail
    DATE TIME UTC  operator     cli             None         user.create              joe
    DATE TIME UTC  operator     cli             web          project.add              joe
    DATE TIME UTC  operator     cli             None         role.add                 joe                  sysadmin
    DATE TIME UTC  operator     cli             None         role.remove              joe                  sysadmin
    DATE TIME UTC  operator     cli             web          role.add                 joe                  netadmin
    DATE TIME UTC  operator     cli             None         role.add                 joe                  netadmin
    DATE TIME UTC  operator     cli             None         role.remove              joe                  netadmin
    DATE TIME UTC  operator     cli             web          project.remove           joe
    ");
}

#[test]
fn a_host_is_put_into_a_zone_when_there_is_such_a_host() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.check("host zone node rack-2"), @"
    exit 1
    --- stderr
    error: host node not found
    ");
    insta::assert_snapshot!(sandbox.check("host zone node"), @"
    exit 2
    --- stderr
    error: host zone: zone is missing: where new instances find it
    ");
}

#[test]
fn users_and_projects_live_and_go() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.check("user admin john myaccess mysecret"), @"
    exit 0
    --- stdout
    export EC2_ACCESS_KEY=myaccess
    export EC2_SECRET_KEY=mysecret
    ");
    insta::assert_snapshot!(sandbox.check("user exports john"), @"
    exit 0
    --- stdout
    export EC2_ACCESS_KEY=myaccess
    export EC2_SECRET_KEY=mysecret
    ");
    insta::assert_snapshot!(sandbox.check("user create john"), @"
    exit 1
    --- stderr
    error: user john already exists
    ");
    insta::assert_snapshot!(sandbox.check("user create ann onlyaccess"), @"
    exit 2
    --- stderr
    error: user: give both access and secret, or neither for new random ones
    ");
    insta::assert_snapshot!(sandbox.check("project create web john shop"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("project list john --format json"), @r#"
    exit 0
    --- stdout
    [
      {
        "name": "web",
        "manager": "john",
        "description": "shop"
      }
    ]
    "#);
    insta::assert_snapshot!(sandbox.check("user delete john"), @"
    exit 1
    --- stderr
    error: user john: the cloud has no other administrator (make one first: nova-manage user admin NAME); also project web
    ");
    insta::assert_snapshot!(sandbox.check("user delete john --dry-run"), @"
    exit 0
    --- stdout
    step  action  host            object                 detail
    -     blocks  -               the cloud              has no other administrator (make one first: nova-manage user admin NAME)
    -     blocks  -               project web            is managed by it (delete the project first, or give it another manager: nova-manage project modify web USER)
    1     remove  -               membership             of user john in project web
    2     remove  -               user john              access key myaccess
    ");
    insta::assert_snapshot!(sandbox.check("project delete web --dry-run"), @"
    exit 0
    --- stdout
    step  action  host            object                 detail
    1     remove  -               membership             of user john in project web
    2     remove  -               rule 1                 -1 from sg-00000001 of group default
    3     remove  -               security group default sg-00000001
    4     remove  -               project web            managed by john
    ");
    insta::assert_snapshot!(sandbox.check("project delete web"), @"exit 0");
    assert!(sandbox.manage("user admin root").status.success());
    insta::assert_snapshot!(sandbox.check("user delete john"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("user list"), @"
    exit 0
    --- stdout
    root
    ");
    let table = sandbox.check("user list --format table");
    assert!(
        table.starts_with("exit 0\n--- stdout\nname admin access\nroot yes   "),
        "{table}"
    );
    insta::assert_snapshot!(sandbox.check("audit list"), @"
    exit 0
    --- stdout
    when                     who          from            project      what                     which                detail
    DATE TIME UTC  operator     cli             None         user.create              john
    DATE TIME UTC  operator     cli             web          project.create           web                  john
    DATE TIME UTC  operator     cli             web          security_group.create    sg-00000001          default
    DATE TIME UTC  operator     cli             web          security_group.authorize sg-00000001          -1 from sg-00000001
    DATE TIME UTC  operator     cli             web          security_group.delete    sg-00000001          default
    DATE TIME UTC  operator     cli             None         project.delete           web
    DATE TIME UTC  operator     cli             None         user.create              root
    DATE TIME UTC  operator     cli             None         user.delete              john
    ");
}

#[test]
fn a_name_that_is_no_file_name_is_refused_by_name_in_every_command() {
    let sandbox = Sandbox::new();
    let rule = "must be 1 to 64 letters, digits, '_', '-' or '.', and not start with '-' or '.'";
    for (command, param) in [
        (&["user", "create"][..], "name"),
        (&["user", "admin"], "name"),
        (&["user", "delete"], "name"),
        (&["role", "list"], "user"),
        (&["project", "create", "web"], "manager"),
        (&["project", "add", "web"], "user"),
        (&["project", "zipfile", "web"], "user"),
        (&["project", "list"], "user"),
    ] {
        for bad in ["../etc", "a\nb", "..", "a b"] {
            let args = [&["manage"], command, &[bad]].concat();
            let output = sandbox.command(&args).output().unwrap();
            let text = show(&output, sandbox.path());
            let command = command[..2].join(" ");
            let wanted = format!("exit 2\n--- stderr\nerror: {command}: {param} {bad:?}: {rule}");
            assert_eq!(text, wanted);
        }
    }
    let nothing = std::fs::read_dir(sandbox.path()).unwrap().count();
    assert_eq!(nothing, 0, "nothing was made");
}

#[test]
fn a_lost_key_file_is_not_replaced_by_another() {
    let sandbox = Sandbox::new();
    assert!(sandbox.manage("user admin john").status.success());
    let key = sandbox.path().join("secret.key");
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    insta::assert_snapshot!(sandbox.check("user exports john"), @"
    exit 1
    --- stderr
    error: key file DIR/secret.key: can be read by others: chmod 600 DIR/secret.key
    ");
    fs::write(&key, "this is no key\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    insta::assert_snapshot!(sandbox.check("user exports john"), @"
    exit 1
    --- stderr
    error: key file DIR/secret.key: does not start with novanet-key-1: bring the right one back from a backup
    ");
    fs::remove_file(&key).unwrap();
    insta::assert_snapshot!(sandbox.check("user create ann"), @"
    exit 1
    --- stderr
    error: key file DIR/secret.key: is missing, and the database has secrets sealed with it: bring it back from a backup
    ");
}

#[test]
fn a_users_keys_and_rights_change_and_old_keys_are_gone() {
    let sandbox = Sandbox::new();
    for line in [
        "user create john myaccess mysecret",
        "user create joe joes joes",
    ] {
        assert!(sandbox.manage(line).status.success(), "{line}");
    }
    insta::assert_snapshot!(sandbox.check("user modify john newaccess newsecret T"), @"
    exit 0
    --- stdout
    export EC2_ACCESS_KEY=newaccess
    export EC2_SECRET_KEY=newsecret
    ");
    insta::assert_snapshot!(sandbox.check("user modify john --admin=F"), @"
    exit 0
    --- stdout
    export EC2_ACCESS_KEY=newaccess
    export EC2_SECRET_KEY=newsecret
    --- stderr
    note: no user is an administrator now: nova-manage user admin NAME makes one
    ");
    insta::assert_snapshot!(sandbox.check("user list --format json"), @r#"
    exit 0
    --- stdout
    [
      {
        "name": "joe",
        "admin": false,
        "access": "joes"
      },
      {
        "name": "john",
        "admin": false,
        "access": "newaccess"
      }
    ]
    "#);
    insta::assert_snapshot!(sandbox.check("user modify john joes"), @"
    exit 1
    --- stderr
    error: user john: the access key belongs to another user
    ");
    insta::assert_snapshot!(sandbox.check("user modify john"), @"
    exit 2
    --- stderr
    error: user modify: nothing to change: give access, secret or admin
    ");
    insta::assert_snapshot!(sandbox.check("user modify jim --admin"), @"
    exit 1
    --- stderr
    error: user jim not found
    ");
    let rotated = sandbox.check("user rotate john");
    assert!(
        rotated.starts_with("exit 0\n--- stdout\nexport EC2_ACCESS_KEY="),
        "{rotated}"
    );
    assert!(
        !rotated.contains("newaccess") && !rotated.contains("newsecret"),
        "{rotated}"
    );
    assert_eq!(sandbox.check("user exports john"), rotated);
}

#[test]
fn a_projects_quota_is_shown_with_what_is_in_use_and_set_by_its_exact_name() {
    let sandbox = Sandbox::new();
    for line in [
        "user create john",
        "user create joe",
        "project create web john",
    ] {
        assert!(sandbox.manage(line).status.success(), "{line}");
    }
    insta::assert_snapshot!(sandbox.check("--quota_cores=7 project quota web floating_ips 3"), @"
    exit 0
    --- stdout
    instances: 10
    cores: 7
    ram: 51200
    fixed_ips: unlimited
    floating_ips: 3
    security_groups: 10
    security_group_rules: 20
    key_pairs: 100
    ");
    insta::assert_snapshot!(sandbox.check("--quota_cores=7 project quota web --format table"), @"
    exit 0
    --- stdout
    Quota                Limit     In Use
    instances            10        0
    cores                7         0
    ram                  51200     0
    fixed_ips            unlimited 0
    floating_ips         3         0
    security_groups      10        1
    security_group_rules 20        1
    key_pairs            100       0
    ");
    let json = sandbox.check("proj quota --project=web --key=ram --value=unlimited --format json");
    assert!(
        json.contains(
            r#""quota": "ram",
    "limit": null,
    "used": 0,
    "own": true"#
        ),
        "{json}"
    );
    insta::assert_snapshot!(sandbox.check("project quota web floating_ip 9"), @r#"
    exit 2
    --- stderr
    error: project quota: key "floating_ip": must be one of instances, cores, ram, fixed_ips, floating_ips, security_groups, security_group_rules, key_pairs (did you mean floating_ips?)
    "#);
    insta::assert_snapshot!(sandbox.check("project quota web cores many"), @r#"
    exit 2
    --- stderr
    error: project quota: value "many": must be a number from 0 to 1000000000, or unlimited
    "#);
    insta::assert_snapshot!(sandbox.check("project quota web cores"), @"
    exit 2
    --- stderr
    error: project quota: value: is missing: the new limit of cores, or unlimited
    ");
    insta::assert_snapshot!(sandbox.check("project quota shop"), @"
    exit 1
    --- stderr
    error: project shop not found
    ");
    insta::assert_snapshot!(sandbox.check("project modify web joe books"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("project list --format table"), @"
    exit 0
    --- stdout
    name manager description
    web  joe     books
    ");
    insta::assert_snapshot!(sandbox.check("project list joe --format json"), @r#"
    exit 0
    --- stdout
    [
      {
        "name": "web",
        "manager": "joe",
        "description": "books"
      }
    ]
    "#);
    insta::assert_snapshot!(sandbox.check("project modify web jim"), @"
    exit 1
    --- stderr
    error: user jim not found
    ");
}
