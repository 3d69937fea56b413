//! Availability zones and regions.

use super::names;
use crate::error::Ec2Error;
use crate::fields::Fields;
use crate::filter::Filter;

/// DescribeAvailabilityZones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribeAvailabilityZones {
    /// Only these.
    pub zones: Vec<String>,
    /// Asked for the zone `verbose`, nova's way to list hosts and services to administrators.
    pub verbose: bool,
    /// Filters.
    pub filters: Vec<Filter>,
}

impl DescribeAvailabilityZones {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        let mut zones = names(fields, "ZoneName")?;
        let verbose = zones.iter().any(|zone| zone == "verbose");
        zones.retain(|zone| zone != "verbose");
        // All are listed anyway.
        fields.flag("AllAvailabilityZones")?;
        Ok(Self {
            zones,
            verbose,
            filters: Filter::parse(fields)?,
        })
    }
}

/// DescribeRegions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribeRegions {
    /// Only these.
    pub regions: Vec<String>,
    /// Filters.
    pub filters: Vec<Filter>,
}

impl DescribeRegions {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        // All are listed anyway.
        fields.flag("AllRegions")?;
        Ok(Self {
            regions: names(fields, "RegionName")?,
            filters: Filter::parse(fields)?,
        })
    }
}
