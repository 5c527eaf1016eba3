//! IPCPs and their life (`spec/irm-tools.md` §4.1).

mod calls;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use o7s::{
    DirHash, Error, ErrorKind, Name, Result,
    control::{
        Body, CreateIpcp, Empty, IpcpInfo, IpcpJoined, IpcpList, IpcpState, IpcpType, LayerInfo,
        Pid,
    },
};

use super::{
    Child, ChildRole, ConnId, Context, Core, Side, Signal,
    flow::Holder,
    limits,
    request::{Alloc, Key, Route, Stage, What},
    timer::{Timer, TimerKey},
};

pub(super) use calls::Call;
use calls::Waiting;

/// An IPCP.
#[derive(Debug)]
pub(super) struct Ipcp {
    pub(super) ipcp_type: IpcpType,
    pub(super) name: String,
    conn: ConnId,
    pub(super) state: IpcpState,
    /// Name and hash of its layer.
    pub(super) layer: Option<(String, DirHash)>,
    /// Programs share the segments of its flows.
    shares_segments: bool,
    /// Its flow ends.
    ends: BTreeSet<(u64, Side)>,
    calls: BTreeMap<u64, Waiting>,
    next_call: u64,
    /// Who waits for it to come up.
    creator: Option<Key>,
    boot_timer: Option<TimerKey>,
    /// Who waits for its end.
    destroyers: Vec<Key>,
}

impl Core {
    pub(super) fn create_ipcp(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        create: &CreateIpcp,
    ) -> Result<()> {
        let ipcp_type = known_type(create.ipcp_type)?;
        let pid = self.start_ipcp(cx, ipcp_type, &create.name)?;
        let creator = self.defer(cx, conn, id, What::Create { pid }, None);
        match creator {
            Ok(key) => {
                if let Some(ipcp) = self.ipcps.get_mut(&pid) {
                    ipcp.creator = Some(key);
                }
                Ok(())
            }
            Err(error) => {
                self.end_child(cx, pid);
                Err(error)
            }
        }
    }

    /// Starts an IPCP: its pid, before it has come up.
    pub(super) fn start_ipcp(
        &mut self,
        cx: &mut dyn Context,
        ipcp_type: IpcpType,
        name: &str,
    ) -> Result<i32> {
        let name = Name::new(name)?;
        if let Some((pid, _)) = self
            .ipcps
            .iter()
            .find(|(_, ipcp)| ipcp.name == name.as_str())
        {
            return Err(Error::new(
                ErrorKind::Exists,
                format!("there is an IPCP named {name} already (pid {pid}); choose another name"),
            ));
        }
        let (pid, channel) = cx.spawn_ipcp(ipcp_type, name.as_str())?;
        self.children.insert(pid, Child::new(ChildRole::Ipcp));
        let boot_at = cx.now() + limits::IPCP_BOOT;
        let boot_timer = Some(self.timers.arm(boot_at, Timer::IpcpBoot(pid)));
        self.ipcps.insert(
            pid,
            Ipcp {
                ipcp_type,
                name: name.as_str().to_owned(),
                conn: channel,
                state: IpcpState::Init,
                layer: None,
                shares_segments: false,
                ends: BTreeSet::new(),
                calls: BTreeMap::new(),
                next_call: 1,
                creator: None,
                boot_timer,
                destroyers: Vec::new(),
            },
        );
        self.conns.insert(
            channel,
            super::Conn {
                process: pid,
                peer: super::Peer {
                    pid,
                    uid: self.settings.trust.owner,
                    gid: 0,
                    in_group: false,
                },
                role: super::Role::Ipcp { pid },
                requests: std::collections::HashMap::new(),
                bells_sent: Vec::new(),
            },
        );
        *self.users.entry(self.settings.trust.owner).or_default() += 1;
        Ok(pid)
    }

    /// Asks a child to end, and kills it if it does not.
    pub(super) fn end_child(&mut self, cx: &mut dyn Context, pid: i32) {
        let Some(child) = self.children.get_mut(&pid) else {
            return;
        };
        cx.signal(pid, Signal::Terminate);
        let kill_at = cx.now() + limits::KILL_GRACE;
        let kill = self.timers.arm(kill_at, Timer::Kill(pid));
        self.timers.disarm(child.kill_timer.replace(kill));
        if let Some(ipcp) = self.ipcps.get_mut(&pid) {
            ipcp.state = IpcpState::Shutdown;
        }
    }

