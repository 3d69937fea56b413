//! The console of an instance: the output of its first process. Depends on the instance's folder.
//!
//! The instance prints into a FIFO, which it cannot make larger; the agent copies it into
//! `console.log` and keeps the end of that. Writing never blocks the instance: while no agent
//! reads, the FIFO holds 64 KiB and drops the rest. Instances that an older agent started print
//! into `console.log` themselves, and housekeeping shortens the file.

use novanet_model::InstanceId;
use rustix::fs::{CWD, FallocateFlags, FileType, Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Bytes that a reader gets at most.
const TAIL_BYTES: u64 = 64 << 10;
/// Bytes that remain on disk after a cut.
const BYTES_AFTER_CUT: u64 = 512 << 10;
/// Size of the log at which the agent cuts it.
const MAX_BYTES: u64 = 1 << 20;
/// Bytes that the agent copies in a second. An instance that prints more loses some of it.
const RATE: usize = 1 << 20;
/// Size on disk at which the agent empties a log that an instance writes itself: holes did not
/// help.
const MAX_BYTES_WITH_HOLES: u64 = 16 << 20;

/// The FIFO that an instance prints into.
pub(super) fn fifo(folder: &Path) -> PathBuf {
    folder.join("console.fifo")
}

/// The log of an instance's console.
pub(super) fn log(folder: &Path) -> PathBuf {
    folder.join("console.log")
}

/// Makes the FIFO in an instance's folder if it is missing.
pub(super) fn make_fifo(folder: &Path) -> io::Result<()> {
    let (path, mode) = (fifo(folder), Mode::RUSR | Mode::WUSR);
    match rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

/// Opens the instance's end of its FIFO, for reading too: printing while no agent reads would
/// otherwise fail as a broken pipe.
pub(super) fn open_writer(folder: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true);
    options
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(fifo(folder))
}

/// Makes sure that the instance's end never blocks: runc's Go runtime makes it blocking when it
/// passes it on.
pub(super) fn never_blocks(writer: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(writer)?;
    Ok(rustix::fs::fcntl_setfl(writer, flags | OFlags::NONBLOCK)?)
}

/// The tasks that copy consoles. Dropping this ends them.
#[derive(Default)]
pub(super) struct Copiers(Mutex<BTreeMap<InstanceId, Copier>>);

impl Copiers {
    /// Copies an instance's console from now on, if no task does. Needs a tokio runtime.
    pub(super) fn start(&self, instance: InstanceId, folder: &Path) {
        let mut copiers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || Copier::start(instance, folder.to_owned());
        copiers.entry(instance).or_insert_with(start);
    }

    /// Ends the task of this instance.
    pub(super) fn stop(&self, instance: InstanceId) {
        let mut copiers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        copiers.remove(&instance);
    }
}

struct Copier(JoinHandle<()>);

impl Copier {
    fn start(instance: InstanceId, folder: PathBuf) -> Self {
        Self(tokio::spawn(async move {
            if let Err(error) = copy(&folder).await {
                tracing::warn!(%instance, %error, "cannot read the console");
            }
        }))
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn copy(folder: &Path) -> io::Result<()> {
    // Open for writing too: else the FIFO would be at its end whenever no instance has it open.
    let fifo = pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(fifo(folder))?;
    let mut buffer = vec![0; 64 << 10];
    let (mut since, mut copied) = (Instant::now(), 0);
    loop {
        fifo.readable().await?;
        let length = match fifo.try_read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            other => other?,
        };
        let (path, bytes) = (log(folder), buffer[..length].to_vec());
        // A slow or full disk must not end the copying.
        let _ = tokio::task::spawn_blocking(move || append(&path, &bytes)).await;
        if since.elapsed() > Duration::from_secs(1) {
            (since, copied) = (Instant::now(), 0);
        }
        copied += length;
        if copied >= RATE {
            tokio::time::sleep_until(since + Duration::from_secs(1)).await;
        }
    }
}

/// Appends to the log. Cuts it to its end when it is longer than [`MAX_BYTES`].
fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    if file.metadata()?.len() > MAX_BYTES {
        crate::atomic_file::replace(path, 0o600, &end(path, BYTES_AFTER_CUT)?)?;
    }
    Ok(())
}

/// The last bytes of a file.
fn end(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last [`TAIL_BYTES`] of the log. Empty if there is no log yet.
pub(super) fn tail(path: &Path) -> io::Result<String> {
    let bytes = match end(path, TAIL_BYTES) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        other => other?,
    };
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_start_matches('\0').to_owned())
}

