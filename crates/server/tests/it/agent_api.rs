//! The agent API over its unix socket.

use crate::fake_agent::hello;
use crate::world::{World, network};
use anyhow::Result;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use novanet_lab::Quickest;
use novanet_model::ObjectKey;
use novanet_model::wire::{Digest, Leases, Metadata, Objects};
use novanet_server::{Server, ServerError};
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_follower_lists_then_gets_changes_and_tombstones_and_lists_again_when_it_must()
-> Result<()> {
    let w = World::on_sqlite().await;
    let mut agent = w.agent("h1").await;
    network(&w.cloud, "10.0.0.0/24").await;
    let first = agent.follow(0).await?;
    assert!(first.whole);
    assert_eq!(agent.objects.len(), 3);
    network(&w.cloud, "10.0.1.0/24").await;
    let delta = agent.follow(0).await?;
    assert!(!delta.whole);
    assert_eq!(delta.changes.len(), 3);
    w.cloud.delete_network("10.0.0.0/24").await?;
    let delta = agent.follow(0).await?;
    assert!(delta.changes.iter().all(|c| c.object.is_none()));
    assert_eq!(agent.objects.len(), 3);
    let digest: Digest = agent.client.get("digest").await?;
    assert_eq!((digest.count, &digest.epoch), (3, &agent.epoch));
    // Another epoch, or a version from the future: a list.
    for (epoch, after) in [
        ("other", agent.version),
        (agent.epoch.as_str(), agent.version + 9),
    ] {
        let query = format!("objects?epoch={epoch}&after={after}&wait_ms=0");
        let again: Objects = agent.client.get(&query).await?;
        assert!(again.whole);
        let there = again.changes.iter().filter(|c| c.object.is_some());
        assert_eq!(
            (there.count(), again.changes.len()),
            (3, 6),
            "with tombstones"
        );
    }
    let full: Digest = agent.client.get("digest?full=true").await?;
    assert!(full.fingerprint.is_some());
    Ok(())
}

