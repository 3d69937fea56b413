//! The phase of an instance, and its translation into an observed item and a report. Pure.

use crate::instance::files::{Spec, unknown};
use crate::instance::process::{Process, ProcessId};
use novanet_model::InstanceId;
use novanet_model::object::Instance;
use novanet_model::wire::{InstanceReport, InstanceState};
use std::sync::Arc;
use std::time::Instant;

/// The state of an instance between two steps.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// The host has nothing of it.
    Absent,
    /// It runs. `plugged` is false when a port is not attached; `fault` says why attaching it
    /// failed.
    Running {
        spec: Arc<Spec>,
        process: Arc<Process>,
        plugged: bool,
        fault: Option<String>,
    },
    /// Only its folder exists. `boot` has ended by itself; `None`: no boot has. `clean`: the driver
    /// has nothing of it.
    Stopped {
        spec: Option<Arc<Spec>>,
        boot: Option<i64>,
        clean: bool,
    },
    /// The last step failed. The next try is at `again` or later.
    Failed {
        spec: Option<Arc<Spec>>,
        boot: Option<i64>,
        error: String,
        tries: u32,
        again: Instant,
        /// The failed step: another try of it waits, another step does not.
        during: Failing,
    },
}

/// What an instance could not be brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    /// To run.
    Boot,
    /// To stop.
    Halt,
    /// To go.
    Removal,
}

impl Phase {
    pub(super) fn spec(&self) -> Option<&Arc<Spec>> {
        match self {
            Self::Absent => None,
            Self::Running { spec, .. } => Some(spec),
            Self::Stopped { spec, .. } | Self::Failed { spec, .. } => spec.as_ref(),
        }
    }

    pub(super) fn process(&self) -> Option<ProcessId> {
        match self {
            Self::Running { process, .. } => Some(process.id),
            _ => None,
        }
    }

    pub(super) fn boot(&self) -> Option<i64> {
        match self {
            Self::Absent => None,
            Self::Running { spec, .. } => Some(spec.instance.boot),
            Self::Stopped { boot, .. } | Self::Failed { boot, .. } => *boot,
        }
    }

    pub(super) fn report(
        &self,
        instance: InstanceId,
        before: Option<&InstanceReport>,
    ) -> Option<InstanceReport> {
        let (state, boot, detail) = match self {
            Self::Absent => (InstanceState::Gone, before.map_or(0, |r| r.boot), None),
            Self::Running { spec, .. } => (InstanceState::Running, spec.instance.boot, None),
            Self::Stopped { boot, .. } => (
                InstanceState::Stopped,
                (*boot)?,
                Some("ended by itself".to_owned()),
            ),
            Self::Failed { boot, error, .. } => {
                (InstanceState::Error, (*boot)?, Some(error.clone()))
            }
        };
        Some(InstanceReport {
            instance,
            state,
            boot,
            detail,
        })
    }

    /// The observed item. Properties that only a boot changes (host name, limits) count as the
    /// desired ones.
    pub(super) fn observed(
        &self,
        id: InstanceId,
        want: Option<&Instance>,
    ) -> Option<(Instance, bool)> {
        let (boot, plugged) = match self {
            Self::Absent => return None,
            Self::Running { spec, plugged, .. } => (Some(spec.instance.boot), *plugged),
            Self::Stopped { boot, .. } => (*boot, true),
            Self::Failed { .. } => (None, true),
        };
        let Some(want) = want else {
            let spec = self.spec().map(|spec| spec.instance.clone());
            return Some((spec.unwrap_or_else(|| unknown(id)), plugged));
        };
        let boot = boot?;
        Some((
            Instance {
                boot,
                ..want.clone()
            },
            plugged,
        ))
    }
}

/// The report of an instance that does not run yet; `why` it waits, for people.
pub(super) fn pending(instance: InstanceId, boot: i64, why: Option<&str>) -> InstanceReport {
    InstanceReport {
        instance,
        state: InstanceState::Pending,
        boot,
        detail: why.map(str::to_owned),
    }
}
