//! The image cache and the tiny image on a real file system.
#![allow(clippy::unwrap_used)]

use futures_util::future::BoxFuture;
use novanet_agent::image::build::tiny;
use novanet_agent::image::{ImageError, ImageSource, Images, check};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const UID_BASE: u32 = 1_000_000;

/// Images in memory.
#[derive(Default)]
struct Shelf {
    images: BTreeMap<String, Vec<u8>>,
    fetched: AtomicU32,
}

impl Shelf {
    fn with(bytes: Vec<u8>) -> (Arc<Self>, String) {
        let digest = format!("sha256:{:x}", Sha256::digest(&bytes));
        let images = BTreeMap::from([(digest.clone(), bytes)]);
        let shelf = Self {
            images,
            ..Self::default()
        };
        (Arc::new(shelf), digest)
    }
}

impl ImageSource for Shelf {
    fn fetch<'a>(
        &'a self,
        digest: &'a str,
        into: &'a Path,
    ) -> BoxFuture<'a, Result<(), ImageError>> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            std::fs::write(into, &self.images[digest]).unwrap();
            Ok(())
        })
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// One entry of an archive, with any name, also names that tar would not write.
fn append(tar: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, link: &str, id: u64) {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o4755);
    header.set_uid(id);
    header.set_gid(id);
    let data: &[u8] = if kind == tar::EntryType::Regular {
        b"data"
    } else {
        b""
    };
    header.set_size(data.len() as u64);
    header.set_cksum();
    tar.append(&header, data).unwrap();
}

fn archive(entries: &[(tar::EntryType, &str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, path, link) in entries {
        append(&mut tar, *kind, path, link, 0);
    }
    tar.into_inner().unwrap()
}

#[test]
fn the_same_programs_make_the_same_image_in_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let one = tiny(&folder.path().join("one.tar")).unwrap();
    let two = tiny(&folder.path().join("two.tar")).unwrap();
    assert_eq!(one.digest, two.digest);
    assert_eq!(one.size, one.path.metadata().unwrap().len());
    let bytes = std::fs::read(&one.path).unwrap();
    assert_eq!(one.digest, format!("sha256:{:x}", Sha256::digest(&bytes)));
    assert!(one.size < 20 << 20, "{} bytes", one.size);
    let files = BTreeSet::from(["one.tar".to_owned(), "two.tar".to_owned()]);
    assert_eq!(names(folder.path()), files, "nothing else");
}

#[tokio::test]
async fn an_image_is_fetched_and_unpacked_once_for_all_callers() {
    let folder = tempfile::tempdir().unwrap();
    let image = tiny(&folder.path().join("tiny.tar")).unwrap();
    let (shelf, digest) = Shelf::with(std::fs::read(image.path).unwrap());
    let state = folder.path().join("state");
    let images = Images::new(&state, UID_BASE, Arc::clone(&shelf) as _).unwrap();
    let (a, b) = tokio::join!(images.ensure(&digest), images.ensure(&digest));
    let root = a.unwrap();
    assert_eq!(root, b.unwrap());
    assert_eq!(shelf.fetched.load(Ordering::Relaxed), 1);

    let init = root.join("sbin/init").metadata().unwrap();
    assert_eq!((init.uid(), init.gid()), (UID_BASE, UID_BASE));
    assert_eq!(init.mode() & 0o7777, 0o755);
    assert_eq!(root.join("tmp").metadata().unwrap().mode() & 0o7777, 0o1777);
    let shell = root.join("bin/sh").symlink_metadata().unwrap();
    assert_eq!((shell.uid(), shell.is_symlink()), (UID_BASE, true));
    assert_eq!(root.metadata().unwrap().uid(), UID_BASE);
    assert_eq!(
        state.join("images").metadata().unwrap().mode() & 0o777,
        0o700
    );

    // Another agent, later: nothing to fetch.
    let images = Images::new(&state, UID_BASE, Arc::clone(&shelf) as _).unwrap();
    images.ensure(&digest).await.unwrap();
    assert_eq!(shelf.fetched.load(Ordering::Relaxed), 1);
    // Another `uid_base`: the cache unpacks the image again.
    let images = Images::new(&state, UID_BASE * 2, Arc::clone(&shelf) as _).unwrap();
    let root = images.ensure(&digest).await.unwrap();
    assert_eq!(
        root.join("sbin/init").metadata().unwrap().uid(),
        UID_BASE * 2
    );
}

