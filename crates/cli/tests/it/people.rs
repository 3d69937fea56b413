//! Users, projects, members, roles and zones: rights, and the placement of hosts.

use crate::check::Sandbox;
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
    error: user john: manages project web (delete that first)
    ");
    insta::assert_snapshot!(sandbox.check("project delete web"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("user delete john"), @"exit 0");
    insta::assert_snapshot!(sandbox.check("user list"), @"exit 0");
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
    DATE TIME UTC  operator     cli             None         user.delete              john
    ");
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