    pub(super) fn kill_expired(&mut self, cx: &mut dyn Context, pid: i32) {
        if let Some(child) = self.children.get_mut(&pid) {
            child.kill_timer = None;
            tracing::warn!("Child {pid} does not end; killing it.");
            cx.signal(pid, Signal::Kill);
        }
    }

    pub(super) fn ipcp_boot_expired(&mut self, cx: &mut dyn Context, pid: i32) {
        if let Some(ipcp) = self.ipcps.get_mut(&pid) {
            ipcp.boot_timer = None;
            tracing::error!("IPCP {pid} failed to boot.");
            cx.signal(pid, Signal::Kill);
        }
    }

    /// The control channel of an IPCP ended. Without it the IPCP is of no use.
    pub(super) fn ipcp_disconnected(&mut self, cx: &mut dyn Context, pid: i32) {
        let shutting = self.ipcps.get(&pid);
        if shutting.is_some_and(|ipcp| ipcp.state != IpcpState::Shutdown) {
            self.end_child(cx, pid);
        }
    }

    /// A child was reaped.
    pub fn child_exited(&mut self, cx: &mut dyn Context, pid: i32, status: &str) {
        let Some(child) = self.children.remove(&pid) else {
            return;
        };
        self.timers.disarm(child.kill_timer);
        match child.role {
            ChildRole::Ipcp => {
                // It may have used flows as a program does.
                self.remove_process(cx, pid);
                self.remove_ipcp(cx, pid, status);
            }
            ChildRole::Program(name) => {
                for key in self.copies(pid) {
                    self.remove_process(cx, key);
                }
                self.program_exited(cx, pid, &name, status);
            }
        }
    }

    fn remove_ipcp(&mut self, cx: &mut dyn Context, pid: i32, status: &str) {
        let Some(ipcp) = self.ipcps.remove(&pid) else {
            return;
        };
        if ipcp.state == IpcpState::Shutdown {
            tracing::info!("IPCP {pid} ({}) ended: {status}.", ipcp.name);
        } else {
            tracing::error!("IPCP {pid} ({}) died: {status}.", ipcp.name);
        }
        self.timers.disarm(ipcp.boot_timer);
        let died = Error::new(
            ErrorKind::Ipcp,
            format!(
                "IPCP {} ({pid}) ended: {status}; the log of irmd and IPCP says why",
                ipcp.name
            ),
        );
        self.kept_died(cx, pid, &died);
        if let Some(creator) = ipcp.creator {
            self.answer(cx, creator, Err(died.clone()));
        }
        for key in ipcp.destroyers {
            self.answer(cx, key, Ok(Body::Done(Empty {})));
        }
        for waiting in ipcp.calls.into_values() {
            self.timers.disarm(Some(waiting.timer));
            self.call_failed(cx, pid, waiting.call, died.clone());
        }
        let under_way: BTreeSet<Key> = self
            .layer_allocs
            .values()
            .filter(|key| {
                let request = self.requests.get(key);
                request.is_some_and(|request| match &request.what {
                    What::Alloc(Alloc {
                        route:
                            Route::Layer {
                                ipcp: of, stage, ..
                            },
                        ..
                    }) => {
                        // A flow that programs share and that was granted does without the layer.
                        *of == pid && !(ipcp.shares_segments && *stage == Stage::Completing)
                    }
                    _ => false,
                })
            })
            .copied()
            .collect();
        for key in under_way {
            self.answer(cx, key, Err(died.clone()));
        }
        self.ipcp_ends_lost(cx, ipcp.ends);
        self.bells.holder_gone(cx, Holder::Ipcp(pid));
        for name in self.names.of_process(pid) {
            if let Some(entry) = self.names.get_mut(&name) {
                entry.processes.remove(&pid);
            }
        }
        cx.close(ipcp.conn);
    }

