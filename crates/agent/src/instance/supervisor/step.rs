//! The next step of an instance: a pure function of its goal and its phase.

use super::phase::Failing;
use super::{Goal, Phase, Spec};
use std::sync::Arc;
use std::time::Instant;

/// An action of the supervisor on one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, for now.
    Rest,
    /// Make it and start it.
    Boot(Arc<Spec>),
    /// Attach missing ports.
    Attach,
    /// Ask it to stop, then kill it; its disk stays.
    Halt,
    /// Let the driver forget an instance that ended.
    Clean,
    /// Kill it, and remove its folder.
    Remove,
}

impl Step {
    /// Its name in the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Boot(_) => "boot",
            Self::Attach => "plug",
            Self::Halt => "halt",
            Self::Clean => "clean",
            Self::Remove => "remove",
        }
    }
}

/// The step from this phase towards the goal.
pub(super) fn next(goal: Option<&Goal>, phase: &Phase, now: Instant) -> Step {
    match (goal, phase) {
        (Some(Goal::Gone), Phase::Absent) => Step::Rest,
        (
            Some(Goal::Gone),
            Phase::Failed {
                again,
                during: Failing::Removal,
                ..
            },
        ) if now < *again => Step::Rest,
        (Some(Goal::Gone), _) => Step::Remove,
        (_, Phase::Stopped { clean: false, .. }) => Step::Clean,
        (None, _) => Step::Rest,
        (Some(Goal::Run(want)), phase) if want.instance.halted => match phase {
            Phase::Running { .. } => Step::Halt,
            Phase::Failed {
                again,
                during: Failing::Halt,
                ..
            } if now < *again => Step::Rest,
            // The failed step may have left a process.
            Phase::Failed { .. } => Step::Clean,
            Phase::Absent | Phase::Stopped { .. } => Step::Rest,
        },
        (Some(Goal::Run(spec)), Phase::Absent) => Step::Boot(Arc::clone(spec)),
        (Some(Goal::Run(want)), Phase::Running { spec, plugged, .. }) => {
            if want.instance.boot != spec.instance.boot {
                Step::Halt
            } else if *plugged {
                Step::Rest
            } else {
                Step::Attach
            }
        }
        (Some(Goal::Run(spec)), Phase::Stopped { boot, .. }) => {
            // An instance that ended by itself stays as it is until the user asks for another boot.
            if *boot == Some(spec.instance.boot) {
                Step::Rest
            } else {
                Step::Boot(Arc::clone(spec))
            }
        }
        (Some(Goal::Run(spec)), Phase::Failed { boot, again, .. }) => {
            if *boot == Some(spec.instance.boot) && now < *again {
                Step::Rest
            } else {
                Step::Boot(Arc::clone(spec))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::files::unknown;
    use novanet_model::InstanceId;
    use novanet_model::object::Instance;
    use std::time::Duration;

    fn spec(boot: i64) -> Arc<Spec> {
        Arc::new(Spec {
            instance: Instance {
                boot,
                ..unknown(InstanceId(1))
            },
            ports: Vec::new(),
        })
    }

    fn stopped(boot: Option<i64>, clean: bool) -> Phase {
        Phase::Stopped {
            spec: Some(spec(boot.unwrap_or(0))),
            boot,
            clean,
        }
    }

    #[test]
    fn an_instance_that_ended_by_itself_waits_for_another_boot() {
        let now = Instant::now();
        let run = Goal::Run(spec(3));
        assert_eq!(next(Some(&run), &stopped(Some(3), true), now), Step::Rest);
        assert_eq!(next(Some(&run), &stopped(Some(3), false), now), Step::Clean);
        assert_eq!(
            next(Some(&run), &stopped(Some(2), true), now),
            Step::Boot(spec(3))
        );
        assert_eq!(
            next(Some(&run), &stopped(None, true), now),
            Step::Boot(spec(3))
        );
    }

    #[test]
    fn a_failed_boot_is_tried_again_later_but_another_boot_at_once() {
        let now = Instant::now();
        let failed = Phase::Failed {
            spec: None,
            boot: Some(1),
            error: "no image".to_owned(),
            tries: 1,
            again: now + Duration::from_secs(1),
            during: Failing::Boot,
        };
        let run = Goal::Run(spec(1));
        assert_eq!(next(Some(&run), &failed, now), Step::Rest);
        let later = now + Duration::from_secs(2);
        assert_eq!(next(Some(&run), &failed, later), Step::Boot(spec(1)));
        assert_eq!(
            next(Some(&Goal::Run(spec(2))), &failed, now),
            Step::Boot(spec(2))
        );
        assert_eq!(next(Some(&Goal::Gone), &failed, now), Step::Remove);
    }

    #[test]
    fn an_instance_that_its_user_stopped_is_halted_and_rests_until_another_boot() {
        let now = Instant::now();
        let halted = |boot| {
            let mut spec = Spec::clone(&spec(boot));
            spec.instance.halted = true;
            Goal::Run(Arc::new(spec))
        };
        let failed = |during| Phase::Failed {
            spec: None,
            boot: Some(1),
            error: "busy".to_owned(),
            tries: 1,
            again: now + Duration::from_secs(1),
            during,
        };
        let stop = halted(1);
        for rests in [
            Phase::Absent,
            stopped(None, true),
            stopped(Some(1), true),
            failed(Failing::Halt),
        ] {
            assert_eq!(next(Some(&stop), &rests, now), Step::Rest, "{rests:?}");
        }
        let later = now + Duration::from_secs(2);
        for (phase, at) in [
            (stopped(None, false), now),
            (failed(Failing::Boot), now),
            (failed(Failing::Halt), later),
        ] {
            assert_eq!(next(Some(&stop), &phase, at), Step::Clean, "{phase:?}");
        }
        let start = Goal::Run(spec(2));
        let boots = next(Some(&start), &stopped(None, true), now);
        assert_eq!(boots, Step::Boot(spec(2)));
        let gone = next(Some(&Goal::Gone), &failed(Failing::Halt), now);
        assert_eq!(gone, Step::Remove);
    }

    #[test]
    fn an_instance_without_a_goal_stays_as_it_is() {
        let now = Instant::now();
        assert_eq!(next(None, &stopped(Some(1), true), now), Step::Rest);
        assert_eq!(
            next(Some(&Goal::Gone), &stopped(None, false), now),
            Step::Remove
        );
        assert_eq!(next(Some(&Goal::Gone), &Phase::Absent, now), Step::Rest);
    }
}
