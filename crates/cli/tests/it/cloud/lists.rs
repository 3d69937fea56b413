//! Lists: the owner of an address, faults, the terminal's width, and JSON whose keys are
//! documented.

use super::{Cloud, LONG, venv};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use novanet_lab::eventually;
use serde_json::Value;

const KEYS: &str = include_str!("../../../../../docs/nova-manage.md");

fn json(cloud: &Cloud, words: &str) -> Value {
    let output = cloud.try_sh(&format!("nova-manage {words} --format json"));
    let output = output.unwrap();
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{words}: {e}: {output:?}"))
}

/// The keys of a command's JSON are those of its list item in the documentation.
fn documented(cloud: &Cloud, words: &str) {
    let said = json(cloud, words);
    let first = said.get(0).unwrap_or(&said);
    let keys = first.as_object().map(|o| o.keys().collect::<Vec<_>>());
    let keys = keys.unwrap_or_else(|| panic!("{words}: {said}"));
    let name: Vec<&str> = words.split(' ').take(2).collect();
    let name = format!("`{}`", name.join(" "));
    let mut items = KEYS.split("\n* ");
    let item = items.find(|item| item.split(": ").next().is_some_and(|c| c.contains(&name)));
    let item = item.unwrap_or_else(|| panic!("{name} is not documented"));
    for key in keys {
        assert!(item.contains(&format!("`{key}`")), "{name}: {key}");
    }
}

/// Changes rows by hand, as a clock that moves on would.
fn by_hand(cloud: &Cloud, sql: &str) {
    let python = venv().unwrap().join("bin/python");
    let script = format!(
        "import sqlite3; c = sqlite3.connect('/var/lib/nova/nova.sqlite', timeout=30); \
         c.executescript('{sql}'); c.commit()"
    );
    cloud
        .sh(&format!("{} -c \"{script}\"", python.display()))
        .unwrap();
}

#[test]
fn lists_name_owner_address_and_usage_fit_the_terminal_and_have_documented_keys() {
    let cloud = Cloud::up("").unwrap();
    let float = cloud.with_instance().unwrap();
    let line = |words: &str, has: &[&str]| {
        eventually(LONG, || -> Result<()> {
            let said = cloud.sh(&format!("nova-manage {words}"))?;
            let mut lines = said.lines();
            let found = lines.any(|l| has.iter().all(|word| l.contains(word)));
            ensure!(found, "{words}: no line has {has:?}: {said}");
            Ok(())
        })
        .unwrap();
    };
    line(
        "vm list --format table",
        &["i-00000001", "running", "10.0.0.2", &float],
    );
    line("fixed list --format table", &["10.0.0.2", "leased"]);
    line(
        "floating list --format table",
        &[&float, "i-00000001", "admin", "10.0.0.2"],
    );
    line("network list --format table", &["10.0.0.0/24", " 1    252"]);
    line("network info private", &["used:", " 1"]);
    line("service list --format table", &[" UTC"]);

    let narrow = "script -q -c 'stty cols 60; nova-manage vm list; nova-manage network list' /dev/null </dev/null";
    let said = cloud.sh(narrow).unwrap();
    assert!(
        said.contains("10.0.0.2") && said.contains("addresses"),
        "{said}"
    );
    let wide = said.lines().find(|l| l.trim_end().chars().count() > 60);
    assert_eq!(wide, None, "{said}");

    for words in [
        "vm list",
        "fixed list",
        "floating list",
        "network list",
        "network show private",
        "service list",
        "host list",
        "image list",
        "instance_type list",
        "project list",
        "user list",
        "role list",
        "audit list",
        "config list",
        "host plan",
        "firewall show",
        "db check",
    ] {
        if words == "role list" {
            cloud.sh("nova-manage role add admin netadmin").unwrap();
        }
        documented(&cloud, words);
    }
    let rules = json(&cloud, "firewall show");
    let tables = rules["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 3, "{rules}");
    let blocks = tables.iter().flat_map(|t| t["blocks"].as_array().unwrap());
    let kinds: Vec<&str> = blocks.map(|b| b["kind"].as_str().unwrap()).collect();
    assert!(
        kinds.contains(&"chain") && kinds.contains(&"set"),
        "{rules}"
    );
    let plan = json(&cloud, "host plan");
    let mut items = plan.as_array().unwrap().iter();
    let bridge = items.find(|i| i["subsystem"] == "links" && i["item"] == "bridge br100");
    assert!(bridge.is_some(), "{plan}");

    // No agent repairs it: the difference stays.
    cloud.settled().unwrap();
    cloud.sh("nova-manage host plan --diff").unwrap();
    cloud.stop(Signal::SIGTERM).unwrap();
    cloud.sh("ip link set nv1 nomaster").unwrap();
    let diff = cloud.try_sh("nova-manage host plan --diff").unwrap();
    assert_eq!(diff.status.code(), Some(2), "{diff:?}");
    assert!(!diff.stderr.contains("error"), "{diff:?}");
    documented(&cloud, "host plan --diff");
    let diff = json(&cloud, "host plan --diff");
    let mut items = diff.as_array().unwrap().iter();
    let port = items.find(|i| i["action"] == "change" && i["subsystem"] == "links");
    let port = port.unwrap_or_else(|| panic!("{diff}"));
    assert!(
        port["from"].is_string() && port["value"].is_string(),
        "{diff}"
    );
}

#[test]
fn an_instance_that_runs_without_a_lease_is_remarked_where_people_look() {
    let cloud = Cloud::up("").unwrap();
    // What an administrator's own rules may do to a host.
    cloud
        .sh("nft 'add table inet own; add chain inet own in { type filter hook input priority 0; }; \
             add rule inet own in udp dport 67 drop'")
        .unwrap();
    cloud
        .aws("run-instances --image-id ami-00000001 --instance-type m1.tiny")
        .unwrap();
    let listed = || cloud.sh("nova-manage vm list --format json");
    eventually(LONG, || -> Result<()> {
        let said = listed()?;
        ensure!(said.contains("\"running\""), "{said}");
        Ok(())
    })
    .unwrap();
    assert!(listed().unwrap().contains("\"detail\": null"));
    // The time of a lease goes by.
    by_hand(
        &cloud,
        "UPDATE instances SET launched_at = launched_at - 121000000",
    );
    let why = "no DHCP lease of 10.0.0.2 is known after 120 s";
    let list = cloud.sh("nova-manage vm list --format table").unwrap();
    assert!(list.contains(why) && list.contains("running"), "{list}");
    let fixed = cloud.sh("nova-manage fixed list --format table").unwrap();
    assert!(fixed.contains("no lease"), "{fixed}");
    let reason = "describe-instances --query Reservations[].Instances[].StateReason.Message";
    let said = cloud.aws(reason).unwrap();
    assert!(said.contains(why), "{said}");
    // With its lease it is gone.
    cloud.sh("nft delete table inet own").unwrap();
    eventually(LONG, || -> Result<()> {
        let said = listed()?;
        ensure!(said.contains("\"detail\": null"), "{said}");
        Ok(())
    })
    .with_context(|| cloud.log())
    .unwrap();
    assert!(
        cloud
            .sh("nova-manage fixed list --format table")
            .unwrap()
            .contains("leased")
    );
}
