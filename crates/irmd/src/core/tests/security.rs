//! Key exchange and authentication in flow allocation.

use std::time::Duration;

use o7s::{
    ErrorKind,
    control::{
        Body, Cancel, FlowInfo, FlowReqArr, FlowResponse, IpcpFlowAlloc, NameInfo, NameRef,
        SecurityPaths,
    },
};

use crate::core::{
    ConnId, Side,
    lab::*,
    limits,
    security::{EXTENSIONS, Role},
};

const X25519: &str = "kex=X25519\n";

/// A server of `name` that waits in accept, and a client: connections, and the accept's id.
fn pair(lab: &mut Lab, name: &str) -> (ConnId, u64, ConnId) {
    let server = lab.process(10, "server");
    lab.bind(server, 10, name);
    let accept = lab.start(server, accept_body(None));
    let client = lab.process(11, "client");
    (server, accept, client)
}

fn assert_secret(a: &FlowInfo, b: &FlowInfo, bits: u32) {
    assert_eq!(a.flow_id, b.flow_id);
    assert_eq!((a.qos.cypher_s, b.qos.cypher_s), (bits, bits));
    let (a, b) = (a.secret.as_ref().unwrap(), b.secret.as_ref().unwrap());
    assert_eq!(a, b);
    assert_eq!(a.key.len(), 32);
    assert!(a.key.iter().any(|byte| *byte != 0));
}

#[test]
fn without_security_nobody_works_for_a_direct_flow() {
    let mut lab = Lab::new();
    let (server, accept, client) = pair(&mut lab, "n");
    let alloc = lab.start(client, alloc_body("n"));
    let (a, b) = (lab.flow(client, alloc), lab.flow(server, accept));
    assert!(lab.fake.work.is_empty());
    for info in [a, b] {
        assert_eq!((info.secret, info.qos.cypher_s), (None, 0));
        assert_eq!(info.extensions, Some(EXTENSIONS));
        assert_eq!(info.peer_name, "");
    }
    lab.end(&[server, client]);
}

#[test]
fn both_ends_of_a_direct_flow_get_one_key_and_the_acceptor_is_asked_last() {
    for (role, text) in [
        (Some(Role::Client), X25519),
        (Some(Role::Client), ""),
        (None, ""),
    ] {
        let mut lab = Lab::new();
        let (server, accept, client) = pair(&mut lab, "n");
        let (alloc, bits) = match role {
            Some(role) => {
                lab.configure(role, "n", text);
                (lab.start(client, alloc_body("n")), 256)
            }
            None => (lab.start(client, alloc_secret("n", 100)), 128),
        };
        assert_eq!(lab.fake.work.len(), 1);
        assert!(lab.answer(server, accept).is_none());
        assert!(lab.fake.flows.is_empty());
        lab.work_all();
        let (a, b) = (lab.flow(client, alloc), lab.flow(server, accept));
        assert_secret(&a, &b, bits);
        let next = lab.start(server, accept_body(None));
        let alloc = lab.start(client, alloc_secret("n", 1));
        lab.work_all();
        let (c, d) = (lab.flow(client, alloc), lab.flow(server, next));
        assert_ne!(a.secret, c.secret);
        assert_eq!(c.secret, d.secret);
        lab.end(&[server, client]);
    }
}

#[test]
fn a_server_that_wants_encryption_refuses_a_client_that_does_not() {
    let mut lab = Lab::new();
    let (server, accept, client) = pair(&mut lab, "n");
    lab.configure(Role::Server, "n", X25519);
    let alloc = lab.start(client, alloc_body("n"));
    lab.work_all();
    assert_eq!(lab.failure(client, alloc), ErrorKind::Crypt);
    // The acceptor still waits.
    assert!(lab.answer(server, accept).is_none());
    assert!(lab.fake.flows.is_empty());
    lab.end(&[server, client]);
}

#[test]
fn a_program_that_asks_for_encryption_never_gets_a_clear_flow() {
    let mut lab = Lab::new();
    let (server, _, client) = pair(&mut lab, "n");
    lab.configure(Role::Client, "n", "none");
    let alloc = lab.start(client, alloc_secret("n", 128));
    lab.work_all();
    assert_eq!(lab.failure(client, alloc), ErrorKind::Crypt);
    lab.end(&[server, client]);
}

