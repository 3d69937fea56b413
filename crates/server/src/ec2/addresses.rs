//! Handlers of floating IPs: from the request to the use case to the answer. Depends on
//! `control::floating_ips`.

use super::Answered;
use super::error::Refusal;
use crate::state::State;
use novanet_control::floating_ips::{Association, FloatingIpRef};
use novanet_control::{Caller, ControlError, Kind};
use novanet_ec2::action::{
    AddressRef, AllocateAddress, AssociateAddress, DescribeAddresses, DisassociateAddress,
    ReleaseAddress,
};
use novanet_ec2::filter;
use novanet_ec2::response::{
    Address, AllocatedAddress, AssociatedAddress, DescribedAddresses, Done,
};
use novanet_ec2::{AllocationId, Code, Ec2Error};
use novanet_model::FloatingIpId;
use novanet_model::rows::FloatingIp;

pub(super) async fn allocate(
    state: &State,
    caller: &Caller,
    request: &AllocateAddress,
) -> Answered {
    let (cloud, pool) = (&state.cloud, request.pool.as_deref());
    let float = match request.address {
        None => cloud.allocate_address(caller, pool).await?,
        Some(wanted) => cloud
            .allocate_this_address(caller, wanted, pool)
            .await
            .map_err(not_free)?,
    };
    Ok(Box::new(AllocatedAddress {
        id: AllocationId(float.id.0),
        public: float.address,
        pool: float.pool,
    }))
}

/// EC2's code for an address of another owner that was asked for by name.
fn not_free(error: ControlError) -> Refusal {
    match error {
        ControlError::InUse { .. } => {
            Ec2Error::new(Code::InvalidAddressUnavailable, error.to_string()).into()
        }
        other => other.into(),
    }
}

pub(super) async fn associate(
    state: &State,
    caller: &Caller,
    request: &AssociateAddress,
) -> Answered {
    let to = Association {
        instance: request.instance,
        fixed: request.private_address,
        may_move: request.allow_reassociation != Some(false),
    };
    let (float, change) = state
        .cloud
        .associate_address(caller, floating_ip_ref(request.address), &to)
        .await
        .map_err(|error| named(error, request.address))?;
    state.cloud.applied(&change).await;
    Ok(Box::new(AssociatedAddress(AllocationId(float.id.0))))
}

pub(super) async fn disassociate(
    state: &State,
    caller: &Caller,
    request: &DisassociateAddress,
) -> Answered {
    let change = state
        .cloud
        .disassociate_address(caller, floating_ip_ref(request.address))
        .await
        .map_err(|error| named(error, request.address))?;
    state.cloud.applied(&change).await;
    Ok(Box::new(Done("DisassociateAddress")))
}

pub(super) async fn release(state: &State, caller: &Caller, request: &ReleaseAddress) -> Answered {
    let change = state
        .cloud
        .release_address(caller, floating_ip_ref(request.address))
        .await
        .map_err(|error| named(error, request.address))?;
    state.cloud.applied(&change).await;
    Ok(Box::new(Done("ReleaseAddress")))
}

pub(super) async fn describe(
    state: &State,
    caller: &Caller,
    request: &DescribeAddresses,
) -> Answered {
    let mut floats = state.cloud.addresses(caller).await?;
    for wanted in &request.addresses {
        if !floats.iter().any(|f| is(f, *wanted)) {
            return Err(unknown(*wanted));
        }
    }
    if !request.addresses.is_empty() {
        floats.retain(|f| request.addresses.iter().any(|wanted| is(f, *wanted)));
    }
    let mut addresses: Vec<Address> = floats.into_iter().map(address).collect();
    filter::retain(&request.filters, &mut addresses)?;
    Ok(Box::new(DescribedAddresses(addresses)))
}

fn address(float: FloatingIp) -> Address {
    Address {
        id: AllocationId(float.id.0),
        public: float.address,
        target: float.fixed.map(|t| (t.instance, t.address)),
        pool: float.pool,
    }
}

fn floating_ip_ref(wanted: AddressRef) -> FloatingIpRef {
    match wanted {
        AddressRef::Ip(ip) => FloatingIpRef::Address(ip),
        AddressRef::Allocation(id) => FloatingIpRef::Id(FloatingIpId(id.0)),
    }
}

/// An address that is not there, in the words that the client used.
fn named(error: ControlError, wanted: AddressRef) -> Refusal {
    match error {
        ControlError::NotFound {
            kind: Kind::FloatingIp,
            ..
        } => unknown(wanted),
        other => other.into(),
    }
}

fn is(float: &FloatingIp, wanted: AddressRef) -> bool {
    match wanted {
        AddressRef::Ip(ip) => float.address == ip,
        AddressRef::Allocation(id) => float.id.0 == id.0,
    }
}

fn unknown(wanted: AddressRef) -> Refusal {
    match wanted {
        AddressRef::Ip(ip) => ControlError::NotFound {
            kind: Kind::FloatingIp,
            id: ip.to_string(),
        }
        .into(),
        AddressRef::Allocation(id) => Ec2Error::new(
            Code::InvalidAllocationIdNotFound,
            format!("The allocation {id} does not exist."),
        )
        .into(),
    }
}
