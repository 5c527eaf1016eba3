//! Arbitrary sequences of events: nothing panics, the tables agree, and nothing is left at the end.

use std::time::Duration;

use o7s::control::{
    Balance, BindProcess, Body, BootstrapIpcp, Cancel, ConnectIpcp, CreateIpcp, Empty, EnrollIpcp,
    Failure, FlowEnd, FlowId, FlowJoin, FlowReqArr, FlowResponse, Hello, IpcpConfig, IpcpJoined,
    IpcpStatus, IpcpType, LayerInfo, NameRef, Pid, UnbindProgram, VERSION,
};
use o7s::{DirHash, QosSpec};
use proptest::prelude::*;

use super::keep::configure;
use crate::core::{ConnId, Role, Side, lab::*, security};

#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a few hundred at a time")]
enum Event {
    Connect {
        pid: i32,
        uid: u32,
        /// Say hello, and perhaps announce the process.
        hello: Option<bool>,
    },
    /// An announced process does something sensible.
    Use {
        number: usize,
        id: u64,
        what: u8,
        name: &'static str,
    },
    /// An IPCP does what it was asked, or refuses, or comes up.
    Ipcp {
        number: usize,
        refuse: bool,
    },
    Message {
        conn: usize,
        id: u64,
        body: Body,
    },
    Break {
        conn: usize,
    },
    Disconnect {
        conn: usize,
        all_read: bool,
        flow: u64,
        side: bool,
    },
    Exit {
        pid: i32,
        instance: u64,
    },
    ChildExit {
        number: usize,
    },
    Advance {
        ms: u64,
    },
    Descriptors {
        none: bool,
    },
    Programs {
        none: bool,
    },
    /// A worker does a step of a key exchange.
    Work,
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned),
        1 => Just(String::new()),
        1 => "\\PC{0,300}",
    ]
}

fn pid() -> impl Strategy<Value = i32> {
    prop_oneof![1 => Just(0), 9 => 1..5, 9 => 50_001..50_004, 1 => any::<i32>()]
}

/// Who connects: a program, or an IPCP as one.
fn connecting() -> impl Strategy<Value = i32> {
    prop_oneof![5 => 0..5, 1 => 50_001..50_004]
}

fn flow() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 1_u64..8, 1 => any::<u64>()]
}

