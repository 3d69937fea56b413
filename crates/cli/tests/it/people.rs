//! Members, roles and zones: who may do what, and where hosts stand.

use crate::check::Sandbox;

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
    insta::assert_snapshot!(sandbox.check("role add joe netadmin web"), @"exit 0");
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
    note: user joe has the role netadmin in project web still
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
    when (UTC)           who          from            project      what                     which                detail
    DATE TIME  operator     cli             None         user.create              joe
    DATE TIME  operator     cli             web          project.add              joe
    DATE TIME  operator     cli             web          role.add                 joe                  netadmin
    DATE TIME  operator     cli             None         role.add                 joe                  netadmin
    DATE TIME  operator     cli             None         role.remove              joe                  netadmin
    DATE TIME  operator     cli             web          project.remove           joe
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
