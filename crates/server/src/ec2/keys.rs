//! Handlers of key pairs, which belong to the calling user. Depends on `control::key_pairs`; makes
//! no key itself.

use super::Answered;
use crate::state::State;
use novanet_control::{Caller, ControlError, Kind, key_pairs};
use novanet_ec2::action::{CreateKeyPair, DeleteKeyPair, DescribeKeyPairs, ImportKeyPair, KeyKind};
use novanet_ec2::filter;
use novanet_ec2::response::{CreatedKeyPair, DescribedKeyPairs, Done, ImportedKeyPair, KeyPair};

pub(super) async fn create(state: &State, caller: &Caller, request: &CreateKeyPair) -> Answered {
    let kind = match request.kind {
        KeyKind::Ed25519 => key_pairs::KeyKind::Ed25519,
        KeyKind::Rsa => key_pairs::KeyKind::Rsa,
    };
    let made = state.cloud.create_key_pair(caller, &request.name, kind);
    let (pair, material) = made.await?;
    Ok(Box::new(CreatedKeyPair {
        name: pair.name,
        fingerprint: pair.fingerprint,
        material,
    }))
}

pub(super) async fn import(state: &State, caller: &Caller, request: &ImportKeyPair) -> Answered {
    let pair = state
        .cloud
        .import_key_pair(caller, &request.name, &request.public_key)
        .await?;
    Ok(Box::new(ImportedKeyPair {
        name: pair.name,
        fingerprint: pair.fingerprint,
    }))
}

pub(super) async fn describe(
    state: &State,
    caller: &Caller,
    request: &DescribeKeyPairs,
) -> Answered {
    let mut pairs: Vec<KeyPair> = state
        .cloud
        .key_pairs(caller)
        .await?
        .into_iter()
        .map(|pair| KeyPair {
            kind: kind_of(&pair.public_key),
            public_key: request.include_public_key.then(|| pair.public_key.clone()),
            created: None,
            name: pair.name,
            fingerprint: pair.fingerprint,
        })
        .collect();
    for name in &request.names {
        if !pairs.iter().any(|pair| pair.name == *name) {
            return Err(ControlError::NotFound {
                kind: Kind::KeyPair,
                id: name.clone(),
            }
            .into());
        }
    }
    pairs.retain(|pair| request.names.is_empty() || request.names.contains(&pair.name));
    filter::retain(&request.filters, &mut pairs)?;
    Ok(Box::new(DescribedKeyPairs(pairs)))
}

pub(super) async fn delete(state: &State, caller: &Caller, request: &DeleteKeyPair) -> Answered {
    state.cloud.delete_key_pair(caller, &request.name).await?;
    Ok(Box::new(Done("DeleteKeyPair")))
}

/// `ssh-ed25519 AAAA…` is an `ed25519`.
fn kind_of(public_key: &str) -> String {
    let word = public_key.split(' ').next().unwrap_or_default();
    word.strip_prefix("ssh-").unwrap_or(word).to_owned()
}
