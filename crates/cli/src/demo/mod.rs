//! `novanet demo`: a real one-host cloud in a sandbox of namespaces, driven through its main job by
//! the commands that a user types. The machine's own network does not change, nothing is left
//! behind, and a failed check makes the exit code 1.

#![allow(clippy::print_stdout, clippy::print_stderr)] // people run this by hand

mod modes;
mod picture;
mod show;
mod vpn;
mod walk;

use crate::environment;
use crate::failure::Failure;
use novanet_lab::{MachineState, Sandbox, Vm, have8021q};
use show::Show;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use walk::Walk;

/// The cloud's folder in the sandbox: the usual one, private there.
const STATE: &str = "/var/lib/nova";

/// Flags of the cloud that its VPNs need; the image is the second one that is registered.
const VPN_FLAGS: &str = "--use_project_ca --cnt_vpn_clients=5 --vpn_image_id=ami-00000002";

/// The cloud host's interface to the switch, where there are VLANs.
const TRUNK: &str = "eth1";
/// For the VLAN part in a virtual machine, with each instruction translated.
const VM_LIMIT: Duration = Duration::from_mins(10);
/// Limits there are so many times longer.
const VM_SLOWNESS: u32 = 5;

const USAGE: &str = "usage: novanet demo [--keep] [--vlan]

    --keep   leave the sandbox running and say how to enter it
    --vlan   only VLAN networks; in a virtual machine, if this kernel has no 802.1Q

Example:
    novanet demo --keep
";

/// What to show.
#[derive(Clone, Copy, Default)]
struct Choice {
    keep: bool,
    only_vlan: bool,
}

impl Choice {
    fn of(args: &[String]) -> Result<Self, Failure> {
        let mut choice = Self::default();
        for word in args {
            match word.as_str() {
                "--keep" => choice.keep = true,
                "--vlan" => choice.only_vlan = true,
                other => {
                    return Err(Failure::usage(format!(
                        "novanet demo {other}: takes --keep, --vlan or nothing"
                    )));
                }
            }
        }
        Ok(choice)
    }
}

/// Runs the demo.
pub(crate) fn run(args: &[String]) -> Result<String, Failure> {
    if args.iter().any(|word| word == "--help" || word == "-h") {
        return Ok(USAGE.to_owned());
    }
    let choice = Choice::of(args)?;
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::failed(
            "novanet demo: makes network namespaces, which needs root (sudo make demo)",
        ));
    }
    let has_vlans = have8021q().map_err(failed)?;
    if choice.only_vlan && !has_vlans {
        return in_vm(choice);
    }
    let began = Instant::now();
    let before = MachineState::of_machine().map_err(failed)?;
    let sandbox = Sandbox::new(Path::new(STATE)).map_err(failed)?;
    let tools = Tools::find()?;
    let mut show = Show::new(if choice.only_vlan { VM_SLOWNESS } else { 1 });
    let mut walk = Walk {
        sandbox: &sandbox,
        tools: &tools,
        show: &mut show,
    };
    let walked = walk_modes(&mut walk, choice, has_vlans);
    if let Err(error) = &walked {
        show.fail(&format!("the demo stopped: {error:#}"));
        print_log(&sandbox);
    } else if !choice.only_vlan {
        picture::print();
    }
    if choice.keep {
        let detached = sandbox.detach().map_err(failed)?;
        println!("{}", picture::how_to_enter(detached, &tools));
    } else {
        let pids = [sandbox.cloud.pid(), sandbox.internet.pid()];
        let cgroup = sandbox.cloud.cgroup_name().to_owned();
        drop(sandbox);
        let after = MachineState::of_machine().map_err(failed)?;
        show.check(
            "the machine's own network, firewall and mounts are as before",
            same(&before, &after),
        );
        show.check("nothing is left of the sandbox", gone(&pids, &cgroup));
    }
    let took = began.elapsed().as_secs();
    let (passed, all) = show.score();
    println!("\n{passed} of {all} checks passed in {took} s");
    if passed == all && walked.is_ok() {
        Ok(String::new())
    } else {
        Err(Failure::failed("the demo did not show what it should"))
    }
}

