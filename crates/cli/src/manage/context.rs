//! What a command works with, and how the database is opened for it.

use crate::args::Format;
use crate::failure::Failure;
use crate::{identity, keyfile};
use novanet_control::{Cloud, CloudConfig, sqlite_file};
use novanet_model::flags::Flags;
use std::path::Path;

/// What a command works with.
pub(crate) struct Context {
    /// The use cases.
    pub(crate) cloud: Cloud,
    /// The flags.
    pub(crate) flags: Flags,
    /// How lists are printed.
    pub(crate) format: Format,
}

/// What a command needs of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The file or the server; any schema.
    AnySchema,
    /// This program's schema. An empty database gets it.
    Schema,
    /// Also the key that secrets are sealed with.
    Secrets,
}

impl Context {
    /// Opens the database that the flags name, to read it. Where there is none, nothing is made.
    pub(crate) async fn read(flags: Flags, format: Format, needs: Needs) -> Result<Self, Failure> {
        if needs != Needs::AnySchema {
            identity::before_opening(&flags)?;
        }
        if let Some(file) = sqlite_file(flags.database_url())
            && is_empty(&file)
        {
            return Err(no_database(&flags, &file.to_string_lossy()));
        }
        let config = CloudConfig::from_flags(&flags);
        let mut cloud = Cloud::open(config.clone(), None).await?;
        if needs != Needs::AnySchema {
            if cloud.schema_version().await?.0 == 0 {
                return Err(Failure::failed(format!(
                    "database {}: is empty ({MAKES_ONE})",
                    cloud.db().name()
                )));
            }
            cloud.require_schema().await?;
        }
        // Without users nothing is sealed, and no key file is needed or made.
        if needs == Needs::Secrets && !cloud.users().await?.is_empty() {
            let vault = keyfile::open(&flags.path("secret_key_file"), false)?;
            cloud = Cloud::open(config, Some(vault)).await?;
        }
        let cx = Self {
            cloud,
            flags,
            format,
        };
        if needs != Needs::AnySchema {
            cx.only_read_another().await?;
        }
        Ok(cx)
    }

    /// Opens the database that the flags name; makes it where there is none.
    pub(crate) async fn open(flags: Flags, format: Format, needs: Needs) -> Result<Self, Failure> {
        let config = CloudConfig::from_flags(&flags);
        if needs != Needs::AnySchema {
            identity::before_opening(&flags)?;
        }
        let mut cloud = Cloud::open(config.clone(), None).await?;
        if needs != Needs::AnySchema {
            // The first command on an empty state path makes the database: nothing is there that
            // could be migrated wrongly. An older one waits for `db sync`.
            if cloud.schema_version().await?.0 == 0 {
                let verdict = identity::compare(&cloud, &flags).await?;
                identity::refuse(&verdict, cloud.db().name(), &flags)?;
                cloud.migrate().await?;
            }
            cloud.require_schema().await?;
        }
        if needs == Needs::Secrets {
            let fresh = cloud.users().await?.is_empty();
            let vault = keyfile::open(&flags.path("secret_key_file"), fresh)?;
            cloud = Cloud::open(config, Some(vault)).await?;
        }
        let cx = Self {
            cloud,
            flags,
            format,
        };
        if needs != Needs::AnySchema {
            cx.only_read_another().await?;
        }
        Ok(cx)
    }

    /// A database that is not the one of this state folder can be looked at, and not changed.
    async fn only_read_another(&self) -> Result<(), Failure> {
        let verdict = identity::glance(&self.cloud, &self.flags).await?;
        let database = self.cloud.db().name();
        if let Some(why) = verdict.refusal(database, &self.flags.state_path()) {
            self.warn(&why);
            self.cloud.db().refuse_changes(&why);
        }
        Ok(())
    }

    /// Tells the user something that is neither the answer nor an error.
    #[allow(clippy::unused_self)] // reads as what it is: the command's own remark
    pub(crate) fn note(&self, text: &str) {
        crate::say::note(text);
    }

    /// Tells the user what is wrong though the command did what it should.
    #[allow(clippy::unused_self)]
    pub(crate) fn warn(&self, text: &str) {
        crate::say::warning(text);
    }
}

/// What makes a database.
const MAKES_ONE: &str = "novanet up or nova-manage db sync makes one";

/// Whether no database was ever in this file. What else is wrong with it is for the store to say.
fn is_empty(file: &Path) -> bool {
    match std::fs::metadata(file) {
        Ok(found) => found.is_file() && found.len() == 0,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn no_database(flags: &Flags, file: &str) -> Failure {
    let state_path = flags.state_path();
    let place = if Path::new(file).parent() == Some(&state_path) {
        state_path.display().to_string()
    } else {
        file.to_owned()
    };
    Failure::failed(format!("no database in {place} ({MAKES_ONE})"))
}
