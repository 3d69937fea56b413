//! The user data of a Cloudpipe: a zip with the server's configuration, key, certificate and the
//! current revocation list. It is made when it is asked for, so no stored copy can be stale.

use super::reserve::context;
use crate::{Cloud, ControlError, Kind, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use novanet_model::rows::Vpn;
use novanet_pki::archive::{Method, zip};
use novanet_store::instances::Row;
use novanet_store::{networks, vpns};

/// The script that the boot script of the image runs.
const AUTORUN: &str = include_str!("../../../../images/cloudpipe/autorun.sh");

impl Cloud {
    /// The user data of an instance that is a Cloudpipe, as base64 text: the image of the manual
    /// decodes it once more. `None`: it is none.
    pub(crate) async fn vpn_payload(&self, row: &Row) -> Result<Option<Vec<u8>>> {
        let mut tx = self.db().read().await?;
        let Some(vpn) = vpns::of_instance(&mut tx, row.id).await? else {
            return Ok(None);
        };
        let missing = || ControlError::not_found(Kind::Vpn, &vpn.project);
        let secrets = vpns::secrets(&mut tx, vpn.id).await?.ok_or_else(missing)?;
        let network = networks::by_id(&mut tx, vpn.network)
            .await?
            .ok_or_else(missing)?;
        drop(tx);
        let vault = self.vault()?;
        let server_key = vault.open(&context(&vpn.project, "server_key"), &secrets.server_key)?;
        let script = autorun(&vpn, &network.cidr.netmask().to_string());
        let entries = [
            ("autorun.sh", script.into_bytes()),
            (
                "crl.pem",
                self.revocation_list(&vpn.project).await?.into_bytes(),
            ),
            ("server.key", server_key),
            (
                "ca.crt",
                self.authority(&vpn.project)
                    .await?
                    .certificate()
                    .as_bytes()
                    .to_vec(),
            ),
            ("server.crt", secrets.certificate.into_bytes()),
        ];
        let entries = entries.map(|(name, content)| (name.to_owned(), content));
        let archive = zip(&entries, Method::Deflated)?;
        Ok(Some(STANDARD.encode(archive).into_bytes()))
    }
}

fn autorun(vpn: &Vpn, netmask: &str) -> String {
    let clients = vpn.clients.addresses().count();
    [
        ("{VPN_IP}", vpn.private_address.to_string()),
        ("{NETMASK}", netmask.to_owned()),
        ("{FIRST_CLIENT}", vpn.clients.first.to_string()),
        ("{LAST_CLIENT}", vpn.clients.last.to_string()),
        ("{CLIENTS}", clients.to_string()),
        ("{PROJECT}", vpn.project.to_string()),
    ]
    .into_iter()
    .fold(AUTORUN.to_owned(), |text, (word, value)| {
        text.replace(word, &value)
    })
}
