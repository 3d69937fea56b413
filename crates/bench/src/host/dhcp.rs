//! One more host in a network of a thousand: from the host object, by the agent's subsystem, until
//! dnsmasq has read its files again and answers for the new name.

use super::World;
use super::objects::{host, settings};
use crate::Scale;
use crate::harness::{Row, Samples, Unit};
use anyhow::{Result, ensure};
use novanet_agent::dhcp::DhcpServers;
use novanet_agent::settings::Settings;
use novanet_model::object::{Binding, Dhcp};
use novanet_model::{HostObject, IfName, InstanceId, MacAddr, NetworkId};
use novanet_reconcile::Reconciler;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

const HOSTS: u32 = 1_000;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// How long dnsmasq may take for an answer before the question is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(5);
/// Longer than this is a failure, not a figure.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn run(_: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let (host, _outside) = host()?;
    let state = tempfile::tempdir()?;
    let rounds = u32::try_from(scale.of(20, 3))?;
    let samples = host.exec_in(|| work(state.path(), rounds))??;
    let what = format!("one more host among {HOSTS}, until dnsmasq answers for it");
    let row = Row::new(what, Unit::Micros, &samples);
    Ok(vec![row.at_most(Duration::from_millis(100))])
}

fn work(state_path: &Path, rounds: u32) -> Result<Samples> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let settings = Settings {
            dhcpbridge: vec!["/bin/true".to_owned()],
            ..settings(state_path)?
        };
        let mut dhcp = Reconciler::new(DhcpServers::new(&settings)?);
        let mut objects = vec![range()?];
        for number in 1..HOSTS {
            objects.push(binding(number)?);
        }
        dhcp.set_objects(&objects);
        let measured = measure(&mut dhcp, rounds).await;
        // dnsmasq does not end with this process.
        dhcp.set_objects(&[]);
        let last = dhcp.round(tokio::time::Instant::now()).await;
        ensure!(last.failed == 0, "{:?}", dhcp.errors());
        measured
    })
}

async fn measure(dhcp: &mut Reconciler<DhcpServers>, rounds: u32) -> Result<Samples> {
    let round = dhcp.round(tokio::time::Instant::now()).await;
    ensure!(round.failed == 0, "{:?}", dhcp.errors());
    let socket = UdpSocket::bind((SERVER, 0))?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    until_known(&socket, HOSTS - 1)?;
    let mut samples = Samples::default();
    for number in HOSTS..HOSTS + rounds {
        let object = binding(number)?;
        let began = Instant::now();
        dhcp.change(&object.key(), Some(&object));
        let round = dhcp.settle(tokio::time::Instant::now()).await;
        ensure!(round.failed == 0, "{:?}", dhcp.errors());
        until_known(&socket, number)?;
        samples.push(began.elapsed());
        dhcp.change(&object.key(), None);
        dhcp.settle(tokio::time::Instant::now()).await;
    }
    Ok(samples)
}

fn range() -> Result<HostObject> {
    Ok(HostObject::Dhcp(Dhcp {
        network: NetworkId(1),
        bridge: IfName::new("br100")?,
        server: SERVER,
        router: None,
        cidr: "10.0.0.0/16".parse()?,
        start: Ipv4Addr::new(10, 0, 0, 2),
        lease_seconds: 120,
        domain: "novalocal".to_owned(),
        dns: Vec::new(),
        options: Vec::new(),
    }))
}

fn binding(number: u32) -> Result<HostObject> {
    let [_, a, b, c] = number.to_be_bytes();
    Ok(HostObject::Binding(Binding {
        network: NetworkId(1),
        bridge: IfName::new("br100")?,
        mac: MacAddr([0x02, 0x16, 0x3e, a, b, c]),
        address: Ipv4Addr::from(u32::from(SERVER) + 0x100 + number),
        hostname: name(number),
        instance: InstanceId(number.into()),
    }))
}

fn name(number: u32) -> String {
    format!("host{number}")
}

/// Asks until the name has an address.
fn until_known(socket: &UdpSocket, number: u32) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < TIMEOUT {
        let question = question(number);
        socket.send_to(&question, (SERVER, 53))?;
        let mut answer = [0; 512];
        // A time-out means that dnsmasq reads its files.
        if let Ok(length) = socket.recv(&mut answer)
            && length > 12
            && answer[..2] == question[..2]
            && answer[6..8] != [0, 0]
        {
            return Ok(());
        }
    }
    anyhow::bail!("dnsmasq knows no {} after {TIMEOUT:?}", name(number))
}

/// A DNS question for the address of a host (RFC 1035, section 4.1). Its number is the id: answers
/// to earlier questions may still come.
fn question(number: u32) -> Vec<u8> {
    let [_, _, high, low] = number.to_be_bytes();
    let mut message = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let name = name(number);
    for label in [name.as_str(), "novalocal"] {
        message.push(u8::try_from(label.len()).unwrap_or(63));
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}
