//! What IPCPs are asked to do as members of layers: bootstrap, enrollment, connections to
//! neighbours, registrations, their state (`spec/irm-tools.md` §3.3, `spec/directory-enrollment.md`
//! §3.6).

use std::time::Instant;

use o7s::{
    Error, ErrorKind, Name, Result,
    control::{
        Body, BootstrapIpcp, ConnectIpcp, Empty, EnrollIpcp, Hash, IpcpState, IpcpStatus, IpcpType,
        NameRef, RegName, StatusSection,
    },
    irm::{DT_COMP, MGMT_COMP},
};

use super::{
    ConnId, Context, Core,
    binding::no_name,
    ipcp::{Call, Ipcp, known_type},
    request::What,
};

impl Core {
    pub(super) fn bootstrap_ipcp(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        mut boot: BootstrapIpcp,
    ) -> Result<()> {
        self.check_bootstrap(&mut boot)?;
        let key = self.defer(cx, conn, id, What::Ipcp { pid: boot.pid }, None)?;
        let body = Body::IpcpBootstrap(boot.config);
        self.call_ipcp(cx, boot.pid, body, Call::Join(key));
        Ok(())
    }

    /// Whether an IPCP can be asked to bootstrap; completes the configuration.
    pub(super) fn check_bootstrap(&self, boot: &mut BootstrapIpcp) -> Result<()> {
        let ipcp = self.ipcp(boot.pid)?;
        let asked = known_type(boot.config.ipcp_type)?;
        if asked != ipcp.ipcp_type {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "IPCP {} is of type {}, the configuration is for type {}",
                    boot.pid,
                    ipcp.ipcp_type.as_str(),
                    asked.as_str()
                ),
            ));
        }
        check_in_no_layer(ipcp, boot.pid)?;
        boot.config.force_hash();
        boot.config.check()
    }

    pub(super) fn enroll_ipcp(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        enroll: EnrollIpcp,
    ) -> Result<()> {
        self.check_enroll(&enroll)?;
        let key = self.defer(cx, conn, id, What::Ipcp { pid: enroll.pid }, None)?;
        let body = Body::IpcpEnroll(NameRef { name: enroll.dst });
        self.call_ipcp(cx, enroll.pid, body, Call::Join(key));
        Ok(())
    }

    /// Whether an IPCP can be asked to enroll.
    pub(super) fn check_enroll(&self, enroll: &EnrollIpcp) -> Result<()> {
        let ipcp = self.ipcp(enroll.pid)?;
        if !has_neighbours(ipcp.ipcp_type) {
            return Err(Error::new(
                ErrorKind::NotSupported,
                format!(
                    "IPCP {} is of type {}, which cannot enroll; types unicast and broadcast can",
                    ipcp.name,
                    ipcp.ipcp_type.as_str()
                ),
            ));
        }
        check_in_no_layer(ipcp, enroll.pid)?;
        Name::new(&enroll.dst)?;
        Ok(())
    }

    pub(super) fn connect_ipcp(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        connect: ConnectIpcp,
        make: bool,
    ) -> Result<()> {
        self.check_connect(&connect)?;
        let pid = connect.pid;
        let key = self.defer(cx, conn, id, What::Ipcp { pid }, None)?;
        let body = if make {
            Body::IpcpConnect(connect)
        } else {
            Body::IpcpDisconnect(connect)
        };
        self.call_ipcp(cx, pid, body, Call::Done(key));
        Ok(())
    }

    /// Whether an IPCP can be asked to connect or disconnect.
    pub(super) fn check_connect(&self, connect: &ConnectIpcp) -> Result<()> {
        let pid = connect.pid;
        let ipcp = self.ipcp(pid)?;
        if !has_neighbours(ipcp.ipcp_type) {
            return Err(Error::new(
                ErrorKind::Ipcp,
                format!(
                    "IPCP {} is of type {}, which has no neighbours to connect to; types unicast \
                     and broadcast have",
                    ipcp.name,
                    ipcp.ipcp_type.as_str()
                ),
            ));
        }
        if ipcp.layer.is_none() {
            return Err(in_no_layer(ipcp, pid));
        }
        Name::new(&connect.dst)?;
        check_component(ipcp.ipcp_type, &connect.component)
    }

    pub(super) fn reg_name(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        reg: &RegName,
        add: bool,
    ) -> Result<()> {
        let hash = self.registration(reg, add)?;
        let key = self.defer(cx, conn, id, What::Ipcp { pid: reg.pid }, None)?;
        let body = if add {
            Body::IpcpReg(hash)
        } else {
            Body::IpcpUnreg(hash)
        };
        self.call_ipcp(cx, reg.pid, body, Call::Done(key));
        Ok(())
    }

    /// What an IPCP is to be asked to register, or to take out.
    pub(super) fn registration(&self, reg: &RegName, add: bool) -> Result<Hash> {
        let name = Name::new(&reg.name)?;
        let ipcp = self.ipcp(reg.pid)?;
        let Some((layer, hash)) = ipcp.layer.clone() else {
            return Err(in_no_layer(ipcp, reg.pid));
        };
        if self.names.get(name.as_str()).is_none() {
            return Err(no_name(name.as_str()));
        }
        let digest = hash.digest(name.as_str().as_bytes());
        tracing::info!("Name {name} as {digest} in layer {layer}: register={add}.");
        Ok(Hash {
            hash: digest.as_bytes().to_vec(),
        })
    }

    /// Asks an IPCP for its state.
    pub(super) fn show_ipcp(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        pid: i32,
    ) -> Result<()> {
        self.ipcp(pid)?;
        let key = self.defer(cx, conn, id, What::Ipcp { pid }, None)?;
        self.call_ipcp(cx, pid, Body::IpcpShow(Empty {}), Call::Show(key));
        Ok(())
    }

    /// The state that an IPCP told, after what this daemon knows of it.
    pub(super) fn with_head(&mut self, now: Instant, pid: i32, told: IpcpStatus) -> IpcpStatus {
        let mut head = StatusSection::new("ipcp", &["property", "value"]);
        let Some(ipcp) = self.ipcps.get(&pid) else {
            return told;
        };
        let (layer, hash) = ipcp.layer.clone().unwrap_or_default();
        head.push([&"pid", &pid]);
        head.push([&"name", &ipcp.name]);
        head.push([&"type", &ipcp.ipcp_type.as_str()]);
        head.push([&"state", &ipcp.state.as_str()]);
        if let Some(waits) = self.kept_waits(pid, now) {
            let word = if waits.is_empty() { "complete" } else { &waits };
            head.push([&"configuration", &word]);
        }
        if ipcp.layer.is_some() {
            head.push([&"layer", &layer]);
            head.push([&"hash", &hash]);
        }
        let names = self.names.of_process(pid);
        head.push([&"bound_to", &names.join(" ")]);
        let flows = self.ipcp_ends(pid).map_or(0, |ends| ends.len());
        head.push([&"flows", &flows]);
        let used = self.processes.get(&pid).map_or(0, |own| own.ends.len());
        head.push([&"flows_used", &used]);
        let mut sections = vec![head];
        sections.extend(told.sections);
        IpcpStatus { sections }
    }
}

