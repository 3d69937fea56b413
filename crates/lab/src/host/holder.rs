//! The process that holds a host's namespaces, and how they are furnished.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::HostOptions;

/// Process 1 of the host. It reaps what is orphaned in the host and ends when its standard input does, that is when its maker dropped the host or died.
/// `cat` waits in the background because only `wait` reaps; a background command has its input from the null device unless it is given another.
/// Its `/proc` is not shared with threads of other pid namespaces.
const INIT: &str = "mount -t proc -o nosuid,nodev,noexec proc /proc && mount --make-private /proc && exec 3<&0 && { cat <&3 >&2 & } && echo ready && exec >&2 && wait $!";

/// The holder process and handles to its namespaces.
#[derive(Debug)]
pub(super) struct Holder {
    child: Child,
    pub(super) net: OwnedFd,
    pub(super) mnt: OwnedFd,
    pub(super) uts: OwnedFd,
    pub(super) pid_namespace: OwnedFd,
}

impl Holder {
    pub(super) fn start(name: &str, options: &HostOptions) -> Result<Self> {
        let child = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("lab-maker".into())
                .spawn_scoped(scope, || make(name, options))?;
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let namespace = |pid: u32, kind: &str| -> Result<OwnedFd> {
            let path = format!("/proc/{pid}/ns/{kind}");
            Ok(File::open(&path).with_context(|| path.clone())?.into())
        };
        let pid = child.id();
        Ok(Self {
            net: namespace(pid, "net")?,
            mnt: namespace(pid, "mnt")?,
            uts: namespace(pid, "uts")?,
            pid_namespace: namespace(pid, "pid")?,
            child,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the host's process 1, and so by the kernel's hand all others in it, and waits until they are gone.
    pub(super) fn stop(&mut self) {
        let _ended_already_is_fine = self.child.kill();
        let _nothing_to_do_about_it = self.child.wait();
    }
}

/// Leaves the machine's namespaces (this thread is never used for anything else), furnishes new ones, and starts the holder in them.
fn make(name: &str, options: &HostOptions) -> Result<Child> {
    unshare(
        CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWPID,
    )
    .context("unshare (are you root?)")?;
    nix::unistd::sethostname(name).context("sethostname")?;
    furnish(options)?;
    let mut holder = Command::new("sh");
    holder
        .args(["-c", INIT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A group of its own: an interrupt at the terminal is for the maker, which then drops the host in order.
    let mut child = holder
        .current_dir("/")
        .process_group(0)
        .spawn()
        .context("starting the holder")?;
    let mut said = String::new();
    BufReader::new(child.stdout.take().context("the holder has no output")?)
        .read_line(&mut said)?;
    if said != "ready\n" {
        let _ended_already_is_fine = child.kill();
        child.wait()?;
        child
            .stderr
            .take()
            .context("the holder has no error output")?
            .read_to_string(&mut said)?;
        bail!("the holder did not start: {said}");
    }
    Ok(child)
}

/// Gives the host its own `/sys`, `/run`, private folders and files. The machine's mounts stay as they are: first of all nothing propagates back.
fn furnish(options: &HostOptions) -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("making mounts private")?;
    // Where a file is really kept may be a link into /run: ask before /run is covered.
    let files: Vec<(PathBuf, &str)> = options
        .files
        .iter()
        .map(|(path, text)| (real(path), text.as_str()))
        .collect();
    cover("/run")?;
    for folder in ["/run/lock", "/run/netns"] {
        std::fs::create_dir(folder).with_context(|| folder.to_owned())?;
    }
    own_sys()?;
    // First every place, then what is mounted there: a layer over a folder hides what was mounted inside.
    for folder in &options.private {
        if !folder.is_dir() {
            private_layer(folder)?;
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
    }
    for (path, _) in &files {
        if !path.exists() {
            private_layer(path)?;
            std::fs::write(path, "").with_context(|| path.display().to_string())?;
        }
    }
    options.private.iter().try_for_each(cover)?;
    for (number, (path, text)) in files.iter().enumerate() {
        let source = format!("/run/.lab-file-{number}");
        std::fs::write(&source, text).with_context(|| source.clone())?;
        bind(Path::new(&source), path)?;
    }
    // From here on, what is mounted in the host is seen by every thread that is in it (see `Host::exec_in`), but not outside.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none)
        .context("sharing mounts in the host")
}

/// `unshare` of the network keeps the old `/sys`, where programs would see the machine's devices; a fresh one has no cgroups, so those are carried over.
fn own_sys() -> Result<()> {
    let none = None::<&str>;
    let kept = Path::new("/run/.lab-cgroup");
    std::fs::create_dir(kept)?;
    let cgroups = Path::new("/sys/fs/cgroup");
    bind(cgroups, kept)?;
    mount(
        Some("sysfs"),
        "/sys",
        Some("sysfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        none,
    )
    .context("mounting /sys")?;
    mount(Some(kept), cgroups, none, MsFlags::MS_MOVE, none).context("keeping the cgroups")?;
    std::fs::remove_dir(kept)?;
    Ok(())
}

/// Lets something be created beside what the machine has: the nearest folder that exists becomes a writable overlay, seen in this host only.
fn private_layer(path: &Path) -> Result<()> {
    let parent = path
        .ancestors()
        .skip(1)
        .find(|p| p.is_dir())
        .context("a relative path")?;
    let layers = tempfile::Builder::new()
        .prefix(".lab-layers")
        .tempdir_in("/run")?
        .keep();
    cover(&layers)?;
    let (upper, work) = (layers.join("upper"), layers.join("work"));
    std::fs::create_dir(&upper)?;
    std::fs::create_dir(&work)?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        parent.display(),
        upper.display(),
        work.display()
    );
    mount(
        Some("overlay"),
        parent,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .with_context(|| format!("laying a private layer over {}", parent.display()))?;
    umount2(&layers, MntFlags::MNT_DETACH).context("hiding the layers")?;
    std::fs::remove_dir(&layers)?;
    Ok(())
}

fn cover(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    mount(
        Some("lab"),
        path,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=755"),
    )
    .with_context(|| format!("mounting an empty {}", path.display()))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    let none = None::<&str>;
    mount(
        Some(from),
        to,
        none,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        none,
    )
    .with_context(|| format!("binding {} on {}", from.display(), to.display()))
}

/// The path with links followed, as far as it exists.
fn real(path: &Path) -> PathBuf {
    path.canonicalize()
        .or_else(|_| std::fs::read_link(path))
        .unwrap_or_else(|_| path.to_owned())
}
