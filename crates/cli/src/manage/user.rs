//! `nova-manage user`: the users that may call the API.

use super::context::Context;
use super::{Action, Category, action, preview};
use crate::args::{Bound, Format, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, json, render};
use novanet_control::accounts::UserChange;
use novanet_control::projects::Credentials;
use novanet_model::ProjectId;
use serde::Serialize;

pub(crate) const CATEGORY: Category = Category {
    name: "user",
    aliases: &[],
    about: "who may call the API",
    actions: ACTIONS,
};

const ACTIONS: &[Action] = &[
    action("admin", "make a user who may do everything", NEW, |b| {
        new(b, true)
    }),
    action("create", "make a user", NEW, |b| new(b, false)),
    action("delete", "remove a user", DELETE, |b| {
        Ok(super::Command::User(Command::Delete {
            name: name(b)?,
            dry_run: b.truth("dry_run")?.unwrap_or(false),
        }))
    }),
    action("exports", "print a user's keys for a shell", NAME, |b| {
        Ok(super::Command::User(Command::Exports { name: name(b)? }))
    }),
    action("modify", "change a user's keys and rights", MODIFY, |b| {
        Ok(super::Command::User(Command::Modify {
            name: name(b)?,
            access: key(b, "access")?,
            secret: key(b, "secret")?,
            admin: b.truth("admin")?,
        }))
    }),
    action("rotate", "give a user new keys", NAME, |b| {
        Ok(super::Command::User(Command::Rotate { name: name(b)? }))
    }),
    action("list", "the names of all users", &[], |_| {
        Ok(super::Command::User(Command::List))
    }),
    super::vpn::REVOKE,
];

const NAME: &[Param] = &[param("name", Takes::Required, "the user's name")];

const DELETE: &[Param] = &[NAME[0], preview::DRY_RUN];

const NEW: &[Param] = &[
    param("name", Takes::Required, "the user's name"),
    param("access", Takes::Optional, "access key (a new random one)"),
    param("secret", Takes::Optional, "secret key (a new random one)"),
];

const MODIFY: &[Param] = &[
    NAME[0],
    param("access", Takes::Optional, "access key (empty: stays)").or(&["access_key"]),
    param("secret", Takes::Optional, "secret key (empty: stays)").or(&["secret_key"]),
    param(
        "admin",
        Takes::Truth,
        "T: may do everything; F: only what roles allow (stays)",
    )
    .or(&["is_admin"]),
];

/// The actions of `user`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Make one.
    Create {
        /// Name.
        name: String,
        /// Access key, `None`: random.
        access: Option<String>,
        /// Secret key, `None`: random.
        secret: Option<String>,
        /// May do everything.
        admin: bool,
    },
    /// Change one.
    Modify {
        /// Name.
        name: String,
        /// Access key, `None`: stays.
        access: Option<String>,
        /// Secret key, `None`: stays.
        secret: Option<String>,
        /// May do everything, `None`: stays.
        admin: Option<bool>,
    },
    /// Give one new keys.
    Rotate {
        /// Name.
        name: String,
    },
    /// Remove one.
    Delete {
        /// Name.
        name: String,
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Print its keys.
    Exports {
        /// Name.
        name: String,
    },
    /// List the names.
    List,
}

/// Secrets never reach a log: not by way of `{:?}` either.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Create {
                name,
                access,
                secret,
                admin,
            } => f
                .debug_struct("Create")
                .field("name", name)
                .field("access", access)
                .field("secret", &secret.as_ref().map(|_| "…"))
                .field("admin", admin)
                .finish(),
            Self::Modify {
                name,
                access,
                secret,
                admin,
            } => f
                .debug_struct("Modify")
                .field("name", name)
                .field("access", access)
                .field("secret", &secret.as_ref().map(|_| "…"))
                .field("admin", admin)
                .finish(),
            Self::Rotate { name } => f.debug_struct("Rotate").field("name", name).finish(),
            Self::Delete { name, dry_run } => f
                .debug_struct("Delete")
                .field("name", name)
                .field("dry_run", dry_run)
                .finish(),
            Self::Exports { name } => f.debug_struct("Exports").field("name", name).finish(),
            Self::List => f.write_str("List"),
        }
    }
}

fn name(bound: &Bound) -> Result<String, Failure> {
    checked(bound, "name")
}

/// A user's name: it goes into certificates and file names, as a project's does.
pub(super) fn checked(bound: &Bound, param: &'static str) -> Result<String, Failure> {
    Ok(bound.parse_required::<ProjectId>(param)?.to_string())
}

