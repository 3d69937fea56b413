//! The sizes of instances.

use super::{Answer, next_token};
use crate::filter::Filterable;
use crate::xml::Xml;
use novanet_model::instance_type::InstanceType;

/// The answer to DescribeInstanceTypes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedInstanceTypes {
    /// The types of this page.
    pub types: Vec<&'static InstanceType>,
    /// Processor, e.g. `x86_64`.
    pub architecture: String,
    /// Where the next page starts.
    pub next_token: Option<String>,
}

impl Filterable for &'static InstanceType {
    const NAMES: &'static [&'static str] = &[
        "current-generation",
        "instance-type",
        "memory-info.size-in-mib",
        "vcpu-info.default-vcpus",
    ];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "current-generation" => vec!["true".to_owned()],
            "instance-type" => vec![self.name.to_owned()],
            "memory-info.size-in-mib" => vec![self.memory_mb.to_string()],
            "vcpu-info.default-vcpus" => vec![self.vcpus.to_string()],
            _ => Vec::new(),
        }
    }
}

impl Answer for DescribedInstanceTypes {
    fn action(&self) -> &'static str {
        "DescribeInstanceTypes"
    }

    fn write(&self, xml: &mut Xml) {
        xml.list("instanceTypeSet", &self.types, |xml, size| {
            xml.text("instanceType", size.name);
            xml.text("currentGeneration", "true");
            xml.text("freeTierEligible", "false");
            xml.list("supportedUsageClasses", ["on-demand"], item);
            xml.list("supportedRootDeviceTypes", ["instance-store"], item);
            xml.list("supportedVirtualizationTypes", ["hvm"], item);
            xml.text("bareMetal", "false");
            xml.element("processorInfo", |xml| {
                xml.list("supportedArchitectures", [self.architecture.as_str()], item);
            });
            xml.element("vCpuInfo", |xml| {
                xml.value("defaultVCpus", size.vcpus);
                xml.value("defaultCores", size.vcpus);
                xml.value("defaultThreadsPerCore", 1);
            });
            xml.element("memoryInfo", |xml| xml.value("sizeInMiB", size.memory_mb));
            xml.value("instanceStorageSupported", size.local_gb > 0);
            if size.local_gb > 0 {
                xml.element("instanceStorageInfo", |xml| {
                    xml.value("totalSizeInGB", size.local_gb);
                });
            }
            xml.element("networkInfo", |xml| {
                xml.value("maximumNetworkInterfaces", 1);
                xml.value("ipv4AddressesPerInterface", 1);
                xml.value("ipv6Supported", false);
            });
        });
        next_token(xml, self.next_token.as_ref());
    }
}

/// A list of plain texts has them right inside `item`.
fn item(xml: &mut Xml, value: &str) {
    xml.characters(value);
}
