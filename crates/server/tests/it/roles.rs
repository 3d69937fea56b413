//! Which role may call which action: every action, by users with every combination of roles, in
//! their own project and in another one; `DryRun` has to give the same answer.

use crate::connection::{Connection, inner};
use crate::world::World;
use anyhow::Result;
use novanet_ec2::Action;
use novanet_ec2::client::{Credentials, Endpoint, RequestBuilder};
use std::collections::BTreeSet;

/// Who may call an action, by nova's table of 2011.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Members of the project.
    Nothing,
    SysAdmin,
    NetAdmin,
}
use Needs::{NetAdmin, Nothing, SysAdmin};

/// Names and values of parameters.
type Params = &'static [(&'static str, &'static str)];

const INSTANCE: Params = &[("InstanceId.1", "i-00000099")];
const ADDRESS: Params = &[("PublicIp", "192.0.2.1")];
const RULE: Params = &[
    ("GroupName", "nowhere"),
    ("IpProtocol", "tcp"),
    ("FromPort", "22"),
    ("ToPort", "22"),
    ("CidrIp", "0.0.0.0/0"),
];

/// The actions with parameters that name nothing that there is: a caller that may call them hears
/// of that. `DescribeInstanceAttribute` is there twice, as user data is secret.
const TABLE: &[(&str, Needs, Params)] = &[
    (
        "RunInstances",
        SysAdmin,
        &[("ImageId", "ami-00000099"), ("InstanceType", "m1.tiny")],
    ),
    ("StartInstances", SysAdmin, INSTANCE),
    ("StopInstances", SysAdmin, INSTANCE),
    ("RebootInstances", SysAdmin, INSTANCE),
    ("TerminateInstances", SysAdmin, INSTANCE),
    ("GetConsoleOutput", SysAdmin, INSTANCE),
    (
        "DescribeInstanceAttribute",
        SysAdmin,
        &[("InstanceId", "i-00000099"), ("Attribute", "userData")],
    ),
    (
        "DescribeInstanceAttribute",
        Nothing,
        &[("InstanceId", "i-00000099"), ("Attribute", "instanceType")],
    ),
    (
        "ModifyInstanceAttribute",
        NetAdmin,
        &[("InstanceId", "i-00000099"), ("GroupId.1", "sg-00000099")],
    ),
    (
        "CreateSecurityGroup",
        NetAdmin,
        &[("GroupName", "g"), ("GroupDescription", "d")],
    ),
    ("DeleteSecurityGroup", NetAdmin, &[("GroupName", "nowhere")]),
    ("AuthorizeSecurityGroupIngress", NetAdmin, RULE),
    ("RevokeSecurityGroupIngress", NetAdmin, RULE),
    ("AllocateAddress", NetAdmin, &[]),
    (
        "AssociateAddress",
        NetAdmin,
        &[("InstanceId", "i-00000099"), ("PublicIp", "192.0.2.1")],
    ),
    ("DisassociateAddress", NetAdmin, ADDRESS),
    ("ReleaseAddress", NetAdmin, ADDRESS),
    ("CreateKeyPair", Nothing, &[("KeyName", "k")]),
    (
        "ImportKeyPair",
        Nothing,
        &[("KeyName", "k2"), ("PublicKeyMaterial", "bm8ga2V5")],
    ),
    ("DeleteKeyPair", Nothing, &[("KeyName", "nowhere")]),
    ("DescribeInstances", Nothing, &[]),
    ("DescribeInstanceStatus", Nothing, &[]),
    ("DescribeInstanceTypes", Nothing, &[]),
    ("DescribeImages", Nothing, &[]),
    ("DescribeKeyPairs", Nothing, &[]),
    ("DescribeSecurityGroups", Nothing, &[]),
    ("DescribeSecurityGroupRules", Nothing, &[]),
    ("DescribeAddresses", Nothing, &[]),
    ("DescribeAvailabilityZones", Nothing, &[]),
    ("DescribeRegions", Nothing, &[]),
    ("GetCallerIdentity", Nothing, &[]),
];

#[test]
fn the_table_has_every_action() {
    let named: BTreeSet<_> = TABLE.iter().map(|(name, ..)| *name).collect();
    let known: BTreeSet<_> = Action::NAMES.iter().copied().collect();
    assert_eq!(named, known);
}

/// A user, and what it was given.
#[derive(Debug, Clone, Default)]
struct User {
    admin: bool,
    /// Manages its project; other users are members.
    manager: bool,
    /// Roles in all projects.
    everywhere: Vec<&'static str>,
    /// Roles in its project.
    here: Vec<&'static str>,
}

