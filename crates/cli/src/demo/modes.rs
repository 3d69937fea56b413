//! The other modes of a network: flat on a bridge of the administrator's, and VLANs over a trunk to
//! a switch. Depends on the cloud that `walk` has started.

use super::TRUNK;
use super::walk::{BOOT, SOON, Walk};
use anyhow::{Context as _, Result};
use novanet_lab::{Host, connect};
use std::process::{Command, Stdio};

/// A switch, and a machine on the project's VLAN behind it.
pub(super) struct Switch {
    switch: Host,
    office: Host,
}

impl Walk<'_> {
    /// An instance on the administrator's bridge.
    pub(super) fn flat(&mut self) -> Result<()> {
        self.show.chapter(
            "Flat mode",
            "A network on the administrator's own bridge. The address is in the instance's files \
             before it boots.",
        );
        self.on_cloud(
            "ip link add dev br200 type bridge && ip address add 192.0.2.1/24 dev br200 && \
             ip link set dev br200 up",
        )?;
        self.manage("project create lan admin")?;
        self.manage(
            "network create 192.0.2.0/24 1 256 --kind flat --bridge br200 --project lan \
             --flat_injected",
        )?;
        let instance = self.manage("vm run ami-00000001 lan --wait")?.stdout;
        self.answers("192.0.2.2")?;
        self.on_cloud("ip -brief link show master br200")?;
        let servers = self.sandbox.cloud.sh("pgrep -fa dnsmasq")?.stdout;
        self.check(
            "no DHCP server is on that bridge",
            !servers.contains("br200"),
            &servers,
        );
        self.manage(&format!("vm terminate {} --wait", instance.trim()))?;
        Ok(())
    }

    /// A switch on the cloud host's trunk, before the cloud starts.
    pub(super) fn switch(&mut self) -> Result<Switch> {
        let (switch, office) = (Host::new("switch")?, Host::new("office")?);
        connect(&self.sandbox.cloud, TRUNK, &switch, "port1")?;
        connect(&office, "eth0", &switch, "port2")?;
        Ok(Switch { switch, office })
    }

    /// A project with a VLAN of its own, and its frames on the wire.
    pub(super) fn vlan(&mut self, switch: &Switch) -> Result<()> {
        self.show.chapter(
            "VLAN mode",
            "A project gets a VLAN, a bridge and a DHCP server of its own. The switch carries its \
             tag to a machine in the office.",
        );
        self.on_switch(
            &switch.switch,
            "ip link add dev sw type bridge vlan_filtering 1 && ip link set dev sw up && \
             ip link set dev port1 master sw && ip link set dev port2 master sw",
        )?;
        self.on_switch(
            &switch.switch,
            "bridge vlan add dev port1 vid 171 && bridge vlan add dev port2 vid 171 pvid untagged",
        )?;
        self.manage("project create web admin")?;
        self.manage("network create 10.1.171.0/24 1 256 --kind vlan --vlan 171 --project web")?;
        self.manage("vm run ami-00000001 web --wait")?;
        self.on_cloud("ip -brief link show type vlan")?;
        self.on_cloud("ip -brief address show dev br171")?;
        self.answers("10.1.171.3")?;
        let mut tcpdump = Command::new("tcpdump");
        tcpdump
            .args(["-l", "-n", "-e", "-c", "2", "-i", TRUNK, "icmp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let capture = self.sandbox.cloud.spawn(&mut tcpdump)?;
        let office = &switch.office;
        self.show
            .command("office", "ip address add 10.1.171.200/24 dev eth0");
        office.sh("ip address add 10.1.171.200/24 dev eth0")?;
        self.show.command("office", "ping -c 1 10.1.171.1");
        let (pong, _) = self.show.wait("an answer over the VLAN", BOOT, || {
            office.sh("ping -c 1 -W 1 10.1.171.1")
        })?;
        self.show.output(pong.stdout.trim());
        self.show.wait("two frames", SOON, || {
            capture.ended()?.context("the capture goes on")
        })?;
        let mut frames = String::new();
        let mut out = capture.stdout().context("tcpdump's output")?;
        std::io::Read::read_to_string(&mut out, &mut frames)?;
        self.show
            .command("cloud", &format!("tcpdump -n -e -i {TRUNK} icmp"));
        self.show.output(frames.trim());
        self.check(
            "the frames carry the project's tag",
            frames.contains("vlan 171,"),
            &frames,
        );
        Ok(())
    }

    fn on_switch(&mut self, switch: &Host, command: &str) -> Result<()> {
        self.show.command("switch", command);
        switch.sh(command)?;
        Ok(())
    }

    fn answers(&mut self, address: &str) -> Result<()> {
        let cloud = &self.sandbox.cloud;
        let (_, took) = self
            .show
            .wait(&format!("an answer from {address}"), BOOT, || {
                cloud.sh(&format!("ping -c 1 -W 1 {address}"))
            })?;
        self.good(&format!(
            "{address} answers the host's ping after {:.1} s",
            took.as_secs_f32()
        ));
        Ok(())
    }
}
