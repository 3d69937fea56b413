//! A host and a database that do not belong together: nothing is removed or overwritten before the
//! operator decides.

use super::{Cloud, LONG, STATE};
use anyhow::ensure;
use nix::sys::signal::Signal;
use novanet_lab::eventually;

/// Starts `novanet up`, whose server does not run for a reason in these words. Its agent goes on
/// from the ledger.
fn refused(cloud: &Cloud, words: &[&str]) {
    let log = "/run/work/refused";
    let up = "novanet up --public_interface=eth0 --my_ip=203.0.113.2";
    let said = cloud
        .sh(&format!(
            "{up} >/dev/null 2>{log} & up=$!; \
             timeout 60 sh -c 'until grep -q \"the server does not run\" {log}; do sleep 0.05; done'; \
             timeout 60 sh -c 'until nova-manage host plan >/dev/null 2>&1; do sleep 0.05; done'; \
             kill $up; wait $up; cat {log}"
        ))
        .unwrap();
    for word in words {
        assert!(said.contains(word), "{word} is not in {said}");
    }
    assert!(!said.contains("action=\"remove\""), "{said}");
}

fn refused_line(cloud: &Cloud, line: &str, words: &[&str]) {
    let output = cloud.try_sh(line).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
    for word in words {
        assert!(
            output.stderr.contains(word),
            "{line}: {word} is not in {output:?}"
        );
    }
}

/// What must stay: processes of instances, their disks, links, rules, credentials, key.
fn all_there(cloud: &Cloud) -> String {
    cloud
        .sh(&format!(
            "pgrep -f '^/sbin/init' | sort; ls {STATE}/instances; ip -brief link | sort; \
             nft list tables; cksum {STATE}/novarc {STATE}/secret.key"
        ))
        .unwrap()
}

fn states(cloud: &Cloud) -> String {
    cloud
        .aws("describe-instances --query Reservations[].Instances[].[InstanceId,State.Name]")
        .unwrap()
}