impl User {
    /// Every combination of nova's project roles, and the users with more than roles.
    fn all() -> Vec<Self> {
        let sets: [&[&str]; 4] = [
            &[],
            &["sysadmin"],
            &["netadmin"],
            &["sysadmin", "netadmin", "developer"],
        ];
        let mut all = Vec::new();
        for everywhere in sets {
            for here in sets {
                all.push(Self {
                    everywhere: everywhere.to_vec(),
                    here: here.to_vec(),
                    ..Self::default()
                });
            }
        }
        for everywhere in [
            vec!["developer"],
            vec!["cloudadmin"],
            vec!["itsec"],
            vec!["itsec", "sysadmin"],
        ] {
            let here: Vec<_> = everywhere
                .iter()
                .copied()
                .filter(|role| !["cloudadmin", "itsec"].contains(role))
                .collect();
            all.push(Self {
                everywhere,
                here,
                ..Self::default()
            });
        }
        for (admin, manager) in [(true, false), (false, true)] {
            all.push(Self {
                admin,
                manager,
                ..Self::default()
            });
        }
        all
    }

    /// The status that the user's call must end with, if it ends for its rights: by nova's rules,
    /// not by our code.
    fn refusal(&self, needs: Needs, own: bool) -> Option<(u16, &'static str)> {
        let everywhere = |role: &str| self.everywhere.contains(&role);
        let super_user = self.admin || everywhere("cloudadmin");
        if !own && !super_user && !everywhere("itsec") {
            return Some((401, "AuthFailure"));
        }
        let has = |role: &str| own && everywhere(role) && self.here.contains(&role);
        let may = match needs {
            Nothing => true,
            SysAdmin => has("sysadmin"),
            NetAdmin => has("netadmin"),
        };
        let may = may || super_user || (own && self.manager);
        (!may).then_some((403, "UnauthorizedOperation"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_action_asks_for_the_role_that_nova_asks_for_and_says_the_same_in_a_dry_run()
-> Result<()> {
    let w = World::on_sqlite().await;
    w.project("mail").await;
    w.project("web").await;
    let web = "web".parse()?;
    let range = "203.0.113.0/27".parse()?; // more than both projects may have
    w.cloud.create_floating_ips(range, None, None).await?;
    let endpoint = Endpoint::from_url(&format!("http://{}/services/Cloud", w.ec2)).unwrap();
    let mut connection = Connection::to(w.ec2).await?;
    let (mut refused, mut allowed) = (0, 0);
    for (number, user) in User::all().into_iter().enumerate() {
        let name = format!("user-{number}");
        let keys = w.cloud.create_user(&name, None, user.admin).await?;
        w.cloud.add_member(&web, &name).await?;
        if user.manager {
            w.cloud.modify_project(&web, &name, None).await?;
        }
        for role in &user.everywhere {
            w.cloud.add_role(&name, role, None).await?;
        }
        for role in &user.here {
            w.cloud.add_role(&name, role, Some(&web)).await?;
        }
        for (project, own) in [("web", true), ("mail", false)] {
            let keys = Credentials {
                access_key: format!("{}:{project}", keys.access_key),
                secret_key: keys.secret_key.clone(),
            };
            for (action, needs, params) in TABLE {
                let mut request = RequestBuilder::new(endpoint.clone(), action);
                for (name, value) in *params {
                    request = request.param(name, *value);
                }
                let about = format!("{action} in {project} by {user:?}");
                let dry = request.clone().param("DryRun", "true");
                let (dry_status, dry_body) = connection.send(&dry, &keys).await?;
                let (status, body) = connection.send(&request, &keys).await?;
                let code = inner(&body, "Code");
                if let Some(wanted) = user.refusal(*needs, own) {
                    assert_eq!((status, code), wanted, "{about}: {body}");
                    let said = |body| {
                        (
                            inner(body, "Code").to_owned(),
                            inner(body, "Message").to_owned(),
                        )
                    };
                    assert_eq!(
                        (dry_status, said(&dry_body)),
                        (status, said(&body)),
                        "{about}"
                    );
                    refused += 1;
                } else {
                    assert!(![401, 403, 500, 503].contains(&status), "{about}: {body}");
                    let dry_code = inner(&dry_body, "Code");
                    assert_eq!((dry_status, dry_code), (412, "DryRunOperation"), "{about}");
                    allowed += 1;
                }
            }
        }
    }
    assert!(
        refused > 100 && allowed > 100,
        "{refused} refused, {allowed} allowed"
    );
    Ok(())
}