    pub(super) fn destroy_ipcp(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        id: u64,
        pid: i32,
    ) -> Result<()> {
        self.ipcp(pid)?;
        let key = self.defer(cx, conn, id, What::Destroy { pid }, None)?;
        self.keep_no_longer(cx, pid);
        if let Some(ipcp) = self.ipcps.get_mut(&pid) {
            ipcp.destroyers.push(key);
            if ipcp.state != IpcpState::Shutdown {
                self.end_child(cx, pid);
            }
        }
        Ok(())
    }

    pub(super) fn list_ipcps(&self, now: Instant) -> IpcpList {
        let mut ipcps: Vec<IpcpInfo> = self
            .ipcps
            .iter()
            .map(|(pid, ipcp)| {
                let (layer, hash) = ipcp.layer.clone().unwrap_or_default();
                IpcpInfo {
                    pid: *pid,
                    ipcp_type: ipcp.ipcp_type.into(),
                    name: ipcp.name.clone(),
                    layer,
                    dir_hash: hash as u32,
                    state: ipcp.state.into(),
                    waits: self.kept_waits(*pid, now).unwrap_or_default(),
                }
            })
            .collect();
        ipcps.sort_by_key(|info| (info.ipcp_type, info.pid));
        let absent = self.kept_absent(now);
        IpcpList { ipcps, absent }
    }

    /// The layers to ask for a destination of process `client`, in registry order, with their
    /// hashes (§5.3): without those that stand on the flows of the client itself, an IPCP.
    pub(super) fn layers(&self, client: i32) -> Vec<(i32, DirHash)> {
        let above = self.above(client);
        let mut layers: Vec<_> = self
            .ipcps
            .iter()
            .filter(|(pid, ipcp)| {
                ipcp.state == IpcpState::Operational
                    && ipcp.ipcp_type != IpcpType::Broadcast
                    && !above.contains(pid)
            })
            .filter_map(|(pid, ipcp)| {
                let (_, hash) = ipcp.layer.as_ref()?;
                Some((ipcp.ipcp_type, *pid, *hash))
            })
            .collect();
        layers.sort_by_key(|(ipcp_type, pid, _)| (*ipcp_type, *pid));
        layers
            .into_iter()
            .map(|(_, pid, hash)| (pid, hash))
            .collect()
    }

    /// The name of an IPCP's layer.
    pub(super) fn layer_name(&self, pid: i32) -> Option<String> {
        let layer = self.ipcps.get(&pid)?.layer.as_ref();
        layer.map(|(name, _)| name.clone())
    }

    /// The IPCP `pid` with the other members of its layer here, and those whose layers stand, over
    /// however many layers, on flows that these carry; none if it is no IPCP. It must not get flows
    /// from any of them: they would carry themselves.
    pub(super) fn above(&self, pid: i32) -> BTreeSet<i32> {
        let mut above = BTreeSet::new();
        let mut next: Vec<i32> = self
            .ipcps
            .contains_key(&pid)
            .then_some(pid)
            .into_iter()
            .collect();
        while let Some(pid) = next.pop() {
            if above.insert(pid) {
                let users = self.flows.values().filter_map(|flow| flow.user_of(pid));
                next.extend(users.filter(|user| self.ipcps.contains_key(user)));
                next.extend(self.members_beside(pid));
            }
        }
        above
    }

    /// The IPCPs of this machine in the layer of one that has neighbours.
    fn members_beside(&self, pid: i32) -> impl Iterator<Item = i32> {
        let own = self
            .ipcps
            .get(&pid)
            .filter(|ipcp| matches!(ipcp.ipcp_type, IpcpType::Unicast | IpcpType::Broadcast));
        let own = own.and_then(|ipcp| Some((ipcp.ipcp_type, &ipcp.layer.as_ref()?.0)));
        self.ipcps.iter().filter_map(move |(pid, other)| {
            let layer = (other.ipcp_type, &other.layer.as_ref()?.0);
            (Some(layer) == own).then_some(*pid)
        })
    }

    /// The directory hash of an IPCP's layer.
    pub(super) fn ipcp_hash(&self, pid: i32) -> DirHash {
        let layer = self.ipcps.get(&pid).and_then(|ipcp| ipcp.layer.as_ref());
        layer.map(|(_, hash)| *hash).unwrap_or_default()
    }

    /// The type of an IPCP.
    pub(super) fn ipcp_type(&self, pid: i32) -> Option<IpcpType> {
        self.ipcps.get(&pid).map(|ipcp| ipcp.ipcp_type)
    }

