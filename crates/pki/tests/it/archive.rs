//! Zip archives, against a reader that is not ours.

use novanet_pki::archive::{Method, zip};
use std::process::Command;

/// What Python's zipfile sees: name, method, mode and length of every entry.
fn seen(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zip");
    std::fs::write(&path, bytes).unwrap();
    let script = "import sys, zipfile\n\
        z = zipfile.ZipFile(sys.argv[1])\n\
        assert z.testzip() is None\n\
        for i in z.infolist():\n    \
            print(i.filename, i.compress_type, oct(i.external_attr >> 16 & 0o777), i.file_size)";
    let out = Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{errors}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn archives_keep_order_method_and_mode_and_are_the_same_for_the_same_content() {
    let entries = [
        ("novarc".to_owned(), b"export A=1\n".to_vec()),
        ("pk.pem".to_owned(), vec![b'x'; 5000]),
    ];
    let stored = zip(&entries, Method::Stored).unwrap();
    assert_eq!(seen(&stored), "novarc 0 0o600 11\npk.pem 0 0o600 5000\n");
    let deflated = zip(&entries, Method::Deflated).unwrap();
    assert_eq!(seen(&deflated), "novarc 8 0o600 11\npk.pem 8 0o600 5000\n");
    assert!(deflated.len() < 1000, "{}", deflated.len());
    assert_eq!(zip(&entries, Method::Stored).unwrap(), stored);
}
