//! A host that is not as it should be: each fault is named in one line that says what to do.

use super::Cloud;

fn refused(cloud: &Cloud, line: &str, expected: &[&str]) {
    let output = cloud.try_sh(&format!("timeout 30 {line}")).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
    let error = output
        .stderr
        .lines()
        .find(|l| l.starts_with("error: "))
        .unwrap_or_else(|| panic!("{line}: no error line in {:?}", output.stderr));
    for word in expected {
        assert!(error.contains(word), "{line}: {word} is not in {error:?}");
    }
}

#[test]
fn what_a_host_lacks_is_said_at_start_in_one_line() {
    let cloud = Cloud::without_up("").unwrap();
    let up = "novanet up --my_ip=203.0.113.2";
    refused(
        &cloud,
        &format!("{up} --public_interface=eth7"),
        &["public_interface eth7", "there are eth0"],
    );
    // Without its programs: the packages to install.
    refused(
        &cloud,
        "unshare -m sh -c 'mount --bind /run/work /usr/sbin && exec /run/bin/novanet agent --public_interface=eth0 --my_ip=203.0.113.2'",
        &["nft", "install"],
    );
    refused(
        &cloud,
        &format!(
            "unshare -m sh -c 'mount --bind /run/work /usr/sbin && exec /run/bin/{up} --public_interface=eth0'"
        ),
        &["nft", "install"],
    );
    // Not root.
    refused(
        &cloud,
        "setpriv --reuid=65534 --clear-groups /run/bin/novanet agent --state_path=/tmp --public_interface=eth0",
        &["root"],
    );
    // The port is taken.
    let python = super::venv().unwrap().join("bin/python");
    let line = format!(
        "{} -m http.server --bind 0.0.0.0 8773 >/dev/null 2>&1 & sleep 1; timeout 30 {up} --public_interface=eth0; code=$?; kill $!; exit $code",
        python.display()
    );
    let output = cloud.try_sh(&line).unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.contains("8773"), "{}", output.stderr);
}

#[test]
fn a_foreign_bridge_of_our_name_is_an_error_and_is_left_alone() {
    let cloud = Cloud::without_up("").unwrap();
    cloud
        .sh("ip link add br100 type bridge && ip address add 10.0.0.1/24 dev br100")
        .unwrap();
    let before = cloud
        .sh("ip -d link show br100; ip address show br100")
        .unwrap();
    cloud.start().unwrap();
    novanet_lab::eventually(super::LONG, || -> anyhow::Result<()> {
        let said = cloud.sh("nova-manage host list --format json; nova-manage host plan --diff")?;
        anyhow::ensure!(said.contains("br100"), "{said}");
        let log = cloud.log();
        anyhow::ensure!(log.contains("a bridge that novanet did not make"), "{log}");
        Ok(())
    })
    .unwrap();
    assert_eq!(
        cloud
            .sh("ip -d link show br100; ip address show br100")
            .unwrap(),
        before
    );
}
