//! Zones, regions and instance types: what a cloud says of itself.

use super::Answered;
use crate::state::State;
use novanet_control::Caller;
use novanet_ec2::action::{DescribeAvailabilityZones, DescribeInstanceTypes, DescribeRegions};
use novanet_ec2::filter;
use novanet_ec2::response::{
    DescribedInstanceTypes, DescribedRegions, DescribedZones, Region, Zone,
};
use novanet_ec2::{Code, Ec2Error};
use novanet_model::instance_type::INSTANCE_TYPES;
use std::collections::BTreeMap;

pub(super) async fn zones(
    state: &State,
    caller: &Caller,
    request: &DescribeAvailabilityZones,
) -> Answered {
    let hosts = state.cloud.hosts().await?;
    let region = state
        .regions
        .all()
        .first()
        .map_or_else(|| "nova".to_owned(), |(name, _)| name.clone());
    let mut up: BTreeMap<String, bool> = BTreeMap::from([("nova".to_owned(), false)]);
    for host in &hosts {
        *up.entry(host.availability_zone.clone()).or_default() |= state.cloud.is_up(host);
    }
    let mut zones: Vec<Zone> = up
        .into_iter()
        .map(|(name, up)| Zone {
            name,
            state: if up { "available" } else { "unavailable" }.to_owned(),
            region: region.clone(),
        })
        .collect();
    // nova's listing for administrators: hosts and services as further zones.
    if request.verbose && caller.admin {
        for host in &hosts {
            zones.push(Zone {
                name: format!("|- {}", host.name),
                state: String::new(),
                region: region.clone(),
            });
            for role in &host.roles {
                let face = if state.cloud.is_up(host) {
                    ":-)"
                } else {
                    "XXX"
                };
                zones.push(Zone {
                    name: format!("| |- nova-{}", format!("{role:?}").to_lowercase()),
                    state: format!("enabled {face}"),
                    region: region.clone(),
                });
            }
        }
    }
    for name in &request.zones {
        if !zones.iter().any(|zone| zone.name == *name) {
            return Err(unknown("ZoneName", name));
        }
    }
    zones.retain(|zone| request.zones.is_empty() || request.zones.contains(&zone.name));
    filter::retain(&request.filters, &mut zones)?;
    Ok(Box::new(DescribedZones(zones)))
}

pub(super) fn regions(state: &State, request: &DescribeRegions) -> Answered {
    let mut regions: Vec<Region> = state
        .regions
        .all()
        .into_iter()
        .map(|(name, endpoint)| Region { name, endpoint })
        .collect();
    for name in &request.regions {
        if !regions.iter().any(|region| region.name == *name) {
            return Err(unknown("RegionName", name));
        }
    }
    regions.retain(|r| request.regions.is_empty() || request.regions.contains(&r.name));
    filter::retain(&request.filters, &mut regions)?;
    Ok(Box::new(DescribedRegions(regions)))
}

pub(super) fn instance_types(request: &DescribeInstanceTypes) -> Answered {
    let mut types: Vec<_> = INSTANCE_TYPES
        .iter()
        .filter(|t| request.types.is_empty() || request.types.iter().any(|w| w.name == t.name))
        .collect();
    filter::retain(&request.filters, &mut types)?;
    let next_token = request.page.take(&mut types, |t| i64::from(t.flavor_id));
    Ok(Box::new(DescribedInstanceTypes {
        types,
        architecture: std::env::consts::ARCH.to_owned(),
        next_token,
    }))
}

fn unknown(parameter: &str, value: &str) -> super::error::Refusal {
    Ec2Error::new(
        Code::InvalidParameterValue,
        format!("{parameter} {value} does not exist."),
    )
    .into()
}
