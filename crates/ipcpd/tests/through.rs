//! Flow requests of a local layer whose flows pass through: every order of answers and ends.

mod support;

use std::{convert::Infallible, time::Instant};

use o7s::{
    DirHash, ErrorKind, QosSpec,
    control::{
        Body, Failure, FlowEnd, FlowId, FlowResponse, Impairment, IpcpConfig, IpcpFlowAlloc,
        IpcpType, LayerInfo,
    },
};
use o7s_ipcpd::{
    data,
    framework::{Event, Post, Process},
    local::Local,
};
use support::{Maker, Program};
use tokio::sync::mpsc::UnboundedReceiver;

struct Bench {
    process: Process<Local>,
    events: UnboundedReceiver<Event<Infallible>>,
    maker: Maker,
}

fn config(local: Impairment) -> Body {
    Body::IpcpBootstrap(IpcpConfig {
        ipcp_type: IpcpType::Local.into(),
        layer: LayerInfo {
            name: "home".to_owned(),
            dir_hash: 1,
        },
        local: Some(local),
        ..IpcpConfig::default()
    })
}

impl Bench {
    fn new() -> Self {
        let (post, events) = Post::new();
        let mut process = Process::new(Local::new(post));
        let impairment = Impairment {
            mtu: 1400,
            ..Impairment::default()
        };
        let joined = process.message(Instant::now(), 2, config(impairment), Vec::new());
        assert!(matches!(
            &joined[..],
            [(2, Body::IpcpJoined(joined))] if !joined.shares_segments
        ));
        Self {
            process,
            events,
            maker: Maker::default(),
        }
    }

    fn tell(&mut self, id: u64, body: Body) -> Vec<(u64, Body)> {
        self.process.message(Instant::now(), id, body, Vec::new())
    }

    /// A program asks for flow `flow_id`: the id of the request to the daemon, the program's end.
    fn ask(&mut self, flow_id: u64) -> (u64, Program) {
        let (info, fds, program) = self.maker.flow(1, flow_id);
        let request = IpcpFlowAlloc {
            flow_id,
            hash: DirHash::Sha3_256.digest(b"n").as_bytes().to_vec(),
            qos: QosSpec::RAW.into(),
            piggyback: vec![7],
            end: Some(info),
        };
        let messages = self
            .process
            .message(Instant::now(), 20, Body::IpcpFlowAlloc(request), fds);
        let [(20, Body::Done(_)), (id, Body::FlowReqArr(arrived))] = &messages[..] else {
            panic!("{messages:?}");
        };
        assert_eq!((arrived.local_flow_id, arrived.max_packet), (None, 1400));
        assert_eq!(arrived.piggyback, [7]);
        (*id, program)
    }

    /// The daemon gives the arrived request an id.
    fn enter(&mut self, id: u64, flow_id: u64) -> Vec<(u64, Body)> {
        self.tell(id, Body::FlowId(FlowId { flow_id }))
    }

    /// Somebody accepts.
    fn accept(&mut self, flow_id: u64) -> (Vec<(u64, Body)>, Program) {
        let (info, fds, program) = self.maker.flow(2, flow_id);
        let response = FlowResponse {
            flow_id,
            piggyback: vec![8],
            end: Some(info),
            ..FlowResponse::default()
        };
        let body = Body::IpcpFlowAllocResp(response);
        (self.process.message(Instant::now(), 30, body, fds), program)
    }

    fn dealloc(&mut self, flow_id: u64, side: u32) -> Vec<(u64, Body)> {
        let end = FlowEnd {
            flow_id,
            side,
            ..FlowEnd::default()
        };
        self.tell(40, Body::IpcpFlowDealloc(end))
    }
}

/// The ends that these messages give back.
fn given_back(messages: &[(u64, Body)]) -> Vec<(u64, u32)> {
    let ends = messages.iter().filter_map(|(id, body)| match body {
        Body::FlowDealloc(end) => {
            assert_eq!(*id, 0);
            Some((end.flow_id, end.side))
        }
        _ => None,
    });
    ends.collect()
}

#[test]
fn a_flow_from_request_to_end() {
    let mut bench = Bench::new();
    let (id, mut a) = bench.ask(1);
    assert!(bench.enter(id, 2).is_empty());
    let (messages, mut b) = bench.accept(2);
    let [(30, Body::Done(_)), (0, Body::FlowAllocReply(reply))] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert_eq!((reply.flow_id, &reply.refusal), (1, &None));
    assert_eq!((reply.mpl_ms, reply.max_packet), (100, 1400));
    assert_eq!((&reply.piggyback[..], &reply.end), (&[8_u8][..], &None));
    a.tx.try_send(b"there").unwrap();
    a.state.close();
    assert!(given_back(&bench.dealloc(1, 1)).is_empty());
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let event = bench.events.blocking_recv().unwrap();
        let messages = bench.process.event(Instant::now(), event).unwrap();
        ended.extend(given_back(&messages));
    }
    assert_eq!(ended, [(1, 1), (2, 1)]);
    assert_eq!(b.received(), [b"there"]);
    assert!(b.state.peer().closed);
    assert!(
        bench
            .process
            .event(Instant::now(), Event::Data(data::Event::Failed))
            .is_err()
    );
}

