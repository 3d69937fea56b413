//! Names and endpoints of regions (`region_list`). They follow the address of the host while the
//! server runs.

use std::sync::{Arc, PoisonError, RwLock};

/// Names and endpoints; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Regions(Arc<RwLock<Vec<(String, String)>>>);

impl Regions {
    pub(crate) fn new(regions: Vec<(String, String)>) -> Self {
        Self(Arc::new(RwLock::new(regions)))
    }

    /// From now on they are these.
    pub fn set(&self, regions: Vec<(String, String)>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = regions;
    }

    pub(crate) fn all(&self) -> Vec<(String, String)> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
