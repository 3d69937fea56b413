//! StopInstances and StartInstances with awscli: an instance behind a floating IP goes and comes
//! back with all that it had.

use super::{Cloud, LONG};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use novanet_lab::eventually;

const SHOW: &str = "describe-instances --instance-ids i-00000001 --query \
                    'Reservations[0].Instances[0].[State.Name,PrivateIpAddress,PublicIpAddress,\
                    SecurityGroups[0].GroupName,StateReason.Code]'";

#[test]
fn an_instance_is_stopped_and_started_and_keeps_its_addresses_groups_and_disk() {
    let cloud = Cloud::up("").unwrap();
    let float = cloud.with_instance().unwrap();
    let has = |state: &str, reason: &str| -> Result<()> {
        eventually(LONG, || -> Result<()> {
            let shown = cloud.aws(SHOW)?;
            let wanted = format!("{state}\t10.0.0.2\t{float}\tdefault\t{reason}");
            ensure!(shown == wanted, "{shown} instead of {wanted}");
            Ok(())
        })
        .with_context(|| cloud.log())
    };
    has("running", "None").unwrap();
    let disk = format!("{}/instances/i-00000001/disk.img", super::STATE);
    let inode = cloud.sh(&format!("stat -c %i {disk}")).unwrap();

    let said = cloud
        .aws("stop-instances --instance-ids i-00000001 --query 'StoppingInstances[0].CurrentState.Name'")
        .unwrap();
    assert_eq!(said, "stopping");
    has("stopped", "Client.UserInitiatedShutdown").unwrap();
    let answers = format!("curl -sf -m 2 http://{float}/");
    assert!(cloud.internet(&answers).is_err(), "it runs still");
    cloud.settled().unwrap();

    // An agent that is killed learns again that it must not run.
    cloud.stop(Signal::SIGKILL).unwrap();
    cloud.start().unwrap();
    cloud.settled().unwrap();
    has("stopped", "Client.UserInitiatedShutdown").unwrap();
    assert!(cloud.internet(&answers).is_err(), "it runs again");

    cloud
        .aws("start-instances --instance-ids i-00000001")
        .unwrap();
    cloud.reachable(&float).unwrap();
    has("running", "None").unwrap();
    let same = cloud.sh(&format!("stat -c %i {disk}")).unwrap();
    assert_eq!(same, inode, "another disk");
}
