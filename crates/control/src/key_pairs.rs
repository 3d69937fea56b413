//! Use cases of key pairs. The private half is shown once and never stored.

use crate::caller::record;
use crate::{Caller, Cloud, ControlError, Kind, Result};
use novanet_model::{ModelError, Resource};
use novanet_pki::ssh::generate_key_pair;
use novanet_store::key_pairs::{self, KeyPair};
use novanet_store::{StoreError, users};
use tokio::sync::Semaphore;

pub use novanet_pki::ssh::KeyKind;

/// An RSA key takes a processor for up to seconds: one at a time.
static KEY_MAKERS: Semaphore = Semaphore::const_new(1);

impl Cloud {
    /// CreateKeyPair: the stored half and the private key in OpenSSH's format.
    pub async fn create_key_pair(
        &self,
        caller: &Caller,
        name: &str,
        kind: KeyKind,
    ) -> Result<(KeyPair, String)> {
        check_name(name)?;
        let made = self.make_key(kind).await?;
        let pair = KeyPair {
            name: name.to_owned(),
            fingerprint: made.fingerprint_md5,
            public_key: made.public_openssh,
        };
        self.add_key_pair(caller, &pair, "key_pair.create").await?;
        Ok((pair, made.private_pem))
    }

    /// ImportKeyPair: a public key in OpenSSH's format.
    pub async fn import_key_pair(
        &self,
        caller: &Caller,
        name: &str,
        public_key: &str,
    ) -> Result<KeyPair> {
        check_name(name)?;
        let (public_key, fingerprint) = novanet_pki::ssh::parse_public(public_key)?;
        let pair = KeyPair {
            name: name.to_owned(),
            fingerprint,
            public_key,
        };
        self.add_key_pair(caller, &pair, "key_pair.import").await?;
        Ok(pair)
    }

    /// Makes a key, away from the tasks that serve others.
    pub(crate) async fn make_key(&self, kind: KeyKind) -> Result<novanet_pki::ssh::KeyPair> {
        let _turn = KEY_MAKERS.acquire().await;
        tokio::task::spawn_blocking(move || generate_key_pair(kind))
            .await
            .map_err(|_| ControlError::Unavailable("making the key was cut off".to_owned()))?
            .map_err(Into::into)
    }

    async fn add_key_pair(&self, caller: &Caller, pair: &KeyPair, action: &str) -> Result<()> {
        let user = &caller.actor.who;
        let mut tx = self.db().begin_unplanned().await?;
        self.still_there(&mut tx, caller).await?;
        if users::by_id(&mut tx, user).await?.is_none() {
            return Err(ControlError::not_found(Kind::User, user));
        }
        let used = key_pairs::of_user(&mut tx, user).await?.len();
        let used = i64::try_from(used).unwrap_or(i64::MAX);
        self.within_quota(&mut tx, &caller.project, Resource::KeyPairs, used, 1)
            .await?;
        match key_pairs::insert(&mut tx, user, pair).await {
            Err(StoreError::Conflict(_)) => {
                return Err(ControlError::exists(Kind::KeyPair, &pair.name));
            }
            other => other?,
        }
        record(&mut tx, caller, action, &pair.name, "").await?;
        tx.commit().await?;
        Ok(())
    }

    /// DescribeKeyPairs: the user's.
    pub async fn key_pairs(&self, caller: &Caller) -> Result<Vec<KeyPair>> {
        let mut tx = self.db().read().await?;
        Ok(key_pairs::of_user(&mut tx, &caller.actor.who).await?)
    }

    /// DeleteKeyPair. One that is not there is gone already, as in EC2.
    pub async fn delete_key_pair(&self, caller: &Caller, name: &str) -> Result<()> {
        let mut tx = self.db().begin_unplanned().await?;
        if key_pairs::delete(&mut tx, &caller.actor.who, name).await? {
            record(&mut tx, caller, "key_pair.delete", name, "").await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > 255 || !name.chars().all(|c| (' '..='~').contains(&c)) {
        return Err(
            ModelError::new("KeyName", name, "must be 1 to 255 printable characters").into(),
        );
    }
    Ok(())
}