#[test]
fn refusals_reach_who_asked() {
    let mut bench = Bench::new();
    let failure = Failure {
        errno: ErrorKind::Name.errno(),
        message: "none".to_owned(),
    };
    // By the daemon.
    let (id, a) = bench.ask(1);
    let messages = bench.tell(id, Body::Failure(failure.clone()));
    assert!(matches!(
        &messages[..],
        [(0, Body::FlowAllocReply(reply))]
            if reply.flow_id == 1 && reply.refusal.as_ref() == Some(&failure)
    ));
    assert!(a.state.peer().closed);
    // Later, with the queue's time limit.
    let (id, _a) = bench.ask(3);
    bench.enter(id, 4);
    let refused = FlowResponse {
        flow_id: 4,
        refusal: Some(failure.clone()),
        ..FlowResponse::default()
    };
    let messages = bench.tell(31, Body::IpcpFlowAllocResp(refused));
    assert!(matches!(
        &messages[..],
        [(31, Body::Done(_)), (0, Body::FlowAllocReply(reply))]
            if reply.flow_id == 3 && reply.refusal.as_ref() == Some(&failure)
    ));
    // The accepting end did not arrive whole: who asked is told, and so is the daemon.
    let (id, _a) = bench.ask(5);
    bench.enter(id, 6);
    let (info, _, _b) = bench.maker.flow(2, 6);
    let response = FlowResponse {
        flow_id: 6,
        end: Some(info),
        ..FlowResponse::default()
    };
    let messages = bench.tell(32, Body::IpcpFlowAllocResp(response));
    assert!(matches!(
        &messages[..],
        [(32, Body::Failure(failure)), (0, Body::FlowAllocReply(reply))]
            if failure.errno == ErrorKind::NoDescriptors.errno()
                && reply.flow_id == 5
                && reply.refusal.is_some()
    ));
    // Without its end a request is none.
    let request = IpcpFlowAlloc {
        flow_id: 9,
        hash: DirHash::Sha3_256.digest(b"n").as_bytes().to_vec(),
        ..IpcpFlowAlloc::default()
    };
    let messages = bench.tell(33, Body::IpcpFlowAlloc(request));
    assert!(matches!(&messages[..], [(33, Body::Failure(_))]));
}

#[test]
fn who_asked_gives_up_at_every_stage() {
    let mut bench = Bench::new();
    // Before the daemon has given an id.
    let (id, a) = bench.ask(1);
    assert_eq!(given_back(&bench.dealloc(1, 1)), [(1, 1)]);
    assert!(a.state.peer().closed);
    assert_eq!(given_back(&bench.enter(id, 2)), [(2, 0)]);
    // The same, and the daemon refuses: everything was said already.
    let (id, _a) = bench.ask(3);
    assert_eq!(given_back(&bench.dealloc(3, 1)), [(3, 1)]);
    assert!(bench.tell(id, Body::Failure(Failure::default())).is_empty());
    // While the request waits; an acceptor that comes at the same time gets an end that is over.
    let (id, _a) = bench.ask(5);
    bench.enter(id, 6);
    assert_eq!(given_back(&bench.dealloc(5, 1)), [(5, 1), (6, 0)]);
    let (messages, b) = bench.accept(6);
    assert!(matches!(&messages[..], [(30, Body::Failure(_))]));
    assert!(b.state.peer().closed);
    assert!(given_back(&bench.dealloc(77, 1)).is_empty());
}

#[test]
fn impairments_are_checked() {
    for wrong in [
        Impairment {
            loss: 1_000_001,
            ..Impairment::default()
        },
        Impairment {
            delay_us: 60_000_001,
            ..Impairment::default()
        },
        Impairment {
            mtu: 1_048_561,
            ..Impairment::default()
        },
    ] {
        let (post, _events) = Post::new();
        let mut process = Process::new(Local::new(post));
        let messages = process.message(Instant::now(), 2, config(wrong), Vec::new());
        assert!(matches!(
            &messages[..],
            [(2, Body::Failure(failure))] if failure.message.contains("must be 0 to")
        ));
    }
}