/// Punches a hole into the old part of a log that an instance writes itself. The length stays, so
/// the instance can write meanwhile. Returns whether the log was long enough for it.
pub(super) fn cut(instance: InstanceId, path: &Path) -> bool {
    let result = (|| {
        let meta = path.symlink_metadata()?;
        if meta.blocks() * 512 <= MAX_BYTES {
            return Ok(false);
        }
        let file = File::options().write(true).open(path)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&file, flags, 0, meta.len().saturating_sub(BYTES_AFTER_CUT)) {
            // The file system has no holes: an empty console is better than a full disk.
            Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(0)?,
            other => other?,
        }
        // Frees the blocks that the file system reserved beyond the end.
        file.set_len(file.metadata()?.len())?;
        if file.metadata()?.blocks() * 512 > MAX_BYTES_WITH_HOLES {
            file.set_len(0)?;
        }
        Ok::<_, io::Error>(true)
    })();
    result.unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(%instance, %error, "cannot cut the console log");
        }
        false
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_chatty_console_does_not_fill_the_disk_and_keeps_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap();
        for number in 0..400_000 {
            writeln!(file, "line {number}").unwrap();
        }
        // What `fallocate --keep-size` on its own output does.
        let beyond = FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, beyond, 64 << 20, 32 << 20).unwrap();
        assert!(cut(InstanceId(1), &path));
        writeln!(file, "the end").unwrap();
        file.sync_all().unwrap();
        assert!(path.metadata().unwrap().blocks() * 512 <= MAX_BYTES);
        assert!(!cut(InstanceId(1), &path));
        let text = tail(&path).unwrap();
        assert!(text.ends_with("line 399999\nthe end\n"));
        assert_eq!(text.len() as u64, TAIL_BYTES);
    }

    #[test]
    fn a_log_that_the_agent_writes_stays_small_and_keeps_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = log(folder.path());
        let chunk = vec![b'x'; 60_000];
        for _ in 0..60 {
            append(&path, &chunk).unwrap();
            assert!(path.metadata().unwrap().len() <= MAX_BYTES);
        }
        append(&path, b"the end\n").unwrap();
        assert!(tail(&path).unwrap().ends_with("xthe end\n"));
    }

    #[tokio::test]
    async fn output_without_a_reader_waits_in_the_fifo_and_the_rest_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        make_fifo(&path).unwrap();
        make_fifo(&path).unwrap();
        let mut writer = open_writer(&path).unwrap();
        writer.write_all(b"first\n").unwrap();
        let mut printed = 0;
        let error = loop {
            match writer.write(&[b'x'; 4096]) {
                Ok(length) => printed += length,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(printed > 32 << 10, "{printed}");

        let copier = Copier::start(InstanceId(1), path.clone());
        let length = || log(&path).metadata().map_or(0, |meta| meta.len());
        while length() < printed as u64 + 6 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(copier);
        assert!(std::fs::read(log(&path)).unwrap().starts_with(b"first\n"));
        // The next agent goes on where this one ended.
        writer.write_all(b"between\n").unwrap();
        let _copier = Copier::start(InstanceId(1), path.clone());
        while !tail(&log(&path)).unwrap().ends_with("xbetween\n") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn no_console_yet_is_an_empty_one() {
        assert_eq!(tail(Path::new("/nonexistent/console.log")).unwrap(), "");
    }
}