fn running(cloud: &Cloud, wanted: &[&str]) {
    eventually(LONG, || {
        let states = states(cloud);
        for id in wanted {
            ensure!(states.contains(&format!("{id}\trunning")), "{states}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_host_loses_nothing_to_a_missing_another_or_an_older_database_until_the_operator_decides() {
    let cloud = Cloud::up("").unwrap();
    let float = cloud.with_instance().unwrap();
    cloud.stop(Signal::SIGTERM).unwrap();
    cloud
        .sh(&format!(
            "mkdir /run/copy; cp {STATE}/nova.sqlite* /run/copy/"
        ))
        .unwrap();
    cloud.start().unwrap();
    cloud
        .aws("run-instances --image-id ami-00000001 --instance-type m1.tiny")
        .unwrap();
    running(&cloud, &["i-00000001", "i-00000002"]);
    // The last change is a moment old.
    cloud
        .aws("authorize-security-group-ingress --group-name default --protocol tcp --port 81 --cidr 0.0.0.0/0")
        .unwrap();
    cloud.stop(Signal::SIGKILL).unwrap();
    let before = all_there(&cloud);

    // Missing: nothing is made.
    cloud
        .sh(&format!(
            "mkdir /run/right; mv {STATE}/nova.sqlite* /run/right/"
        ))
        .unwrap();
    refused(
        &cloud,
        &["nova.sqlite is empty or missing", "db restored --drop"],
    );
    refused_line(&cloud, "nova-manage project list", &["nova.sqlite"]);
    assert_eq!(
        cloud
            .sh(&format!("ls {STATE} | grep -c nova.sqlite || true"))
            .unwrap(),
        "0\n"
    );
    // Another one: looked at, and not used.
    cloud.sh("nova-manage db sync").unwrap();
    refused(
        &cloud,
        &["is not the one of", "the database is another one"],
    );
    refused_line(
        &cloud,
        "nova-manage user create eve",
        &["the database is another one"],
    );
    // An older copy.
    cloud
        .sh(&format!("rm {STATE}/nova.sqlite*; cp /run/copy/* {STATE}/"))
        .unwrap();
    let words = [
        "an older copy",
        "does not know i-00000002",
        "--adopt",
        "--drop",
    ];
    refused(&cloud, &words);
    refused_line(&cloud, "novanet server", &words);
    let shown = cloud.sh("nova-manage db restored").unwrap();
    assert!(
        shown.contains("unknown to the database: instance/2"),
        "{shown}"
    );
    assert_eq!(all_there(&cloud), before);

    // The database learns what the host has.
    let done = cloud.sh("nova-manage db restored --adopt").unwrap();
    assert!(
        done.contains("i-00000002: adopted in project admin"),
        "{done}"
    );
    cloud.start().unwrap();
    running(&cloud, &["i-00000001", "i-00000002"]);
    cloud.settled().unwrap();
    assert_eq!(all_there(&cloud), before);
    cloud.reachable(&float).unwrap();

    // The database is right.
    cloud.stop(Signal::SIGTERM).unwrap();
    cloud
        .sh(&format!("rm {STATE}/nova.sqlite*; cp /run/copy/* {STATE}/"))
        .unwrap();
    refused(&cloud, &words[1..]);
    let done = cloud.sh("nova-manage db restored --drop").unwrap();
    assert!(
        done.contains("removes what it does not know: i-00000002"),
        "{done}"
    );
    cloud.start().unwrap();
    eventually(LONG, || {
        let left = cloud.sh(&format!("ls {STATE}/instances"))?;
        ensure!(!left.contains("i-00000002"), "{left}");
        Ok(())
    })
    .unwrap();
    assert_eq!(states(&cloud), "i-00000001\trunning");
    cloud.reachable(&float).unwrap();
}

#[test]
fn a_state_folder_is_one_hosts_a_namespace_has_one_agent_and_cleanup_has_to_be_meant() {
    let mut cloud = Cloud::up("").unwrap();
    let name = cloud.sh("hostname").unwrap().trim().to_owned();
    let float = cloud.with_instance().unwrap();
    let before = all_there(&cloud);

    // A second agent, with everything else of its own.
    refused_line(
        &cloud,
        "timeout 60 novanet up --public_interface=eth0 --my_ip=203.0.113.2 --state_path=/run/other \
         --ec2_listen_port=8783 --metadata_port=8785 --flat_network_bridge=br300 \
         --fixed_range=10.3.0.0/24",
        &["another agent works in this network namespace (process "],
    );
    cloud.sh("test ! -e /run/other").unwrap();
    refused_line(
        &cloud,
        "timeout 60 novanet agent --public_interface=eth0 --my_ip=203.0.113.2 \
         --state_path=/run/other --metadata_port=8785",
        &["another agent works in this network namespace (process "],
    );
    refused_line(
        &cloud,
        "timeout 60 unshare -n novanet agent --public_interface=lo --my_ip=127.0.0.1",
        &["another agent works on this host"],
    );
    refused_line(
        &cloud,
        "nova-manage host cleanup",
        &["i-00000001 run on this host", "--force"],
    );
    assert_eq!(all_there(&cloud), before);

    // Another host name, another state folder.
    cloud.stop(Signal::SIGKILL).unwrap();
    refused_line(
        &cloud,
        "timeout 60 novanet up --public_interface=eth0 --my_ip=203.0.113.2 --state_path=/run/typo",
        &[
            "links of another novanet state (br100, ",
            "--state_path=DIR",
        ],
    );
    cloud.sh("test ! -e /run/typo").unwrap();
    refused_line(
        &cloud,
        "timeout 60 novanet up --public_interface=eth0 --my_ip=203.0.113.2 --host=cloud9",
        &[
            &format!("is {name}'s"),
            &format!("--host={name}"),
            &format!("nova-manage host rename {name} cloud9"),
        ],
    );
    refused_line(
        &cloud,
        "nova-manage host cleanup",
        &["i-00000001 run on this host", "--force"],
    );
    assert_eq!(all_there(&cloud), before);
    cloud
        .sh(&format!("nova-manage host rename {name} cloud9"))
        .unwrap();
    cloud.flags = "--host=cloud9".to_owned();
    cloud.start().unwrap();
    running(&cloud, &["i-00000001"]);
    cloud.settled().unwrap();
    assert_eq!(all_there(&cloud), before);
    cloud.reachable(&float).unwrap();
    let hosts = cloud.sh("nova-manage host list").unwrap();
    let named = |name: &str| hosts.split_whitespace().any(|word| word == name);
    assert!(named("cloud9") && !named(&name), "{hosts}");

    // Meant, the host is empty, and what is launched there says why it waits.
    cloud.sh("nova-manage host cleanup --force").unwrap();
    let waits = cloud
        .try_sh("nova-manage vm run ami-00000001 admin --wait --timeout 3")
        .unwrap();
    assert_eq!(waits.status.code(), Some(1), "{waits:?}");
    let reason = "host cloud9: the host was cleaned up; restart the agent";
    assert!(waits.stderr.contains(reason), "{waits:?}");
    let said = cloud
        .aws("describe-instances --instance-ids i-00000002 --query Reservations[].Instances[].StateReason.Message")
        .unwrap();
    assert!(said.contains(reason), "{said}");
    cloud.stop(Signal::SIGKILL).unwrap();
    eventually(LONG, || {
        let list = cloud.sh("nova-manage vm list --service_down_time=1 --format json")?;
        ensure!(list.contains("host cloud9: no agent since 20"), "{list}");
        Ok(())
    })
    .unwrap();
}
