//! ClientToken: the same request again answers with the same instances, another request with the
//! same token is refused. What a request asked for is kept with its instances as a digest.

use super::Launch;
use crate::{Cloud, ControlError};
use novanet_model::InstanceId;
use novanet_store::instances::Row;
use serde_json::json;
use sha2::{Digest, Sha256};

/// A digest of everything that a request asks for but its token, in hexadecimal.
pub(super) fn digest(launch: &Launch) -> String {
    let Launch {
        image,
        min,
        max,
        instance_type,
        key_name,
        groups,
        user_data,
        client_token: _,
        public_address,
        availability_zone,
        private_address,
        networks,
    } = launch;
    let groups: Vec<String> = groups.iter().map(|group| format!("{group:?}")).collect();
    // In JSON no two requests look the same.
    let mut asked = json!([
        image,
        min,
        max,
        instance_type,
        key_name,
        groups,
        user_data,
        public_address,
        availability_zone,
        private_address,
    ]);
    // Digests of requests that name no networks stay those of former releases.
    if let (false, Some(asked)) = (networks.is_empty(), asked.as_array_mut()) {
        asked.push(json!(networks));
    }
    hex::encode(Sha256::digest(asked.to_string()))
}

/// The instances of the earlier request with this token, if it asked for the same.
pub(super) fn earlier(
    cloud: &Cloud,
    token: &str,
    launch: &Launch,
    rows: &[Row],
) -> Result<Vec<InstanceId>, ControlError> {
    if rows.iter().all(|row| asked_for(cloud, row, launch)) {
        Ok(rows.iter().map(|row| row.id).collect())
    } else {
        Err(ControlError::TokenReused(token.to_owned()))
    }
}

fn asked_for(cloud: &Cloud, row: &Row, launch: &Launch) -> bool {
    if let Some(asked) = &row.launch_digest {
        return *asked == digest(launch);
    }
    // Made before digests were kept: compared by what its row says.
    let size = launch.instance_type.as_deref().unwrap_or("m1.small");
    row.image == launch.image
        && row.instance_type == size
        && row.key_name == launch.key_name
        && cloud
            .user_data(row)
            .is_ok_and(|data| data == launch.user_data)
}