fn body() -> impl Strategy<Value = Body> {
    let hello = (0..3_u64, any::<bool>(), 0..40_u32, 0..3_u64);
    let hello = hello.prop_map(|(instance, announce, old, image)| {
        Body::Hello(Hello {
            version: if old == 0 { 0 } else { VERSION },
            program: "srv".to_owned(),
            instance,
            announce,
            image,
        })
    });
    let timeout = prop::option::of(prop_oneof![Just(0), Just(1_000_000), any::<u64>()]);
    let timeout = timeout.prop_map(|ns| ns.map(Duration::from_nanos));
    let programs =
        (name(), any::<bool>()).prop_map(|(name, auto)| program_body("/bin/srv", &name, auto));
    let end = (flow(), 0..3_u32, any::<bool>()).prop_map(|(flow_id, side, bell_lost)| {
        Body::FlowDealloc(FlowEnd {
            flow_id,
            side,
            linger_s: 0,
            bell_lost,
        })
    });
    let arrived = (name(), prop::option::of(flow())).prop_map(|(name, local_flow_id)| {
        Body::FlowReqArr(FlowReqArr {
            hash: DirHash::Sha3_256
                .digest(name.as_bytes())
                .as_bytes()
                .to_vec(),
            qos: QosSpec::RAW.into(),
            mpl_ms: 100,
            piggyback: Vec::new(),
            local_flow_id,
            max_packet: 0,
        })
    });
    let reply = (flow(), any::<bool>()).prop_map(|(flow_id, refused)| {
        Body::FlowAllocReply(FlowResponse {
            flow_id,
            refusal: refused.then(Failure::default),
            mpl_ms: 1,
            ..FlowResponse::default()
        })
    });
    prop_oneof![
        6 => hello,
        6 => (name(), timeout.clone()).prop_map(|(name, limit)| alloc_within(&name, limit)),
        6 => timeout.prop_map(accept_body),
        4 => end,
        4 => (pid(), name()).prop_map(|(pid, name)| bind_body(pid, &name)),
        1 => (pid(), prop::option::of(name()))
            .prop_map(|(pid, name)| Body::UnbindProcess(BindProcess { pid, name })),
        3 => programs,
        1 => prop::option::of(name()).prop_map(|name| Body::UnbindProgram(UnbindProgram {
            program: "srv".to_owned(),
            name,
        })),
        1 => name().prop_map(|name| name_body(&name, Balance::RoundRobin)),
        1 => name().prop_map(|name| Body::DestroyName(NameRef { name })),
        2 => (0..120_u64).prop_map(|id| Body::Cancel(Cancel { id })),
        2 => (name(), 0..8).prop_map(|(name, ipcp_type)| {
            Body::CreateIpcp(CreateIpcp { name, ipcp_type })
        }),
        4 => (pid(), name(), 0..5_u32).prop_map(|(pid, name, dir_hash)| {
            let layer = LayerInfo { name, dir_hash };
            let config = IpcpConfig { ipcp_type: 0, layer, ..IpcpConfig::default() };
            Body::BootstrapIpcp(BootstrapIpcp { pid, config })
        }),
        1 => pid().prop_map(|pid| Body::DestroyIpcp(Pid { pid })),
        1 => pid().prop_map(|pid| Body::ShowIpcp(Pid { pid })),
        2 => (pid(), name()).prop_map(|(pid, dst)| Body::EnrollIpcp(EnrollIpcp { pid, dst })),
        2 => (pid(), name(), 0..3).prop_map(|(pid, dst, what)| {
            let component = o7s::irm::DT_COMP.to_owned();
            let connect = ConnectIpcp { pid, dst, component, qos: None };
            match what {
                0 => Body::ConnectIpcp(connect),
                1 => Body::DisconnectIpcp(connect),
                _ => Body::IpcpParted(connect),
            }
        }),
        4 => prop::sample::select(vec!["layer1", "layer2", "nowhere"]).prop_map(|layer| {
            let layer = layer.to_owned();
            Body::FlowJoin(FlowJoin { layer, timeout_ns: None })
        }),
        1 => (name(), pid()).prop_map(|(name, pid)| reg_body(&name, pid)),
        4 => arrived,
        4 => reply,
        4 => Just(Body::Done(Empty {})),
        1 => Just(Body::Failure(Failure::default())),
        1 => flow().prop_map(|flow_id| Body::FlowId(FlowId { flow_id })),
        2 => (0..5_u32, any::<bool>()).prop_map(|(dir_hash, shares_segments)| {
            let name = "layer".to_owned();
            let layer = LayerInfo { name, dir_hash };
            Body::IpcpJoined(IpcpJoined { layer, shares_segments })
        }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (connecting(), prop::sample::select(vec![OWNER, OWNER, 0, STRANGER]), prop_oneof![
            6 => Just(Some(true)),
            3 => Just(Some(false)),
            1 => Just(None),
        ])
            .prop_map(|(pid, uid, hello)| Event::Connect { pid, uid, hello }),
        24 => (any::<usize>(), 12..200_u64, 0..4_u8, prop::sample::select(vec!["a", "b"]))
            .prop_map(|(number, id, what, name)| Event::Use { number, id, what, name }),
        12 => (any::<usize>(), 0..8)
            .prop_map(|(number, refuse)| Event::Ipcp { number, refuse: refuse == 0 }),
        24 => (any::<usize>(), prop_oneof![0..12_u64, any::<u64>()], body())
            .prop_map(|(conn, id, body)| Event::Message { conn, id, body }),
        1 => any::<usize>().prop_map(|conn| Event::Break { conn }),
        2 => (any::<usize>(), any::<bool>(), flow(), any::<bool>())
            .prop_map(|(conn, all_read, flow, side)| Event::Disconnect {
                conn, all_read, flow, side,
            }),
        1 => (0..5, 0..3_u64).prop_map(|(pid, instance)| Event::Exit { pid, instance }),
        1 => any::<usize>().prop_map(|number| Event::ChildExit { number }),
        2 => (0..30_000_u64).prop_map(|ms| Event::Advance { ms }),
        1 => any::<bool>().prop_map(|none| Event::Descriptors { none }),
        1 => any::<bool>().prop_map(|none| Event::Programs { none }),
        6 => Just(Event::Work),
    ]
}

/// Connections that are open: those of clients and channels of IPCPs.
fn open(lab: &Lab) -> Vec<ConnId> {
    let mut conns: Vec<ConnId> = lab.core.conns.keys().copied().collect();
    conns.sort();
    conns
}

/// Lets the IPCP at `channel` handle its next message.
fn work(lab: &mut Lab, channel: ConnId, refuse: bool) {
    let asked = lab.fake.sent.iter().any(|(to, ..)| *to == channel);
    if !asked {
        let hello = Hello {
            version: VERSION,
            ..Hello::default()
        };
        lab.send(channel, 1, Body::Hello(hello));
        return;
    }
    let (id, body) = lab.asked(channel);
    if refuse {
        lab.send(channel, id, Body::Failure(Failure::default()));
        return;
    }
    match body {
        Body::IpcpBootstrap(config) => {
            let joined = IpcpJoined {
                shares_segments: config.layer.dir_hash.is_multiple_of(2),
                layer: config.layer,
            };
            lab.send(channel, id, Body::IpcpJoined(joined));
        }
        Body::IpcpEnroll(dst) => {
            let layer = LayerInfo {
                name: dst.name,
                dir_hash: 1,
            };
            let joined = IpcpJoined {
                layer,
                shares_segments: false,
            };
            lab.send(channel, id, Body::IpcpJoined(joined));
        }
        Body::IpcpShow(_) => lab.send(channel, id, Body::IpcpStatus(IpcpStatus::default())),
        Body::IpcpFlowJoin(join) => {
            lab.done(channel, id);
            let reply = FlowResponse {
                flow_id: join.flow_id,
                refusal: join.flow_id.is_multiple_of(4).then(Failure::default),
                ..FlowResponse::default()
            };
            lab.send(channel, 0, Body::FlowAllocReply(reply));
        }
        Body::IpcpFlowDealloc(end) => {
            lab.done(channel, id);
            lab.send(channel, 0, Body::FlowDealloc(end));
        }
        Body::IpcpFlowAlloc(request) => {
            lab.done(channel, id);
            let through = request.end.is_some();
            if through && request.flow_id.is_multiple_of(2) {
                let name = if request.hash == hash("a") { "a" } else { "b" };
                let (mut piggyback, _) = lab.far_response(name, request.piggyback);
                if request.flow_id.is_multiple_of(8) {
                    piggyback[24] ^= 1;
                }
                let reply = FlowResponse {
                    flow_id: request.flow_id,
                    piggyback,
                    ..FlowResponse::default()
                };
                lab.send(channel, 0, Body::FlowAllocReply(reply));
                return;
            }
            let arrived = FlowReqArr {
                hash: request.hash,
                qos: request.qos,
                mpl_ms: 100,
                piggyback: request.piggyback,
                local_flow_id: (!through).then_some(request.flow_id),
                max_packet: 0,
            };
            lab.send(channel, 77, Body::FlowReqArr(arrived));
        }
        Body::IpcpFlowAllocResp(response) => {
            lab.done(channel, id);
            if response.end.is_none() {
                lab.send(channel, 0, Body::FlowAllocReply(response));
            }
        }
        _ => lab.done(channel, id),
    }
}

fn apply(lab: &mut Lab, event: Event) {
    let conns = open(lab);
    let pick = |number: usize| (!conns.is_empty()).then(|| conns[number % conns.len()]);
    match event {
        Event::Connect { pid, uid, hello } => {
            let conn = lab.connect_as(pid, uid);
            if let Some(announce) = hello {
                let hello = Hello {
                    version: VERSION,
                    program: "srv".to_owned(),
                    instance: 1,
                    announce,
                    ..Hello::default()
                };
                lab.send(conn, 1, Body::Hello(hello));
            }
        }
        Event::Use {
            number,
            id,
            what,
            name,
        } => {
            let users: Vec<ConnId> = conns
                .into_iter()
                .filter(|conn| lab.core.process_of(*conn).is_ok())
                .collect();
            if !users.is_empty() {
                let conn = users[number % users.len()];
                let process = lab.core.process_of(conn).unwrap();
                let pid = process.peer.pid;
                let own = process.ends.first().copied();
                let end = own.map(|(flow_id, side)| FlowEnd {
                    flow_id,
                    side: side as u32,
                    ..FlowEnd::default()
                });
                let body = match what {
                    0 => bind_body(pid, name),
                    1 => alloc_body(name),
                    2 => accept_body(None),
                    _ => Body::FlowDealloc(end.unwrap_or_default()),
                };
                lab.send(conn, id, body);
            }
        }
        Event::Ipcp { number, refuse } => {
            let channels: Vec<ConnId> = conns
                .into_iter()
                .filter(|conn| matches!(lab.core.conns[conn].role, Role::Ipcp { .. }))
                .collect();
            if !channels.is_empty() {
                work(lab, channels[number % channels.len()], refuse);
            }
        }
        Event::Message { conn, id, body } => {
            if let Some(conn) = pick(conn) {
                lab.send(conn, id, body);
            }
        }
        Event::Break { conn } => lab.fake.broken.extend(pick(conn)),
        Event::Disconnect {
            conn,
            all_read,
            flow,
            side,
        } => {
            if let Some(conn) = pick(conn) {
                let side = if side { Side::A } else { Side::B };
                let undelivered: &[_] = if all_read { &[] } else { &[(flow, side)] };
                lab.core
                    .disconnected(&mut lab.fake, conn, all_read, undelivered);
            }
        }
        Event::Exit { pid, instance } => lab.core.process_exited(&mut lab.fake, pid, instance),
        Event::ChildExit { number } => {
            let children: Vec<i32> = lab.fake.children.keys().copied().collect();
            if !children.is_empty() {
                lab.child_exited(children[number % children.len()]);
            }
        }
        Event::Advance { ms } => lab.advance(Duration::from_millis(ms)),
        Event::Descriptors { none } => lab.fake.no_descriptors = none,
        Event::Programs { none } => lab.fake.no_program = none,
        Event::Work => drop(lab.work()),
    }
    lab.assert_consistent();
}

/// What the configuration file may say.
const KEPT: &str = "[name.a]\n[unicast.k]\nenrol = \"a\"\nautobind = true\nreg = [\"a\", \"b\"]\n\
                    conn = [\"a\"]\n[local.l]\nbootstrap = \"b\"\n";

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn tables_agree_and_nothing_is_left(
        direct in any::<bool>(),
        layers in 0..4,
        kept in any::<bool>(),
        events in prop::collection::vec(event(), 0..200),
    ) {
        let mut lab = Lab::with(direct);
        lab.configure(security::Role::Client, "b", "kex=X25519");
        for number in 0..layers {
            let name = format!("layer{number}");
            match number {
                1 => lab.layer_of(IpcpType::Broadcast, &name, false),
                2 => lab.layer(&name),
                _ => lab.layer_of(IpcpType::Unicast, &name, false),
            };
        }
        if kept {
            configure(&mut lab, KEPT);
        }
        for event in events {
            apply(&mut lab, event);
        }
        if kept {
            // Else they would be started again.
            lab.core.stop(&mut lab.fake);
        }
        for conn in open(&lab) {
            lab.disconnect(conn);
            lab.assert_consistent();
        }
        let children: Vec<i32> = lab.fake.children.keys().copied().collect();
        for pid in children {
            lab.child_exited(pid);
        }
        lab.assert_empty();
        lab.work_all();
        lab.assert_consistent();
        prop_assert!(lab.core.ipcps.is_empty() && lab.core.children.is_empty());
        prop_assert!(lab.core.users.is_empty());
        // Nothing is due for ever.
        lab.advance(Duration::from_secs(3600));
        lab.advance(Duration::from_secs(3600));
        prop_assert_eq!(lab.core.next_deadline(), None);
    }
}
