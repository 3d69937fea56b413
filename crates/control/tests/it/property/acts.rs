//! What clients and operators try, all at once.

use crate::world::{from, from_group, group, launch, name, tcp};
use novanet_control::floating_ips::{Association, FloatingIpRef};
use novanet_control::instances::{InstanceState, Launch};
use novanet_control::{Caller, Cloud, ControlError};
use novanet_model::carve::Request;
use novanet_model::{ImageId, NetworkKind};
use proptest::prelude::*;
use sqlx::AssertSqlSafe;
use std::net::Ipv4Addr;

/// Something that a client tries. Numbers choose among what is there when its turn comes.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Run { groups: u8, count: u8 },
    Terminate(u8),
    Reboot(u8),
    Allocate,
    Associate(u8, u8),
    Disassociate(u8),
    Release(u8),
    CreateGroup(u8),
    DeleteGroup(u8),
    Authorize { group: u8, source: u8, port: u8 },
    Revoke { group: u8, source: u8, port: u8 },
    CreateNetwork { network: u8, owned: bool },
    DeleteNetwork(u8),
    Reserve(u8),
    Unreserve(u8),
    CreateProject,
    DeleteProject,
    Scrub { project: u8, force: bool },
    Edit(Edit),
}

/// A column that docs/schema.md lets people edit by hand.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    Dns(u8),
    Mtu(u8),
    DhcpStart(u8),
    Interface(u8),
    Port(u8),
}

impl Edit {
    /// A statement as an operator types it into `sqlite3` or `psql`.
    fn sql(&self) -> String {
        match self {
            Self::Dns(n) => {
                format!("UPDATE networks SET dns1 = '192.0.2.{n}' WHERE cidr = '{BASE}'")
            }
            Self::Mtu(n) => format!("UPDATE networks SET mtu = {}", 1400 + i64::from(*n)),
            Self::DhcpStart(n) => {
                format!(
                    "UPDATE networks SET dhcp_start = '10.0.0.{}' WHERE cidr = '{BASE}'",
                    2 + n % 4
                )
            }
            Self::Interface(n) => format!(
                "UPDATE floating_ips SET interface = 'eth{}' WHERE address = '203.0.113.{}'",
                n % 3,
                1 + n % 6
            ),
            Self::Port(n) => format!(
                "UPDATE security_group_rules SET from_port = {n}, to_port = {n} \
                 WHERE id = (SELECT MAX(id) FROM security_group_rules WHERE protocol = 'tcp')"
            ),
        }
    }
}

/// The network that is always there, and others that come and go.
pub(super) const BASE: &str = "10.0.0.0/28";

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        1 => any::<u8>().prop_map(Edit::Dns),
        1 => any::<u8>().prop_map(Edit::Mtu),
        1 => any::<u8>().prop_map(Edit::DhcpStart),
        1 => any::<u8>().prop_map(Edit::Interface),
        2 => any::<u8>().prop_map(Edit::Port),
    ]
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (0..4_u8, 1..3_u8).prop_map(|(groups, count)| Act::Run { groups, count }),
        4 => any::<u8>().prop_map(Act::Terminate),
        1 => any::<u8>().prop_map(Act::Reboot),
        2 => Just(Act::Allocate),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(f, i)| Act::Associate(f, i)),
        1 => any::<u8>().prop_map(Act::Disassociate),
        1 => any::<u8>().prop_map(Act::Release),
        1 => (0..3_u8).prop_map(Act::CreateGroup),
        1 => (0..3_u8).prop_map(Act::DeleteGroup),
        4 => (0..3_u8, 0..4_u8, 0..3_u8)
            .prop_map(|(group, source, port)| Act::Authorize { group, source, port }),
        3 => (0..3_u8, 0..4_u8, 0..3_u8)
            .prop_map(|(group, source, port)| Act::Revoke { group, source, port }),
        2 => (1..4_u8, any::<bool>())
            .prop_map(|(network, owned)| Act::CreateNetwork { network, owned }),
        1 => (1..4_u8).prop_map(Act::DeleteNetwork),
        1 => (1..15_u8).prop_map(Act::Reserve),
        1 => (1..15_u8).prop_map(Act::Unreserve),
        1 => Just(Act::CreateProject),
        1 => Just(Act::DeleteProject),
        1 => (0..3_u8, any::<bool>())
            .prop_map(|(project, force)| Act::Scrub { project, force }),
        3 => edit().prop_map(Act::Edit),
    ]
}

fn group_name(number: u8) -> String {
    match number {
        0 => "default".to_owned(),
        n => format!("g{n}"),
    }
}

fn pick<T>(all: &[T], number: u8) -> Option<&T> {
    all.get(usize::from(number) % all.len().max(1))
}

