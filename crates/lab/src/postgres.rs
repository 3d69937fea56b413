//! A real PostgreSQL server, Debian's, in a folder of its own.
//!
//! A small shell watches over it: when its standard input ends (the handle was dropped, or the process that held it was killed) it stops the server and
//! removes the folder. So a server kept in a static, which Rust never drops, goes away too.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, bail, ensure};

/// The role that owns everything; authentication is `trust`, as only this machine can reach the server.
const USER: &str = "nova";

/// Makes the cluster (without syncing: it is new), starts the server, and waits for the end of its own input.
/// SIGQUIT is PostgreSQL's immediate shutdown: the folder goes away anyway.
const KEEPER: &str = r#"
bin=$1 folder=$2 user=$3 port=$4; shift 4
stop() { [ -n "$server" ] && kill -QUIT "$server" && wait "$server"; rm -rf "$folder"; }
server=
trap stop EXIT
exec 3<&0 </dev/null 2>"$folder/log"
"$bin/initdb" -D "$folder/data" -U "$user" -A trust -E UTF8 --locale=C.UTF-8 --no-sync >>"$folder/log" 2>&1 || { echo "initdb: $(cat "$folder/log")"; exit 1; }
"$bin/postgres" -D "$folder/data" -p "$port" -k "$folder" "$@" >>"$folder/log" 2>&1 &
server=$!
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
  "$bin/pg_isready" -q -h "$folder" -p "$port" -t 1 && break
  kill -0 "$server" 2>/dev/null || { echo "postgres: $(cat "$folder/log")"; server=; exit 1; }
  sleep 0.05
done
echo ready
cat <&3 >/dev/null
"#;

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

/// A running server. Dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct Postgres {
    keeper: Child,
    folder: PathBuf,
    port: u16,
    /// `postgres://…` of its first database, over TCP on the loopback address.
    pub url: String,
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
        let mut last = anyhow!("not tried");
        // Between finding a free port and using it somebody else may take it.
        for _ in 0..5 {
            match Self::try_start(options) {
                Ok(server) => return Ok(server),
                Err(error) if format!("{error:#}").contains("Address already in use") => {
                    last = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// The one server of this test process, started by the first who asks.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("{error}"))
    }

    /// A new empty database on it.
    pub fn fresh_database(&self) -> Result<Database> {
        self.create_database("")
    }

    /// A new database with everything that `template` has (nobody may be connected to that one).
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
                &self.port.to_string(),
                "-h",
            ])
            .arg(&self.folder)
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
        &self.folder
    }

    /// Its TCP port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn create_database(&self, clause: &str) -> Result<Database> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}{clause}"))?;
        let (port, folder) = (
            self.port,
            self.folder.display().to_string().replace('/', "%2F"),
        );
        Ok(Database {
            url: format!("postgres://{USER}@127.0.0.1:{port}/{name}"),
            socket_url: format!("postgres://{USER}@{folder}:{port}/{name}"),
            name,
        })
    }

    fn try_start(options: PostgresOptions) -> Result<Self> {
        let bin = binaries()?;
        let folder = tempfile::Builder::new()
            .prefix("lab-postgres-")
            .tempdir()?
            .keep();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let mut command = as_server_user(&folder)?;
        command
            .args(["sh", "-c", KEEPER, "keeper"])
            .arg(&bin)
            .arg(&folder)
            .args([USER, &port.to_string()]);
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
            .stdout(Stdio::piped());
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
        Ok(Self {
            keeper,
            folder,
            port,
            url: format!("postgres://{USER}@127.0.0.1:{port}/postgres"),
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _nothing_to_do_about_it = self.keeper.wait();
    }
}

/// PostgreSQL refuses to run as root: then it runs as the user of Debian's package, who gets the folder.
fn as_server_user(folder: &Path) -> Result<Command> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Command::new("env"));
    }
    let user = nix::unistd::User::from_name("postgres")?
        .context("there is no user postgres: install the package postgresql")?;
    nix::unistd::chown(folder, Some(user.uid), Some(user.gid))?;
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=postgres",
        "--regid=postgres",
        "--clear-groups",
        "--",
    ]);
    Ok(command)
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
