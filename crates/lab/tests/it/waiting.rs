//! `eventually`.

use std::time::Duration;

use novanet_lab::{eventually, eventually_async};

#[test]
fn a_state_that_comes_true_is_given_back() {
    let mut tries = 0;
    let value = eventually(Duration::from_secs(5), || {
        tries += 1;
        if tries == 4 {
            Ok(tries)
        } else {
            Err("not yet")
        }
    });
    assert_eq!(value.unwrap(), 4);
}

#[test]
fn a_state_that_never_comes_true_shows_what_was_seen_last() {
    let mut tries = 0;
    let error = eventually(Duration::from_millis(20), || {
        tries += 1;
        Err::<(), _>(format!("state {tries}"))
    })
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("last state: state {tries}")),
        "{error}"
    );
    assert!(tries > 2, "{tries}");
}

#[tokio::test]
async fn the_asynchronous_twin_waits_and_fails_alike() {
    let mut tries = 0;
    let value = eventually_async(Duration::from_secs(5), || {
        tries += 1;
        let now = tries;
        async move { if now == 3 { Ok(now) } else { Err("not yet") } }
    });
    assert_eq!(value.await.unwrap(), 3);
    let error = eventually_async(Duration::ZERO, || async {
        Err::<(), _>(anyhow::anyhow!("root").context("leaf"))
    });
    assert!(error.await.unwrap_err().to_string().contains("leaf: root"));
}
