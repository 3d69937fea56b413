//! Listing images.

use super::names;
use crate::error::{Code, Ec2Error};
use crate::filter::Filter;
use crate::page::Page;
use crate::params::Fields;
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
        Ok(Self {
            ids: fields.ids("ImageId", Code::InvalidAmiIdMalformed)?,
            owners: names(fields, "Owner")?,
            executable_by: names(fields, "ExecutableBy")?,
            filters: Filter::parse(fields)?,
            page: Page::parse(fields)?,
        })
    }
}
