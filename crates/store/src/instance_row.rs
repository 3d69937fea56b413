//! A row of `instances`, and its state. A state that this version does not know is an error of the
//! row.

use crate::Result;
use crate::read::Reader;
use crate::user_data::UserData;
use novanet_model::{CombinationId, ImageId, InstanceId, Micros, ProjectId, ReservationId};
use sqlx::any::AnyRow;
use std::fmt;
use std::str::FromStr;

/// The `state` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Placed, not running yet.
    Pending,
    /// Running.
    Running,
    /// Ended by itself.
    Stopped,
    /// Could not be started.
    Error,
    /// Hosts are letting go of it.
    Deleting,
    /// Terminated; the row stays for an hour, so that clients can ask for it.
    Terminated,
}

const STATES: [(State, &str); 6] = [
    (State::Pending, "pending"),
    (State::Running, "running"),
    (State::Stopped, "stopped"),
    (State::Error, "error"),
    (State::Deleting, "deleting"),
    (State::Terminated, "terminated"),
];

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            STATES
                .iter()
                .find(|(s, _)| s == self)
                .map_or("", |(_, word)| word),
        )
    }
}

impl FromStr for State {
    type Err = novanet_model::ModelError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        STATES
            .iter()
            .find(|(_, word)| *word == text)
            .map(|(s, _)| *s)
            .ok_or_else(|| novanet_model::ModelError::new("state", text, "is none of ours"))
    }
}

/// A row of `instances`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Row id.
    pub id: InstanceId,
    /// Its reservation.
    pub reservation: ReservationId,
    /// Number in the launch.
    pub launch_index: i64,
    /// EC2's ClientToken.
    pub client_token: Option<String>,
    /// Digest of the request that had this token; `None` if it had none, or was made by a version
    /// that did not keep it.
    pub launch_digest: Option<String>,
    /// Project.
    pub project: ProjectId,
    /// The user that launched it.
    pub user: String,
    /// Image.
    pub image: ImageId,
    /// Digest of the image.
    pub image_digest: String,
    /// `m1.tiny`
    pub instance_type: String,
    /// Memory limit in MiB.
    pub memory_mb: u32,
    /// Processors.
    pub vcpus: u32,
    /// Host name.
    pub hostname: String,
    /// Key pair.
    pub key_name: Option<String>,
    /// Its public key.
    pub key_data: Option<String>,
    /// User data.
    pub user_data: Option<UserData>,
    /// Where it runs.
    pub host: Option<String>,
    /// Zone.
    pub availability_zone: String,
    /// State.
    pub state: State,
    /// For people: why it failed.
    pub detail: Option<String>,
    /// Reboot counter.
    pub boot: i64,
    /// A user has stopped it, and none has started it since.
    pub halted: bool,
    /// Combination of its groups.
    pub combination: CombinationId,
    /// When it was launched.
    pub created_at: Micros,
    /// When it went.
    pub terminated_at: Option<Micros>,
}

impl Row {
    /// Whether a user has stopped it and its host has not said yet that it does not run.
    pub fn is_stopping(&self) -> bool {
        self.halted && matches!(self.state, State::Pending | State::Running | State::Error)
    }
}

pub(crate) const COLUMNS: &str = "id, reservation_id, launch_index, client_token, launch_digest, project_id, user_id, \
    image_id, image_digest, instance_type, memory_mb, vcpus, hostname, key_name, key_data, \
    user_data, user_data_sealed, host, availability_zone, state, detail, boot, halted, combination_id, \
    created_at, \
    terminated_at";

pub(crate) fn row(row: &AnyRow) -> Result<Row> {
    let r = Reader::new("instance", row);
    Ok(Row {
        id: InstanceId(r.int("id")?),
        reservation: ReservationId(r.int("reservation_id")?),
        launch_index: r.int("launch_index")?,
        client_token: r.maybe_text("client_token")?,
        launch_digest: r.maybe_text("launch_digest")?,
        project: r.parse("project_id")?,
        user: r.text("user_id")?,
        image: ImageId(r.int("image_id")?),
        image_digest: r.text("image_digest")?,
        instance_type: r.text("instance_type")?,
        memory_mb: r.number("memory_mb")?,
        vcpus: r.number("vcpus")?,
        hostname: r.text("hostname")?,
        key_name: r.maybe_text("key_name")?,
        key_data: r.maybe_text("key_data")?,
        user_data: match r.maybe_bytes("user_data_sealed")? {
            Some(sealed) => Some(UserData::Sealed(sealed)),
            None => r.maybe_bytes("user_data")?.map(UserData::Plain),
        },
        host: r.maybe_text("host")?,
        availability_zone: r.text("availability_zone")?,
        state: r.parse("state")?,
        detail: r.maybe_text("detail")?,
        boot: r.int("boot")?,
        halted: r.flag("halted")?,
        combination: CombinationId(r.int("combination_id")?),
        created_at: r.moment("created_at")?,
        terminated_at: r.maybe_moment("terminated_at")?,
    })
}