#[test]
fn whoever_leaves_while_a_worker_is_busy_leaves_nothing() {
    #[derive(Debug, Clone, Copy)]
    enum How {
        Cancel,
        Disconnect,
        Die,
        TimeOut,
        Destroy,
    }
    for how in [
        How::Cancel,
        How::Disconnect,
        How::Die,
        How::TimeOut,
        How::Destroy,
    ] {
        let mut lab = Lab::new();
        let (server, accept, client) = pair(&mut lab, "n");
        lab.configure(Role::Client, "n", X25519);
        let further = lab.further(11);
        let alloc = lab.start(further, alloc_body("n"));
        assert_eq!(lab.fake.work.len(), 1);
        match how {
            How::Cancel => {
                lab.send(further, 0, Body::Cancel(Cancel { id: alloc }));
                assert_eq!(lab.failure(further, alloc), ErrorKind::Interrupted);
            }
            How::Disconnect => lab.disconnect(further),
            How::Die => lab.core.process_exited(&mut lab.fake, 11, 11),
            How::TimeOut => {
                lab.advance(limits::ALLOC);
                let error = lab.outcome(further, alloc).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                assert!(error.to_string().contains("key exchange"), "{error}");
            }
            How::Destroy => {
                let name = "n".to_owned();
                lab.call(server, Body::DestroyName(NameRef { name }))
                    .unwrap();
            }
        }
        lab.assert_consistent();
        lab.work_all();
        if matches!(how, How::Destroy) {
            assert_eq!(lab.failure(further, alloc), ErrorKind::Name);
        }
        assert!(lab.answer(server, accept).is_none(), "{how:?}");
        assert!(lab.fake.flows.is_empty());
        let conns = if matches!(how, How::Disconnect) {
            vec![server, client]
        } else {
            vec![server, client, further]
        };
        lab.end(&conns);
    }
}

#[test]
fn a_server_that_leaves_while_a_worker_is_busy_is_missed() {
    let mut lab = Lab::new();
    let (server, _, client) = pair(&mut lab, "n");
    lab.configure(Role::Client, "n", X25519);
    let alloc = lab.start(client, alloc_body("n"));
    lab.disconnect(server);
    lab.work_all();
    assert_eq!(lab.failure(client, alloc), ErrorKind::Ipcp);
    lab.end(&[client]);
}

#[test]
fn users_take_turns_and_have_limits() {
    let mut lab = Lab::new();
    lab.configure(Role::Client, "n", X25519);
    let (server, _, client) = pair(&mut lab, "n");
    let other = lab.process_as(12, STRANGER, "other");
    lab.bind(other, 12, "m");
    lab.configure(Role::Client, "m", X25519);
    for number in 0..limits::STEPS_RUNNING + limits::STEPS_PER_USER {
        // A process and a connection have limits of their own.
        let conn = if number % 2 == 0 {
            lab.further(11)
        } else {
            lab.further(10)
        };
        lab.start(conn, alloc_body("n"));
    }
    let full = limits::STEPS_PER_USER;
    assert_eq!(lab.core.jobs.counts(), (limits::STEPS_RUNNING, full));
    let late = lab.start(client, alloc_body("n"));
    let error = lab.outcome(client, late).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("try again"), "{error}");

    // Somebody else is next but one, whatever the first has asked for.
    let alloc = lab.start(other, alloc_body("m"));
    assert_eq!(lab.core.jobs.counts().1, full + 1);
    lab.work();
    lab.work();
    assert!(
        lab.fake
            .work
            .iter()
            .any(|(_, work)| format!("{work:?}").contains("\"m\""))
    );
    // What waits for a worker goes with its client at once.
    lab.disconnect(client);
    lab.disconnect(server);
    let (_, waiting) = lab.core.jobs.counts();
    assert_eq!(waiting, 0);
    lab.work_all();
    assert!(lab.answer(other, alloc).is_none());
    lab.assert_consistent();
}

