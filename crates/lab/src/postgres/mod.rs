//! A real PostgreSQL server, Debian's, in a folder of its own.
//!
//! A small shell, the keeper, stops the server and removes the folder when its standard input ends:
//! on drop of the handle, or when its process is killed. So a server in a static, which Rust never
//! drops, goes away too.

mod outage;
mod shared;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail, ensure};

/// The role that owns everything; authentication is `trust`, as only this machine can reach the
/// server.
const USER: &str = "nova";

const KEEPER: &str = include_str!("keeper.sh");

/// How a server is started.
#[derive(Clone, Copy, Debug)]
pub struct PostgresOptions {
    /// Whether commits reach the disk (default). Off only where durability is not what is tested.
    pub fsync: bool,
    /// How many connections it takes.
    pub connections: u32,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            fsync: true,
            connections: 200,
        }
    }
}

/// A running server. Dropping it stops it and removes its folder; the shared one goes when its last
/// user does.
#[derive(Debug)]
pub struct Postgres {
    keeper: Keeper,
    server: Server,
    /// `postgres://…` of its first database, over TCP on the loopback address.
    pub url: String,
}

/// What ends the server.
#[derive(Debug)]
enum Keeper {
    /// The end of this child's input.
    Own(Child),
    /// The last lock on this file.
    Shared { _users: File },
}

/// Where a server is.
#[derive(Clone, Debug)]
struct Server {
    folder: PathBuf,
    port: u16,
}

/// A database on a shared server; it stays until the server ends.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its name on the server.
    pub name: String,
    /// `postgres://…` over TCP on the loopback address.
    pub url: String,
    /// `postgres://…` over the unix socket, which also works from inside a [`crate::Host`].
    pub socket_url: String,
}

impl Postgres {
    /// Starts a server with the default options.
    pub fn start() -> Result<Self> {
        Self::with(PostgresOptions::default())
    }

    /// Starts a server.
    pub fn with(options: PostgresOptions) -> Result<Self> {
        let (server, keeper) = start(options, None)?;
        Ok(Self::new(server, Keeper::Own(keeper)))
    }

    /// The one server of all test processes that run now; the first caller starts it.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
        let find = || {
            shared::find_or_start()
                .map(|(server, users)| Self::new(server, Keeper::Shared { _users: users }))
        };
        let shared = SHARED.get_or_init(|| find().map_err(|error| format!("{error:#}")));
        shared.as_ref().map_err(|error| anyhow!("{error}"))
    }

    fn new(server: Server, keeper: Keeper) -> Self {
        let url = format!("postgres://{USER}@127.0.0.1:{}/postgres", server.port);
        Self {
            keeper,
            server,
            url,
        }
    }

    /// A new empty database on it.
    pub fn fresh_database(&self) -> Result<Database> {
        self.create_database("")
    }

    /// A new database, a copy of `template`, which must have no connections.
    pub fn copy_of(&self, template: &Database) -> Result<Database> {
        self.create_database(&format!(" TEMPLATE {}", template.name))
    }

    /// Runs SQL with `psql` and gives back what it prints (unaligned, tuples only).
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let output = Command::new(binaries()?.join("psql"))
            .args([
                "-XqAt",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                USER,
                "-d",
                database,
                "-c",
                sql,
                "-p",
                &self.server.port.to_string(),
                "-h",
            ])
            .arg(&self.server.folder)
            .output()
            .context("psql")?;
        ensure!(
            output.status.success(),
            "psql: {sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    /// The folder of its unix socket, data and log.
    pub fn folder(&self) -> &Path {
        &self.server.folder
    }

    /// Its TCP port on the loopback address.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    fn create_database(&self, clause: &str) -> Result<Database> {
        // Other processes make databases on the same server too, some of them in pid namespaces:
        // only chance tells them apart.
        let name = format!("t{:016x}", rand::random::<u64>());
        self.psql("postgres", &format!("CREATE DATABASE {name}{clause}"))?;
        let (port, folder) = (
            self.port(),
            self.folder().display().to_string().replace('/', "%2F"),
        );
        Ok(Database {
            url: format!("postgres://{USER}@127.0.0.1:{port}/{name}"),
            socket_url: format!("postgres://{USER}@{folder}:{port}/{name}"),
            name,
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Keeper::Own(keeper) = &mut self.keeper {
            drop(keeper.stdin.take());
            let _nothing_to_do_about_it = keeper.wait();
        }
    }
}

/// Starts a server and its keeper; `shared` is the file that will name it to others.
fn start(options: PostgresOptions, shared: Option<&Path>) -> Result<(Server, Child)> {
    let mut last = anyhow!("not tried");
    // Between finding a free port and using it another program may take it.
    for _ in 0..5 {
        match try_start(options, shared) {
            Ok(started) => return Ok(started),
            Err(error) if format!("{error:#}").contains("Address already in use") => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn try_start(options: PostgresOptions, shared: Option<&Path>) -> Result<(Server, Child)> {
    let bin = binaries()?;
    let folder = tempfile::Builder::new()
        .prefix("lab-postgres-")
        .tempdir()?
        .keep();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let mut command = Command::new("sh");
    command
        .args(["-c", KEEPER, "keeper"])
        .arg(&bin)
        .arg(&folder)
        .args([USER, &port.to_string(), give_to_server_user(&folder)?]);
    command.arg(shared.unwrap_or(Path::new("")));
    command.args([
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        &format!("max_connections={}", options.connections),
    ]);
    if !options.fsync {
        command.args([
            "-c",
            "fsync=off",
            "-c",
            "synchronous_commit=off",
            "-c",
            "full_page_writes=off",
        ]);
    }
    command
        .current_dir(&folder)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut keeper = command
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let mut output = BufReader::new(keeper.stdout.take().context("the keeper has no output")?);
    let mut said = String::new();
    output.read_line(&mut said)?;
    if said != "ready\n" {
        drop(keeper.stdin.take());
        output.read_to_string(&mut said)?;
        keeper.wait()?;
        bail!("PostgreSQL did not start: {said}");
    }
    Ok((Server { folder, port }, keeper))
}

/// PostgreSQL refuses to run as root: then the folder is given to the user of Debian's package, and
/// this is the command that turns into that user.
fn give_to_server_user(folder: &Path) -> Result<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Ok("");
    }
    let user = nix::unistd::User::from_name("postgres")?
        .context("there is no user postgres: install the package postgresql")?;
    nix::unistd::chown(folder, Some(user.uid), Some(user.gid))?;
    Ok("setpriv --reuid=postgres --regid=postgres --clear-groups --")
}

/// Where Debian keeps the newest server's programs.
fn binaries() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL is not installed (package postgresql)")?;
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max();
    let newest = newest.context("PostgreSQL is not installed (package postgresql)")?;
    Ok(PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin")))
}
