//! The console of an instance: everything that its first process prints.
//!
//! The instance prints into a FIFO, which it cannot make larger; the agent copies that into
//! `console.log` and keeps the end of it. The instance's end never blocks: while no agent reads, 64
//! KiB wait in the FIFO and what does not fit is lost. Instances that an older agent started print
//! into `console.log` themselves, and the agent cuts the file from time to time.

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

/// What a reader gets at most.
const SHOWN: u64 = 64 << 10;
/// What is kept on disk when it is cut.
const KEPT: u64 = 512 << 10;
/// What it may grow to before it is cut.
const LIMIT: u64 = 1 << 20;
/// Bytes that are copied in a second. An instance that prints more loses some of it.
const RATE: usize = 1 << 20;
/// Of a file that an instance writes itself: so much on disk cannot be given back piece by piece.
const HOPELESS: u64 = 16 << 20;

/// Where an instance prints to.
pub(super) fn fifo(folder: &Path) -> PathBuf {
    folder.join("console.fifo")
}

/// Where its console is kept.
pub(super) fn log(folder: &Path) -> PathBuf {
    folder.join("console.log")
}

/// Makes the FIFO in an instance's folder if it is not there.
pub(super) fn make_fifo(folder: &Path) -> io::Result<()> {
    let (path, mode) = (fifo(folder), Mode::RUSR | Mode::WUSR);
    match rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

/// Opens the instance's end of its FIFO. It has a reading end of its own, so that printing while no
/// agent reads is no broken pipe.
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

/// The consoles that are copied, until this is dropped.
#[derive(Default)]
pub(super) struct Copiers(Mutex<BTreeMap<InstanceId, Copier>>);

impl Copiers {
    /// Copies an instance's console from now on, if that is not done already. Needs a tokio
    /// runtime.
    pub(super) fn start(&self, instance: InstanceId, folder: &Path) {
        let mut copiers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || Copier::start(instance, folder.to_owned());
        copiers.entry(instance).or_insert_with(start);
    }

    /// Copies it no more.
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
        // The host's disk may be slow or full: neither is a reason to wait or to end here.
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

/// Appends to the log, of which only the end is kept when it has grown too long.
fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    if file.metadata()?.len() > LIMIT {
        crate::whole::replace(path, 0o600, &end(path, KEPT)?)?;
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

/// The last 64 KiB. Empty if there is none yet.
pub(super) fn tail(path: &Path) -> io::Result<String> {
    let bytes = match end(path, SHOWN) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        other => other?,
    };
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_start_matches('\0').to_owned())
}

/// Gives the old part of a log that an instance writes itself back to the disk. The length stays,
/// so what is being written meanwhile is neither lost nor moved. Answers whether there was
/// something to give back.
pub(super) fn cut(instance: InstanceId, path: &Path) -> bool {
    let result = (|| {
        let meta = path.symlink_metadata()?;
        if meta.blocks() * 512 <= LIMIT {
            return Ok(false);
        }
        let file = File::options().write(true).open(path)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&file, flags, 0, meta.len().saturating_sub(KEPT)) {
            // A file system that cannot: better an empty console than a full disk.
            Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(0)?,
            other => other?,
        }
        // Blocks that were reserved beyond the end go with this only.
        file.set_len(file.metadata()?.len())?;
        if file.metadata()?.blocks() * 512 > HOPELESS {
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
        assert!(path.metadata().unwrap().blocks() * 512 <= LIMIT);
        assert!(!cut(InstanceId(1), &path));
        let text = tail(&path).unwrap();
        assert!(text.ends_with("line 399999\nthe end\n"));
        assert_eq!(text.len() as u64, SHOWN);
    }

    #[test]
    fn a_log_that_the_agent_writes_stays_small_and_keeps_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = log(folder.path());
        let chunk = vec![b'x'; 60_000];
        for _ in 0..60 {
            append(&path, &chunk).unwrap();
            assert!(path.metadata().unwrap().len() <= LIMIT);
        }
        append(&path, b"the end\n").unwrap();
        assert!(tail(&path).unwrap().ends_with("xthe end\n"));
    }

    #[tokio::test]
    async fn what_is_printed_while_nobody_reads_waits_and_what_does_not_fit_does_not_block() {
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
