//! What `network create` promises, by example and at random.

mod examples;
mod properties;

use super::{Defaults, Request};
use crate::rows::Network;
use crate::{NetworkId, NetworkKind};

/// The network that a planned one becomes.
fn row(id: i64, new: &super::NewNetwork) -> Network {
    Network {
        id: NetworkId(id),
        spec: new.spec.clone(),
        host: None,
        uuid: String::new(),
    }
}

fn request(kind: NetworkKind, range: &str, num: u32, size: u64) -> Request {
    Request {
        num_networks: num,
        network_size: Some(size),
        ..Request::new(kind, "private", range.parse().unwrap())
    }
}

/// Makes networks one request after the other, as the database would have them.
fn made(requests: &[Request]) -> Vec<Network> {
    let mut rows = Vec::new();
    for request in requests {
        let carved = super::carve(request, &rows, &Defaults::default()).unwrap();
        for new in carved.networks {
            rows.push(row(i64::try_from(rows.len()).unwrap() + 1, &new));
        }
    }
    rows
}
