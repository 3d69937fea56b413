//! What the command line asks of a running server about another host.

use crate::world::World;
use anyhow::Result;
use hyper::{Method, StatusCode};
use novanet_model::InstanceId;
use novanet_model::wire::{Answer, Question};
use novanet_server::{NoAnswer, Questions};
use std::time::Duration;

async fn ask(w: &World, host: &str, question: &Question) -> Result<(StatusCode, String)> {
    let path = format!("/admin/v1/hosts/{host}/questions");
    let body = serde_json::to_vec(question)?;
    let (status, text) = w.client(host).send(Method::POST, &path, body).await?;
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

#[tokio::test]
async fn a_question_to_a_host_is_answered_by_that_host() -> Result<()> {
    let w = World::on_sqlite().await;
    for host in ["h1", "h2"] {
        tokio::spawn(w.agent(host).await.live());
    }
    for host in ["h2", "h1"] {
        let (status, text) = ask(&w, host, &Question::Plan { diff: true }).await?;
        assert_eq!(status, StatusCode::OK, "{text}");
        let Answer::Text { text } = serde_json::from_str(&text)? else {
            panic!("{text}");
        };
        assert_eq!(text, format!("the plan of {host}, diff: true\n"));
    }
    // What the host could not do is its answer too.
    let (status, text) = ask(&w, "h1", &Question::Firewall).await?;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(matches!(
        serde_json::from_str(&text)?,
        Answer::Failed { .. }
    ));
    Ok(())
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_is_refused_with_a_line_that_names_the_host()
-> Result<()> {
    let w = World::on_sqlite().await;
    tokio::spawn(w.agent("h1").await.live());
    let (status, text) = ask(&w, "h9", &Question::Firewall).await?;
    assert_eq!(
        (status, text.as_str()),
        (
            StatusCode::NOT_FOUND,
            "host h9 not found: nova-manage host list shows them"
        )
    );
    // A host cannot be emptied from afar.
    let (status, text) = ask(
        &w,
        "h1",
        &Question::Cleanup {
            dry_run: false,
            force: false,
        },
    )
    .await?;
    assert_eq!(status, StatusCode::FORBIDDEN, "{text}");
    assert!(text.starts_with("host h1: cleanup"), "{text}");
    let (status, text) = ask(
        &w,
        "h1",
        &Question::Cleanup {
            dry_run: true,
            force: false,
        },
    )
    .await?;
    assert_eq!(status, StatusCode::OK, "{text}");
    Ok(())
}

#[tokio::test]
async fn connections_are_counted_with_those_that_were_refused() -> Result<()> {
    let w = World::on_sqlite().await;
    // More than the share of one source, which is 256 at most.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(tokio::net::TcpStream::connect(w.ec2).await?);
    }
    let until = std::time::Instant::now() + Duration::from_mins(1);
    let text = loop {
        assert!(std::time::Instant::now() < until, "not all were seen");
        let path = "/admin/v1/connections";
        let (status, text) = w.client("h1").send(Method::GET, path, "").await?;
        assert_eq!(status, StatusCode::OK);
        let counts: serde_json::Value = serde_json::from_slice(&text)?;
        assert_eq!(counts[1]["service"], "agent API");
        let number = |name: &str| counts[0][name].as_u64().unwrap_or(0);
        if number("accepted") + number("refused_source") == 300 {
            break counts[0].clone();
        }
    };
    assert_eq!(text["service"], "EC2 API");
    assert!(text["refused_source"].as_u64() > Some(0), "{text}");
    assert!(text["open"].as_u64() <= Some(256), "{text}");
    Ok(())
}

#[tokio::test]
async fn what_hosts_may_reach_over_a_network_has_no_door_to_other_hosts() -> Result<()> {
    let w = World::on_sqlite().await;
    let (status, _) = w
        .client("h1")
        .send(Method::POST, "/agent/v1/hosts/h1/questions", "{}")
        .await?;
    assert_eq!(status, StatusCode::NOT_FOUND);
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_away_one_that_is_silent_and_one_that_is_crowded_are_told_apart() {
    let questions = Questions::default();
    let short = Duration::from_millis(50);
    let of = |id| Question::Console {
        instance: InstanceId(id),
    };
    let away = questions.ask("h1", of(1), short).await;
    assert_eq!(away, Err(NoAnswer::Away));
    let long = Duration::from_secs(20);
    let many: Vec<_> = (0..64).map(|n| questions.ask("h1", of(n), long)).collect();
    let mut many = Box::pin(futures_util::future::join_all(many));
    // Polled once, all of them wait.
    let waited = tokio::time::timeout(Duration::ZERO, &mut many).await;
    assert!(waited.is_err());
    let crowded = questions.ask("h1", of(65), short).await;
    assert_eq!(crowded, Err(NoAnswer::Crowded));
    // Those who asked went away: there is room again.
    drop(many);
    let again = questions.ask("h1", of(66), short).await;
    assert_eq!(again, Err(NoAnswer::Away));
}
