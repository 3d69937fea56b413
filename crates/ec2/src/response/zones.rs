//! Availability zones and regions.

use super::Answer;
use crate::filter::Filterable;
use crate::xml::Xml;

/// A zone. nova's `verbose` listing writes hosts and services as further zones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Name.
    pub name: String,
    /// `available`, `unavailable`; for a service of the verbose listing any text.
    pub state: String,
    /// Its region.
    pub region: String,
}

impl Filterable for Zone {
    const NAMES: &'static [&'static str] = &["region-name", "state", "zone-name"];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "region-name" => vec![self.region.clone()],
            "state" => vec![self.state.clone()],
            "zone-name" => vec![self.name.clone()],
            _ => Vec::new(),
        }
    }
}

/// The answer to DescribeAvailabilityZones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedZones(
    /// The zones that the request names, or all.
    pub Vec<Zone>,
);

impl Answer for DescribedZones {
    fn action(&self) -> &'static str {
        "DescribeAvailabilityZones"
    }

    fn write(&self, xml: &mut Xml) {
        xml.list("availabilityZoneInfo", &self.0, |xml, zone| {
            xml.text("zoneName", &zone.name);
            xml.text("zoneState", &zone.state);
            xml.text("regionName", &zone.region);
            xml.empty("messageSet");
        });
    }
}

/// A region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Name.
    pub name: String,
    /// Where its API is: a URL, or host and port.
    pub endpoint: String,
}

impl Filterable for Region {
    const NAMES: &'static [&'static str] = &["endpoint", "region-name"];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "endpoint" => vec![self.endpoint.clone()],
            "region-name" => vec![self.name.clone()],
            _ => Vec::new(),
        }
    }
}

/// The answer to DescribeRegions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedRegions(
    /// The regions that the request names, or all.
    pub Vec<Region>,
);

impl Answer for DescribedRegions {
    fn action(&self) -> &'static str {
        "DescribeRegions"
    }

    fn write(&self, xml: &mut Xml) {
        xml.list("regionInfo", &self.0, |xml, region| {
            xml.text("regionName", &region.name);
            xml.text("regionEndpoint", &region.endpoint);
        });
    }
}
