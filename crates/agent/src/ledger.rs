//! The ledger: a host's objects on its disk, so that the agent starts right without a server.
//!
//! `ledger.json` has a whole list and a generation; `ledger.<generation>.log` has the news since,
//! one line each. The engine appends news before the workers apply them (a killed agent loses
//! nothing); a thread syncs the log afterwards, and writes a new generation when the log outgrows
//! the list. So one change among ten thousand costs one line. Depends on the desired objects; must
//! not know the subsystems and the server.

use crate::runtime::desired_objects::{DesiredObjects, MergeResult};
use crate::runtime::error::AgentError;
use crate::{atomic_file, private};
use novanet_model::wire::Objects;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

const FORMAT: u32 = 1;
const LIST: &str = "ledger.json";
/// Up to this size of the log, in bytes, no new generation is written.
const SMALL_LOG: u64 = 256 * 1024;

/// The format of `ledger.json`. A file that does not parse is renamed to `ledger.json.bad`.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    generation: u64,
    list: Objects,
}

/// The ledger of a host, open for writing; only once, because the agent holds a lock.
pub struct Ledger {
    dir: PathBuf,
    generation: u64,
    log: Option<File>,
    log_bytes: u64,
    list_bytes: u64,
    jobs: Option<Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

enum Job {
    Sync(File),
    Write(Written),
}

impl Ledger {
    /// Opens the ledger in this folder, which it makes if it is missing, and reads its objects.
    pub fn open(dir: &Path) -> Result<(Self, DesiredObjects), AgentError> {
        make_private_dir(dir)?;
        let Read {
            table,
            generation,
            list_bytes,
            log_bytes,
        } = read(dir)?;
        if !table.is_known() {
            for (_, path) in logs(dir)? {
                fs::remove_file(&path).map_err(|e| AgentError::file(&path, e))?;
            }
        }
        let (jobs, todo) = channel();
        let home = dir.to_owned();
        let writer = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || work(&home, &todo))
            .map_err(|e| AgentError::file(dir, e))?;
        let mut ledger = Self {
            dir: dir.to_owned(),
            generation,
            log: None,
            log_bytes: 0,
            list_bytes,
            jobs: Some(jobs),
            writer: Some(writer),
        };
        if log_bytes > 0 {
            // The last line may be incomplete: a new log begins.
            ledger.renew(&table);
        }
        Ok((ledger, table))
    }

    /// Appends a [`line`] of news that the table has already merged. `true`: the caller has to
    /// [renew](Self::renew) the ledger from the table.
    #[must_use]
    pub fn add(&mut self, line: &[u8]) -> bool {
        if let Err(error) = self.append(line) {
            tracing::error!(dir = %self.dir.display(), %error, "the ledger cannot be written");
            // The log may end with an incomplete line, which the next generation does not have.
            return true;
        }
        self.log_bytes > SMALL_LOG.max(self.list_bytes)
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.log.is_none() {
            self.log = Some(open_private(&log_path(&self.dir, self.generation))?);
        }
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        log.write_all(line)?;
        let written = log.try_clone()?;
        self.log_bytes += line.len() as u64;
        self.order(Job::Sync(written));
        Ok(())
    }

    /// Starts a new generation: the whole table as the list, and an empty log. Waits for no disk.
    pub fn renew(&mut self, table: &DesiredObjects) {
        if !table.is_known() {
            return;
        }
        self.generation += 1;
        self.log = None;
        // An estimate until the list is written, for the decision when to renew again.
        self.list_bytes = self.list_bytes.max(self.log_bytes);
        self.log_bytes = 0;
        self.order(Job::Write(Written {
            format: FORMAT,
            generation: self.generation,
            list: table.to_objects(),
        }));
    }