/// The layer brings a request.
fn arrive(lab: &mut Lab, channel: ConnId, request: &IpcpFlowAlloc, bytes: Vec<u8>) {
    let arrived = FlowReqArr {
        hash: hash("n"),
        qos: request.qos,
        mpl_ms: 100,
        piggyback: bytes,
        local_flow_id: Some(request.flow_id),
        max_packet: 0,
    };
    lab.send(channel, 77, Body::FlowReqArr(arrived));
}

#[test]
fn every_flow_over_a_layer_carries_a_request_and_a_response() {
    let mut lab = Lab::with(false);
    let (_, channel) = lab.layer("home");
    let (server, accept, client) = pair(&mut lab, "n");
    let alloc = lab.start(client, alloc_body("n"));
    let request = lab.reached(channel);
    assert!(request.piggyback.len() >= 36);
    arrive(&mut lab, channel, &request, request.piggyback.clone());
    assert!(lab.fake.work.is_empty());
    assert!(matches!(lab.answer(channel, 77), Some(Body::FlowId(_))));
    let response = lab.responded(channel);
    assert!(response.piggyback.len() >= 84);
    lab.send(channel, 0, Body::FlowAllocReply(response));
    let (a, b) = (lab.flow(client, alloc), lab.flow(server, accept));
    assert_eq!((a.secret, b.secret), (None, None));
    assert!(lab.fake.work.is_empty());
    lab.end(&[server, client]);
}

/// Row 13 of the reference's defects: the destination needs no name here.
#[test]
fn a_destination_without_a_name_has_default_files() {
    let mut lab = Lab::new();
    let (_, channel) = lab.layer("home");
    lab.configure(Role::Client, "far", X25519);
    let client = lab.process(11, "client");
    lab.start(client, alloc_body("far"));
    let request = lab.reached(channel);
    assert!(request.piggyback.len() >= 80);
    // Cipher and key exchange are in it.
    assert_eq!(request.piggyback[24..26], 901_u16.to_be_bytes());
    assert_eq!(request.piggyback[32..34], 44_u16.to_be_bytes());
    lab.end(&[client]);
}

#[test]
fn absent_short_and_old_requests_reach_no_program() {
    let mut lab = Lab::with(false);
    let (_, channel) = lab.layer("home");
    let (server, accept, client) = pair(&mut lab, "n");
    let mut first = None;
    for case in 0..4 {
        let alloc = lab.start(client, alloc_body("n"));
        let request = lab.reached(channel);
        let bytes = match case {
            0 => Vec::new(),
            1 => request.piggyback[..35].to_vec(),
            2 => {
                let mut bytes = request.piggyback.clone();
                bytes.push(0);
                bytes
            }
            // A request that was seen before.
            _ => first.take().unwrap(),
        };
        arrive(&mut lab, channel, &request, bytes);
        let Some(Body::Failure(failure)) = lab.answer(channel, 77) else {
            panic!("case {case} is taken in");
        };
        assert_eq!(
            failure.errno,
            ErrorKind::Auth.errno(),
            "{}",
            failure.message
        );
        assert!(lab.answer(server, accept).is_none());
        let refusal = FlowResponse {
            flow_id: request.flow_id,
            refusal: Some(failure),
            ..FlowResponse::default()
        };
        lab.send(channel, 0, Body::FlowAllocReply(refusal));
        assert_eq!(lab.failure(client, alloc), ErrorKind::Auth);
        if case == 2 {
            // One that is good, to be repeated.
            let alloc = lab.start(client, alloc_body("n"));
            let request = lab.reached(channel);
            first = Some(request.piggyback.clone());
            arrive(&mut lab, channel, &request, request.piggyback.clone());
            assert!(matches!(lab.answer(channel, 77), Some(Body::FlowId(_))));
            let response = lab.responded(channel);
            lab.send(channel, 0, Body::FlowAllocReply(response));
            lab.flow(client, alloc);
            lab.flow(server, accept);
        }
    }
    lab.end(&[server, client]);
}

