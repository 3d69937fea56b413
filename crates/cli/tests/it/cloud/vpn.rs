//! A project's VPN with real OpenVPN clients, their files as the cloud hands them out: a laptop
//! outside reaches private instances, until its user is revoked.

use super::{Cloud, LONG};
use anyhow::{Context as _, Result, ensure};
use novanet_lab::{Sandbox, eventually};
use std::time::Duration;

/// Names the image and the way in, as nova.conf would.
const FLAGS: &str = "--use_project_ca --cnt_vpn_clients=5 --vpn_image_id=ami-00000002";

impl Cloud {
    /// `nova-manage` with the flags of the VPN.
    fn vpn(&self, words: &str) -> Result<String> {
        let ip = Sandbox::CLOUD;
        self.sh(&format!("nova-manage {FLAGS} --my_ip={ip} {words}"))
    }

    /// Takes a file of the cloud host's working folder to the laptop.
    fn hand_over(&self, file: &str) -> Result<()> {
        let content = self.sh(&format!("base64 -w0 {file}"))?;
        self.internet(&format!(
            "umask 077; mkdir -p /run/laptop; echo {content} | base64 -d >/run/laptop/{file}"
        ))?;
        Ok(())
    }

    /// Connects the laptop with a client file; answers when its tap has an address.
    fn connect(&self, folder: &str, config: &str, tap: &str) -> Result<()> {
        self.internet(&format!(
            "cd {folder} && openvpn --config {config} --dev {tap} --daemon --log {tap}.log \
             --writepid {tap}.pid"
        ))?;
        let up = format!("ip -4 -o address show dev {tap} | grep -q 'inet 10.0.0.'");
        eventually(LONG, || self.internet(&up)).with_context(|| self.look())?;
        Ok(())
    }

    /// What both ends say, for a failed test.
    fn look(&self) -> String {
        let laptop = "ip -br addr; ip neigh; tail -n 30 /run/laptop/*.log";
        let laptop = self.internet(laptop).unwrap_or_default();
        let cloudpipe = "tail -n 40 /var/lib/nova/instances/i-0000000[23]/console.log";
        let cloudpipe = self.sh(cloudpipe).unwrap_or_default();
        format!("laptop: {laptop}\nCloudpipe: {cloudpipe}\n{}", self.log())
    }
}

/// The openvpn of the Cloudpipe, as the cloud host sees it.
const SERVER: &str = "pgrep -x openvpn";

#[test]
fn a_laptop_reaches_private_instances_with_the_files_of_the_zip_until_it_is_revoked() -> Result<()>
{
    let cloud = Cloud::up(FLAGS)?;
    // Two machines in one: each interface answers for its own address only.
    cloud.internet("sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2")?;
    let image = cloud.vpn("image build cloudpipe")?;
    ensure!(image.trim() == "ami-00000002", "{image}");
    cloud.aws("run-instances --image-id ami-00000001 --instance-type m1.tiny")?;
    let list = cloud.vpn("vpn run admin")?;
    ensure!(list.contains("203.0.113.2:1000"), "{list}");
    ensure!(list.contains("10.0.0.250-10.0.0.254"), "{list}");
    // Again: the same one.
    cloud.vpn("vpn run admin admin")?;
    let count = cloud.sh("nova-manage vm list --format json | jq length")?;
    ensure!(count.trim() == "2", "{count}");

    cloud.vpn("project zipfile admin admin nova.zip")?;
    cloud.hand_over("nova.zip")?;
    cloud.internet("cd /run/laptop && busybox unzip -q nova.zip")?;
    cloud.connect("/run/laptop", "nova-vpn.conf", "tap0")?;
    let private = cloud.aws(
        "describe-instances --instance-ids i-00000001 \
         --query Reservations[0].Instances[0].PrivateIpAddress",
    )?;
    // The default group lets nothing in from outside, and yet: ping and HTTP.
    eventually(LONG, || {
        cloud.internet(&format!(
            "ping -c1 -W1 -I tap0 {private} && curl -sf -m 2 --interface tap0 http://{private}/"
        ))
    })
    .with_context(|| cloud.look())?;
    revocation(&cloud, &private).with_context(|| cloud.look())?;
    restart(&cloud, &private).with_context(|| cloud.look())
}

