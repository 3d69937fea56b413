//! `novanet demo`: a real one-host cloud in a sandbox of namespaces, driven through its main job by
//! the commands that a user types. The machine's own network does not change, nothing is left
//! behind, and a failed check makes the exit code 1.

#![allow(clippy::print_stdout, clippy::print_stderr)] // people run this by hand

mod picture;
mod show;
mod walk;

use crate::environment;
use crate::failure::Failure;
use novanet_lab::{MachineState, Sandbox};
use show::Show;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The cloud's folder in the sandbox: the usual one, private there.
const STATE: &str = "/var/lib/nova";

/// Runs the demo. `--keep` leaves the sandbox running and says how to enter it.
pub(crate) fn run(args: &[String]) -> Result<String, Failure> {
    let keep = match args {
        [] => false,
        [word] if word == "--keep" => true,
        [word] if word == "--help" || word == "-h" => {
            return Ok("usage: novanet demo [--keep]\n\n    --keep   leave the sandbox running and say how to enter it\n".to_owned());
        }
        other => {
            return Err(Failure::usage(format!(
                "novanet demo {}: takes --keep or nothing",
                other.join(" ")
            )));
        }
    };
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::failed(
            "novanet demo: makes network namespaces, which needs root (sudo make demo)",
        ));
    }
    let began = Instant::now();
    let before = MachineState::of_machine().map_err(failed)?;
    let sandbox = Sandbox::new(Path::new(STATE)).map_err(failed)?;
    let tools = Tools::find()?;
    let mut show = Show::new();
    let walked = walk::walk(&sandbox, &tools, &mut show);
    if let Err(error) = &walked {
        show.fail(&format!("the demo stopped: {error:#}"));
        print_log(&sandbox);
    } else {
        picture::print();
    }
    if keep {
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
        Ok(Self { novanet, aws })
    }
}

fn which(program: &str) -> Option<PathBuf> {
    let path = environment::variable_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
