//! `novarc`, the file that a user sources to call the EC2 API, with nova's variable names and those
//! of today's clients. Writes it durably and readable by its owner only.

use crate::failure::Failure;
use novanet_control::projects::Credentials;
use novanet_model::ProjectId;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The file's text. The access key carries the project (`ACCESS:project`), as nova's did.
pub(super) fn text(keys: &Credentials, project: &ProjectId, url: &str, region: &str) -> String {
    format!(
        "# How to reach this cloud: source it (. novarc), then use awscli, boto3 or euca2ools.\n\
         export EC2_ACCESS_KEY={access}:{project}\n\
         export EC2_SECRET_KEY={secret}\n\
         export EC2_URL={url}\n\
         export AWS_ACCESS_KEY_ID=\"$EC2_ACCESS_KEY\"\n\
         export AWS_SECRET_ACCESS_KEY=\"$EC2_SECRET_KEY\"\n\
         export AWS_ENDPOINT_URL_EC2=\"$EC2_URL\"\n\
         export AWS_DEFAULT_REGION={region}\n\
         export AWS_EC2_METADATA_DISABLED=true\n\
         export AWS_PAGER=\n",
        access = keys.access_key,
        secret = keys.secret_key,
    )
}

/// Writes it, readable by its owner only. What is there already is replaced in one step.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::failed(format!("{}: {e}", path.display()));
    if let Some(folder) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).map_err(failed)?;
    }
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh); // of a run that was killed
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&fresh, path))
        .map_err(failed)
}