async fn a_change_elsewhere_wakes_a_long_poll(w: World) -> Result<()> {
    let mut agent = w.agent("h1").await;
    agent.follow(0).await?;
    let other = w.another_process().await;
    let mut quickest = Quickest::within(Duration::from_millis(200));
    for round in 0.. {
        if round >= 3 && !quickest.again()? {
            break;
        }
        let poll = tokio::spawn(async move {
            let news = agent.follow(20_000).await.unwrap();
            (agent, news, Instant::now())
        });
        // Let it wait first; a poll that comes later would not test anything.
        tokio::time::sleep(Duration::from_millis(150)).await;
        network(&other, &format!("10.0.{round}.0/24")).await;
        let changed = Instant::now();
        let (back, news, heard) = poll.await?;
        agent = back;
        assert_eq!(news.changes.len(), 3);
        quickest.took(heard.duration_since(changed));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_by_another_process_wakes_a_follower_within_200_ms_on_sqlite() -> Result<()> {
    a_change_elsewhere_wakes_a_long_poll(World::on_sqlite().await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_by_another_process_wakes_a_follower_within_200_ms_on_postgres() -> Result<()> {
    a_change_elsewhere_wakes_a_long_poll(World::on_postgres().await).await
}

#[tokio::test]
async fn a_long_poll_without_news_ends_with_nothing_when_its_time_is_over() -> Result<()> {
    let w = World::on_sqlite().await;
    let mut agent = w.agent("h1").await;
    agent.follow(0).await?;
    // A change for another host is no news.
    let began = Instant::now();
    let (news, _) = tokio::join!(agent.follow(300), w.agent("h2"));
    let news = news?;
    assert!(!news.whole && news.changes.is_empty());
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(5),
        "{took:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_image_is_streamed_whole_and_an_unknown_one_is_not_there() -> Result<()> {
    let w = World::on_sqlite().await;
    let bytes: Vec<u8> = (0..=250).cycle().take((3 << 20) + 5).collect();
    let image = w
        .cloud
        .register_image("big", Cursor::new(bytes.clone()))
        .await?;
    let client = w.client("h1");
    let path = format!("/agent/v1/images/{}", image.digest);
    let (status, body) = client.send(Method::GET, &path, Bytes::new()).await?;
    assert_eq!(status, StatusCode::OK);
    assert!(body == bytes);
    let unknown = "/agent/v1/images/sha256:0";
    let (status, _) = client.send(Method::GET, unknown, Bytes::new()).await?;
    assert_eq!(status, StatusCode::NOT_FOUND);
    Ok(())
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_status_and_a_text() -> Result<()> {
    let w = World::on_sqlite().await;
    let client = w.client("h1");
    let cases = [
        (Method::POST, "hosts/h1/hello", "{", StatusCode::BAD_REQUEST),
        (
            Method::POST,
            "hosts/h1/hello",
            "{}",
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            Method::GET,
            "hosts/h1/objects?after=x",
            "",
            StatusCode::BAD_REQUEST,
        ),
        (
            Method::GET,
            "hosts/h1/metadata/i-xyz",
            "",
            StatusCode::BAD_REQUEST,
        ),
        (
            Method::GET,
            "hosts/h1/metadata/i-00000009",
            "",
            StatusCode::NOT_FOUND,
        ),
        (Method::GET, "hosts/h1/nothing", "", StatusCode::NOT_FOUND),
        (
            Method::POST,
            "hosts/h1/answers/none",
            r#"{"answer":"text","text":""}"#,
            StatusCode::GONE,
        ),
    ];
    for (method, path, body, expected) in cases {
        let whole = format!("/agent/v1/{path}");
        let (status, text) = client.send(method, &whole, body).await?;
        assert_eq!(status, expected, "{path}: {text:?}");
    }
    let nothing = Leases { events: vec![] };
    assert!(client.post("leases", &nothing).await?.is_success());
    Ok(())
}

#[tokio::test]
async fn metadata_is_answered_to_the_instances_host_only() -> Result<()> {
    let w = World::on_sqlite().await;
    let mut agent = w.agent("h1").await;
    w.project("web").await;
    network(&w.cloud, "10.0.0.0/24").await;
    let image = w.cloud.register_image("tiny", Cursor::new(vec![1])).await?;
    let caller = novanet_control::Caller::operator("web".parse()?);
    let launch = novanet_control::instances::Launch {
        image: image.id,
        min: 1,
        max: 1,
        instance_type: None,
        key_name: None,
        groups: vec![],
        user_data: None,
        client_token: None,
        public_address: None,
        availability_zone: None,
        private_address: None,
        networks: Vec::new(),
    };
    let (ids, _) = w.cloud.run_instances(&caller, &launch).await?;
    agent.follow(0).await?;
    assert!(
        agent
            .objects
            .contains_key(&ObjectKey("instance/1".to_owned()))
    );
    for spelling in [ids[0].to_string(), ids[0].0.to_string()] {
        let told: Metadata = agent.client.get(&format!("metadata/{spelling}")).await?;
        assert_eq!(told.instance_id, ids[0].to_string());
    }
    let stranger = w.agent("h2").await;
    assert!(stranger.client.get::<Metadata>("metadata/1").await.is_err());
    Ok(())
}

#[tokio::test]
async fn the_socket_is_its_owners_a_stale_one_is_replaced_and_a_second_server_is_refused()
-> Result<()> {
    let w = World::on_sqlite().await;
    let mode = std::fs::metadata(w.socket())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = Server::bind(w.config.clone(), w.cloud.clone()).await;
    let text = second.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        text.contains("another server runs with this state_path"),
        "{text}"
    );
    // The port, too.
    let mut taken = w.config.clone();
    taken.ec2_listen = w.ec2;
    let second = Server::bind(taken, w.cloud.clone()).await;
    let text = second.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(text.contains("another program has the port"), "{text}");
    // The first one is still there.
    assert!(w.client("h1").post("hello", &hello()).await?.is_success());
    let (config, cloud) = (w.config.clone(), w.cloud.clone());
    let _folder = w.stop().await?;
    assert!(!config.agent_socket.exists());
    // As a server leaves it that was killed.
    drop(std::os::unix::net::UnixListener::bind(
        &config.agent_socket,
    )?);
    assert!(config.agent_socket.exists());
    let again = Server::bind(config, cloud).await;
    assert!(!matches!(again, Err(ServerError::Listen { .. })));
    again?;
    Ok(())
}

#[tokio::test]
async fn a_server_on_a_database_that_was_never_synced_says_what_to_run() -> Result<()> {
    let w = World::on_sqlite().await;
    let mut config = w.cloud.config().clone();
    config.database = format!("{}-empty", config.database);
    let empty = novanet_control::Cloud::open(config, None).await?;
    let refused = Server::bind(w.config.clone(), empty).await;
    let text = refused.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(text.contains("nova-manage db sync"), "{text}");
    Ok(())
}