#[test]
fn a_secret_flow_over_a_layer() {
    let mut lab = Lab::with(false);
    let (_, channel) = lab.layer("home");
    let (server, accept, client) = pair(&mut lab, "n");
    lab.configure(Role::Client, "n", X25519);
    lab.configure(Role::Server, "n", "kex=X25519\ncipher=chacha20-poly1305");
    let alloc = lab.start(client, alloc_body("n"));
    let request = lab.reached(channel);
    assert!(request.piggyback.len() >= 80);
    arrive(&mut lab, channel, &request, request.piggyback.clone());
    // Neither layer nor program hears of it before it has been checked.
    assert!(lab.answer(channel, 77).is_none());
    assert!(lab.answer(server, accept).is_none());
    assert!(lab.work());
    assert!(matches!(lab.answer(channel, 77), Some(Body::FlowId(_))));
    let response = lab.responded(channel);
    let b = lab.flow(server, accept);
    lab.send(channel, 0, Body::FlowAllocReply(response));
    assert!(lab.answer(client, alloc).is_none());
    assert!(lab.work());
    let a = lab.flow(client, alloc);
    assert_secret(&a, &b, 256);
    assert_eq!(a.secret.as_ref().unwrap().cipher, 1018);
    assert_eq!((a.mpl_ms, b.mpl_ms), (100, 100));
    for (conn, info) in [(client, &a), (server, &b)] {
        lab.call(conn, dealloc_body(info)).unwrap();
    }
    lab.end(&[server, client]);
}

#[test]
fn a_response_that_was_changed_ends_both_ends() {
    for at in [0, 24, 60, 100] {
        let mut lab = Lab::with(false);
        let (_, channel) = lab.layer("home");
        let (server, accept, client) = pair(&mut lab, "n");
        lab.configure(Role::Client, "n", X25519);
        let alloc = lab.start(client, alloc_body("n"));
        let request = lab.reached(channel);
        arrive(&mut lab, channel, &request, request.piggyback.clone());
        lab.work_all();
        lab.answer(channel, 77).unwrap();
        let mut response = lab.responded(channel);
        response.piggyback[at] ^= 1;
        let there = lab.flow(server, accept);
        lab.send(channel, 0, Body::FlowAllocReply(response));
        lab.work_all();
        if at == 60 {
            // A changed key only gives another secret: without a certificate there is no proof.
            assert_ne!(lab.flow(client, alloc).secret, there.secret);
        } else {
            let error = lab.outcome(client, alloc).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Crypt, "{at}: {error}");
            assert_eq!(lab.fake.gone_ends, [(there.flow_id, Side::A)]);
            assert_eq!(lab.notices(server).len(), 1);
        }
        lab.end(&[server, client]);
    }
}

/// Where an allocation over a layer stands when something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    Preparing,
    Checking,
    Completing,
}

/// Brings an allocation to that point; the ids of accept and allocation.
fn bring(lab: &mut Lab, channel: ConnId, point: Point, conns: [ConnId; 2]) -> (u64, u64) {
    let [server, client] = conns;
    lab.bind(server, 10, "n");
    lab.configure(Role::Client, "n", X25519);
    let accept = lab.start(server, accept_body(None));
    let alloc = lab.start(client, alloc_body("n"));
    if point == Point::Preparing {
        let (query, _) = lab.asked(channel);
        lab.done(channel, query);
        assert_eq!(lab.fake.work.len(), 1);
        return (accept, alloc);
    }
    let request = lab.reached(channel);
    arrive(lab, channel, &request, request.piggyback.clone());
    if point == Point::Completing {
        lab.work_all();
        lab.answer(channel, 77).unwrap();
        let response = lab.responded(channel);
        lab.send(channel, 0, Body::FlowAllocReply(response));
    }
    assert_eq!(lab.fake.work.len(), 1);
    (accept, alloc)
}

