//! Programs' ends of flows whose other ends are an IPCP's, without a daemon.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a module of each test file, which uses its own part"
)]

pub mod namespace;
pub mod node;

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use o7s::{QosSpec, control::FlowInfo};
use o7s_ipcpd::data::{End, Ends};
use o7s_ring::{
    Bell, BellHandle, BellParts, DEFAULT_CAPACITY, Endpoint, Receiver, Segment, Sender, Side,
    State, Warden,
};

/// A program's end.
pub struct Program {
    pub tx: Sender,
    pub rx: Receiver,
    pub state: State,
    pub warden: Warden,
    again: OwnedFd,
}

/// Makes flows between programs and an IPCP, one doorbell per program.
#[derive(Default)]
pub struct Maker {
    pub ends: Ends,
    bells: BTreeMap<u64, Arc<Bell>>,
}

impl Maker {
    /// A flow of program `bell`: what the daemon would send, and the program's end.
    pub fn flow(&mut self, bell: u64, flow_id: u64) -> (FlowInfo, Vec<OwnedFd>, Program) {
        let segment = Segment::create(DEFAULT_CAPACITY).unwrap();
        let (tx, rx, state) = Endpoint::open(segment.fd(), Side::A).unwrap().split();
        let warden = Warden::open(segment.fd()).unwrap();
        let again = segment.fd().try_clone_to_owned().unwrap();
        let mut fds = vec![segment.into_fd()];
        let new_bell = !self.bells.contains_key(&bell);
        if new_bell {
            let (ours, theirs) = BellParts::create().unwrap();
            let ours = Bell::open(ours, Side::A).unwrap();
            self.bells.insert(bell, Arc::new(ours));
            fds.extend([theirs.socket, theirs.memory]);
        }
        let slot = u32::try_from(flow_id).unwrap();
        state.set_bell(Some(BellHandle {
            bell: self.bells[&bell].clone(),
            slot,
        }));
        let info = FlowInfo {
            flow_id,
            side: 1,
            qos: QosSpec::RAW.into(),
            bell_id: bell,
            bell_side: 1,
            bell_slot: slot,
            new_bell,
            ..FlowInfo::default()
        };
        let program = Program {
            tx,
            rx,
            state,
            warden,
            again,
        };
        (info, fds, program)
    }

    /// The same, with the IPCP's end opened.
    pub fn open(&mut self, bell: u64, flow_id: u64) -> (End, Program) {
        let (info, fds, program) = self.flow(bell, flow_id);
        (self.ends.open(&info, fds).unwrap(), program)
    }

    /// The process of program `bell` is gone.
    pub fn forget(&mut self, bell: u64) {
        self.bells.remove(&bell);
    }
}

impl Program {
    /// The sender of the same side anew, as only a mad program does.
    pub fn reopen(&self) -> Sender {
        Endpoint::open(self.again.as_fd(), Side::A)
            .unwrap()
            .split()
            .0
    }

    /// Everything that has arrived: its packets.
    pub fn received(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        loop {
            let mut packet = Vec::new();
            if self.rx.try_recv_vec(&mut packet).unwrap().is_none() {
                return packets;
            }
            packets.push(packet);
        }
    }
}
