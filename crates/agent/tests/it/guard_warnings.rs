//! Foreign rules that drop what is in force: the server gets a warning, the plan names them, and the
//! agent leaves them alone.

use crate::engine_support as cloud;
use crate::guard_engine::objects;
use crate::link::{inside, sh};
use novanet_lab::eventually_async;
use novanet_model::ObjectKey;
use std::time::Duration;

/// Others' chains are looked at every ten seconds.
const LIMIT: Duration = Duration::from_mins(1);

#[test]
fn a_foreign_drop_policy_is_reported_with_the_remedy_and_left_as_it_is() {
    inside(|| async {
        let (_state, engine) = cloud::real(&objects()).await;
        sh("iptables -P FORWARD DROP");
        let foreign = sh("nft -s list table ip filter");
        let key = ObjectKey("host/firewall/ip filter FORWARD".to_owned());
        let told = || {
            let errors = engine.status().errors.into_iter();
            errors.map(|error| (error.key, error.message)).next()
        };
        eventually_async(LIMIT, async || match told() {
            Some((of, message)) if of == key && message.contains("set its policy to accept") => {
                Ok(())
            }
            other => Err(format!("not told: {other:?}")),
        })
        .await
        .unwrap();
        let plan = engine.plan(true).await.unwrap();
        let start = "# the chain ip filter FORWARD (hook forward, policy drop) is not ours";
        assert!(plan.starts_with(start), "{plan}");
        assert_eq!(sh("nft -s list table ip filter"), foreign);

        sh("iptables -P FORWARD ACCEPT");
        eventually_async(LIMIT, async || match told() {
            None => Ok(()),
            other => Err(format!("still told: {other:?}")),
        })
        .await
        .unwrap();
        assert!(!engine.plan(true).await.unwrap().contains("# "));
    });
}
