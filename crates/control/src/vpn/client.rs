//! The configuration of OpenVPN clients: `nova-vpn.conf` beside the certificates of the credentials
//! zip, and one file with certificates and key inside. Pure.

use novanet_model::rows::Vpn;
use std::fmt::Write as _;

/// Names of the files of the credentials zip.
const FILES: [(&str, &str); 3] = [
    ("ca", "cacert.pem"),
    ("cert", "cert.pem"),
    ("key", "pk.pem"),
];

/// Certificates and key of a client, as PEM.
pub(super) struct Identity<'a> {
    pub(super) authority: &'a str,
    pub(super) certificate: &'a str,
    pub(super) key: &'a str,
}

/// `nova-vpn.conf`: it names the other files of the credentials zip.
pub(super) fn beside_files(vpn: &Vpn) -> String {
    let mut text = settings(vpn);
    for (word, file) in FILES {
        let _ = writeln!(text, "{word} {file}");
    }
    text
}

/// A profile in one file.
pub(super) fn in_one_file(vpn: &Vpn, identity: &Identity<'_>) -> String {
    let mut text = settings(vpn);
    let parts = [identity.authority, identity.certificate, identity.key];
    for ((word, _), pem) in FILES.into_iter().zip(parts) {
        let _ = writeln!(text, "<{word}>\n{}\n</{word}>", pem.trim_end());
    }
    text
}

fn settings(vpn: &Vpn) -> String {
    let (project, address, port) = (&vpn.project, vpn.public_address, vpn.public_port);
    format!(
        r#"# VPN of project {project}: openvpn --config THIS-FILE
client
dev tap
proto udp
remote {address} {port}
resolv-retry infinite
nobind
persist-key
persist-tun
# Only this project's VPN server, no member of the project and no other project's server.
remote-cert-tls server
verify-x509-name "O=novanet, OU={project}, CN=server" subject
tls-version-min 1.2
data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305
allow-compression no
verb 2
"#
    )
}
