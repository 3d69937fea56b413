//! A cloud host and an "internet" host on one cable, apart from the machine: what the demo runs in.
//!
//! ```text
//!   cloud                         internet
//!   eth0 203.0.113.2/24 ───────── eth0 203.0.113.1/24
//!   default via 203.0.113.1       lo   198.51.100.10 (a place far away), names by DNS
//! ```
//! The addresses are those for documentation (RFC 5737): no real network answers to them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Host, HostOptions, connect, eventually};

/// The two hosts. Dropping it ends everything in both.
#[derive(Debug)]
pub struct Sandbox {
    /// Where the cloud runs; its public interface is `eth0`.
    pub cloud: Host,
    /// The rest of the world: a router, a name server, and the clients of the cloud.
    pub internet: Host,
}

impl Sandbox {
    /// The cloud host's address on its public interface.
    pub const CLOUD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
    /// The internet host's address on the same cable: router and name server.
    pub const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
    /// An address of the internet host that is only reached through that router.
    pub const FAR_AWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
    /// The far-away address's name; the internet host's name server knows it.
    pub const FAR_AWAY_NAME: &str = "www.example.net";
    /// Addresses on the cable that are free to be floating addresses.
    pub const FLOATING: &str = "203.0.113.128/25";

    /// Makes both hosts. `state_path` is empty and private in the cloud host, which also has
    /// cgroups of its own.
    pub fn new(state_path: &Path) -> Result<Self> {
        Self::with(HostOptions::default().private(state_path))
    }

    /// The same with a cloud host of one's own making.
    pub fn with(cloud: HostOptions) -> Result<Self> {
        let resolver = format!("nameserver {}\n", Self::INTERNET);
        let cloud = cloud.private("/var/lib/misc").own_cgroups();
        let cloud = Host::with("cloud", &cloud.file("/etc/resolv.conf", &resolver))?;
        let internet = Host::with(
            "internet",
            &HostOptions::default()
                .private("/var/lib/misc")
                .file("/etc/resolv.conf", &resolver),
        )?;
        connect(&cloud, "eth0", &internet, "eth0")?;
        cloud.run(&[
            "ip",
            "address",
            "add",
            &format!("{}/24", Self::CLOUD),
            "dev",
            "eth0",
        ])?;
        cloud.run(&[
            "ip",
            "route",
            "add",
            "default",
            "via",
            &Self::INTERNET.to_string(),
        ])?;
        internet.run(&[
            "ip",
            "address",
            "add",
            &format!("{}/24", Self::INTERNET),
            "dev",
            "eth0",
        ])?;
        internet.run(&[
            "ip",
            "address",
            "add",
            &format!("{}/32", Self::FAR_AWAY),
            "dev",
            "lo",
        ])?;
        let sandbox = Self { cloud, internet };
        sandbox.serve_names()?;
        Ok(sandbox)
    }

    /// Lets both hosts live on after this process, and says how to enter and end them.
    pub fn detach(self) -> Result<DetachedSandbox> {
        Ok(DetachedSandbox {
            internet: self.internet.detach()?,
            cloud: self.cloud.detach()?,
        })
    }

    fn serve_names(&self) -> Result<()> {
        let (here, far) = (Self::INTERNET.to_string(), Self::FAR_AWAY);
        let record = format!("--address=/{}/{far}", Self::FAR_AWAY_NAME);
        let mut dnsmasq = Command::new("dnsmasq");
        dnsmasq.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--user=root",
            "--pid-file=",
        ]);
        dnsmasq
            .args([format!("--listen-address={here}"), record])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = self.internet.spawn(&mut dnsmasq)?;
        eventually(Duration::from_secs(5), || -> Result<()> {
            anyhow::ensure!(
                server.ended()?.is_none(),
                "the internet's name server (dnsmasq) ended"
            );
            let answers = self
                .internet
                .exec_in(|| std::net::TcpStream::connect((Self::INTERNET, 53)))?;
            answers.map(drop).context("the internet's name server")
        })
    }
}

/// A sandbox that outlives its maker, by the pids that hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetachedSandbox {
    /// The cloud host's process 1.
    pub cloud: u32,
    /// The internet host's process 1.
    pub internet: u32,
}

impl DetachedSandbox {
    /// The command that enters a host, by the pid of its process 1: with nothing after it a shell,
    /// else the command that follows.
    pub fn enter(pid: u32) -> String {
        format!("nsenter -t {pid} -m -u -n -p -C")
    }

    /// The command that ends the sandbox and everything in it.
    pub fn end(&self) -> String {
        format!("kill -9 {} {}", self.cloud, self.internet)
    }
}