/// A second user connects; the first one is revoked, and its session alone ends.
fn revocation(cloud: &Cloud, private: &str) -> Result<()> {
    cloud.vpn("user create bob")?;
    cloud.vpn("project add admin bob")?;
    cloud.vpn("vpn profile admin bob >bob.ovpn")?;
    cloud.hand_over("bob.ovpn")?;
    cloud.connect("/run/laptop", "bob.ovpn", "tap1")?;
    let ping = |tap: &str| cloud.internet(&format!("ping -c1 -W1 -I {tap} {private}"));
    eventually(LONG, || ping("tap1"))?;
    strangers(cloud, private)?;
    let server = cloud.sh(SERVER)?;
    cloud.internet(&format!(
        "ping -i 0.1 -I tap1 {private} >/run/laptop/bob.ping 2>&1 & \
         echo $! >/run/laptop/ping.pid"
    ))?;
    cloud.vpn("user revoke admin")?;
    eventually(Duration::from_secs(10), || -> Result<()> {
        ensure!(ping("tap0").is_err(), "the session lives");
        Ok(())
    })?;
    let list = cloud.vpn("vpn profile admin bob >other.ovpn")?;
    ensure!(list.is_empty(), "{list}");
    // A new client with the revoked certificate is refused.
    cloud.internet(
        "cd /run/laptop && openvpn --config nova-vpn.conf --dev tap2 --daemon --log tap2.log \
         --connect-retry 1 2 --hand-window 5 --writepid tap2.pid",
    )?;
    eventually(LONG, || {
        cloud.internet("grep -q 'TLS handshake failed' /run/laptop/tap2.log")
    })?;
    let up = cloud.internet("grep -c 'Initialization Sequence Completed' /run/laptop/tap2.log");
    ensure!(up.is_err(), "a revoked certificate came in");
    ensure!(ping("tap0").is_err(), "the revoked session came back");
    ensure!(cloud.sh(SERVER)? == server, "openvpn was started again");
    // The answer to the last packet may still be on its way.
    let lost = cloud.internet(
        "kill -INT $(cat /run/laptop/ping.pid); \
         until grep 'packet loss' /run/laptop/bob.ping; do sleep 0.1; done >&2; \
         sed -n 's/.*icmp_seq=\\([0-9]*\\) ttl.*/\\1/p' /run/laptop/bob.ping | \
         awk '{ last = $1 } END { print NR, last - NR }'",
    )?;
    let (answered, lost) = lost.trim().split_once(' ').context("no answer at all")?;
    ensure!(
        lost == "0" && answered.len() > 1,
        "{answered} answered, {lost} lost"
    );
    Ok(())
}

/// A client has its own address only, and learns nothing from the metadata service.
fn strangers(cloud: &Cloud, private: &str) -> Result<()> {
    let up = cloud.vpn("vpn list --format json | jq -c '.[] | [.project, .answers]'")?;
    ensure!(up.trim() == r#"["admin",true]"#, "{up}");
    let own = cloud.internet("ip -4 -o address show dev tap1 | awk '{ print $4 }'")?;
    let own = own.trim();
    let swap = |old: &str, new: &str| {
        cloud.internet(&format!(
            "ip address del {old} dev tap1 && ip address add {new} dev tap1"
        ))
    };
    let ping = || cloud.internet(&format!("ping -c1 -W1 -I tap1 {private}"));
    swap(own, "10.0.0.77/24")?;
    ensure!(ping().is_err(), "a client took another address");
    swap("10.0.0.77/24", own)?;
    eventually(LONG, ping)?;
    cloud.internet("ip route add 169.254.169.254 via 10.0.0.1 dev tap1")?;
    let asked = cloud.sandbox.internet.try_run(&[
        "sh",
        "-c",
        "curl -s -m 3 -o /dev/null -w '%{http_code}' --interface tap1 \
         http://169.254.169.254/latest/user-data",
    ])?;
    ensure!(asked.stdout != "200", "a client got user data");
    cloud.internet("ip route del 169.254.169.254 dev tap1")?;
    Ok(())
}

/// The Cloudpipe is rebooted, then ended and run again: clients come back by themselves, and the
/// revocations stay. In the end the only key that the project's Cloudpipe has logs in.
fn restart(cloud: &Cloud, private: &str) -> Result<()> {
    // The same user again, with a new certificate.
    cloud.vpn("vpn profile admin admin >again.ovpn")?;
    cloud.hand_over("again.ovpn")?;
    cloud.connect("/run/laptop", "again.ovpn", "tap3")?;
    let ping = |tap: &str| cloud.internet(&format!("ping -c1 -W1 -I {tap} {private}"));
    eventually(LONG, || ping("tap3").and_then(|_| ping("tap1")))?;
    let server = cloud.sh(SERVER)?;
    cloud.aws("reboot-instances --instance-ids i-00000002")?;
    eventually(LONG, || -> Result<()> {
        ensure!(cloud.sh(SERVER)? != server, "not rebooted yet");
        ping("tap3").and_then(|_| ping("tap1"))?;
        Ok(())
    })?;
    ensure!(ping("tap0").is_err(), "the reboot forgot a revocation");

    let address = "describe-instances --query Reservations[].Instances[].PrivateIpAddress \
                   --instance-ids";
    let before = cloud.aws(&format!("{address} i-00000002"))?;
    cloud.aws("terminate-instances --instance-ids i-00000002")?;
    // While there is no Cloudpipe.
    cloud.vpn("user revoke bob")?;
    let list = cloud.vpn("vpn run admin")?;
    ensure!(
        list.contains("203.0.113.2:1000") && list.contains("i-00000003"),
        "{list}"
    );
    eventually(LONG, || ping("tap3"))?;
    let after = cloud.aws(&format!("{address} i-00000003"))?;
    ensure!(before == after, "{before}, then {after}");
    let console = "/var/lib/nova/instances/i-00000003/console.log";
    eventually(LONG, || {
        cloud.sh(&format!("grep -q 'error=certificate revoked' {console}"))
    })?;
    ensure!(ping("tap1").is_err(), "bob came in");
    let key = "/var/lib/nova/keys/admin/admin-vpn.pem";
    let ssh = format!(
        "ssh -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes \
         -o ConnectTimeout=5 root@{after} 'ls /sys/class/net/br0/brif'"
    );
    let ports = eventually(LONG, || cloud.sh(&ssh))?;
    ensure!(
        ports.split_whitespace().collect::<Vec<_>>() == ["eth0", "tap0"],
        "{ports}"
    );
    Ok(())
}