/// Does one thing; a refusal is an answer, a fault is not.
pub(super) async fn attempt(
    cloud: &Cloud,
    caller: &Caller,
    act: &Act,
) -> novanet_control::Result<()> {
    let living = async |number| {
        let all: Vec<_> = cloud
            .instances(caller)
            .await?
            .into_iter()
            .filter(|v| v.row.state != InstanceState::Terminated)
            .map(|v| v.row.id)
            .collect();
        Ok::<_, ControlError>(pick(&all, number).copied())
    };
    let float = async |number| {
        let all = cloud.addresses(caller).await?;
        Ok::<_, ControlError>(pick(&all, number).map(|f| FloatingIpRef::Address(f.address)))
    };
    let source = |number| match number {
        3 => from("0.0.0.0/0"),
        n => from_group(&group_name(n)),
    };
    match *act {
        Act::Run { groups, count } => {
            let wanted = Launch {
                min: 1,
                max: i64::from(count),
                groups: (0..3)
                    .filter(|n| groups >> n & 1 == 1)
                    .map(|n| group(&group_name(n)))
                    .collect(),
                ..launch(ImageId(1))
            };
            cloud.run_instances(caller, &wanted).await?;
        }
        Act::Terminate(n) => {
            if let Some(id) = living(n).await? {
                cloud.terminate(caller, &[id]).await?;
            }
        }
        Act::Reboot(n) => {
            if let Some(id) = living(n).await? {
                cloud.reboot(caller, &[id]).await?;
            }
        }
        Act::Allocate => {
            cloud.allocate_address(caller, None).await?;
        }
        Act::Associate(f, i) => {
            if let (Some(float), Some(id)) = (float(f).await?, living(i).await?) {
                let to = Association::to(id);
                cloud.associate_address(caller, float, &to).await?;
            }
        }
        Act::Disassociate(n) => {
            if let Some(float) = float(n).await? {
                cloud.disassociate_address(caller, float).await?;
            }
        }
        Act::Release(n) => {
            if let Some(float) = float(n).await? {
                cloud.release_address(caller, float).await?;
            }
        }
        Act::CreateGroup(n) => {
            cloud.create_group(caller, &group_name(n), "d").await?;
        }
        Act::DeleteGroup(n) => {
            cloud.delete_group(caller, &group(&group_name(n))).await?;
        }
        Act::Authorize {
            group: g,
            source: s,
            port,
        } => {
            let rule = [(tcp(port.into()), source(s))];
            cloud
                .authorize(caller, &group(&group_name(g)), &rule)
                .await?;
        }
        Act::Revoke {
            group: g,
            source: s,
            port,
        } => {
            let rule = [(tcp(port.into()), source(s))];
            cloud.revoke(caller, &group(&group_name(g)), &rule).await?;
        }
        ref other => operate(cloud, other).await?,
    }
    Ok(())
}

/// What an operator does.
async fn operate(cloud: &Cloud, act: &Act) -> novanet_control::Result<()> {
    let range = |n| format!("10.0.{n}.0/29");
    let base = |n| Ipv4Addr::new(10, 0, 0, n);
    let temp = name("temp");
    match *act {
        Act::CreateNetwork { network, owned } => {
            let range = range(network).parse().unwrap();
            let request = Request {
                network_size: Some(8),
                project: owned.then_some(temp),
                ..Request::new(NetworkKind::FlatDhcp, "more", range)
            };
            cloud.create_networks(&request).await?;
        }
        Act::DeleteNetwork(n) => {
            let all = cloud.networks().await?;
            if let Some(network) = all.iter().find(|one| one.cidr.to_string() == range(n)) {
                cloud.delete_network(&network.id.to_string()).await?;
            }
        }
        Act::Reserve(n) => cloud.reserve_fixed_ips(&[base(n)]).await?,
        Act::Unreserve(n) => cloud.unreserve_fixed_ips(&[base(n)]).await?,
        Act::CreateProject => cloud.create_project(&temp, "boss-of-temp", "again").await?,
        Act::DeleteProject => cloud.delete_project(&temp).await?,
        Act::Scrub { project, force } => {
            let project = name(["web", "mail", "temp"][usize::from(project)]);
            cloud.scrub_project(&project, force).await?;
        }
        Act::Edit(ref edit) => {
            let mut tx = cloud.db().begin_unplanned().await?;
            sqlx::raw_sql(AssertSqlSafe(edit.sql()))
                .execute(&mut *tx)
                .await
                .unwrap_or_else(|e| panic!("{edit:?}: {e}"));
            tx.commit().await?;
        }
        _ => unreachable!("a client's, not an operator's: {act:?}"),
    }
    Ok(())
}

/// Refusals are part of the game; what the store cannot do is not.
pub(super) fn is_fault(error: &ControlError) -> bool {
    matches!(error, ControlError::Store(_) | ControlError::Vault(_))
}
