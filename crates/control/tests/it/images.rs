//! Images: bytes in parts under their digest.

use crate::world::{World, assert_refused, both, caller, launch, name};
use anyhow::Result;
use novanet_control::{ControlError, Controllers};
use std::future::Future;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..=250_u8)
        .cycle()
        .take(length)
        .map(|b| b ^ seed)
        .collect()
}

#[test]
fn an_image_comes_back_part_by_part_and_the_same_bytes_are_stored_once() {
    both(async |w: &World| -> Result<()> {
        let whole = bytes((2 << 20) + 7, 0);
        let one = w.register_image("one", Cursor::new(whole.clone())).await?;
        let two = w.register_image("two", Cursor::new(whole.clone())).await?;
        assert_eq!(one.digest, two.digest);
        assert_ne!(one.id, two.id);
        let again = w.register_image("two", Cursor::new(whole.clone())).await?;
        assert_eq!(again, two, "the same bytes under the same name");
        assert_eq!(w.all_images().await?.len(), 2);
        assert_eq!(usize::try_from(one.size)?, whole.len());
        let mut read = vec![];
        for part in 0.. {
            match w.image_part(&one.digest, part).await? {
                Some(data) => read.extend(data),
                None => break,
            }
        }
        assert!(read == whole);
        assert_eq!(w.image_part("sha256:0", 0).await?, None);
        assert_refused!(
            w.register_image("empty", Cursor::new(vec![])).await,
            ControlError::Invalid(_),
            "image \"empty\": is empty"
        );
        Ok(())
    });
}

#[test]
fn a_projects_image_is_seen_and_run_by_it_alone() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let mail = w.project("mail").await;
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let owner = name("web");
        let image = w
            .register_image_of(Some(&owner), "own", Cursor::new(bytes(9, 0)))
            .await?;
        assert_eq!(w.images(&web).await?.len(), 1);
        assert!(w.images(&mail).await?.is_empty());
        let mut admin = caller("root", "mail", false);
        admin.admin = true;
        assert_eq!(w.images(&admin).await?.len(), 1);
        assert_refused!(
            w.run_instances(&mail, &launch(image.id)).await,
            ControlError::NotFound { .. },
            "image ami-00000001 not found"
        );
        w.run_instances(&web, &launch(image.id)).await?;
        // Its instances go on when it is deleted, and no new one starts.
        w.delete_image(image.id).await?;
        assert_refused!(
            w.delete_image(image.id).await,
            ControlError::NotFound { .. },
            "image ami-00000001 not found"
        );
        assert!(w.run_instances(&web, &launch(image.id)).await.is_err());
        assert!(w.image_part(&image.digest, 0).await?.is_some());
        assert_eq!(w.actions().await.last().unwrap(), "image.delete");
        let nobody = name("nobody");
        assert_refused!(
            w.register_image_of(Some(&nobody), "x", Cursor::new(bytes(9, 1)))
                .await,
            ControlError::NotFound { .. },
            "project nobody not found"
        );
        Ok(())
    });
}

/// A file whose reader sees a sweep pass between two of its parts.
struct Swept<F: FnMut()> {
    file: Cursor<Vec<u8>>,
    pass: u32,
    sweep: F,
}

impl<F: FnMut()> Read for Swept<F> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.pass == 2 && self.file.position() >= 1 << 20 {
            self.pass = 3;
            (self.sweep)();
        }
        self.file.read(into)
    }
}

impl<F: FnMut()> Seek for Swept<F> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.pass = 2;
        self.file.seek(to)
    }
}

#[test]
fn a_sweep_takes_nothing_of_an_image_that_is_being_stored_and_all_of_one_that_nobody_names() {
    both(async |w: &World| -> Result<()> {
        // What a registration left that was killed: bytes without a row.
        let owner = name("nobody");
        let left = w
            .register_image_of(Some(&owner), "left", Cursor::new(bytes(100, 3)))
            .await;
        assert!(left.is_err());
        let whole = bytes((2 << 20) + 7, 1);
        let again = w.again().await;
        let file = Swept {
            file: Cursor::new(whole.clone()),
            pass: 1,
            sweep: || meanwhile(sweep(&again)),
        };
        let image = w.register_image("big", file).await?;
        for part in 0..3 {
            let data = w.image_part(&image.digest, part).await?;
            assert!(data.is_some(), "part {part} is gone");
        }
        let digest = {
            let same = w.register_image("left", Cursor::new(bytes(100, 3))).await?;
            same.digest
        };
        sweep(&again).await?;
        assert!(w.image_part(&digest, 0).await?.is_some());
        Ok(())
    });
}

#[test]
fn the_same_bytes_are_stored_at_once_after_a_registration_that_was_killed() {
    both(async |w: &World| -> Result<()> {
        let whole = bytes((2 << 20) + 7, 2);
        let stored_some = AtomicBool::new(false);
        let file = Swept {
            file: Cursor::new(whole.clone()),
            pass: 1,
            sweep: || stored_some.store(true, Ordering::Relaxed),
        };
        let mut killed = Box::pin(w.register_image("cut off", file));
        // Not one step further than the first part.
        std::future::poll_fn(|cx| match killed.as_mut().poll(cx) {
            Poll::Ready(done) => panic!("nobody was cut off: {done:?}"),
            Poll::Pending if stored_some.load(Ordering::Relaxed) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        })
        .await;
        drop(killed);
        let began = Instant::now();
        let image = w.register_image("again", Cursor::new(whole)).await?;
        // A dead one's lease lasts for 15 s.
        assert!(began.elapsed() < Duration::from_secs(8));
        assert!(w.image_part(&image.digest, 2).await?.is_some());
        Ok(())
    });
}

#[test]
fn who_stores_an_image_that_somebody_else_stored_faster_keeps_nobody_else_waiting() {
    both(async |w: &World| -> Result<()> {
        let whole = bytes((2 << 20) + 7, 4);
        let again = w.again().await;
        let faster = Swept {
            file: Cursor::new(whole.clone()),
            pass: 1,
            sweep: || {
                meanwhile(async {
                    again
                        .register_image("big", Cursor::new(whole.clone()))
                        .await?;
                    Ok(())
                });
            },
        };
        w.register_image("big", faster).await?;
        assert_eq!(w.all_images().await?.len(), 1);
        let began = Instant::now();
        w.register_image("next", Cursor::new(bytes(100, 5))).await?;
        // A lease lasts for 15 s.
        assert!(began.elapsed() < Duration::from_secs(8));
        Ok(())
    });
}

/// Does something inside of what is not async.
fn meanwhile(other: impl Future<Output = Result<()>>) {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| runtime.block_on(other).unwrap());
}

/// A minute of rounds: with a sweep at its end.
async fn sweep(cloud: &novanet_control::Cloud) -> Result<()> {
    let mut controllers = Controllers::new("sweeper");
    for _ in 0..60 {
        controllers.round(cloud).await?;
    }
    Ok(())
}
