//! Floating IPs.

use super::Answered;
use super::error::Refusal;
use crate::server::State;
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
use novanet_model::rows::FloatingIp;

pub(super) async fn allocate(
    state: &State,
    caller: &Caller,
    request: &AllocateAddress,
) -> Answered {
    if let Some(wanted) = request.address {
        return Err(Ec2Error::new(
            Code::InvalidAddressUnavailable,
            format!("{wanted} cannot be chosen: addresses come from the pool in turn."),
        )
        .into());
    }
    let float = state
        .cloud
        .allocate_address(caller, request.pool.as_deref())
        .await?;
    Ok(Box::new(AllocatedAddress {
        id: AllocationId(float.id),
        public: float.address,
        pool: float.pool,
    }))
}

pub(super) async fn associate(
    state: &State,
    caller: &Caller,
    request: &AssociateAddress,
) -> Answered {
    let float = find(state, caller, request.address).await?;
    let elsewhere = float
        .fixed
        .as_ref()
        .is_some_and(|target| target.instance != request.instance);
    if elsewhere && request.allow_reassociation == Some(false) {
        return Err(Ec2Error::new(
            Code::ResourceAlreadyAssociated,
            format!("{} leads to another instance already.", float.address),
        )
        .into());
    }
    let change = state
        .cloud
        .associate_address(
            caller,
            float.address,
            request.instance,
            request.private_address,
        )
        .await?;
    state.cloud.applied(&change).await;
    Ok(Box::new(AssociatedAddress(AllocationId(float.id))))
}

pub(super) async fn disassociate(
    state: &State,
    caller: &Caller,
    request: &DisassociateAddress,
) -> Answered {
    let float = find(state, caller, request.address).await?;
    let change = state
        .cloud
        .disassociate_address(caller, float.address)
        .await?;
    state.cloud.applied(&change).await;
    Ok(Box::new(Done("DisassociateAddress")))
}

pub(super) async fn release(state: &State, caller: &Caller, request: &ReleaseAddress) -> Answered {
    let float = find(state, caller, request.address).await?;
    let change = state.cloud.release_address(caller, float.address).await?;
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
        id: AllocationId(float.id),
        public: float.address,
        target: float.fixed.map(|t| (t.instance, t.address)),
        pool: float.pool,
    }
}

/// The project's floating IP that a client names.
async fn find(state: &State, caller: &Caller, wanted: AddressRef) -> Result<FloatingIp, Refusal> {
    state
        .cloud
        .addresses(caller)
        .await?
        .into_iter()
        .find(|f| is(f, wanted))
        .ok_or_else(|| unknown(wanted))
}

fn is(float: &FloatingIp, wanted: AddressRef) -> bool {
    match wanted {
        AddressRef::Ip(ip) => float.address == ip,
        AddressRef::Allocation(id) => float.id == id.0,
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