#[tokio::test]
async fn bytes_with_another_digest_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let digest = format!("sha256:{}", "ab".repeat(32));
    let shelf = Shelf {
        images: BTreeMap::from([(digest.clone(), b"something else".to_vec())]),
        ..Shelf::default()
    };
    let images = Images::new(folder.path(), UID_BASE, Arc::new(shelf)).unwrap();
    let error = images.ensure(&digest).await.unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
    assert_eq!(names(&folder.path().join("images")), BTreeSet::new());
    for bad in ["", "sha256:", "sha256:../../etc", "md5:00", &digest[..70]] {
        let error = images.ensure(bad).await.unwrap_err();
        assert!(matches!(error, ImageError::NotADigest(_)), "{bad}: {error}");
    }
}

#[tokio::test]
async fn an_archive_cannot_reach_out_of_its_folder() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let secret = outside.path().join("secret");
    let secret = secret.to_str().unwrap();
    let bad: &[&[(tar::EntryType, &str, &str)]] = &[
        &[(Regular, "../evil", "")],
        &[(Regular, "a/../../evil", "")],
        &[(Symlink, "out", target), (Regular, "out/evil", "")],
        &[(Symlink, "out", target), (Directory, "out/", "")],
        &[(Symlink, "out", ".."), (Regular, "out/evil", "")],
        &[(Symlink, "out", target), (Link, "copy", "out/secret")],
        &[(Link, "copy", "../secret")],
        &[(Link, "copy", secret)],
    ];
    for entries in bad {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, digest) = Shelf::with(archive(entries));
        let images = Images::new(folder.path(), UID_BASE, shelf).unwrap();
        let error = images.ensure(&digest).await.unwrap_err();
        assert!(
            matches!(error, ImageError::Refused { .. } | ImageError::File { .. }),
            "{entries:?}: {error}"
        );
        assert_eq!(names(&folder.path().join("images")), BTreeSet::new());
        assert_eq!(names(folder.path()), BTreeSet::from(["images".to_owned()]));
        assert_eq!(
            names(outside.path()),
            BTreeSet::from(["secret".to_owned()]),
            "{entries:?}"
        );
    }
    // An absolute name is a name inside, a later entry replaces a link instead of following it, and
    // a link may point anywhere: it is the instance that will follow it.
    let folder = tempfile::tempdir().unwrap();
    let (shelf, digest) = Shelf::with(archive(&[
        (Regular, "/etc/absolute", ""),
        (Symlink, "link", secret),
        (Regular, "link", ""),
        (Symlink, "points", "/etc/absolute"),
        (Regular, "file", ""),
        (Link, "same", "/file"),
    ]));
    let images = Images::new(folder.path(), UID_BASE, shelf).unwrap();
    let root = images.ensure(&digest).await.unwrap();
    assert_eq!(std::fs::read(root.join("etc/absolute")).unwrap(), b"data");
    assert_eq!(std::fs::read(root.join("link")).unwrap(), b"data");
    assert_eq!(std::fs::read(secret).unwrap(), b"secret");
    assert_eq!(root.join("file").metadata().unwrap().nlink(), 2);
    let mode = root.join("file").metadata().unwrap().permissions().mode();
    assert_eq!(
        mode & 0o7777,
        0o4755,
        "set-user-id, of a user that is nobody here"
    );
}

#[tokio::test]
async fn unmapped_owners_and_files_that_are_no_archive_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, tar::EntryType::Regular, "file", "", 65_536);
    let (shelf, digest) = Shelf::with(tar.into_inner().unwrap());
    let images = Images::new(folder.path(), UID_BASE, shelf).unwrap();
    let error = images.ensure(&digest).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "image archive: file: belongs to user or group 65536; at most 65535 is possible"
    );
    let (shelf, digest) = Shelf::with(vec![7; 5000]);
    let images = Images::new(folder.path(), UID_BASE, shelf).unwrap();
    let error = images.ensure(&digest).await.unwrap_err();
    assert!(
        error.to_string().contains("is not a tar archive"),
        "{error}"
    );
}

