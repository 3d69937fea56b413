//! Listing images.

use super::names;
use crate::error::{Code, Ec2Error};
use crate::fields::Fields;
use crate::filter::Filter;
use crate::page::Page;
use novanet_model::AmiId;

/// DescribeImages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribeImages {
    /// Only these; one that does not exist is an error.
    pub ids: Vec<AmiId>,
    /// Only these projects' images; `self` is the caller's.
    pub owners: Vec<String>,
    /// Only what these may run; `self` and `all`.
    pub executable_by: Vec<String>,
    /// Filters.
    pub filters: Vec<Filter>,
    /// Which page.
    pub page: Page,
}

impl DescribeImages {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        // No image here is deprecated or disabled.
        fields.flag("IncludeDeprecated")?;
        fields.flag("IncludeDisabled")?;
        let (mut owners, mut executable_by) =
            (names(fields, "Owner")?, names(fields, "ExecutableBy")?);
        // euca-describe-images of 2011 sends both with every list, and showed from nova all images
        // that the caller could run.
        let is_self = |list: &[String]| matches!(list, [one] if one == "self");
        let is_of_2011 = fields.get("Version").is_some_and(|v| v <= "2011-01-01");
        if is_of_2011 && is_self(&owners) && is_self(&executable_by) {
            owners.clear();
            executable_by.clear();
        }
        Ok(Self {
            ids: fields.ids("ImageId", Code::InvalidAmiIdMalformed)?,
            owners,
            executable_by,
            filters: Filter::parse(fields)?,
            page: Page::parse(fields)?,
        })
    }
}