#[test]
fn an_allocation_over_a_layer_may_end_at_any_step() {
    for point in [Point::Preparing, Point::Checking, Point::Completing] {
        for how in 0..4 {
            let mut lab = Lab::with(false);
            let (pid, channel) = lab.layer("home");
            let server = lab.process(10, "server");
            let client = lab.process(11, "client");
            let (accept, alloc) = bring(&mut lab, channel, point, [server, client]);
            match how {
                0 => {
                    lab.send(client, 0, Body::Cancel(Cancel { id: alloc }));
                    assert_eq!(lab.failure(client, alloc), ErrorKind::Interrupted);
                }
                1 => lab.core.process_exited(&mut lab.fake, 11, 11),
                2 => {
                    lab.advance(limits::ALLOC + Duration::from_secs(1));
                    assert_eq!(lab.failure(client, alloc), ErrorKind::TimedOut);
                }
                _ => lab.child_exited(pid),
            }
            lab.assert_consistent();
            if point == Point::Checking && how < 3 {
                // The layer is not left without an answer.
                assert!(matches!(lab.answer(channel, 77), Some(Body::Failure(_))));
            }
            lab.work_all();
            lab.assert_consistent();
            let accepted = lab.answer(server, accept);
            assert_eq!(accepted.is_some(), point == Point::Completing);
            match (how, point) {
                // A flow of this machine does without its layer.
                (3, Point::Completing) => drop(lab.flow(client, alloc)),
                (3, _) => assert_eq!(lab.failure(client, alloc), ErrorKind::Ipcp),
                (_, Point::Completing) => assert_eq!(lab.fake.gone_ends.len(), 1),
                _ => assert!(lab.fake.flows.is_empty()),
            }
            lab.end(&[server, client]);
        }
    }
}

#[test]
fn a_name_destroyed_while_its_request_is_checked_refuses_it() {
    let mut lab = Lab::with(false);
    let (_, channel) = lab.layer("home");
    let server = lab.process(10, "server");
    let client = lab.process(11, "client");
    bring(&mut lab, channel, Point::Checking, [server, client]);
    let name = "n".to_owned();
    lab.call(server, Body::DestroyName(NameRef { name }))
        .unwrap();
    lab.work_all();
    let Some(Body::Failure(failure)) = lab.answer(channel, 77) else {
        panic!("no refusal");
    };
    assert_eq!(failure.errno, ErrorKind::Name.errno());
    lab.end(&[server, client]);
}

#[test]
fn the_files_of_a_new_name_are_checked() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    lab.configure(Role::Server, "good", X25519);
    lab.configure(Role::Server, "bad", "kex=rot13");
    let path = |lab: &Lab, name: &str| {
        let dir = lab.fake.engine.dir().of(Role::Server, name).unwrap();
        dir.join("enc.conf").to_str().unwrap().to_owned()
    };
    let create = |encryption: String| {
        Body::CreateName(NameInfo {
            name: "n".to_owned(),
            server: Some(SecurityPaths {
                encryption,
                ..SecurityPaths::default()
            }),
            ..NameInfo::default()
        })
    };
    for (name, word) in [("missing", "missing/enc.conf"), ("bad", "rot13")] {
        let body = create(path(&lab, name));
        let error = lab.call(manager, body).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    let good = path(&lab, "good");
    lab.call(manager, create(good.clone())).unwrap();
    let names = match lab.call(manager, Body::ListNames(o7s::control::Empty {})) {
        Ok(Body::Names(list)) => list.names,
        other => panic!("{other:?}"),
    };
    assert_eq!(names[0].server.as_ref().unwrap().encryption, good);
    // It is used (`reference-defects.md` row 12), and so is what is written into it later.
    let (server, accept, client) = pair(&mut lab, "n");
    let alloc = lab.start(client, alloc_body("n"));
    lab.work_all();
    assert_eq!(lab.failure(client, alloc), ErrorKind::Crypt);
    lab.configure(Role::Server, "good", "none");
    let alloc = lab.start(client, alloc_body("n"));
    lab.work_all();
    lab.flow(client, alloc);
    lab.flow(server, accept);
    // Once given it must be there.
    std::fs::remove_file(&good).unwrap();
    let alloc = lab.start(client, alloc_body("n"));
    lab.work_all();
    let error = lab.outcome(client, alloc).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Crypt);
    assert!(error.to_string().contains("good/enc.conf"), "{error}");
}
