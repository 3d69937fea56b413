//! The main job, step by step: a project gets a network, two instances boot and take their
//! addresses, one gets a floating IP, a group opens it, the internet reaches it.

use super::show::Show;
use super::{STATE, TRUNK, Tools, VPN_FLAGS};
use anyhow::{Context as _, Result, ensure};
use novanet_lab::{Host, Output, Sandbox};
use std::process::{Command, Stdio};
use std::time::Duration;

pub(super) const BOOT: Duration = Duration::from_mins(1);
pub(super) const SOON: Duration = Duration::from_secs(10);

/// The hosts, the programs and the terminal of a demo.
pub(super) struct Walk<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) tools: &'a Tools,
    pub(super) show: &'a mut Show,
}

impl Walk<'_> {
    /// The main job, on a flat-DHCP network. An error ends it; a check that fails only counts.
    pub(super) fn main_job(&mut self) -> Result<()> {
        self.start(VPN_FLAGS)?;
        self.look()?;
        self.boot()?;
        let float = self.address()?;
        self.open(&float)?;
        self.reach(&float)?;
        self.inside(&float)?;
        self.repair(&float)?;
        self.laptop("10.0.0.3")?;
        self.end()
    }
}

impl Walk<'_> {
    /// `novanet up` on the cloud host, with more flags.
    pub(super) fn start(&mut self, flags: &str) -> Result<()> {
        self.show.chapter(
            "A cloud from nothing",
            "One command makes the database, an admin user and project, the image `tiny` and a flat-DHCP network.",
        );
        let command = format!(
            "novanet up --public_interface=eth0 --vlan_interface={TRUNK} --my_ip={} \
             --floating_range={} --state_path={STATE} {flags}",
            Sandbox::CLOUD,
            Sandbox::FLOATING
        );
        self.show.command("cloud", &format!("{command} &"));
        let novanet = self.tools.novanet.display();
        let line = command.replacen("novanet", &format!("exec {novanet}"), 1);
        let mut up = Command::new("sh");
        up.args([
            "-c",
            &format!("{line} >{STATE}/up.out 2>{STATE}/novanet.log"),
        ])
        .stdin(Stdio::null());
        let process = self.sandbox.cloud.spawn(&mut up)?;
        let cloud = &self.sandbox.cloud;
        let (said, took) = self.show.wait("novanet up", BOOT, || {
            let said = cloud.sh(&format!("cat {STATE}/up.out"))?.stdout;
            if process.ended()?.is_some() {
                let log = cloud.sh(&format!("tail -n 5 {STATE}/novanet.log"))?.stdout;
                return Err(anyhow::anyhow!("novanet up ended: {log}"));
            }
            ensure!(said.contains("the cloud is up"), "still starting");
            Ok(said)
        })?;
        self.show.output(said.trim());
        self.good(&format!(
            "the cloud is up after {:.1} s",
            took.as_secs_f32()
        ));
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        self.show.chapter(
            "What the operator sees",
            "nova-manage works on the database; the bridge and the DHCP server are there already.",
        );
        self.manage("network list")?;
        let cloud = &self.sandbox.cloud;
        self.show.wait("the bridge br100", SOON, || {
            cloud.sh("ip -brief address show br100 | grep -F 10.0.0.1/24")
        })?;
        self.on_cloud("ip -brief address show")?;
        self.manage("service list")?;
        let nft = self.sandbox.cloud.sh("nft list tables")?;
        self.check(
            "the firewall is in force before the first instance",
            nft.stdout.contains("table ip nova"),
            &nft.stdout,
        );
        Ok(())
    }

    fn boot(&mut self) -> Result<()> {
        self.show.chapter(
            "Two instances",
            "A real EC2 client makes a key pair and runs two instances; dnsmasq gives them their addresses.",
        );
        self.aws("create-key-pair --key-name demo --query KeyMaterial --output text > /run/demo.pem && chmod 600 /run/demo.pem")?;
        self.aws("run-instances --image-id ami-00000001 --instance-type m1.tiny --key-name demo --count 2 --query Instances[].InstanceId --output text")?;
        self.aws("wait instance-running")?;
        self.aws("describe-instances --query Reservations[].Instances[].[InstanceId,State.Name,PrivateIpAddress] --output table")?;
        for ip in ["10.0.0.2", "10.0.0.3"] {
            let cloud = &self.sandbox.cloud;
            let (_, took) = self.show.wait(&format!("an answer from {ip}"), BOOT, || {
                cloud.sh(&format!("ping -c 1 -W 1 {ip}"))
            })?;
            self.good(&format!(
                "{ip} answers the host's ping after {:.1} s",
                took.as_secs_f32()
            ));
        }
        let cloud = &self.sandbox.cloud;
        let aws = self.aws_line("get-console-output --instance-id i-00000001 --output text");
        let (console, _) = self.show.wait("the first console line", BOOT, || {
            let console = cloud.sh(&aws)?.stdout;
            ensure!(
                console.contains("10.0.0."),
                "no address on the console yet: {console}"
            );
            Ok(console)
        })?;
        self.show.command(
            "cloud",
            "aws ec2 get-console-output --instance-id i-00000001 --output text",
        );
        self.show.output(console.trim());
        self.good("the instance says on its console which address it took");
        Ok(())
    }

    fn address(&mut self) -> Result<String> {
        self.show.chapter(
            "A floating IP",
            "An address of the public network that leads to an instance, and can be moved.",
        );
        let said = self.aws("allocate-address --query PublicIp --output text")?;
        let float = said.stdout.trim().to_owned();
        self.aws(&format!(
            "associate-address --instance-id i-00000001 --public-ip {float}"
        ))?;
        self.aws("describe-addresses --output text")?;
        Ok(float)
    }

    fn open(&mut self, float: &str) -> Result<()> {
        self.show.chapter(
            "A closed door",
            "The default security group lets nothing in from outside.",
        );
        let closed = self.try_internet(&format!("curl -s -m 1 http://{float}/"))?;
        self.check(
            "the internet cannot reach the instance yet",
            !closed.success(),
            &closed.stdout,
        );
        self.aws("authorize-security-group-ingress --group-name default --protocol tcp --port 80 --cidr 0.0.0.0/0")?;
        self.aws("authorize-security-group-ingress --group-name default --protocol tcp --port 22 --cidr 0.0.0.0/0")?;
        self.aws("authorize-security-group-ingress --group-name default --protocol icmp --port -1 --cidr 0.0.0.0/0")?;
        Ok(())
    }

    fn reach(&mut self, float: &str) -> Result<()> {
        self.show.chapter(
            "The internet comes in",
            "HTTP, ping and ssh from a client outside, through the floating IP.",
        );
        let page = self.eventually_internet(&format!("curl -s -m 2 http://{float}/"), SOON)?;
        self.check(
            "HTTP answers with the instance's id",
            page.stdout.contains("i-00000001"),
            &page.stdout,
        );
        let ping = self.eventually_internet(&format!("ping -c 2 -i 0.2 -W 2 {float}"), SOON)?;
        self.check("ping answers", ping.success(), &ping.stdout);
        let pem = self.sandbox.cloud.sh("cat /run/demo.pem")?.stdout;
        let mut write = Command::new("sh");
        write.args(["-c", "umask 077; printf '%s\\n' \"$PEM\" > /run/demo.pem"]);
        write.env("PEM", pem.trim_end());
        ensure!(
            self.sandbox.internet.output(&mut write)?.success(),
            "cannot hand the key to the internet host"
        );
        let ssh = format!(
            "ssh -i /run/demo.pem -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o LogLevel=ERROR -o ConnectTimeout=5 -o BatchMode=yes root@{float}"
        );
        let shell = self.eventually_internet(&format!("{ssh} hostname"), BOOT)?;
        self.check(
            "ssh with the key pair gets a shell",
            shell.stdout.contains("i-00000001"),
            &shell.stdout,
        );
        Ok(())
    }

    fn inside(&mut self, float: &str) -> Result<()> {
        self.show.chapter(
            "The instance's own view",
            "It knows itself by the metadata service, goes out under its floating IP, and finds its neighbour.",
        );
        let ssh = format!(
            "ssh -i /run/demo.pem -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o LogLevel=ERROR -o ConnectTimeout=5 -o BatchMode=yes root@{float}"
        );
        let inside = |walk: &mut Self, command: &str| -> Result<Output> {
            walk.show.command("i-00000001", command);
            let said = walk.try_internet_quiet(&format!("{ssh} '{command}'"))?;
            walk.show.output(said.stdout.trim());
            Ok(said)
        };
        let meta = inside(
            self,
            "wget -q -O - http://169.254.169.254/latest/meta-data/public-ipv4",
        )?;
        self.check(
            "the metadata service knows its floating IP",
            meta.stdout.trim() == float,
            &meta.stdout,
        );
        let far = Sandbox::FAR_AWAY;
        let out = inside(self, &format!("ping -c 1 -W 2 {far}"))?;
        self.check("it reaches the internet", out.success(), &out.stdout);
        let peer = inside(self, "ping -c 1 -W 2 10.0.0.3")?;
        self.check(
            "it reaches its neighbour in the group",
            peer.success(),
            &peer.stdout,
        );
        Ok(())
    }

    fn repair(&mut self, float: &str) -> Result<()> {
        self.show.chapter(
            "Somebody breaks it",
            "What is removed by hand comes back by itself: rules within 200 ms, a DHCP server within 2 s.",
        );
        self.on_cloud("nft flush ruleset")?;
        let cloud = &self.sandbox.cloud;
        let (_, took) = self.show.wait("the rules", SOON, || {
            cloud.sh(
                "nft list table ip nova | grep -q dnat && nft list table bridge nova >/dev/null",
            )
        })?;
        self.good(&format!("the rules are back after {} ms", took.as_millis()));
        let page = self.eventually_internet(&format!("curl -s -m 2 http://{float}/"), SOON)?;
        self.check(
            "the internet still reaches the instance",
            page.stdout.contains("i-00000001"),
            &page.stdout,
        );
        let kill = format!("kill -9 $(cat {STATE}/networks/nova-br100.pid)");
        self.on_cloud(&kill)?;
        let (_, took) = self.show.wait("dnsmasq", SOON, || {
            cloud.sh(&format!(
                "sleep 0.05; kill -0 $(cat {STATE}/networks/nova-br100.pid)"
            ))
        })?;
        self.good(&format!(
            "the DHCP server is back after {:.1} s",
            took.as_secs_f32()
        ));
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.show.chapter(
            "The end of an instance",
            "Terminated instances leave nothing on the host; their addresses go back to the pool.",
        );
        self.aws("terminate-instances --instance-ids i-00000002 --output text")?;
        self.aws("wait instance-terminated --instance-ids i-00000002")?;
        let cloud = &self.sandbox.cloud;
        self.show.wait("the end of its port", SOON, || {
            cloud.sh("! ip -brief link show type veth | grep -w nv2")
        })?;
        self.on_cloud("ip -brief link show type veth")?;
        self.good("its port is gone");
        self.manage("fixed list")?;
        self.manage("audit list")?;
        Ok(())
    }

    pub(super) fn good(&mut self, what: &str) {
        self.show.check(what, Ok(()));
    }

    pub(super) fn check(&mut self, what: &str, holds: bool, seen: &str) {
        let result = if holds {
            Ok(())
        } else {
            Err(format!("seen instead: {seen}"))
        };
        self.show.check(what, result);
    }

    pub(super) fn on_cloud(&mut self, command: &str) -> Result<Output> {
        self.show.command("cloud", command);
        let said = self.sandbox.cloud.sh(command)?;
        self.show.output(said.stdout.trim_end());
        Ok(said)
    }

    pub(super) fn manage(&mut self, words: &str) -> Result<Output> {
        self.show.command("cloud", &format!("nova-manage {words}"));
        let novanet = self.tools.novanet.display();
        let said = self
            .sandbox
            .cloud
            .sh(&format!("{novanet} manage --state_path={STATE} {words}"))?;
        self.show.output(said.stdout.trim_end());
        Ok(said)
    }

    fn aws_line(&self, words: &str) -> String {
        let aws = self.tools.aws.display();
        format!(". {STATE}/novarc && {aws} ec2 {words}")
    }

    fn aws(&mut self, words: &str) -> Result<Output> {
        self.show.command("cloud", &format!("aws ec2 {words}"));
        let line = self.aws_line(words);
        let said = self.sandbox.cloud.sh(&line).context("awscli")?;
        self.show.output(said.stdout.trim_end());
        Ok(said)
    }

    fn try_internet(&mut self, command: &str) -> Result<Output> {
        self.show.command("internet", command);
        let said = self.try_internet_quiet(command)?;
        self.show.output(said.stdout.trim_end());
        Ok(said)
    }

    fn try_internet_quiet(&self, command: &str) -> Result<Output> {
        self.sandbox.internet.try_run(&["sh", "-c", command])
    }

    fn eventually_internet(&mut self, command: &str, limit: Duration) -> Result<Output> {
        self.show.command("internet", command);
        let internet: &Host = &self.sandbox.internet;
        let (said, _) = self
            .show
            .wait("an answer", limit, || internet.sh(command))?;
        self.show.output(said.stdout.trim_end());
        Ok(said)
    }
}
