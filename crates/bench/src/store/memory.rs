//! Resident memory of a server with a thousand instances in its store, after it has listed them.
//! Depends on the product's binary.

use super::World;
use super::stage::Stage;
use crate::Scale;
use crate::client::Client;
use crate::harness::{Judged, Limit, Row, Unit};
use anyhow::{Context as _, Result, ensure};
use novanet_ec2::client::Credentials;
use novanet_lab::eventually;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::time::Duration;

pub(super) fn run(world: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let instances = scale.of(1000, 50);
    Ok(world.on_both("memory of the server", async |stage| {
        stage.network("10.0.0.0/16").await?;
        stage.fill(instances).await?;
        let keys = stage.cloud.credentials("bench").await?;
        let keys = Credentials {
            access_key: keys.access_key,
            secret_key: keys.secret_key,
        };
        let stage = &*stage;
        let (after_start, after_work) =
            tokio::task::block_in_place(|| serve(stage, &keys, scale.of(20, 2)))?;
        let what = format!("memory of a server, {instances} instances, {}", stage.title);
        Ok(vec![
            Row::once(what, Unit::Mebibytes, after_work)
                .limit(Judged::Max, Limit::AtMost(50.0))
                .note(format!(
                    "{after_start:.1} MiB before the first DescribeInstances"
                )),
        ])
    }))
}

/// A server that is killed when we are done with it, however that comes about.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already_is_fine = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(stage: &Stage, keys: &Credentials, rounds: usize) -> Result<(f64, f64)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let mut command = stage.child("server");
    command
        .args([
            "--ec2_listen=127.0.0.1",
            &format!("--ec2_listen_port={port}"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut server = Server(command.spawn().context("novanet server")?);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut client = eventually(Duration::from_secs(20), || {
        if let Some(status) = server.0.try_wait()? {
            return Ok(Err(anyhow::anyhow!("novanet server ended: {status}")));
        }
        Client::connect(address, keys.clone()).map(Ok)
    })??;
    let before = resident(server.0.id())?;
    for _ in 0..rounds {
        let answer = client.call("DescribeInstances", &[])?;
        ensure!(
            answer.contains("i-00000001"),
            "no instances in: {answer:.200}"
        );
    }
    Ok((before, resident(server.0.id())?))
}

/// `VmRSS` of a process in MiB.
fn resident(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: f64 = line
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("{path}: no VmRSS"))?;
    Ok(kilobytes / 1024.0)
}
