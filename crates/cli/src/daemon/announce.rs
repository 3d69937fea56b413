//! Announces on stdout that the cloud is up, as soon as a network is in force on this host; until
//! then, which network is not in force and why. Depends on the use cases of `control`.

use super::setup::Ready;
use crate::failure::Failure;
use crate::say;
use novanet_control::{Cloud, Host};
use novanet_model::Micros;
use novanet_model::flags::Flags;
use novanet_model::rows::Network;
use novanet_model::wire::ObjectError;
use std::net::SocketAddr;
use std::time::Duration;

/// How often the database is asked how far the host is.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How often it is asked whether a network is in force now.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// A host that has nothing new to say after its hello is taken at its word after this time.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Says it, when it is so. `since`: from before the agent was started.
pub(super) async fn when_up(
    cloud: &Cloud,
    flags: &Flags,
    ready: &Ready,
    (address, since): (SocketAddr, Micros),
) {
    let name = flags.host();
    applied(cloud, name, since).await;
    let mut said = Vec::new();
    loop {
        // A database that does not answer now is asked again.
        let faults = match not_in_force(cloud, name).await {
            Ok(InForce::Some { faults }) => {
                welcome(flags, ready, address);
                for fault in faults {
                    say::line(&format!("not in force: {fault}"));
                }
                return;
            }
            Ok(InForce::None { faults }) => faults,
            Err(_) => said.clone(),
        };
        if faults != said {
            say::line(&format!(
                "\nthe cloud is not up: {}\n\nnovanet goes on and says when it is",
                faults.join("\n    ")
            ));
            said = faults;
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Waits until this host has said hello and tried everything that is planned for it now.
///
/// Its first report follows its hello. Both may have come before the first look here, and the next
/// report is a heartbeat many seconds later: hence [`REPORT_TIMEOUT`].
async fn applied(cloud: &Cloud, name: &str, since: Micros) {
    let joined = loop {
        match host(cloud, name).await.map(|h| h.seen_at) {
            Some(at) if at >= since => break at,
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    };
    let quiet = tokio::time::Instant::now() + REPORT_TIMEOUT;
    let mut goal = planned(cloud, name).await;
    loop {
        if let (Some(host), Some((epoch, version))) = (host(cloud, name).await, &goal) {
            let same = host.applied_epoch == *epoch;
            let has_reported = host.seen_at != joined || tokio::time::Instant::now() > quiet;
            if has_reported && same && host.applied_version >= *version {
                return;
            }
            if host.seen_at != joined && !same {
                goal = planned(cloud, name).await;
            }
        } else if goal.is_none() {
            goal = planned(cloud, name).await;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Epoch and newest version of the host's planned objects. The clock may be ahead of it: changes of
/// other hosts' objects move the clock, and this host learns of that with its next news only.
async fn planned(cloud: &Cloud, name: &str) -> Option<(String, i64)> {
    let digest = cloud.digest(name).await.ok()?;
    Some((digest.epoch, digest.max))
}

async fn host(cloud: &Cloud, name: &str) -> Option<Host> {
    let hosts = cloud.hosts().await.ok()?;
    hosts.into_iter().find(|h| h.name == name)
}

/// Whether a network is in force on the host, and what is wrong with the others, a line each.
enum InForce {
    Some { faults: Vec<String> },
    None { faults: Vec<String> },
}

async fn not_in_force(cloud: &Cloud, name: &str) -> Result<InForce, Failure> {
    let networks = cloud.networks().await?;
    let errors = cloud.host_errors(name).await?;
    let kinds = host(cloud, name).await.map(|h| h.kinds).unwrap_or_default();
    let mut faults = Vec::new();
    for network in &networks {
        if kinds.contains(&network.kind) {
            faults.extend(fault(network, &errors));
        } else {
            faults.push(format!(
                "network {} is {}, which this host's kernel cannot run (modprobe 8021q): nova-manage \
                 network create RANGE --kind flatdhcp makes one that it runs",
                network.cidr, network.kind
            ));
        }
    }
    if faults.len() < networks.len() {
        return Ok(InForce::Some { faults });
    }
    if networks.is_empty() {
        faults.push(
            "there is no network: nova-manage network create RANGE --kind flatdhcp makes one"
                .to_owned(),
        );
    } else {
        faults.insert(0, "no network is in force".to_owned());
    }
    Ok(InForce::None { faults })
}

/// Why a network is not in force on a host.
fn fault(network: &Network, errors: &[ObjectError]) -> Option<String> {
    let parts = ["network", "bridge", "gateway", "dhcp"];
    let key = |part: &&str| format!("{part}/{}", network.id);
    let of = |key: &String| errors.iter().find(|e| e.key.0 == *key);
    let error = parts.iter().map(key).find_map(|key| of(&key))?;
    let message = error.message.trim().replace('\n', " ");
    Some(format!("network {}: {message}", network.cidr))
}

fn welcome(flags: &Flags, ready: &Ready, address: SocketAddr) {
    let state = flags.state_path();
    say::line(&format!(
        "\nthe cloud is up: EC2 API on {address}, state in {}\n\nnext, in another terminal:\n\n    \
         . {}\n    \
         aws ec2 create-key-pair --key-name mine --query KeyMaterial --output text > mine.pem\n    \
         aws ec2 run-instances --image-id {} --instance-type m1.tiny --key-name mine\n    \
         aws ec2 describe-instances --output table\n",
        state.display(),
        ready.novarc.display(),
        ready.image
    ));
    if ready.floating == 0 {
        say::line(
            "floating addresses: nova-manage floating create RANGE, of a range that is routed to \
             this host\n",
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use novanet_model::ObjectKey;

    #[test]
    fn a_network_is_in_force_when_none_of_its_parts_has_an_error() {
        let network: Network = serde_json::from_value(serde_json::json!({
            "id": 1, "uuid": "u", "label": "private", "kind": "flatdhcp", "injected": false,
            "multi_host": false, "cidr": "10.0.0.0/24", "gateway": "10.0.0.1",
            "broadcast": "10.0.0.255", "dhcp_start": "10.0.0.2", "dns": [], "bridge": "br100",
            "bridge_interface": null, "vlan": null, "vpn_public_address": null,
            "vpn_public_port": null, "vpn_private_address": null, "vpn_clients": 0,
            "project": null, "host": "node1", "mtu": null,
        }))
        .unwrap();
        let error = |key: &str| ObjectError {
            key: ObjectKey(key.to_owned()),
            message: "br100 is foreign\n".to_owned(),
        };
        for key in ["network/1", "bridge/1", "gateway/1", "dhcp/1"] {
            let why = fault(&network, &[error("float/1"), error(key)]);
            assert_eq!(why.unwrap(), "network 10.0.0.0/24: br100 is foreign");
        }
        let others = ["float/203.0.113.1", "port/1/0", "bridge/11", "host/links"];
        assert_eq!(fault(&network, &others.map(error)), None);
    }
}
