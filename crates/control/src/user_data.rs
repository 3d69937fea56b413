//! Seals the user data of instances with the cloud's key, as other secrets are. A server seals at
//! its start what earlier versions stored open.

use crate::{Cloud, Result};
use novanet_model::InstanceId;
use novanet_pki::Vault;
use novanet_store::instances::Row;
use novanet_store::user_data::{self, UserData};

/// The words that an instance's data is sealed with, so that one row's is no use in another.
fn context(id: InstanceId) -> String {
    format!("instances/{}/user_data", id.0)
}

/// The data as it lies in the database.
pub(crate) fn sealed(vault: &Vault, id: InstanceId, plain: &[u8]) -> UserData {
    UserData::Sealed(vault.seal(&context(id), plain))
}

impl Cloud {
    /// What an instance was launched with. Rows of versions that did not seal it are read too.
    pub fn user_data(&self, row: &Row) -> Result<Option<Vec<u8>>> {
        Ok(match &row.user_data {
            None => None,
            Some(UserData::Plain(data)) => Some(data.clone()),
            Some(UserData::Sealed(data)) => Some(self.vault()?.open(&context(row.id), data)?),
        })
    }

    /// Seals what a version wrote that did not seal it; how many instances had such data.
    pub async fn seal_user_data(&self) -> Result<usize> {
        let vault = self.vault()?;
        if user_data::all_plain(&mut *self.db().connection().await?)
            .await?
            .is_empty()
        {
            return Ok(0);
        }
        let mut tx = self.db().begin_unplanned().await?;
        let plain = user_data::all_plain(&mut tx).await?;
        for (id, data) in &plain {
            let sealed = vault.seal(&context(*id), data);
            user_data::seal(&mut tx, *id, sealed).await?;
        }
        tx.commit().await?;
        Ok(plain.len())
    }
}
