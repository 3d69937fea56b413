//! A row of `vm list`: nova's columns, and the reason why an instance does not run. Depends on
//! [`crate::table`].

use crate::table::{Row, Time, none};
use novanet_control::instances::InstanceView;
use novanet_model::AmiId;
use serde::Serialize;

/// A line of `vm list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct VmRow {
    pub(crate) instance: String,
    pub(crate) host: Option<String>,
    #[serde(rename = "type")]
    pub(crate) instance_type: String,
    pub(crate) state: String,
    pub(crate) launched: Time,
    pub(crate) image: String,
    pub(crate) project: String,
    pub(crate) user: Option<String>,
    pub(crate) zone: String,
    pub(crate) index: i64,
    pub(crate) hostname: String,
    pub(crate) addresses: Vec<std::net::Ipv4Addr>,
    pub(crate) detail: Option<String>,
}

impl From<InstanceView> for VmRow {
    fn from(view: InstanceView) -> Self {
        let addresses = view.ports.iter().map(|p| p.address);
        let addresses = addresses.chain(view.public_address).collect();
        let detail = view.reason().map(str::to_owned);
        let row = view.row;
        let state = if row.is_stopping() {
            "stopping".to_owned()
        } else {
            row.state.to_string()
        };
        Self {
            instance: row.id.to_string(),
            host: row.host,
            instance_type: row.instance_type,
            state,
            launched: Time(row.created_at),
            image: AmiId(row.image.0).to_string(),
            project: row.project.to_string(),
            user: Some(row.user),
            zone: row.availability_zone,
            index: row.launch_index,
            hostname: row.hostname,
            addresses,
            detail,
        }
    }
}

impl Row for VmRow {
    const FORMAT: &'static str =
        "%-10s %-15s %-10s %-10s %-26s %-9s %-9s %-9s  %-10s %-10s %-10s %-5s";
    const TITLES: &'static [&'static str] = &[
        "instance",
        "node",
        "type",
        "state",
        "launched",
        "image",
        "kernel",
        "ramdisk",
        "project",
        "user",
        "zone",
        "index",
        "addresses",
        "reason",
    ];
    const BRIEF: &'static [usize] = &[0, 8, 2, 3, 12, 1, 13];

    fn cells(&self) -> Vec<String> {
        vec![
            self.instance.clone(),
            none(self.host.as_ref()),
            self.instance_type.clone(),
            self.state.clone(),
            self.launched.to_string(),
            self.image.clone(),
            "None".to_owned(),
            "None".to_owned(),
            self.project.clone(),
            none(self.user.as_ref()),
            self.zone.clone(),
            self.index.to_string(),
            self.addresses
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(","),
            self.detail.clone().unwrap_or_default(),
        ]
    }

    fn novas_cells(&self) -> Vec<String> {
        let mut cells = self.cells();
        cells[4] = self.launched.novas();
        cells
    }
}
