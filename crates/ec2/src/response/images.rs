//! Images.

use super::{Answer, next_token};
use crate::filter::Filterable;
use crate::xml::Xml;
use novanet_model::AmiId;
use time::OffsetDateTime;

/// Whether an image can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageState {
    /// Not all there yet.
    Pending,
    /// Ready.
    Available,
    /// Damaged.
    Failed,
}

impl ImageState {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Failed => "failed",
        }
    }
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Id.
    pub id: AmiId,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Where it came from, e.g. `tiny (tiny)`.
    pub location: String,
    /// Project.
    pub owner: String,
    /// All projects may run it.
    pub public: bool,
    /// State.
    pub state: ImageState,
    /// Processor.
    pub architecture: String,
    /// When it was registered.
    pub created: OffsetDateTime,
}

impl Filterable for Image {
    const NAMES: &'static [&'static str] = &[
        "architecture",
        "creation-date",
        "description",
        "image-id",
        "image-type",
        "is-public",
        "manifest-location",
        "name",
        "owner-id",
        "root-device-name",
        "root-device-type",
        "state",
        "virtualization-type",
    ];

    fn values(&self, name: &str) -> Vec<String> {
        let value = match name {
            "architecture" => self.architecture.clone(),
            "creation-date" => crate::timestamp::iso8601_millis(self.created),
            "description" => self.description.clone(),
            "image-id" => self.id.to_string(),
            "image-type" => "machine".to_owned(),
            "is-public" => self.public.to_string(),
            "manifest-location" => self.location.clone(),
            "name" => self.name.clone(),
            "owner-id" => self.owner.clone(),
            "root-device-name" => "/dev/sda1".to_owned(),
            "root-device-type" => "instance-store".to_owned(),
            "state" => self.state.as_str().to_owned(),
            "virtualization-type" => "hvm".to_owned(),
            _ => return Vec::new(),
        };
        vec![value]
    }
}

/// The answer to DescribeImages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedImages {
    /// The images of this page.
    pub images: Vec<Image>,
    /// Where the next page starts.
    pub next_token: Option<String>,
}

impl Answer for DescribedImages {
    fn action(&self) -> &'static str {
        "DescribeImages"
    }

    fn write(&self, xml: &mut Xml) {
        xml.list("imagesSet", &self.images, |xml, image| {
            xml.value("imageId", image.id);
            xml.text("imageLocation", &image.location);
            xml.text("imageState", image.state.as_str());
            xml.text("imageOwnerId", &image.owner);
            xml.value("isPublic", image.public);
            xml.time("creationDate", image.created);
            xml.empty("productCodes");
            xml.text("architecture", &image.architecture);
            xml.text("imageType", "machine");
            xml.text("name", &image.name);
            xml.text("description", &image.description);
            xml.text("rootDeviceType", "instance-store");
            xml.text("rootDeviceName", "/dev/sda1");
            xml.empty("blockDeviceMapping");
            xml.text("virtualizationType", "hvm");
            xml.empty("tagSet");
        });
        next_token(xml, self.next_token.as_ref());
    }
}
