//! The cloud, flags and output format that a command works with, and how the database is opened for
//! it. Depends on control, the key file and the check of the state folder (`identity`).

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
        let cloud = Cloud::open(CloudConfig::from_flags(&flags), None).await?;
        if needs != Needs::AnySchema && cloud.schema_version().await?.0 == 0 {
            return Err(Failure::failed(format!(
                "database {}: is empty ({MAKES_ONE})",
                cloud.db().name()
            )));
        }
        let cx = Self {
            cloud,
            flags,
            format,
        };
        cx.finish(needs, false).await
    }

    /// Opens the database that the flags name; makes it where there is none.
    pub(crate) async fn open(flags: Flags, format: Format, needs: Needs) -> Result<Self, Failure> {
        if needs != Needs::AnySchema {
            identity::before_opening(&flags)?;
        }
        let cloud = Cloud::open(CloudConfig::from_flags(&flags), None).await?;
        // The first command on an empty state path makes the database: nothing is there that
        // could be migrated wrongly. An older one waits for `db sync`.
        if needs != Needs::AnySchema && cloud.schema_version().await?.0 == 0 {
            let verdict = identity::compare(&cloud, &flags).await?;
            identity::refuse(&verdict, cloud.db().name(), &flags)?;
            cloud.migrate().await?;
        }
        let cx = Self {
            cloud,
            flags,
            format,
        };
        cx.finish(needs, true).await
    }

    /// Checks the schema and opens the key file, as far as the command needs them. Makes a database
    /// that does not belong to this state folder read-only, with a warning.
    async fn finish(mut self, needs: Needs, makes_key: bool) -> Result<Self, Failure> {
        if needs == Needs::AnySchema {
            return Ok(self);
        }
        self.cloud.require_schema().await?;
        if needs == Needs::Secrets {
            // Without users no secret is sealed, and reading needs no key file.
            let fresh = self.cloud.users().await?.is_empty();
            if makes_key || !fresh {
                let vault = keyfile::open(&self.flags.path("secret_key_file"), fresh)?;
                let config = CloudConfig::from_flags(&self.flags);
                self.cloud = Cloud::open(config, Some(vault)).await?;
            }
        }
        let verdict = identity::glance(&self.cloud, &self.flags).await?;
        let database = self.cloud.db().name();
        if let Some(why) = verdict.refusal(database, &self.flags.state_path()) {
            self.warn(&why);
            self.cloud.db().refuse_changes(&why);
        }
        Ok(self)
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
