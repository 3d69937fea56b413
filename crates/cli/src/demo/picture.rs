//! The drawing at the end of the demo, and how to enter a detached sandbox. Text only.

use super::{STATE, Tools};
use novanet_lab::{DetachedSandbox, Sandbox};

/// What stands now, and which way packets go.
pub(super) fn print() {
    println!(
        "
  internet                     cloud host
 ┌────────────────┐           ┌──────────────────────────────────────────────────────┐
 │ {far:<14} │           │ nft tables `nova`        br100 10.0.0.1/24  dnsmasq  │
 │ (far away)     │           │  floats, groups,     ┌─────┴─────┐          metadata │
 │                │  public   │  anti-spoofing      nv1         nv2                  │
 │ {inet:<14} ├───────────┤ eth0 {cloud:<14}  │           │                   │
 └────────────────┘  network  │   {float:<13} ⇄ i-00000001  i-00000002            │
                              │   (floating IP)   10.0.0.2    10.0.0.3  (gone now)   │
                              └──────────────────────────────────────────────────────┘",
        far = Sandbox::FAR_AWAY.to_string(),
        inet = Sandbox::INTERNET.to_string(),
        cloud = Sandbox::CLOUD.to_string(),
        float = "203.0.113.129",
    );
}

/// The commands for a kept sandbox.
pub(super) fn how_to_enter(sandbox: DetachedSandbox, tools: &Tools) -> String {
    let cloud = DetachedSandbox::enter(sandbox.cloud);
    format!(
        "
the sandbox is kept. On the cloud host:

    {cloud}
    {novanet} manage network list
    {novanet} manage host plan
    . {STATE}/novarc && {aws} ec2 describe-instances --output table

on the internet host:

    {internet} curl -s http://203.0.113.129/

and to end it:

    {end}",
        novanet = tools.novanet.display(),
        aws = tools.aws.display(),
        internet = DetachedSandbox::enter(sandbox.internet),
        end = sandbox.end(),
    )
}
