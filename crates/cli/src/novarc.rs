//! `novarc`, the file that a user sources to call the EC2 API, with nova's variable names and those
//! of today's clients. Pure.

use novanet_control::projects::Credentials;
use novanet_model::ProjectId;

/// Where a cloud is reached.
pub(crate) struct Endpoint<'a> {
    /// Of the EC2 API.
    pub(crate) url: &'a str,
    /// For clients that ask for a region.
    pub(crate) region: &'a str,
}

/// `pk.pem`, `cert.pem` and `cacert.pem` lie beside the file. Only bash says where a file that is
/// sourced is; other shells find them in the folder that they are in.
const FILES: &str = r#"NOVARC=$(readlink -f "${BASH_SOURCE:-${0}}" 2>/dev/null)
NOVA_KEY_DIR=${NOVARC%/*}
[ -e "$NOVA_KEY_DIR/pk.pem" ] || NOVA_KEY_DIR=$PWD
export EC2_USER_ID=42
export EC2_PRIVATE_KEY="$NOVA_KEY_DIR/pk.pem"
export EC2_CERT="$NOVA_KEY_DIR/cert.pem"
export NOVA_CERT="$NOVA_KEY_DIR/cacert.pem"
export EUCALYPTUS_CERT="$NOVA_CERT"
"#;

/// The file's text. The access key carries the project (`ACCESS:project`), as nova's did.
pub(crate) fn text(keys: &Credentials, project: &ProjectId, at: &Endpoint<'_>) -> String {
    format!(
        "# How to reach this cloud: source it (. novarc), then use awscli, boto3 or euca2ools.\n\
         export EC2_ACCESS_KEY={access}\n\
         export EC2_SECRET_KEY={secret}\n\
         export EC2_URL={url}\n\
         export AWS_ACCESS_KEY_ID=\"$EC2_ACCESS_KEY\"\n\
         export AWS_SECRET_ACCESS_KEY=\"$EC2_SECRET_KEY\"\n\
         export AWS_ENDPOINT_URL=\"$EC2_URL\"\n\
         export AWS_ENDPOINT_URL_EC2=\"$EC2_URL\"\n\
         export AWS_DEFAULT_REGION={region}\n\
         export AWS_EC2_METADATA_DISABLED=true\n\
         export AWS_PAGER=\n",
        access = quoted(&format!("{}:{project}", keys.access_key)),
        secret = quoted(&keys.secret_key),
        url = quoted(at.url),
        region = quoted(at.region),
    )
}

/// The same for a folder with the user's certificate.
pub(crate) fn with_files(keys: &Credentials, project: &ProjectId, at: &Endpoint<'_>) -> String {
    text(keys, project, at) + FILES
}

/// A word of a shell, in double quotes as nova wrote them.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Endpoint, with_files};
    use novanet_control::projects::Credentials;
    use std::process::Command;

    #[test]
    fn shells_read_every_key_as_it_is_and_find_the_files() {
        let keys = Credentials {
            access_key: r#"a"b$HOME`id`\c"#.to_owned(),
            secret_key: r"!'#;&|\".to_owned(),
        };
        let at = Endpoint {
            url: "http://192.0.2.7:8773/services/Cloud",
            region: "nova",
        };
        let text = with_files(&keys, &"web".parse().unwrap(), &at);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("novarc"), text).unwrap();
        std::fs::write(folder.path().join("pk.pem"), "").unwrap();
        let folder = folder.path().to_str().unwrap();
        let wanted = format!(
            "{}:web\n{}\n{folder}/cacert.pem\nnova\n",
            keys.access_key, keys.secret_key
        );
        let print = r#"printf '%s\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" \
            "$EUCALYPTUS_CERT" "$AWS_DEFAULT_REGION""#;
        for (shell, source) in [
            ("bash", format!("cd /; . {folder}/novarc; {print}")),
            ("dash", format!("cd {folder}; . ./novarc; {print}")),
        ] {
            let out = Command::new(shell)
                .args(["-euc", &source])
                .output()
                .unwrap();
            assert_eq!(
                String::from_utf8_lossy(&out.stdout),
                wanted,
                "{shell}: {out:?}"
            );
        }
    }
}
