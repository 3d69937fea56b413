//! The end of the main job: a laptop outside reaches an instance without a floating IP through the
//! project's VPN, until its user is revoked. Depends on the cloud that `walk` has started.

use super::walk::{BOOT, SOON, Walk};
use super::{STATE, VPN_FLAGS};
use anyhow::{Result, ensure};
use novanet_lab::Sandbox;
use std::process::Command;

/// The client's file on the internet host.
const PROFILE: &str = "/run/demo.ovpn";

impl Walk<'_> {
    /// A laptop connects, reaches `private`, is revoked and cut off.
    pub(super) fn laptop(&mut self, private: &str) -> Result<()> {
        self.show.chapter(
            "A laptop comes into the private network",
            "The project's VPN is an instance with OpenVPN. A stock client needs one file.",
        );
        self.vpn("image build cloudpipe")?;
        self.vpn("vpn run admin")?;
        self.vpn(&format!("vpn profile admin admin >{PROFILE}"))?;
        let profile = self.sandbox.cloud.sh(&format!("cat {PROFILE}"))?.stdout;
        let mut write = Command::new("sh");
        write.args([
            "-c",
            &format!("umask 077; printf '%s' \"$PROFILE\" >{PROFILE}"),
        ]);
        write.env("PROFILE", profile);
        ensure!(
            self.sandbox.internet.output(&mut write)?.success(),
            "cannot hand the profile to the internet host"
        );
        // The cable of the sandbox is the laptop's too: each interface answers for itself.
        self.sandbox
            .internet
            .sh("sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2")?;
        self.on_laptop(&format!(
            "openvpn --config {PROFILE} --dev tap0 --daemon --log /run/demo-vpn.log \
             --writepid /run/demo-vpn.pid"
        ))?;
        let internet = &self.sandbox.internet;
        let (_, took) = self.show.wait("the VPN", BOOT, || {
            internet.sh("ip -4 -o address show dev tap0 | grep -F 10.0.0.")
        })?;
        self.good(&format!(
            "the laptop is connected {:.1} s after the VPN's start",
            took.as_secs_f32()
        ));
        let ping = format!("ping -c 1 -W 1 -I tap0 {private}");
        self.show.command("laptop", &ping);
        let (pong, _) = self.show.wait("an answer", BOOT, || internet.sh(&ping))?;
        self.show.output(pong.stdout.trim_end());
        self.good(&format!("it reaches {private}, which has no floating IP"));
        self.vpn("user revoke admin")?;
        let ((), took) = self.show.wait("the cut", SOON, || {
            let pong = internet.try_run(&["sh", "-c", &ping])?;
            ensure!(!pong.success(), "the session lives");
            Ok(())
        })?;
        self.good(&format!(
            "its user's certificate is revoked, and the session is cut {:.1} s later",
            took.as_secs_f32()
        ));
        self.sandbox.internet.sh("kill $(cat /run/demo-vpn.pid)")?;
        Ok(())
    }

    /// nova-manage with the flags of VPNs.
    fn vpn(&mut self, words: &str) -> Result<()> {
        self.show.command("cloud", &format!("nova-manage {words}"));
        let novanet = self.tools.novanet.display();
        let ip = Sandbox::CLOUD;
        let said = self.sandbox.cloud.sh(&format!(
            "{novanet} manage --state_path={STATE} --my_ip={ip} {VPN_FLAGS} {words}"
        ))?;
        self.show.output(said.stdout.trim_end());
        Ok(())
    }

    fn on_laptop(&mut self, command: &str) -> Result<()> {
        self.show.command("laptop", command);
        self.sandbox.internet.sh(command)?;
        Ok(())
    }
}