/// Whether IPCPs of a type enroll and connect to neighbours.
fn has_neighbours(ipcp_type: IpcpType) -> bool {
    matches!(ipcp_type, IpcpType::Unicast | IpcpType::Broadcast)
}

/// A broadcast layer has no management of its own.
fn check_component(ipcp_type: IpcpType, component: &str) -> Result<()> {
    let known: &[&str] = match ipcp_type {
        IpcpType::Broadcast => &[DT_COMP],
        _ => &[MGMT_COMP, DT_COMP],
    };
    if known.contains(&component) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "an IPCP of type {} has no component {component:?}; it has {}",
            ipcp_type.as_str(),
            known.join(", ")
        ),
    ))
}

/// An IPCP is a member of one layer, for its life.
fn check_in_no_layer(ipcp: &Ipcp, pid: i32) -> Result<()> {
    match (&ipcp.layer, ipcp.state) {
        (Some((layer, _)), _) => Err(Error::new(
            ErrorKind::IpcpState,
            format!(
                "IPCP {} ({pid}) is a member of layer {layer} already; create another IPCP for \
                 another layer",
                ipcp.name
            ),
        )),
        (None, IpcpState::Shutdown) => Err(Error::new(
            ErrorKind::IpcpState,
            format!("IPCP {} ({pid}) is ending", ipcp.name),
        )),
        (None, _) => Ok(()),
    }
}

fn in_no_layer(ipcp: &Ipcp, pid: i32) -> Error {
    Error::new(
        ErrorKind::IpcpState,
        format!(
            "IPCP {} ({pid}) is in no layer yet; bootstrap or enroll it first",
            ipcp.name
        ),
    )
}