/// The modes of a network, each with an instance that answers.
fn walk_modes(walk: &mut Walk<'_>, choice: Choice, has_vlans: bool) -> anyhow::Result<()> {
    let switch = has_vlans.then(|| walk.switch()).transpose()?;
    if choice.only_vlan {
        walk.start("")?;
    } else {
        walk.main_job()?;
        walk.flat()?;
    }
    if let Some(switch) = &switch {
        return walk.vlan(switch);
    }
    walk.show.chapter(
        "VLAN networks",
        "This kernel has no 802.1Q: make demo VLAN=1 shows them in a virtual machine.",
    );
    Ok(())
}

/// The same program in a virtual machine whose kernel has 802.1Q.
fn in_vm(choice: Choice) -> Result<String, Failure> {
    if choice.keep {
        return Err(Failure::usage(
            "novanet demo --vlan --keep: this kernel has no 802.1Q, and a virtual machine is not \
             kept",
        ));
    }
    println!("this kernel has no 802.1Q: booting a virtual machine that has it …");
    let tools = Tools::find()?;
    let program = tools.novanet.to_string_lossy();
    let aws = tools
        .aws
        .parent()
        .and_then(Path::parent)
        .unwrap_or(&tools.aws)
        .to_string_lossy();
    let mut variables = vec![("NOVANET_VENV", &*aws)];
    if !std::io::stdout().is_terminal() {
        variables.push(("NO_COLOR", "1"));
    }
    let status = Vm::new()
        .and_then(|vm| vm.show(&[&program, "demo", "--vlan"], &variables, VM_LIMIT))
        .map_err(failed)?;
    match status {
        0 => Ok(String::new()),
        _ => Err(Failure::failed("the demo did not show what it should")),
    }
}

/// What belongs to the machine alone. Namespaces and cgroups are shared with whatever else runs on
/// it now; of those [`gone`] looks for the sandbox's own.
const OWN: [&str; 11] = [
    "nft",
    "iptables",
    "ip6tables",
    "links",
    "addresses",
    "routes",
    "routes (IPv6)",
    "rules",
    "mounts",
    "sysctls",
    "paths",
];

fn same(before: &MachineState, after: &MachineState) -> Result<(), String> {
    let differs: Vec<&str> = OWN
        .into_iter()
        .filter(|view| before.view(view) != after.view(view))
        .collect();
    if differs.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{} differ: {}",
            differs.join(", "),
            before.diff(after)
        ))
    }
}

fn gone(pids: &[u32], cgroup: &str) -> Result<(), String> {
    for pid in pids {
        if Path::new(&format!("/proc/{pid}/ns")).exists() {
            return Err(format!("process {pid} still runs"));
        }
    }
    for tree in ["", "unified", "memory", "pids", "systemd"] {
        let folder = Path::new("/sys/fs/cgroup").join(tree).join(cgroup);
        if !cgroup.is_empty() && folder.exists() {
            return Err(format!("{} is still there", folder.display()));
        }
    }
    Ok(())
}

#[allow(clippy::needless_pass_by_value)] // as map_err wants it
fn failed(error: anyhow::Error) -> Failure {
    Failure::failed(format!("novanet demo: {error:#}").replace('\n', " "))
}

fn print_log(sandbox: &Sandbox) {
    if let Ok(log) = sandbox.cloud.sh(&format!("tail -n 40 {STATE}/novanet.log")) {
        println!("\nthe end of the cloud's log:\n{}", log.stdout);
    }
}

/// The programs that the demo calls.
struct Tools {
    /// This program.
    novanet: PathBuf,
    /// awscli.
    aws: PathBuf,
}

impl Tools {
    fn find() -> Result<Self, Failure> {
        let novanet = std::env::current_exe()
            .map_err(|e| Failure::failed(format!("cannot find this program's own path: {e}")))?;
        let aws = match environment::variable_os("NOVANET_VENV") {
            Some(venv) => PathBuf::from(venv).join("bin/aws"),
            None => which("aws").ok_or_else(|| {
                Failure::failed(
                    "novanet demo: awscli is missing (make demo brings it, or: pip install awscli)",
                )
            })?,
        };
        if which("openvpn").is_none() {
            return Err(Failure::failed(
                "novanet demo: openvpn is missing: install the Debian package openvpn",
            ));
        }
        Ok(Self { novanet, aws })
    }
}

fn which(program: &str) -> Option<PathBuf> {
    let path = environment::variable_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
