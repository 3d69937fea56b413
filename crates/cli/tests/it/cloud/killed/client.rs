//! A client that goes on calling while the cloud is killed, and records the answers. Depends on the
//! `euca-*` commands.

use super::super::{Cloud, LONG};
use super::Rng;
use anyhow::{Result, ensure};
use novanet_lab::eventually;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// As many instances and floating addresses as it has at one time, of those that it knows of.
const MAX_LIVING: usize = 4;

/// As many addresses as it may have allocated at one time, answered or not: the quota is 10, and
/// one is for the end.
const MAX_ALLOCATED: usize = 9;

/// Open ports at one time: a group has a quota of 20 rules.
const MAX_DOORS: usize = 12;

/// The answers that the client got. `None`: the last call about a thing had no answer, so its state
/// is unknown.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Whether it lives.
    instances: BTreeMap<String, Option<bool>>,
    /// Where it leads (`""`: nowhere).
    floats: BTreeMap<String, Option<String>>,
    /// Whether a port is open.
    doors: BTreeMap<u16, Option<bool>>,
    /// How often each call was answered, and how often none was.
    answered: BTreeMap<&'static str, u32>,
    unanswered: u32,
}

impl Book {
    /// Instances in a certain state: whether they live.
    pub(super) fn instances(&self) -> impl Iterator<Item = (&String, bool)> {
        self.instances
            .iter()
            .filter_map(|(id, is)| Some((id, (*is)?)))
    }

    /// Addresses of the project in a certain state: where they lead.
    pub(super) fn floats(&self) -> impl Iterator<Item = (&String, Option<&str>)> {
        self.floats
            .iter()
            .filter_map(|(float, to)| Some((float, Some(to.as_deref()?))))
    }

    /// Ports in a certain state: whether they are open.
    pub(super) fn doors(&self) -> impl Iterator<Item = (u16, bool)> {
        self.doors
            .iter()
            .filter_map(|(door, open)| Some((*door, (*open)?)))
    }

    /// Whether everything was done, and calls were cut off, too.
    pub(super) fn worked(&self) -> bool {
        self.unanswered > 0 && self.did_all()
    }

    fn did_all(&self) -> bool {
        let all = [
            "run",
            "terminate",
            "allocate",
            "associate",
            "disassociate",
            "release",
            "authorize",
            "revoke",
        ];
        all.iter().all(|call| self.answered.contains_key(call))
    }
}

/// What the client and the killing thread tell each other.
#[derive(Default)]
pub(super) struct Calls {
    /// Calls that were answered, and calls that a kill aborted.
    answered: AtomicUsize,
    cut_off: AtomicUsize,
    /// No kill follows.
    done: AtomicBool,
}

impl Calls {
    /// Waits until one more call is answered.
    pub(super) fn another_answer(&self) -> Result<()> {
        let before = self.answered.load(Ordering::Relaxed);
        eventually(LONG, || {
            let now = self.answered.load(Ordering::Relaxed);
            ensure!(now > before, "no call was answered");
            Ok(())
        })
    }

    /// Waits until a call was aborted.
    pub(super) fn one_cut_off(&self) -> Result<()> {
        eventually(LONG, || {
            let cut_off = self.cut_off.load(Ordering::Relaxed);
            ensure!(cut_off > 0, "no call was cut off");
            Ok(())
        })
    }

    /// No kill follows.
    pub(super) fn finish(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    fn are_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }
}

pub(super) struct Client<'a> {
    cloud: &'a Cloud,
    calls: &'a Calls,
    rng: Rng,
    book: Book,
    next_door: u16,
    perhaps_allocated: usize,
}

impl<'a> Client<'a> {
    pub(super) fn new(cloud: &'a Cloud, calls: &'a Calls, rng: Rng) -> Self {
        Self {
            cloud,
            calls,
            rng,
            book: Book::default(),
            next_door: 1000,
            perhaps_allocated: 0,
        }
    }

    /// Calls until no kill follows.
    pub(super) fn work(mut self) -> Book {
        // Calls that chance has not brought before the last kill come after it.
        let (mut more, mut learnt) = (200, false);
        while !self.calls.are_done() || (more > 0 && !self.book.did_all()) {
            if self.calls.are_done() {
                more -= 1;
                if !std::mem::replace(&mut learnt, true) {
                    self.learn();
                }
            }
            match self.rng.below(12) {
                0..2 => self.run(),
                2 => self.terminate(),
                3 => self.allocate(),
                4..7 => self.associate(),
                7 => self.disassociate(),
                8 => self.release(),
                9..11 => self.authorize(),
                _ => self.revoke(),
            }
        }
        self.book
    }

    /// Asks for the state of everything that is not certain. No kill follows. Without this, what
    /// unanswered calls have made could use up every quota, and nothing would be left to do.
    fn learn(&mut self) {
        if let Ok(leads) = super::leads(self.cloud) {
            self.perhaps_allocated = leads.len();
            for (float, to) in leads {
                self.book.floats.entry(float).or_default().get_or_insert(to);
            }
        }
        for (id, state) in super::states(self.cloud).unwrap_or_default() {
            let lives = !["shutting-down", "terminated"].contains(&state.as_str());
            self.book
                .instances
                .entry(id)
                .or_default()
                .get_or_insert(lives);
        }
        if let Ok(open) = super::open_doors(self.cloud) {
            for (door, is_open) in &mut self.book.doors {
                is_open.get_or_insert(open.contains(&door.to_string()));
            }
        }
    }

