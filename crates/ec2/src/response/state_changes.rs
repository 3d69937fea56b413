//! The answers to StartInstances, StopInstances and TerminateInstances: states before and after.

use super::Answer;
use super::instances::InstanceState;
use crate::xml::Xml;
use novanet_model::InstanceId;

/// What an action did to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateChange {
    /// Instance.
    pub id: InstanceId,
    /// Before.
    pub previous: InstanceState,
    /// Now.
    pub current: InstanceState,
}

/// The answer to an action that changes the states of instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChanges {
    /// The action's name.
    pub action: &'static str,
    /// One for each instance; without them clients print nothing.
    pub changes: Vec<StateChange>,
}

impl Answer for StateChanges {
    fn action(&self) -> &'static str {
        self.action
    }

    fn write(&self, xml: &mut Xml) {
        xml.list("instancesSet", &self.changes, |xml, change| {
            xml.value("instanceId", change.id);
            change.current.write(xml, "currentState");
            change.previous.write(xml, "previousState");
        });
    }
}