#[tokio::test]
async fn unfinished_folders_of_a_killed_agent_and_unused_images_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("images");
    std::fs::create_dir_all(cache.join(".unfinished-abc/ready/root")).unwrap();
    let (shelf, digest) = Shelf::with(archive(&[(tar::EntryType::Regular, "file", "")]));
    let images = Images::new(folder.path(), UID_BASE, shelf).unwrap();
    assert_eq!(names(&cache), BTreeSet::new());

    images.ensure(&digest).await.unwrap();
    let used = BTreeSet::from([digest.clone()]);
    let none = BTreeSet::new();
    assert!(images.collect(&used, Duration::ZERO).unwrap().is_empty());
    let day = Duration::from_hours(24);
    assert!(images.collect(&none, day).unwrap().is_empty());
    let removed = images.collect(&none, Duration::ZERO).unwrap();
    assert_eq!(removed, std::slice::from_ref(&digest));
    assert_eq!(names(&cache), BTreeSet::new());
    images.ensure(&digest).await.unwrap();
}

/// The error of checking a file with these bytes.
fn checked(bytes: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    std::fs::write(&path, bytes).unwrap();
    let shown = path.display().to_string();
    check(&path).map_err(|e| e.to_string().replace(&shown, "FILE"))
}

#[test]
fn an_archive_that_no_host_could_start_is_refused_before_it_is_stored() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let folder = tempfile::tempdir().unwrap();
    let tiny = tiny(&folder.path().join("tiny.tar")).unwrap();
    check(&tiny.path).unwrap();
    let good = archive(&[
        (Directory, "./", ""),
        (Symlink, "./sbin", "usr/sbin"),
        (Symlink, "./usr/sbin/init", "/lib/systemd/systemd"),
    ]);
    assert_eq!(checked(&good), Ok(()));
    let init = (Regular, "sbin/init", "");
    let whole = archive(&[init, (Regular, "etc/last", "")]);
    // Without the blocks of zeros at the end: old programs did not write them.
    assert_eq!(checked(&whole[..2048]), Ok(()));
    let mut foreign = tar::Builder::new(Vec::new());
    append(&mut foreign, Regular, "sbin/init", "", 70_000);
    let said = [
        checked(b"text\n"),
        checked("text that is longer than a header ".repeat(50).as_bytes()),
        checked(b""),
        checked(&[0; 1024]),
        checked(&[0x1f, 0x8b, 8, 0, 0]),
        checked(&whole[..1538]),
        checked(&archive(&[init, (Regular, "../evil", "")])),
        checked(&archive(&[init, (Link, "copy", "../../etc/shadow")])),
        checked(&archive(&[(Regular, "bin/sh", "")])),
        checked(&foreign.into_inner().unwrap()),
    ];
    let said: Vec<String> = said.into_iter().map(Result::unwrap_err).collect();
    insta::assert_snapshot!(said.join("\n"), @"
    image archive: FILE: is not a tar archive: pack a root file system: tar -C FOLDER -cf image.tar .
    image archive: FILE: is not a tar archive: pack a root file system: tar -C FOLDER -cf image.tar .
    image archive: FILE: has no /sbin/init, which is what an instance starts with: pack a root file system: tar -C FOLDER -cf image.tar .
    image archive: FILE: has no /sbin/init, which is what an instance starts with: pack a root file system: tar -C FOLDER -cf image.tar .
    image archive: FILE: is compressed: gunzip -k it first, and register what comes out
    image archive: FILE: ends in the middle of etc/last
    image archive: ../evil: leads upwards
    image archive: ../../etc/shadow: leads upwards
    image archive: FILE: has no /sbin/init, which is what an instance starts with: pack a root file system: tar -C FOLDER -cf image.tar .
    image archive: sbin/init: belongs to user or group 70000; at most 65535 is possible
    ");
}
