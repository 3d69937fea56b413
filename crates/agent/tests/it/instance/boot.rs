//! From an object to a running machine and back to nothing.

use super::host::{Host, address, on_a_host, sh};
use novanet_model::wire::InstanceState;
use std::time::Instant;

#[test]
fn an_instance_boots_takes_its_address_by_dhcp_and_answers() {
    on_a_host(async || {
        let mut host = Host::new().with_dhcp(1);
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        let start = Instant::now();
        host.until_ping(1).await;
        eprintln!("ping after {:?}", start.elapsed());
        let page = sh(&format!("busybox wget -q -O - http://{}/", address(1, 0)));
        assert!(page.contains("<h1>i-00000001</h1>"), "{page}");
        host.unwant_instance(1);
        host.until(1, InstanceState::Gone, 1).await;
    });
}
