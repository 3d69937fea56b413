//! The labs of the pages: hosts as namespaces, with the programs' old names on the path. `/etc` and
//! the state folder are each host's own.

use anyhow::{Context as _, Result};
use novanet_lab::{Host, HostOptions, Sandbox, connect};
use std::path::Path;
use std::time::Duration;

/// A cloud host, the internet, and what else a page's prompts name.
pub(crate) struct Lab {
    sandbox: Sandbox,
    others: Vec<Host>,
    limit: Duration,
}

impl Lab {
    /// A cloud host with `eth0` to the internet.
    pub(crate) fn bare() -> Result<Self> {
        let options = HostOptions::default()
            .layer("/etc")
            .private("/etc/nova")
            .private(crate::cloud::STATE);
        let sandbox = Sandbox::with(options)?;
        let lab = Self {
            sandbox,
            others: Vec::new(),
            limit: crate::cloud::long(),
        };
        lab.name_programs()?;
        Ok(lab)
    }

    /// The same with `eth1` to a switch, on which are other hosts.
    pub(crate) fn with_switch(others: &[&str]) -> Result<Self> {
        let mut lab = Self::bare()?;
        let switch = Host::new("switch")?;
        switch.sh("ip link add dev sw type bridge && ip link set dev sw up")?;
        connect(&lab.sandbox.cloud, "eth1", &switch, "port1")?;
        switch.sh("ip link set dev port1 master sw")?;
        for (name, port) in others.iter().zip(2..) {
            let (other, port) = (Host::new(name)?, format!("port{port}"));
            connect(&other, "eth1", &switch, &port)?;
            switch.sh(&format!("ip link set dev {port} master sw"))?;
            lab.others.push(other);
        }
        lab.others.push(switch);
        Ok(lab)
    }

    /// The same with a LAN behind `eth1`: `office` 192.0.2.20, and `router` 192.0.2.1, which gives
    /// DHCP leases from 192.0.2.100 on.
    pub(crate) fn with_lan() -> Result<Self> {
        let lab = Self::with_switch(&["office", "router"])?;
        lab.host("office")?
            .sh("ip address add 192.0.2.20/24 dev eth1")?;
        let router = lab.host("router")?;
        router.sh(
            "ip address add 192.0.2.1/24 dev eth1 && mkdir -p /run/lan && \
             dnsmasq --conf-file=/dev/null --port=0 --interface=eth1 --bind-interfaces --user=root \
             --pid-file=/run/lan/pid --dhcp-leasefile=/run/lan/leases --dhcp-authoritative \
             --dhcp-range=192.0.2.100,192.0.2.109",
        )?;
        Ok(lab)
    }

    /// The same, which waits for nothing.
    pub(super) fn impatient(mut self) -> Self {
        self.limit = Duration::from_secs(5);
        self
    }

    /// How long anything may take.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// A host by the name in the prompt.
    pub(super) fn host(&self, name: &str) -> Result<&Host> {
        match name {
            "" => Ok(&self.sandbox.cloud),
            "internet" => Ok(&self.sandbox.internet),
            name => {
                let mut others = self.others.iter();
                let other = others.find(|host| host.name() == name);
                other.with_context(|| format!("this page's lab has no host {name}"))
            }
        }
    }

    /// The end of the cloud's log.
    pub(super) fn log(&self) -> String {
        let log = format!("tail -n 30 {}/novanet.log || true", crate::cloud::STATE);
        self.sandbox
            .cloud
            .sh(&log)
            .map(|o| o.stdout)
            .unwrap_or_default()
    }

    /// Every name that `make install` gives the binary.
    fn name_programs(&self) -> Result<()> {
        let makefile = std::fs::read_to_string(super::root().join("Makefile"))?;
        let (_, names) = makefile.split_once("APPLETS :=").context("APPLETS")?;
        let (applets, rest) = names.split_once('\n').context("the end of APPLETS")?;
        let (_, rest) = rest.split_once("euca-,").context("euca-")?;
        let (clients, _) = rest.split_once(')').context("the end of EUCA")?;
        let applets = applets.split_whitespace().map(str::to_owned);
        let clients = clients.split_whitespace().filter(|word| *word != "\\");
        let clients = clients.map(|client| format!("euca-{client}"));
        let names: Vec<String> = applets
            .chain(clients)
            .chain(["novanet".to_owned()])
            .collect();
        self.sandbox.cloud.exec_in(|| -> Result<()> {
            let bin = Path::new("/run/bin");
            std::fs::create_dir_all(bin)?;
            for name in &names {
                std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_novanet"), bin.join(name))?;
            }
            Ok(())
        })?
    }
}
