//! User ids of its own for each instance: probes what the host and its runtime support, and makes
//! the two user namespaces that such an instance needs. Depends on [`super::userns`] and
//! [`super::stage`].
//!
//! The driver probes once and warns once: Debian 12's kernel cannot map ids on tmpfs, no kernel can
//! on overlay, and not every runtime joins an existing user namespace.

use super::stage::Cover;
use super::userns::UserNamespace;
use crate::image::IDS;
use crate::instance::disk::make_layers;
use crate::instance::driver::Machine;
use crate::settings::Settings;
use novanet_reconcile::SubsystemError;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Root of the host.
const ROOT: u32 = 0;

/// See the head of this file.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    /// First of the ids that own unpacked images, and that instances without own ids have.
    shared: u32,
    /// The folder that a probe covers.
    stage: &'static str,
    images: PathBuf,
    support: Arc<OnceLock<Support>>,
    /// Whether the runtime can start an instance in an existing user namespace; not set: not tried.
    joins: Arc<OnceLock<bool>>,
    /// Set after the warning about limits.
    has_warned: Arc<OnceLock<()>>,
}

/// What this host supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Support {
    /// Instances have ids of their own, which own their namespaces: the kernel counts limits for
    /// each.
    Full,
    /// Instances have ids of their own; only root may make user namespaces.
    Ids,
    /// All instances share the ids that own unpacked images.
    None,
}

impl Ids {
    pub(super) fn new(stage: &'static str, settings: &Settings) -> Self {
        Self {
            shared: settings.instance_uid_base,
            stage,
            images: settings.state_path.join("images"),
            support: Arc::default(),
            joins: Arc::default(),
            has_warned: Arc::default(),
        }
    }

    pub(super) fn has_ranges(&self) -> bool {
        self.support() != Support::None
    }

    fn support(&self) -> Support {
        *self.support.get_or_init(|| {
            let owner = self.shared + IDS;
            let problem = match self.on_a_thread(owner) {
                Ok(()) => return Support::Full,
                Err(problem) => problem,
            };
            if self.on_a_thread(ROOT).is_ok() {
                tracing::warn!(%problem, "instances share root's limit of inotify instances");
                return Support::Ids;
            }
            tracing::warn!(%problem, "instances share one range of user ids on this host");
            Support::None
        })
    }

    /// [`Self::try_out`] leaves its thread in another mount namespace.
    fn on_a_thread(&self, maker: u32) -> Result<(), SubsystemError> {
        let this = self.clone();
        let tried = std::thread::spawn(move || this.try_out(maker)).join();
        tried.unwrap_or_else(|_| Err(SubsystemError::Refused("the try ended early".to_owned())))
    }

    /// Does with the folder of all images what the driver does with an image.
    fn try_out(&self, maker: u32) -> Result<(), SubsystemError> {
        let root = self.shared + IDS;
        let mut ids = UserNamespace::start(maker)?;
        ids.map(self.shared, root)?;
        let cover = Cover::enter(self.stage)?;
        let image = cover.map_ids(&self.images, &ids)?;
        let own = cover.folder("space")?;
        make_layers(Path::new(&own), root)?;
        cover.overlay(&image, Path::new(&own)).map(drop)
    }

    /// Starts to make the namespaces of this instance. `None`: it has the shared ids.
    pub(super) fn namespaces_for(
        &self,
        machine: &Machine,
    ) -> Result<Option<Namespaces>, SubsystemError> {
        if machine.root_id == self.shared {
            return Ok(None);
        }
        let root = machine.root_id;
        let full = self.support() == Support::Full;
        let maker = if full { root } else { ROOT };
        let joins = full && self.joins.get() != Some(&false);
        Ok(Some(Namespaces {
            shared: self.shared,
            root,
            own: joins.then(|| UserNamespace::start(root)).transpose()?,
            image: UserNamespace::start(maker)?,
            has_warned: Arc::clone(&self.has_warned),
        }))
    }

    pub(super) fn is_known_to_join(&self) -> bool {
        self.joins.get().is_some()
    }

    /// Notes that the runtime started an instance in an existing namespace.
    pub(super) fn joined(&self) {
        let _ = self.joins.set(true);
    }

    /// Notes that the runtime cannot do that. Warns once.
    pub(super) fn cannot_join(&self, why: &SubsystemError) {
        if self.joins.set(false).is_ok() {
            tracing::warn!(
                %why,
                "instances share root's limit of inotify instances: this host's runtime makes \
                 their user namespaces itself"
            );
        }
    }
}

/// The namespaces of one start of an instance.
pub(super) struct Namespaces {
    shared: u32,
    root: u32,
    image: UserNamespace,
    own: Option<UserNamespace>,
    has_warned: Arc<OnceLock<()>>,
}

impl Namespaces {
    /// Mounts the image so that this instance's ids own its files.
    pub(super) fn map_image(
        &mut self,
        cover: &Cover,
        image: &Path,
    ) -> Result<PathBuf, SubsystemError> {
        self.image.map(self.shared, self.root)?;
        cover.map_ids(image, &self.image)
    }

    /// The path of the instance's user namespace, with its limits set.
    pub(super) fn own_in(&mut self, cover: &Cover) -> Result<Option<String>, SubsystemError> {
        let Some(own) = &mut self.own else {
            return Ok(None);
        };
        own.map(0, self.root)?;
        let missing = own.limit()?;
        if !missing.is_empty() && self.has_warned.set(()).is_ok() {
            let missing = missing.join(", ");
            tracing::warn!(
                missing,
                "limits of instances' user namespaces cannot be set here"
            );
        }
        cover.bind(own).map(Some)
    }
}
