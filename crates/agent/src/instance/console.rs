//! The console log of an instance: everything its first process prints, in a file that outlives the
//! agent. The instance may write as much as it likes; the agent gives the old part back to the disk.

use novanet_model::InstanceId;
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a reader gets at most.
const SHOWN: u64 = 64 << 10;
/// What is kept on disk when it is cut.
const KEPT: u64 = 512 << 10;
/// What it may grow to before it is cut.
const LIMIT: u64 = 1 << 20;

/// The last 64 KiB. Empty if there is none yet.
pub(super) fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        other => other?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SHOWN)))?;
    let mut bytes = Vec::new();
    file.take(SHOWN).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_start_matches('\0').to_owned())
}

/// Gives the old part back to the disk. The length stays, so what is being written meanwhile is neither
/// lost nor moved. Answers whether there was something to give back.
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
        Ok::<_, std::io::Error>(true)
    })();
    result.unwrap_or_else(|error| {
        if error.kind() != std::io::ErrorKind::NotFound {
            tracing::warn!(%instance, %error, "cannot cut the console log");
        }
        false
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

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
    fn no_console_yet_is_an_empty_one() {
        assert_eq!(tail(Path::new("/nonexistent/console.log")).unwrap(), "");
    }
}
