//! The nodes that are measured: private daemons with a local layer each.

use std::path::Path;

use o7s::{
    Node, RuntimeDir,
    irm::{IpcpConfig, IpcpType, Irm, LayerInfo, NameInfo},
};
use o7s_irmd::embedded::Daemon;

use crate::{NAME, identity::SIGNED};

/// A daemon whose programs meet directly, with the security files in `security`. This process and
/// its children use it.
pub(crate) fn direct(security: &Path) -> Result<Daemon, Box<dyn std::error::Error>> {
    start(security, &[])
}

/// Longest packet in bytes of the layer of [`through_ipcp`].
pub(crate) const MTU: usize = 1500;

/// A daemon whose programs meet over its layer only, so that FRCP is not left out, if packets pass
/// through the IPCP of that layer (`irm ipcp bootstrap … type local … mtu 1500`). This process and
/// its children use it.
pub(crate) fn through_ipcp(security: &Path) -> Result<Daemon, Box<dyn std::error::Error>> {
    start(security, &["--no-direct"])
}

/// Starts a daemon with a local layer in which the names are registered.
fn start(security: &Path, arguments: &[&str]) -> Result<Daemon, Box<dyn std::error::Error>> {
    let beside = std::env::current_exe()?.with_file_name("irmd");
    let mut builder = Daemon::builder(beside)
        .arg("--log-level")
        .arg("warn")
        .arg("--security-dir")
        .arg(security);
    for argument in arguments {
        builder = builder.arg(argument);
    }
    let daemon = builder.start()?;
    let irm = Irm::at(daemon.dir().clone());
    let pid = irm.create_ipcp("local", IpcpType::Local)?;
    let layer = LayerInfo {
        name: "local".to_owned(),
        dir_hash: 1,
    };
    irm.bootstrap_ipcp(
        pid,
        &IpcpConfig {
            ipcp_type: IpcpType::Local.into(),
            layer,
            ..IpcpConfig::default()
        },
    )?;
    for name in [NAME, SIGNED] {
        irm.create_name(&NameInfo {
            name: name.to_owned(),
            ..NameInfo::default()
        })?;
        irm.reg_name(name, pid)?;
    }
    use_node(daemon.dir());
    Ok(daemon)
}

/// Makes the node in `dir` the one that this process uses.
pub(crate) fn use_node(dir: &RuntimeDir) {
    Node::set_current(Some(&Node::at(dir.clone())));
}