    fn order(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job); // the thread lives as long as the ledger
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// News as a line of the log.
pub fn line(news: &Objects) -> Vec<u8> {
    let mut line = serde_json::to_vec(news)
        .unwrap_or_else(|e| unreachable!("objects came as JSON and go as JSON: {e}"));
    line.push(b'\n');
    line
}

/// Reads a host's ledger without opening it for writing; `None`: there is none.
pub fn peek(dir: &Path) -> Result<Option<DesiredObjects>, AgentError> {
    let read = read(dir)?;
    Ok(Some(read.table).filter(DesiredObjects::is_known))
}

/// Makes a folder that only its owner may enter.
pub fn make_private_dir(dir: &Path) -> Result<(), AgentError> {
    let refused = |e| AgentError::file(dir, e);
    private::folder(dir).map_err(refused)
}

struct Read {
    table: DesiredObjects,
    generation: u64,
    list_bytes: u64,
    log_bytes: u64,
}

fn read(dir: &Path) -> Result<Read, AgentError> {
    let path = dir.join(LIST);
    let mut table = DesiredObjects::default();
    let mut generation = 0;
    let mut list_bytes = 0;
    match fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice::<Written>(&bytes) {
            Ok(written) if written.format == FORMAT => {
                generation = written.generation;
                list_bytes = bytes.len() as u64;
                table.merge(written.list);
            }
            Ok(written) => set_aside(&path, &format!("format {}", written.format)),
            Err(error) => set_aside(&path, &error.to_string()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(AgentError::file(path, error)),
    }
    let mut log_bytes = 0;
    for (number, path) in logs(dir)? {
        let known = table.is_known();
        // A log is useless without the list before it, except for the first log.
        if number < generation || (number > 0 && !known) {
            continue;
        }
        let bytes = fs::read(&path).map_err(|e| AgentError::file(&path, e))?;
        log_bytes += bytes.len() as u64;
        generation = number;
        if !replay(&bytes, &mut table) {
            tracing::warn!(path = %path.display(), "the ledger ends with a torn line");
            break;
        }
    }
    Ok(Read {
        table,
        generation,
        list_bytes,
        log_bytes,
    })
}

/// Merges the lines into the table, up to the first one that does not parse; `false`: there is one.
fn replay(bytes: &[u8], table: &mut DesiredObjects) -> bool {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if !line.ends_with(b"\n") {
            return false;
        }
        let merged = serde_json::from_slice(line).map(|news| table.merge(news));
        if !matches!(merged, Ok(MergeResult::Changed(_))) {
            return false;
        }
    }
    true
}

fn logs(dir: &Path) -> Result<Vec<(u64, PathBuf)>, AgentError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(AgentError::file(dir, error)),
    };
    let number = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        let number = name.strip_prefix("ledger.")?.strip_suffix(".log")?;
        Some((number.parse().ok()?, path))
    };
    let mut logs: Vec<_> = entries
        .filter_map(|entry| number(entry.ok()?.path()))
        .collect();
    logs.sort();
    Ok(logs)
}

fn set_aside(path: &Path, why: &str) {
    let aside = path.with_extension("json.bad");
    tracing::error!(path = %path.display(), why, "the ledger cannot be read and is set aside");
    if let Err(error) = fs::rename(path, &aside) {
        tracing::error!(path = %aside.display(), %error, "and could not be renamed");
    }
}

fn log_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("ledger.{generation}.log"))
}

fn open_private(path: &Path) -> io::Result<File> {
    private::open(File::options().append(true).create(true), path)
}

/// The thread of a ledger: syncs the log and writes lists. One sync stands for several that wait.
fn work(dir: &Path, todo: &Receiver<Job>) {
    let mut next = todo.recv().ok();
    while let Some(job) = next.take() {
        let waiting = todo.try_recv().ok();
        let result = match (&job, &waiting) {
            (Job::Sync(_), Some(Job::Sync(_))) => Ok(()),
            (Job::Sync(log), _) => log.sync_data(),
            (Job::Write(written), _) => write_list(dir, written),
        };
        if let Err(error) = result {
            tracing::error!(dir = %dir.display(), %error, "the ledger cannot be written");
        }
        next = waiting.or_else(|| todo.recv().ok());
    }
}

fn write_list(dir: &Path, written: &Written) -> io::Result<()> {
    atomic_file::replace_durable(&dir.join(LIST), 0o600, &serde_json::to_vec(written)?)?;
    for (number, path) in logs(dir).map_err(io::Error::other)? {
        if number < written.generation {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
