//! An agent in memory that speaks the real protocol: long polls, statuses, answers.

use crate::client::Client;
use novanet_model::wire::{
    Answer, Hello, HostRole, InstanceReport, InstanceState, Objects, Question, Status,
};
use novanet_model::{HostObject, NetworkKind, ObjectKey};
use std::collections::BTreeMap;

/// A host that a test plays, step by step or by itself.
pub(crate) struct FakeAgent {
    pub(crate) client: Client,
    pub(crate) epoch: String,
    pub(crate) version: i64,
    pub(crate) objects: BTreeMap<ObjectKey, HostObject>,
}

pub(crate) fn hello() -> Hello {
    Hello {
        version: "0".to_owned(),
        roles: vec![HostRole::Network, HostRole::Compute],
        my_ip: "192.0.2.1".parse().unwrap(),
        kinds: vec![NetworkKind::FlatDhcp],
        vcpus: 8,
        memory_mb: 16_384,
    }
}

impl FakeAgent {
    pub(crate) async fn join(client: Client) -> Self {
        assert!(client.post("hello", &hello()).await.unwrap().is_success());
        Self {
            client,
            epoch: String::new(),
            version: 0,
            objects: BTreeMap::new(),
        }
    }

    /// One long poll.
    pub(crate) async fn follow(&mut self, wait_ms: u64) -> anyhow::Result<Objects> {
        let query = format!(
            "objects?epoch={}&after={}&wait_ms={wait_ms}",
            self.epoch, self.version
        );
        let news: Objects = self.client.get(&query).await?;
        if news.whole {
            self.objects.clear();
        }
        self.epoch.clone_from(&news.epoch);
        self.version = news.version;
        for change in news.changes.clone() {
            match change.object {
                Some(object) => self.objects.insert(change.key, object),
                None => self.objects.remove(&change.key),
            };
        }
        Ok(news)
    }

    /// Everything is in force, every instance runs.
    pub(crate) async fn report(&self) -> anyhow::Result<()> {
        let running = |object: &HostObject| match object {
            HostObject::Instance(instance) => Some(InstanceReport {
                instance: instance.instance,
                state: if instance.halted {
                    InstanceState::Stopped
                } else {
                    InstanceState::Running
                },
                boot: instance.boot,
                detail: None,
            }),
            _ => None,
        };
        let status = Status {
            epoch: self.epoch.clone(),
            version: self.version,
            errors: vec![],
            instances: self.objects.values().filter_map(running).collect(),
        };
        let answer = self.client.post("status", &status).await?;
        anyhow::ensure!(answer.is_success(), "status: {answer}");
        Ok(())
    }

    /// Lives until it is aborted: follows, reports, says what a console would say.
    pub(crate) async fn live(mut self) {
        loop {
            let Ok(news) = self.follow(5_000).await else {
                return;
            };
            for asked in news.questions {
                let answer = match asked.question {
                    Question::Console { instance } => Answer::Text {
                        text: format!("{instance} says hello\n"),
                    },
                    Question::Plan { diff } => Answer::Text {
                        text: format!("the plan of {}, diff: {diff}\n", self.client.host),
                    },
                    Question::Cleanup { dry_run: true, .. } => Answer::Text {
                        text: "nothing to remove\n".to_owned(),
                    },
                    _ => Answer::Failed {
                        message: "what?".to_owned(),
                    },
                };
                let path = format!("answers/{}", asked.id);
                self.client.post(&path, &answer).await.unwrap();
            }
            if self.report().await.is_err() {
                return;
            }
        }
    }
}