    /// What the call printed; `None`: there was no answer. A refusal is an error: the client asks
    /// only for what can be done.
    fn call(&mut self, what: &'static str, line: &str) -> Option<String> {
        let line = format!("novanet euca {line}");
        let output = self.cloud.try_sh(&line).unwrap();
        if output.success() {
            *self.book.answered.entry(what).or_default() += 1;
            self.calls.answered.fetch_add(1, Ordering::Relaxed);
            return Some(output.stdout);
        }
        let cut_off = output.stderr.contains("is the server running?");
        // What calls made that were not answered counts, too.
        let full = output.stderr.contains("LimitExceeded: quota");
        assert!(cut_off || full, "{line}: {}", output.stderr);
        self.book.unanswered += u32::from(cut_off);
        let now = usize::from(cut_off);
        self.calls.cut_off.fetch_add(now, Ordering::Relaxed);
        None
    }

    /// One of those, drawn at random.
    fn one_of<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        let count = u64::try_from(of.len()).unwrap();
        let one = usize::try_from(self.rng.below(count.max(1))).unwrap();
        of.get(one).cloned()
    }

    fn living(&self) -> Vec<String> {
        let living = self.book.instances().filter(|(_, lives)| *lives);
        living.map(|(id, _)| id.clone()).collect()
    }

    fn floats(&self, which: impl Fn(&str) -> bool) -> Vec<String> {
        let floats = self.book.floats();
        let found = floats.filter(|(_, to)| to.is_some_and(&which));
        found.map(|(float, _)| float.clone()).collect()
    }

    fn run(&mut self) {
        if self.living().len() >= MAX_LIVING {
            return;
        }
        let said = self.call("run", "run-instances ami-00000001 -t m1.tiny");
        for row in super::rows(&said.unwrap_or_default(), "INSTANCE") {
            self.book.instances.insert(row[0].clone(), Some(true));
        }
    }

    fn terminate(&mut self) {
        let living = self.living();
        if living.len() < 2 {
            return;
        }
        let Some(id) = self.one_of(&living) else {
            return;
        };
        let done = self.call("terminate", &format!("terminate-instances {id}"));
        // Its addresses go with it.
        for to in self.book.floats.values_mut() {
            if to.as_ref() == Some(&id) {
                *to = done.as_ref().map(|_| String::new());
            }
        }
        self.book.instances.insert(id, done.map(|_| false));
    }

    fn allocate(&mut self) {
        // Those of which nothing is known any more are of no use: with four of them nothing could
        // be associated, disassociated or released again.
        if self.book.floats().count() >= MAX_LIVING || self.perhaps_allocated >= MAX_ALLOCATED {
            return;
        }
        self.perhaps_allocated += 1;
        let said = self.call("allocate", "allocate-address");
        for row in super::rows(&said.unwrap_or_default(), "ADDRESS") {
            self.book.floats.insert(row[0].clone(), Some(String::new()));
        }
    }

    fn associate(&mut self) {
        let (living, floats) = (self.living(), self.floats(|_| true));
        let (Some(id), Some(float)) = (self.one_of(&living), self.one_of(&floats)) else {
            return;
        };
        let done = self.call("associate", &format!("associate-address -i {id} {float}"));
        // Another that led there lets go.
        for to in self.book.floats.values_mut() {
            if to.as_ref() == Some(&id) {
                *to = done.as_ref().map(|_| String::new());
            }
        }
        self.book.floats.insert(float, done.map(|_| id));
    }

    fn disassociate(&mut self) {
        let floats = self.floats(|to| !to.is_empty());
        let Some(float) = self.one_of(&floats) else {
            return;
        };
        let done = self.call("disassociate", &format!("disassociate-address {float}"));
        self.book.floats.insert(float, done.map(|_| String::new()));
    }

    fn release(&mut self) {
        let floats = self.floats(str::is_empty);
        let Some(float) = self.one_of(&floats) else {
            return;
        };
        if self
            .call("release", &format!("release-address {float}"))
            .is_some()
        {
            self.perhaps_allocated -= 1;
        }
        self.book.floats.remove(&float);
    }

    fn authorize(&mut self) {
        let perhaps_open = self
            .book
            .doors
            .values()
            .filter(|open| **open != Some(false));
        if perhaps_open.count() >= MAX_DOORS {
            return self.revoke();
        }
        let door = self.next_door;
        self.next_door += 1;
        let done = self.call("authorize", &format!("authorize -P tcp -p {door} default"));
        self.book.doors.insert(door, done.map(|_| true));
    }

    fn revoke(&mut self) {
        let open = self.book.doors().filter(|(_, open)| *open);
        let open: Vec<u16> = open.map(|(door, _)| door).collect();
        let Some(door) = self.one_of(&open) else {
            return;
        };
        let done = self.call("revoke", &format!("revoke -P tcp -p {door} default"));
        self.book.doors.insert(door, done.map(|_| false));
    }
}
