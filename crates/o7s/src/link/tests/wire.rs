//! Two ends of a flow in this process, and a wire between them that the test holds.

use std::{
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use o7s_crypto::algorithm::Cipher;
use o7s_ring::{
    Bell, BellHandle, BellParts, DEFAULT_CAPACITY, Endpoint, Receiver, Segment, Sender, Side,
};

use crate::{
    Flow, Node, QosSpec, RuntimeDir,
    control::{FlowInfo, FlowSecret},
    doorbell::PeerBell,
    link::Link,
    process::process,
};

pub(super) fn secret() -> Option<FlowSecret> {
    Some(FlowSecret {
        cipher: Cipher::Aes256Gcm.nid().into(),
        key: vec![7; 32],
    })
}

pub(super) fn info(qos: QosSpec, side: Side) -> FlowInfo {
    FlowInfo {
        flow_id: 1,
        side: side as u32,
        qos: qos.into(),
        mpl_ms: 100,
        name: "test".to_owned(),
        bell_side: side as u32,
        ..FlowInfo::default()
    }
}

/// Opens `side` of a segment as a flow, with a doorbell that hangs in this process.
pub(super) fn open(segment: &Segment, side: Side, bell: Bell, info: &FlowInfo) -> Flow {
    let endpoint = Endpoint::open(segment.fd().as_fd(), side).unwrap();
    let bell = Arc::new(PeerBell::new(bell));
    process().doorbells().unwrap().add_bell(&bell).unwrap();
    let nowhere = Node::at(RuntimeDir::at("/nowhere"));
    let qos = QosSpec::try_from(info.qos).unwrap();
    let link = Link::new(nowhere, 1, info, qos, endpoint, bell).unwrap();
    Flow::from_link(link)
}

pub(super) fn bells() -> [Bell; 2] {
    let (a, b) = BellParts::create().unwrap();
    [
        Bell::open(a, Side::A).unwrap(),
        Bell::open(b, Side::B).unwrap(),
    ]
}

/// Two ends that share a segment.
pub(super) fn pair(change: impl Fn(&mut FlowInfo), qos: QosSpec) -> (Flow, Flow) {
    let segment = Segment::create(DEFAULT_CAPACITY).unwrap();
    let [a, b] = bells();
    let end = |side, bell| {
        let mut info = info(qos, side);
        change(&mut info);
        open(&segment, side, bell, &info)
    };
    (end(Side::A, a), end(Side::B, b))
}

/// A layer between two flows: the ends of the segments that an IPCP would hold.
pub(super) struct Wire {
    pub(super) ends: [(Sender, Receiver); 2],
}

/// Two flows over a wire.
pub(super) fn over_a_wire(change: impl Fn(&mut FlowInfo), qos: QosSpec) -> (Flow, Flow, Wire) {
    let mut sides = [Side::A, Side::B].map(|side| {
        let segment = Segment::create(DEFAULT_CAPACITY).unwrap();
        let [own, theirs] = bells();
        let mut info = info(qos, Side::A);
        info.flow_id = side as u64;
        change(&mut info);
        let flow = open(&segment, Side::A, own, &info);
        let (sender, receiver, state) = Endpoint::open(segment.fd().as_fd(), Side::B)
            .unwrap()
            .split();
        state.set_bell(Some(BellHandle {
            bell: Arc::new(theirs),
            slot: 0,
        }));
        Some((flow, (sender, receiver)))
    });
    let (left, left_end) = sides[0].take().unwrap();
    let (right, right_end) = sides[1].take().unwrap();
    let wire = Wire {
        ends: [left_end, right_end],
    };
    (left, right, wire)
}

impl Wire {
    /// Carries what waits; `through` may change a packet and says whether it gets through. The
    /// direction is 0 for what the left end sent. Returns how many packets there were.
    pub(super) fn carry(&mut self, mut through: impl FnMut(usize, &mut Vec<u8>) -> bool) -> usize {
        let mut carried = 0;
        for direction in [0, 1] {
            let mut packet = Vec::new();
            while self.ends[direction]
                .1
                .try_recv_vec(&mut packet)
                .unwrap()
                .is_some()
            {
                carried += 1;
                if through(direction, &mut packet) {
                    // A full ring is a loss.
                    let _ = self.ends[1 - direction].0.try_send(&packet);
                }
                packet.clear();
            }
        }
        carried
    }

    /// Carries everything untouched.
    pub(super) fn pass(&mut self) {
        self.carry(|_, _| true);
    }

    /// Carries in a thread of its own until `act` is done.
    pub(super) fn while_carrying<T>(
        mut self,
        mut through: impl FnMut(usize, &mut Vec<u8>) -> bool + Send,
        act: impl FnOnce() -> T,
    ) -> T {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    if self.carry(&mut through) == 0 {
                        thread::yield_now();
                    }
                }
            });
            let outcome = act();
            over.store(true, Ordering::Release);
            outcome
        })
    }
}