/// The same where it may be missing.
pub(super) fn checked_if_given(
    bound: &Bound,
    param: &'static str,
) -> Result<Option<String>, Failure> {
    Ok(bound
        .parse::<ProjectId>(param)?
        .map(|name| name.to_string()))
}

fn key(bound: &Bound, what: &'static str) -> Result<Option<String>, Failure> {
    match bound.text(what) {
        Some(text)
            if text.len() > 255 || text.chars().any(|c| !c.is_ascii_graphic() || c == ':') =>
        {
            // Not the value: one of them is a secret.
            Err(Failure::usage(format!(
                "{what}: must be at most 255 visible ASCII characters without ':'"
            )))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

fn new(bound: &Bound, admin: bool) -> Result<super::Command, Failure> {
    Ok(super::Command::User(Command::Create {
        name: name(bound)?,
        access: key(bound, "access")?,
        secret: key(bound, "secret")?,
        admin,
    }))
}

/// What nova-manage printed for a new user: lines for a shell.
fn exports(name: &str, keys: &Credentials, format: Format) -> String {
    match format {
        Format::Table | Format::Plain => format!(
            "export EC2_ACCESS_KEY={}\nexport EC2_SECRET_KEY={}\n",
            keys.access_key, keys.secret_key
        ),
        Format::Json => json(&serde_json::json!({
            "name": name,
            "access": keys.access_key,
            "secret": keys.secret_key,
        })),
    }
}

/// Whether a command seals or opens secrets.
pub(crate) fn needs_secrets(command: &Command) -> bool {
    matches!(
        command,
        Command::Create { .. }
            | Command::Exports { .. }
            | Command::Modify { .. }
            | Command::Rotate { .. }
    )
}

/// Does it.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::Create {
            name,
            access,
            secret,
            admin,
        } => {
            let keys = keys(access, secret)?;
            let keys = cx.cloud.create_user(&name, keys, admin).await?;
            Ok(exports(&name, &keys, cx.format))
        }
        Command::Modify {
            name,
            access,
            secret,
            admin,
        } => {
            let given = |key: Option<String>| key.filter(|text| !text.is_empty());
            let change = UserChange {
                access_key: given(access),
                secret_key: given(secret),
                admin,
            };
            if change == UserChange::default() {
                return Err(Failure::usage(
                    "user modify: nothing to change: give access, secret or admin",
                ));
            }
            let keys = cx.cloud.modify_user(&name, change).await?;
            if admin == Some(false) && !cx.cloud.users().await?.iter().any(|u| u.is_admin) {
                cx.note("no user is an administrator now: nova-manage user admin NAME makes one");
            }
            Ok(exports(&name, &keys, cx.format))
        }
        Command::Rotate { name } => {
            let keys = cx.cloud.rotate_keys(&name).await?;
            Ok(exports(&name, &keys, cx.format))
        }
        Command::Delete {
            name,
            dry_run: true,
        } => {
            let preview = cx.cloud.preview_delete_user(&name).await?;
            Ok(preview::text(preview, cx.format))
        }
        Command::Delete { name, .. } => {
            cx.cloud.delete_user(&name).await?;
            Ok(String::new())
        }
        Command::Exports { name } => {
            let keys = cx.cloud.credentials(&name).await?;
            Ok(exports(&name, &keys, cx.format))
        }
        Command::List => {
            let users = cx.cloud.users().await?;
            let rows: Vec<UserRow> = users
                .into_iter()
                .map(|user| UserRow {
                    name: user.id,
                    admin: user.is_admin,
                    access: user.access_key,
                })
                .collect();
            Ok(render(&rows, cx.format))
        }
    }
}

fn keys(access: Option<String>, secret: Option<String>) -> Result<Option<Credentials>, Failure> {
    match (access, secret) {
        (Some(access_key), Some(secret_key)) => Ok(Some(Credentials {
            access_key,
            secret_key,
        })),
        (None, None) => Ok(None),
        _ => Err(Failure::usage(
            "user: give both access and secret, or neither for new random ones",
        )),
    }
}

/// A line of `user list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct UserRow {
    pub(crate) name: String,
    pub(crate) admin: bool,
    pub(crate) access: String,
}

impl Row for UserRow {
    const FORMAT: &'static str = "%s";
    const TITLES: &'static [&'static str] = &["name", "admin", "access"];
    const HEADED: bool = false;

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            if self.admin { "yes" } else { "no" }.to_owned(),
            self.access.clone(),
        ]
    }
}
