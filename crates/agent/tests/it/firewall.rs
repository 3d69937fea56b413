//! What may pass and what may not, by real packets.

use crate::firewall_world::*;
use anyhow::Result;

#[test]
fn groups_allow_what_their_rules_say_and_deny_the_rest() -> Result<()> {
    let world = World::new(&[3, 4, 5])?;
    let (a, b, c) = (world.instance(3), world.instance(4), world.instance(5));
    let mut agent = world.agent(&two_projects())?;
    agent.converge(&world.cloud)?;

    assert_eq!(connects(b, a, fixed(3), 9000)?, Some(fixed(4).into()));
    assert!(pings(a, fixed(4))?, "members may talk");
    assert_eq!(connects(c, a, fixed(3), 22)?, None, "another project");
    assert!(!pings(c, fixed(3))?, "another project");
    assert_eq!(connects(b, c, fixed(5), 3306)?, Some(fixed(4).into()));
    assert_eq!(connects(a, c, fixed(5), 3306)?, None, "not in group 2");
    assert_eq!(arrives(c, b, fixed(4), 5000)?, None, "another project");
    Ok(())
}
