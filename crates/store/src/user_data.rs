//! The user data of instances: sealed, as it often holds passwords. Rows of versions that did not
//! seal it stay readable until it is sealed. Must not know the key.

use crate::{Conn, Result, Tx};
use novanet_model::InstanceId;
use std::fmt;

/// User data, as it lies in the database.
#[derive(Clone, PartialEq, Eq)]
pub enum UserData {
    /// Of a version that did not seal it.
    Plain(Vec<u8>),
    /// Sealed with the key file.
    Sealed(Vec<u8>),
}

impl UserData {
    pub(crate) fn plain(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(data) => Some(data.clone()),
            Self::Sealed(_) => None,
        }
    }

    pub(crate) fn sealed(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) => None,
            Self::Sealed(data) => Some(data.clone()),
        }
    }
}

impl fmt::Debug for UserData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Plain(data) | Self::Sealed(data)) = self;
        write!(f, "{} bytes", data.len())
    }
}

/// User data that is not sealed yet, by instance.
pub async fn all_plain(c: &mut Conn) -> Result<Vec<(InstanceId, Vec<u8>)>> {
    let found: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT id, user_data FROM instances WHERE user_data IS NOT NULL \
         AND user_data_sealed IS NULL ORDER BY id",
    )
    .fetch_all(c)
    .await?;
    Ok(found
        .into_iter()
        .map(|(id, data)| (InstanceId(id), data))
        .collect())
}

/// Puts sealed data in the place of the plain.
pub async fn seal(tx: &mut Tx, id: InstanceId, sealed: Vec<u8>) -> Result<()> {
    sqlx::query("UPDATE instances SET user_data = NULL, user_data_sealed = $1 WHERE id = $2")
        .bind(sealed)
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
