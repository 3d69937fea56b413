//! A running cloud: the sandbox, `novanet up` in it with its state on disk, a client, and a second
//! handle on the same database for looking. Depends on the product's binary and on `lab`.

use crate::client::{Client, texts};
use crate::cloud::CloudFlags;
use anyhow::{Context as _, Result, anyhow, ensure};
use novanet_control::Cloud;
use novanet_ec2::client::Credentials;
use novanet_lab::{Process, Sandbox, eventually};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Where floating addresses are; the internet has a route to the cloud for it.
const FLOATING: &str = "198.18.0.0/20";
pub(super) const BOOT: Duration = Duration::from_mins(2);

/// A running instance.
#[derive(Debug, Clone)]
pub(super) struct Running {
    /// `i-…`
    pub(super) id: String,
    /// Its fixed address.
    pub(super) address: Ipv4Addr,
}

/// The cloud. Fields are dropped in this order: first what runs, then where it ran.
pub(crate) struct World {
    pub(super) runtime: Runtime,
    pub(super) cloud: Cloud,
    pub(super) client: Client,
    keys: Credentials,
    up: Process,
    pub(super) sandbox: Sandbox,
    /// Those that were started and not ended.
    pub(super) running: Vec<Running>,
    state: TempDir,
    /// The product's binary.
    program: PathBuf,
}

impl World {
    /// From nothing to a cloud that lets pings in.
    pub(crate) fn new(program: &Path) -> Result<Self> {
        // Not in memory, as the sandbox's own state path is: a commit has to cost what it costs.
        let state = tempfile::Builder::new()
            .prefix("novanet-bench-")
            .tempdir_in("/var/tmp")?;
        let sandbox = Sandbox::new(Path::new("/var/lib/nova"))?;
        let cloud = Sandbox::CLOUD;
        sandbox
            .internet
            .sh(&format!("ip route add {FLOATING} via {cloud}"))?;
        // A router does not send back packets to addresses without a host.
        sandbox
            .cloud
            .sh(&format!("ip route add blackhole {FLOATING}"))?;
        let up = start(program, &sandbox, state.path())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let keys = keys(state.path())?;
        let mut world = Self {
            cloud: runtime.block_on(flags(state.path()).open())?,
            client: connect(&sandbox, &keys)?,
            runtime,
            keys,
            up,
            sandbox,
            running: Vec::new(),
            state,
            program: program.to_owned(),
        };
        world.client.call(
            "AuthorizeSecurityGroupIngress",
            &[
                ("GroupName", "default"),
                ("IpProtocol", "icmp"),
                ("FromPort", "-1"),
                ("ToPort", "-1"),
                ("CidrIp", "0.0.0.0/0"),
            ],
        )?;
        eventually(BOOT, || {
            world
                .sandbox
                .cloud
                .sh("ip -brief address show br100 | grep -F 10.0.0.1/")
        })?;
        // The kernel must not wait a second before it asks again for the MAC of an instance that
        // boots.
        world
            .sandbox
            .cloud
            .set_sysctl("net.ipv4.neigh.br100.retrans_time_ms", "10")?;
        Ok(world)
    }

    /// RunInstances: the call alone.
    pub(super) fn run(&mut self, count: usize) -> Result<Vec<Running>> {
        let count = count.to_string();
        let answer = self.client.call(
            "RunInstances",
            &[
                ("ImageId", "ami-00000001"),
                ("InstanceType", "m1.tiny"),
                ("MinCount", &count),
                ("MaxCount", &count),
            ],
        )?;
        let mut new = Vec::new();
        for item in answer.split("<instanceId>").skip(1) {
            let id = item.split('<').next().unwrap_or_default().to_owned();
            let address = texts(item, "privateIpAddress");
            let address = address.first().context("an instance without an address")?;
            let address = address.parse()?;
            new.push(Running { id, address });
        }
        self.running.extend(new.iter().cloned());
        Ok(new)
    }

    /// TerminateInstances of these; waits until they are gone.
    pub(super) fn terminate(&mut self, count: usize) -> Result<Duration> {
        let keep = self.running.len().saturating_sub(count);
        let ended = self.running.split_off(keep);
        let began = Instant::now();
        let names: Vec<String> = (1..=ended.len())
            .map(|n| format!("InstanceId.{n}"))
            .collect();
        let params: Vec<(&str, &str)> = names
            .iter()
            .zip(&ended)
            .map(|(name, instance)| (name.as_str(), instance.id.as_str()))
            .collect();
        self.client.call("TerminateInstances", &params)?;
        eventually(BOOT, || {
            let answer = self.client.call("DescribeInstances", &params)?;
            let left = texts(&answer, "name")
                .into_iter()
                .filter(|state| *state == "shutting-down")
                .count();
            ensure!(left == 0, "{left} are still shutting down");
            Ok(())
        })?;
        Ok(began.elapsed())
    }