    pub(super) fn ipcp(&self, pid: i32) -> Result<&Ipcp> {
        self.ipcps.get(&pid).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no IPCP with pid {pid}; 'irm ipcp list' shows those there are"),
            )
        })
    }

    /// Whether the programs of a flow over this IPCP's layer share its segment.
    pub(super) fn shares_segments(&self, pid: i32) -> bool {
        self.ipcps
            .get(&pid)
            .is_some_and(|ipcp| ipcp.shares_segments)
    }

    /// The flow ends of an IPCP.
    pub(super) fn ipcp_ends(&mut self, pid: i32) -> Option<&mut BTreeSet<(u64, Side)>> {
        self.ipcps.get_mut(&pid).map(|ipcp| &mut ipcp.ends)
    }

    /// The open ends of all IPCPs.
    #[cfg(test)]
    pub(super) fn ipcp_ends_open(&self) -> usize {
        self.ipcps.values().map(|ipcp| ipcp.ends.len()).sum()
    }

    /// The channel of an IPCP.
    pub(super) fn ipcp_conn(&self, pid: i32) -> Result<ConnId> {
        self.ipcp(pid).map(|ipcp| ipcp.conn)
    }

    /// An IPCP says that it cannot run, or no longer.
    fn ipcp_failed(&mut self, cx: &mut dyn Context, pid: i32, error: Error) {
        let Some(ipcp) = self.ipcps.get_mut(&pid) else {
            return;
        };
        tracing::error!("IPCP {pid} ({}) failed: {error}", ipcp.name);
        let creator = ipcp.creator.take();
        self.end_child(cx, pid);
        if let Some(creator) = creator {
            self.answer(cx, creator, Err(error));
        }
    }

    fn ipcp_up(&mut self, cx: &mut dyn Context, conn: ConnId, pid: i32, id: u64) {
        cx.send(conn, id, Body::HelloOk(self.hello_ok()));
        let Some(ipcp) = self.ipcps.get_mut(&pid) else {
            return;
        };
        if ipcp.state != IpcpState::Init {
            return;
        }
        ipcp.state = IpcpState::Boot;
        self.timers.disarm(ipcp.boot_timer.take());
        tracing::info!("Created IPCP {pid}.");
        if let Some(creator) = ipcp.creator.take() {
            self.answer(cx, creator, Ok(Body::Pid(Pid { pid })));
        }
        self.kept_up(cx, pid);
    }

    fn ipcp_joined(&mut self, pid: i32, joined: IpcpJoined) -> Result<LayerInfo> {
        let layer = joined.layer;
        let hash = known_hash(layer.dir_hash)?;
        if let Some(ipcp) = self.ipcps.get_mut(&pid) {
            ipcp.layer = Some((layer.name.clone(), hash));
            ipcp.shares_segments = joined.shares_segments;
            if ipcp.state == IpcpState::Boot {
                ipcp.state = IpcpState::Operational;
            }
            tracing::info!("IPCP {pid} is a member of layer {}.", layer.name);
        }
        Ok(layer)
    }

    /// Begins the orderly stop: no new requests, every child ends.
    pub fn stop(&mut self, cx: &mut dyn Context) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        self.close_setup();
        let children: Vec<i32> = self.children.keys().copied().collect();
        for pid in children {
            self.end_child(cx, pid);
        }
    }

    /// Whether the orderly stop is complete.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopping && self.children.is_empty()
    }
}

pub(super) fn known_type(number: i32) -> Result<IpcpType> {
    IpcpType::try_from(number).map_err(|_| {
        let types: Vec<_> = IpcpType::ALL.iter().map(|kind| kind.as_str()).collect();
        Error::new(
            ErrorKind::IpcpType,
            format!(
                "there is no IPCP type with number {number}; the types are {}",
                types.join(", ")
            ),
        )
    })
}

pub(super) fn known_hash(number: u32) -> Result<DirHash> {
    DirHash::from_number(number).ok_or_else(|| {
        Error::new(
            ErrorKind::Ipcp,
            format!(
                "there is no directory hash with number {number}, which the IPCP says its layer has"
            ),
        )
    })
}
