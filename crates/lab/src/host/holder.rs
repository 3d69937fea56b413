//! The two processes of a host: the holder of its namespaces, and the keeper, which cleans up after
//! it. Depends on `sh` and on root.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};

use super::HostOptions;
use super::furnish::furnish;

const INIT: &str = include_str!("init.sh");
const CGROUPS_ENTER: &str = include_str!("cgroups-enter.sh");
const CGROUPS_MOUNT: &str = include_str!("cgroups-mount.sh");
const KEEPER: &str = include_str!("keeper.sh");

/// The processes, and handles to the host's namespaces.
#[derive(Debug)]
pub(super) struct Holder {
    init: Child,
    keeper: Child,
    pub(super) mark: String,
    pub(super) net: OwnedFd,
    pub(super) mnt: OwnedFd,
    pub(super) uts: OwnedFd,
    pub(super) pid_namespace: OwnedFd,
}

impl Holder {
    pub(super) fn start(name: &str, options: &HostOptions) -> Result<Self> {
        // By chance too: where a test is a process of a host, its pid is a small number that others
        // have as well.
        let mark = format!(
            "novanet-lab-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        );
        // A thread that leaves the machine's namespaces is never used for anything else.
        let init = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("lab-maker".into());
            let thread = thread.spawn_scoped(scope, || make(name, options, &mark))?;
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let namespace = |kind: &str| -> Result<File> {
            let path = format!("/proc/{}/ns/{kind}", init.id());
            File::open(&path).with_context(|| path.clone())
        };
        let net = namespace("net")?;
        let (mnt, uts, pid_namespace) = (
            namespace("mnt")?.into(),
            namespace("uts")?.into(),
            namespace("pid")?.into(),
        );
        let keeper = keeper(&init, &net, &mark)?;
        Ok(Self {
            init,
            keeper,
            mark,
            net: net.into(),
            mnt,
            uts,
            pid_namespace,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.init.id()
    }

    /// Lets the host live on after its maker, until its process 1 is killed.
    pub(super) fn detach(&mut self) -> Result<()> {
        tell(&mut self.init, "keep")?;
        tell(&mut self.keeper, "keep")
    }

    /// Ends the host's process 1, and so by the kernel's hand all others in it, and waits until
    /// they are gone and cleared up after.
    pub(super) fn stop(&mut self) {
        let _ended_already_is_fine = self.init.kill();
        let _nothing_to_do_about_it = self.init.wait();
        drop(self.keeper.stdin.take());
        let _nothing_to_do_about_it = self.keeper.wait();
    }
}

fn tell(child: &mut Child, line: &str) -> Result<()> {
    let input = child.stdin.as_mut().context("the process has no input")?;
    writeln!(input, "{line}").context("talking to a process of the host")
}

/// Starts the process that clears up. It is given the network as its (unused) output: as long as it
/// holds that, the kernel gives the network's inode number to no other, and what has that number is
/// of this host, even where the maker was killed.
fn keeper(init: &Child, net: &File, mark: &str) -> Result<Child> {
    let (init, inode) = (init.id().to_string(), net.metadata()?.ino().to_string());
    let mut keeper = Command::new("sh");
    keeper
        .args(["-c", KEEPER, "keeper", mark, &init, &inode])
        .stdin(Stdio::piped())
        .stdout(net.try_clone()?)
        .stderr(Stdio::null());
    apart(&mut keeper).spawn().context("starting the keeper")
}

/// A group of its own: an interrupt at the terminal is for the maker, which then drops the host in
/// order.
fn apart(command: &mut Command) -> &mut Command {
    command.current_dir("/").process_group(0)
}

/// Leaves the machine's namespaces, furnishes new ones, and starts the holder in them.
fn make(name: &str, options: &HostOptions, mark: &str) -> Result<Child> {
    let apart_from = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWPID;
    unshare(apart_from).context("unshare (are you root?)")?;
    nix::unistd::sethostname(name).context("sethostname")?;
    furnish(options)?;
    let mut holder = Command::new("sh");
    if options.own_cgroups {
        holder.args(["-c", CGROUPS_ENTER, "cgroups", mark, CGROUPS_MOUNT, INIT]);
    } else {
        holder.args(["-c", INIT]);
    }
    let mut init = apart(
        holder
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )
    .spawn()
    .context("starting the holder")?;
    let mut said = String::new();
    BufReader::new(init.stdout.take().context("the holder has no output")?).read_line(&mut said)?;
    if said != "ready\n" {
        let _ended_already_is_fine = init.kill();
        init.wait()?;
        init.stderr
            .take()
            .context("the holder has no error output")?
            .read_to_string(&mut said)?;
        bail!("the holder did not start: {said}");
    }
    Ok(init)
}