    /// Sees to it that so many instances run, and answer.
    pub(super) fn ensure_running(&mut self, count: usize) -> Result<()> {
        let missing = count.saturating_sub(self.running.len());
        if missing == 0 {
            return Ok(());
        }
        let began = Instant::now();
        let new = self.run(missing)?;
        let addresses: Vec<Ipv4Addr> = new.iter().map(|i| i.address).collect();
        super::ping::Pinger::new(&self.sandbox.cloud, 7)?
            .until_answered(&addresses, began, BOOT)?;
        Ok(())
    }

    /// AllocateAddress.
    pub(super) fn allocate(&mut self) -> Result<Ipv4Addr> {
        let answer = self.client.call("AllocateAddress", &[])?;
        let address = texts(&answer, "publicIp");
        Ok(address.first().context("no address")?.parse()?)
    }

    /// AssociateAddress.
    pub(super) fn associate(&mut self, address: Ipv4Addr, instance: &str) -> Result<()> {
        let address = address.to_string();
        let params = [("PublicIp", address.as_str()), ("InstanceId", instance)];
        self.client.call("AssociateAddress", &params).map(drop)
    }

    /// DisassociateAddress.
    pub(super) fn disassociate(&mut self, address: Ipv4Addr) -> Result<()> {
        let address = address.to_string();
        let params = [("PublicIp", address.as_str())];
        self.client.call("DisassociateAddress", &params).map(drop)
    }

    /// Ends the cloud's process, gently or not. Everything else stays.
    pub(super) fn stop(&mut self, gently: bool) -> Result<()> {
        if gently {
            self.up.signal(nix::sys::signal::Signal::SIGTERM)?;
            self.up.wait(Duration::from_secs(20))?;
        } else {
            self.up.kill();
        }
        Ok(())
    }

    /// Starts it again, without waiting for anything.
    pub(super) fn start_again(&mut self) -> Result<()> {
        self.up = spawn(&self.program, &self.sandbox, self.state.path())?;
        Ok(())
    }

    /// A new connection, after a restart.
    pub(super) fn reconnect(&mut self) -> Result<()> {
        let keys = self.keys.clone();
        let sandbox = &self.sandbox;
        self.client = eventually(BOOT, || connect(sandbox, &keys))?;
        Ok(())
    }

    /// Changes a row by hand.
    pub(super) fn sql(&self, sql: &str) -> Result<()> {
        let flags = flags(self.state.path());
        self.runtime.block_on(flags.sqlite(sql))
    }

    /// The end of the cloud's log, for errors.
    pub(super) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.state.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

fn flags(state: &Path) -> CloudFlags {
    CloudFlags::new(state, "cloud")
        .with("public_interface", "eth0")
        .with("my_ip", Sandbox::CLOUD.to_string())
        .with("floating_range", FLOATING)
        .with("fixed_range", "10.0.0.0/16")
}

fn spawn(program: &Path, sandbox: &Sandbox, state: &Path) -> Result<Process> {
    let mut up = flags(state).command(program, "up");
    let file = |name| {
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(state.join(name))
    };
    up.stdin(Stdio::null())
        .stdout(file("out")?)
        .stderr(file("log")?);
    sandbox.cloud.spawn(&mut up)
}

fn start(program: &Path, sandbox: &Sandbox, state: &Path) -> Result<Process> {
    let up = spawn(program, sandbox, state)?;
    eventually(BOOT, || {
        let said = std::fs::read_to_string(state.join("out"))?;
        if said.contains("the cloud is up") {
            return Ok(Ok(()));
        }
        if up.ended()?.is_some() {
            let log = std::fs::read_to_string(state.join("log"))?;
            return Ok(Err(anyhow!("novanet up ended: {log}")));
        }
        Err(anyhow!("still starting"))
    })??;
    Ok(up)
}

fn keys(state: &Path) -> Result<Credentials> {
    let novarc = std::fs::read_to_string(state.join("novarc")).context("novarc")?;
    let value = |name: &str| {
        let line = novarc.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim_matches('"').to_owned())
            .with_context(|| format!("novarc: no {name}"))
    };
    Ok(Credentials {
        access_key: value("export EC2_ACCESS_KEY=")?,
        secret_key: value("export EC2_SECRET_KEY=")?,
    })
}

fn connect(sandbox: &Sandbox, keys: &Credentials) -> Result<Client> {
    let address = SocketAddr::from((Sandbox::CLOUD, 8773));
    sandbox
        .cloud
        .exec_in(|| Client::connect(address, keys.clone()))?
}
