//! A host in memory: follows as an agent does, has every object in force at once, reports.

use novanet_control::Cloud;
use novanet_model::wire::{
    Digest, Follow, Hello, HostRole, InstanceReport, InstanceState, ObjectError, Objects, Status,
};
use novanet_model::{HostObject, InstanceId, NetworkKind, ObjectKey};
use std::collections::BTreeMap;

/// A host that a test plays.
pub(crate) struct FakeHost {
    cloud: Cloud,
    pub(crate) name: String,
    pub(crate) kinds: Vec<NetworkKind>,
    pub(crate) roles: Vec<HostRole>,
    pub(crate) epoch: String,
    pub(crate) version: i64,
    pub(crate) objects: BTreeMap<ObjectKey, (i64, HostObject)>,
    /// What it says is not in force.
    pub(crate) errors: BTreeMap<ObjectKey, String>,
    /// How many whole lists it got.
    pub(crate) lists: usize,
}

impl FakeHost {
    pub(crate) fn new(cloud: Cloud, name: &str) -> Self {
        Self {
            cloud,
            name: name.to_owned(),
            kinds: vec![NetworkKind::Flat, NetworkKind::FlatDhcp],
            roles: vec![HostRole::Network, HostRole::Compute],
            epoch: String::new(),
            version: 0,
            objects: BTreeMap::new(),
            errors: BTreeMap::new(),
            lists: 0,
        }
    }

    pub(crate) async fn hello(&self) {
        let hello = self.greeting();
        self.cloud.hello(&self.name, &hello).await.unwrap();
    }

    /// What it says of itself.
    pub(crate) fn greeting(&self) -> Hello {
        Hello {
            version: "0".to_owned(),
            roles: self.roles.clone(),
            my_ip: "192.0.2.1".parse().unwrap(),
            kinds: self.kinds.clone(),
            vcpus: 8,
            memory_mb: 16_384,
        }
    }

    /// Learns what is new; applies nothing yet.
    pub(crate) async fn follow(&mut self) -> Objects {
        let follow = Follow {
            epoch: self.epoch.clone(),
            after: self.version,
            wait_ms: 0,
        };
        let news = self.cloud.follow(&self.name, &follow).await.unwrap();
        if news.whole {
            self.objects.clear();
            self.lists += 1;
        }
        self.epoch.clone_from(&news.epoch);
        self.version = news.version;
        for change in &news.changes {
            match &change.object {
                Some(object) => {
                    assert_eq!(change.key, object.key());
                    let kept = (change.version, object.clone());
                    self.objects.insert(change.key.clone(), kept);
                }
                None => {
                    self.objects.remove(&change.key);
                }
            }
        }
        news
    }

    /// Says that everything learnt is in force, but for the errors, and that instances run.
    pub(crate) async fn report(&self) {
        let status = self.status();
        self.cloud.status(&self.name, &status).await.unwrap();
    }

    /// What [`FakeHost::report`] says.
    pub(crate) fn status(&self) -> Status {
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
        let instances = self.objects.values().filter_map(|(_, o)| running(o));
        self.status_with(instances.collect())
    }

    /// A status with these words about instances.
    pub(crate) async fn say(&self, instances: Vec<InstanceReport>) {
        let status = self.status_with(instances);
        self.cloud.status(&self.name, &status).await.unwrap();
    }

    fn status_with(&self, instances: Vec<InstanceReport>) -> Status {
        let error = |(key, message): (&ObjectKey, &String)| ObjectError {
            key: key.clone(),
            message: message.clone(),
        };
        Status {
            epoch: self.epoch.clone(),
            version: self.version,
            errors: self.errors.iter().map(error).collect(),
            instances,
        }
    }

    /// Follows and reports.
    pub(crate) async fn round(&mut self) {
        self.follow().await;
        self.report().await;
    }

    /// The keys of one kind.
    pub(crate) fn keys(&self, kind: &str) -> Vec<String> {
        let of_kind = |k: &&ObjectKey| k.0.split('/').next() == Some(kind);
        self.objects
            .keys()
            .filter(of_kind)
            .map(|k| k.0.clone())
            .collect()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.objects.contains_key(&ObjectKey(key.to_owned()))
    }

    /// The object with this key.
    pub(crate) fn get(&self, key: &str) -> &HostObject {
        let found = self.objects.get(&ObjectKey(key.to_owned()));
        &found
            .unwrap_or_else(|| panic!("{}: no {key}: {:?}", self.name, self.objects.keys()))
            .1
    }

    /// What this follower would compare with the server's digest.
    pub(crate) fn digest(&self) -> Digest {
        let versions = || self.objects.values().map(|(version, _)| *version);
        Digest {
            epoch: self.epoch.clone(),
            version: self.version,
            count: i64::try_from(self.objects.len()).unwrap(),
            max: versions().max().unwrap_or(0),
            sum: versions().sum(),
            fingerprint: None,
        }
    }

    /// Asserts that it knows what the server would list.
    pub(crate) async fn assert_up_to_date(&self) {
        let all = Follow::default();
        let list = self.cloud.follow(&self.name, &all).await.unwrap();
        let there: BTreeMap<_, _> = list
            .changes
            .into_iter()
            .filter_map(|c| Some((c.key, (c.version, c.object?))))
            .collect();
        assert_eq!(self.objects, there, "{}", self.name);
        assert_eq!(self.digest(), self.cloud.digest(&self.name).await.unwrap());
    }
}

/// A word about one instance.
pub(crate) fn report(instance: InstanceId, state: InstanceState, boot: i64) -> InstanceReport {
    InstanceReport {
        instance,
        state,
        boot,
        detail: None,
    }
}

impl FakeHost {
    /// Follows another cloud from now on, with what it has.
    pub(crate) fn follow_in(&mut self, cloud: &Cloud) {
        self.cloud = cloud.clone();
    }
}
