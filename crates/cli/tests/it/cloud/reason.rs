//! The reason why an instance does not run, as real awscli and `nova-manage vm list` show it. An
//! instance with a fault holds up no other instance.

use super::faults::taken;
use super::{Cloud, LONG};
use anyhow::{Result, ensure};
use novanet_lab::eventually;

/// What awscli says of an instance: its state, the reason's code, its text, and the text once more
/// where old clients look for it.
fn columns(cloud: &Cloud, instance: &str) -> Result<[String; 4]> {
    let line = cloud.aws(&format!(
        "describe-instances --instance-ids {instance} --query \
         'Reservations[].Instances[].[State.Name,StateReason.Code,StateReason.Message,StateTransitionReason]'"
    ))?;
    let mut words = line.split('\t').map(str::to_owned);
    Ok(std::array::from_fn(|_| words.next().unwrap_or_default()))
}

fn until(cloud: &Cloud, instance: &str, expected: [&str; 4]) {
    eventually(LONG, || -> Result<()> {
        let columns = columns(cloud, instance)?;
        ensure!(columns == expected, "{columns:?}\n{}", cloud.log());
        Ok(())
    })
    .unwrap();
}

const RUNS: [&str; 4] = ["running", "None", "None", ""];

fn run(cloud: &Cloud) -> String {
    let words = "run-instances --image-id ami-00000001 --instance-type m1.tiny";
    cloud
        .aws(&format!("{words} --query Instances[].InstanceId"))
        .unwrap()
}

/// `vm list` of an instance: its state and detail.
fn listed(cloud: &Cloud, instance: &str) -> String {
    let list = cloud.sh("nova-manage vm list --format json").unwrap();
    let all: serde_json::Value = serde_json::from_str(&list).unwrap();
    let mut all = all.as_array().unwrap().iter();
    let vm = all.find(|vm| vm["instance"] == instance).unwrap();
    format!("{} {}", vm["state"], vm["detail"])
}

#[test]
fn an_instance_whose_network_is_refused_says_why_until_it_runs() {
    let cloud = Cloud::without_up("").unwrap();
    cloud.sh("ip link add br100 type bridge").unwrap();
    cloud
        .start_waiting_for(
            "grep -q 'did not make' /var/lib/nova/novanet.log && [ -r /var/lib/nova/novarc ]",
        )
        .unwrap();
    let id = run(&cloud);
    let why = taken("br100", 1, "a bridge");
    let said = cloud.sh("cat /var/lib/nova/up.out").unwrap();
    let not_up =
        format!("the cloud is not up: no network is in force\n    network 10.0.0.0/24: {why}");
    assert!(said.contains(&not_up), "{said}");
    until(&cloud, &id, ["pending", "pending", &why, &why]);
    assert_eq!(listed(&cloud, &id), format!("\"pending\" \"{why}\""));
    let log = cloud.log();
    assert!(log.contains(&why), "not what the log says: {log}");
    // One more, that goes without ever having been there.
    let other = run(&cloud);
    until(&cloud, &other, ["pending", "pending", &why, &why]);
    let ended = format!("terminate-instances --instance-ids {other}");
    cloud.aws(&ended).unwrap();
    until(&cloud, &other, ["terminated", "None", "None", ""]);

    // Nothing is said to be removed that was not there.
    let whole = cloud.sh("cat /var/lib/nova/novanet.log").unwrap();
    let acts = |act: &str| {
        let end = format!(" action=\"{act}\"");
        let lines = whole
            .lines()
            .filter_map(|l| l.strip_suffix(&end)?.split_once("applied "));
        let keys = lines.map(|(_, key)| key.to_owned());
        keys.collect::<std::collections::BTreeSet<String>>()
    };
    let never = &acts("remove") - &acts("create");
    assert!(never.is_empty(), "{never:?}\n{whole}");
    cloud.sh("ip link delete br100").unwrap();
    let removed = std::time::Instant::now();
    until(&cloud, &id, RUNS);
    let took = removed.elapsed();
    assert!(took.as_secs() < 20, "it ran {took:?} after the bridge went");
    assert_eq!(listed(&cloud, &id), "\"running\" null");
    cloud.settled().unwrap();
    let up = "grep 'the cloud is up' /var/lib/nova/up.out";
    eventually(LONG, || cloud.sh(up)).unwrap();
}

