//! The public interface appears late, gets its address late, or gets another address. The cloud
//! waits, says so, and follows.

use super::{Cloud, LONG, STATE, TMP};
use anyhow::{Context as _, Result, ensure};
use novanet_lab::{Process, Sandbox, connect, eventually};
use std::process::{Command, Stdio};

/// `novanet up` without `--my_ip`.
fn spawn(cloud: &Cloud) -> Process {
    let line = format!(
        "PATH=/run/bin:$PATH; export TMPDIR={TMP}; exec novanet up --public_interface=eth0 \
         --floating_range={} >{STATE}/up.out 2>{STATE}/novanet.log",
        Sandbox::FLOATING
    );
    let mut command = Command::new("sh");
    command.args(["-c", &line]).stdin(Stdio::null());
    cloud.sandbox.cloud.spawn(&mut command).unwrap()
}

/// Waits until this line prints all of these words and none of those.
fn shows(cloud: &Cloud, line: &str, words: &[&str], none: &[&str]) {
    eventually(LONG, || -> Result<()> {
        let output = cloud.try_sh(line)?;
        let text = format!("{}{}", output.stdout, output.stderr);
        let all = words.iter().all(|word| text.contains(word));
        ensure!(
            all && !none.iter().any(|word| text.contains(word)),
            "{text}"
        );
        Ok(())
    })
    .with_context(|| cloud.log())
    .unwrap();
}

/// The cloud host's address is this from now on.
fn move_to(cloud: &Cloud, address: &str) {
    let router = Sandbox::INTERNET;
    cloud
        .sh(&format!(
            "ip address flush dev eth0; ip address add {address}/24 dev eth0; \
             ip route add default via {router}"
        ))
        .unwrap();
}

/// Every value without a flag of its own has this address.
fn follows(cloud: &Cloud, address: &str, before: &str) {
    let source = format!("snat to {address}");
    let rules = "nft list chain ip nova nat_postrouting";
    shows(cloud, rules, &[&source], &["snat to 127.", before]);
    shows(cloud, &format!("cat {STATE}/novarc"), &[address], &[before]);
    let regions = "aws ec2 describe-regions --output text";
    shows(cloud, regions, &[address], &[before]);
    shows(
        cloud,
        "nova-manage host list --format json 2>&1",
        &[address],
        &["is not there", "has no address"],
    );
}

#[test]
fn a_public_interface_that_comes_late_and_changes_its_address_is_waited_for_and_followed() {
    let cloud = Cloud::without_up("").unwrap();
    // F13: it is not there at all.
    cloud.sh("ip link delete eth0").unwrap();
    let process = spawn(&cloud);
    let words = "public_interface eth0: no such interface yet, waiting for it";
    shows(
        &cloud,
        &format!("cat {STATE}/up.out"),
        &[words, "the cloud is up"],
        &[],
    );
    *cloud.up.lock().unwrap() = Some(process);
    let hosts = "nova-manage host list";
    let missing = "host cloud: interface eth0 is not there";
    shows(&cloud, hosts, &[missing], &[]);
    // Everything else works: an instance, its metadata, its page.
    cloud
        .aws("run-instances --image-id ami-00000001 --instance-type m1.tiny")
        .unwrap();
    let float = cloud.aws("allocate-address --query PublicIp").unwrap();
    cloud
        .aws(&format!(
            "associate-address --instance-id i-00000001 --public-ip {float}"
        ))
        .unwrap();
    cloud
        .aws("authorize-security-group-ingress --group-name default --protocol tcp --port 80 --cidr 0.0.0.0/0")
        .unwrap();
    shows(
        &cloud,
        "curl -s -m 2 http://10.0.0.2/",
        &["i-00000001"],
        &[],
    );

    // U4: it comes without an address.
    connect(
        &cloud.sandbox.cloud,
        "eth0",
        &cloud.sandbox.internet,
        "eth0",
    )
    .unwrap();
    cloud
        .internet(&format!("ip address add {}/24 dev eth0", Sandbox::INTERNET))
        .unwrap();
    let waits = "host cloud: interface eth0 has no address";
    shows(&cloud, hosts, &[waits], &["is not there"]);
    shows(
        &cloud,
        "nft list chain ip nova nat_postrouting",
        &["drop"],
        &["snat to 127."],
    );

    // It gets one, and then another.
    move_to(&cloud, "203.0.113.2");
    follows(&cloud, "203.0.113.2", "127.0.0.1");
    cloud.reachable(&float).unwrap();
    move_to(&cloud, "203.0.113.77");
    follows(&cloud, "203.0.113.77", "203.0.113.2\"");
    shows(
        &cloud,
        "nft list chain ip nova nat_postrouting",
        &[],
        &["snat to 203.0.113.2 ", "snat to 203.0.113.2\n"],
    );
    cloud.reachable(&float).unwrap();
    cloud.settled().unwrap();
}