#[test]
fn a_network_that_is_refused_holds_up_nobody_who_has_another() {
    let cloud = Cloud::up("").unwrap();
    cloud
        .sh("ip link add br200 type bridge; ip link add br300 type bridge; \
             nova-manage network create 10.77.0.0/24 1 256 --kind flatdhcp --bridge br200; \
             nova-manage project create own admin; \
             nova-manage network create 10.78.0.0/24 1 256 --kind flatdhcp --bridge br300 --project_id own")
        .unwrap();
    eventually(LONG, || -> Result<()> {
        let errors = cloud.try_sh("nova-manage host list")?.stderr;
        for network in ["network/2 is not in force", "network/3 is not in force"] {
            ensure!(errors.contains(network), "{errors}");
        }
        Ok(())
    })
    .unwrap();
    let id = run(&cloud);
    until(&cloud, &id, RUNS);
    let addresses = "describe-instances --query Reservations[].Instances[].PrivateIpAddress";
    assert_eq!(cloud.aws(addresses).unwrap(), "10.0.0.2");
    let log = cloud.log();
    assert!(log.contains("a launch leaves a network out"), "{log}");

    // A project's own network is waited for.
    let waits = cloud
        .sh("nova-manage vm run --image ami-00000001 --project own --type m1.tiny")
        .unwrap();
    let why = format!("\"pending\" \"{}\"", taken("br300", 3, "a bridge"));
    eventually(LONG, || -> Result<()> {
        let listed = listed(&cloud, waits.trim());
        ensure!(listed == why, "{listed}");
        Ok(())
    })
    .unwrap();
    cloud
        .sh("ip link delete br200; ip link delete br300")
        .unwrap();
    eventually(LONG, || -> Result<()> {
        let listed = listed(&cloud, waits.trim());
        ensure!(listed == "\"running\" null", "{listed}");
        Ok(())
    })
    .unwrap();
    cloud.settled().unwrap();
}

#[test]
fn an_instance_that_the_runtime_does_not_make_says_so_until_it_runs() {
    let cloud = Cloud::up("").unwrap();
    cloud
        .sh("mount --bind /bin/false $(command -v runc)")
        .unwrap();
    let id = run(&cloud);
    let failed = eventually(LONG, || {
        let columns = columns(&cloud, &id)?;
        ensure!(columns[0] == "stopped", "{columns:?}");
        Ok(columns)
    })
    .unwrap();
    assert_eq!(failed[1], "Server.InternalError");
    let why = format!("runc create {id}: exit status: 1");
    assert!(failed[2].ends_with(&why), "{failed:?}");
    assert_eq!(failed[2], failed[3]);
    cloud.sh("umount $(command -v runc)").unwrap();
    until(&cloud, &id, RUNS);
}

#[test]
fn an_instance_whose_port_is_missing_says_why_until_it_has_it() {
    let cloud = Cloud::up("").unwrap();
    let why = "port nv1: the name is taken by a bridge that novanet did not make; \
               remove or rename it (ip link set nv1 name …)";
    cloud.sh("ip link add nv1 type bridge").unwrap();
    let id = run(&cloud);
    until(&cloud, &id, ["stopped", "Server.InternalError", why, why]);
    assert_eq!(listed(&cloud, &id), format!("\"error\" {why:?}"));
    // While the instance is tried again, the plan of that moment says nothing of it.
    eventually(LONG, || {
        let plan = cloud.try_sh("nova-manage host plan --diff")?.stdout;
        for item in ["port nv1", &id] {
            let line = format!("not in force: {item}: ");
            let shown = plan.lines().find(|l| l.trim_start().starts_with(&line));
            ensure!(shown.is_some_and(|l| l.ends_with(why)), "{item}: {plan}");
        }
        anyhow::Ok(())
    })
    .unwrap();
    cloud.sh("ip link delete nv1").unwrap();
    until(&cloud, &id, RUNS);
    assert_eq!(listed(&cloud, &id), "\"running\" null");
    cloud.settled().unwrap();
}
