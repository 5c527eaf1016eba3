//! Connections, announcements and the end of processes.

use o7s::{
    ErrorKind,
    control::{BindProcess, Body, Cancel, Empty, FlowAccept, Hello, VERSION},
};

use crate::core::{ConnId, Side, lab::*, limits};

fn hello(version: u32, pid: u64) -> Body {
    Body::Hello(Hello {
        version,
        program: "p".to_owned(),
        instance: pid,
        announce: true,
        ..Hello::default()
    })
}

#[test]
fn the_first_message_is_a_hello_of_this_version() {
    let mut lab = Lab::new();
    let silent = lab.connect_as(5, OWNER);
    lab.send(silent, 3, Body::Status(Empty {}));
    assert_eq!(lab.failure(silent, 3), ErrorKind::Invalid);
    assert!(lab.fake.closed.contains(&silent));

    let other = lab.connect_as(6, OWNER);
    lab.send(other, 1, hello(VERSION + 1, 6));
    assert_eq!(lab.failure(other, 1), ErrorKind::Daemon);
    assert!(lab.fake.closed.contains(&other));

    let invisible = lab.connect_as(0, OWNER);
    lab.send(invisible, 1, hello(VERSION, 1));
    assert_eq!(lab.failure(invisible, 1), ErrorKind::Invalid);

    let conn = lab.process(7, "p");
    lab.send(conn, 8, hello(VERSION, 7));
    assert_eq!(lab.failure(conn, 8), ErrorKind::Invalid);
    lab.send(conn, 9, Body::Done(Empty {}));
    assert_eq!(lab.failure(conn, 9), ErrorKind::Invalid);
    lab.send(conn, 0, Body::Status(Empty {}));
    assert_eq!(lab.failure(conn, 0), ErrorKind::Invalid);
    for conn in [silent, other, invisible, conn] {
        lab.disconnect(conn);
    }
    lab.assert_empty();
}

#[test]
fn flows_are_for_announced_processes() {
    let mut lab = Lab::new();
    let conn = lab.further(7);
    let error = lab.call(conn, accept_body(None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = lab.call(conn, alloc_body("n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn another_program_under_the_same_pid_is_another_process() {
    let mut lab = Lab::new();
    let before = lab.process(10, "before");
    let old = lab.further(10);
    lab.bind(before, 10, "n");
    let accept = lab.start(before, accept_body(None));

    // The same image connects anew: nothing changes.
    let again = lab.connect_as(10, OWNER);
    lab.hello(again, "before", 10, true);
    lab.disconnect(before);
    assert!(lab.core.processes.contains_key(&10));
    assert_eq!(lab.core.processes[&10].names.len(), 1);
    assert!(lab.answer(before, accept).is_none());

    let after = lab.connect_as(10, OWNER);
    lab.hello(after, "after", 11, true);
    let process = &lab.core.processes[&10];
    assert_eq!((&*process.program, process.names.len()), ("after", 0));
    // What the old image left open is nobody's.
    let error = lab.call(old, accept_body(None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    lab.disconnect(again);
    assert!(lab.core.processes.contains_key(&10));
    // News of the old image's end come late.
    lab.core.process_exited(&mut lab.fake, 10, 10);
    assert!(lab.core.processes.contains_key(&10));
    lab.core.process_exited(&mut lab.fake, 10, 11);
    lab.disconnect(after);
    lab.disconnect(old);
    lab.assert_empty();
}

#[test]
fn the_death_of_a_process_reaches_all_its_peers() {
    let mut lab = Lab::new();
    let server = lab.process(10, "server");
    lab.bind(server, 10, "n");
    let client = lab.process(11, "client");
    let mut flows = Vec::new();
    for _ in 0..50 {
        let accept = lab.start(server, accept_body(None));
        let alloc = lab.start(client, alloc_body("n"));
        lab.flow(client, alloc);
        flows.push(lab.flow(server, accept));
    }
    let waiting = lab.start(client, alloc_body("n"));
    lab.core.process_exited(&mut lab.fake, 10, 10);
    let ends = lab.notices(client);
    assert_eq!(ends.len(), 50);
    assert!(ends.iter().all(|end| end.side == 0));
    assert_eq!(lab.fake.gone_ends.len(), 50);
    assert!(lab.fake.gone_ends.iter().all(|(_, side)| *side == Side::B));
    // Nobody is bound any more.
    assert_eq!(lab.failure(client, waiting), ErrorKind::Ipcp);
    assert_eq!(lab.core.flows.len(), 50);
    assert_eq!(lab.core.bells.len(), 0);
    for mut info in flows {
        info.side = 0;
        lab.call(client, dealloc_body(&info)).unwrap();
    }
    lab.disconnect(client);
    lab.disconnect(server);
    lab.assert_empty();
}

#[test]
fn both_ends_in_one_process_die_together() {
    let mut lab = Lab::new();
    let conn = lab.process(10, "p");
    lab.bind(conn, 10, "n");
    let other = lab.further(10);
    let accept = lab.start(other, accept_body(None));
    let alloc = lab.start(conn, alloc_body("n"));
    let (a, b) = (lab.flow(conn, alloc), lab.flow(other, accept));
    assert_eq!((a.bell_side, b.bell_side), (0, 1));
    assert!(a.new_bell && b.new_bell);
    lab.disconnect(conn);
    lab.disconnect(other);
    lab.assert_empty();
}

#[test]
fn a_connection_takes_its_requests_with_it() {
    let mut lab = Lab::new();
    let server = lab.process(10, "server");
    let thread = lab.further(10);
    lab.bind(server, 10, "n");
    lab.start(thread, accept_body(None));
    lab.disconnect(thread);
    let client = lab.process(11, "client");
    let call = lab.further(11);
    lab.start(call, alloc_body("n"));
    lab.disconnect(call);
    // Neither the old accept nor the old request is served.
    let accept = lab.start(server, accept_body(None));
    assert!(lab.answer(server, accept).is_none());
    let alloc = lab.start(client, alloc_body("n"));
    lab.flow(client, alloc);
    lab.flow(server, accept);
}

#[test]
fn cancelling_is_answered_once() {
    let mut lab = Lab::new();
    let conn = lab.process(10, "p");
    let accept = lab.start(conn, accept_body(None));
    lab.send(conn, 0, Body::Cancel(Cancel { id: accept }));
    assert_eq!(lab.failure(conn, accept), ErrorKind::Interrupted);
    lab.send(conn, 0, Body::Cancel(Cancel { id: accept }));
    lab.send(conn, 0, Body::Cancel(Cancel { id: 4_000 }));
    assert!(lab.fake.sent.is_empty());
    assert!(lab.core.requests.is_empty());
    assert!(lab.core.timers.len() == 0);
}

#[test]
fn request_ids_are_used_once_at_a_time() {
    let mut lab = Lab::new();
    let conn = lab.process(10, "p");
    let body = || Body::FlowAccept(FlowAccept { timeout_ns: None });
    lab.send(conn, 5, body());
    lab.send(conn, 5, body());
    assert_eq!(lab.failure(conn, 5), ErrorKind::Invalid);
    assert_eq!(lab.core.requests.len(), 1);
}

#[test]
fn nobody_fills_the_tables() {
    let mut lab = Lab::new();
    let conn = lab.process(10, "p");
    for _ in 0..limits::PENDING_PER_PROCESS {
        lab.start(conn, accept_body(None));
    }
    let error = lab.call(conn, accept_body(None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoMemory);
    lab.disconnect(conn);

    for number in 0..limits::CONNECTIONS_PER_USER {
        lab.connect_as(20 + number as i32, STRANGER);
    }
    let more = lab.connect_as(19, STRANGER);
    assert!(lab.fake.closed.contains(&more));
    assert_eq!(lab.failure(more, 0), ErrorKind::NoDescriptors);
    lab.disconnect(more);
    let owner = lab.connect_as(18, OWNER);
    assert!(!lab.fake.closed.contains(&owner));
    for conn in 0..=limits::CONNECTIONS_PER_USER as u64 + 4 {
        lab.disconnect(ConnId(conn));
    }
    lab.assert_empty();
    assert!(lab.core.users.is_empty());
}

/// A process with two copies of the library, and a client.
fn two_copies(lab: &mut Lab) -> [ConnId; 2] {
    [1, 2].map(|instance| {
        let conn = lab.connect_as(40, OWNER);
        lab.say_hello(
            conn,
            Hello {
                version: VERSION,
                program: "both".to_owned(),
                instance,
                announce: true,
                image: 77,
            },
        );
        conn
    })
}

#[test]
fn copies_of_the_library_in_one_process_do_not_disturb_each_other() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    let copies = two_copies(&mut lab);
    lab.bind(manager, 40, "svc");
    let Ok(Body::Names(list)) = lab.call(manager, Body::ListNames(Empty {})) else {
        panic!("no list");
    };
    assert_eq!(list.names[0].processes, [40]);

    // Each accepts, and each allocates to the other.
    for (one, other) in [(copies[0], copies[1]), (copies[1], copies[0])] {
        let accept = lab.start(one, Body::FlowAccept(FlowAccept { timeout_ns: None }));
        let alloc = lab.start(other, alloc_body("svc"));
        for (conn, id) in [(one, accept), (other, alloc)] {
            let Ok(Body::Flow(info)) = lab.outcome(conn, id) else {
                panic!("no flow");
            };
            assert_eq!(info.peer_pid, 40);
        }
        lab.assert_consistent();
    }
    // Another program under the pid ends both.
    let next = lab.connect_as(40, OWNER);
    lab.say_hello(
        next,
        Hello {
            version: VERSION,
            program: "next".to_owned(),
            instance: 3,
            announce: true,
            image: 78,
        },
    );
    lab.assert_consistent();
    assert_eq!(lab.core.status(&lab.fake).processes, 1);
}

#[test]
fn a_copy_that_comes_later_serves_the_names_of_its_process() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    let first = lab.process_as(40, OWNER, "both");
    lab.bind(manager, 40, "svc");
    // The first one did not say which image it is in: it is taken for another program.
    let copies = two_copies(&mut lab);
    lab.bind(manager, 40, "svc");
    lab.core.disconnected(&mut lab.fake, first, true, &[]);

    let third = lab.connect_as(40, OWNER);
    lab.say_hello(
        third,
        Hello {
            version: VERSION,
            program: "both".to_owned(),
            instance: 3,
            announce: true,
            image: 77,
        },
    );
    let accept = lab.start(third, Body::FlowAccept(FlowAccept { timeout_ns: None }));
    let alloc = lab.start(copies[0], alloc_body("svc"));
    assert!(matches!(lab.outcome(third, accept), Ok(Body::Flow(_))));
    assert!(matches!(lab.outcome(copies[0], alloc), Ok(Body::Flow(_))));
    // One copy goes: the others stay.
    lab.core.disconnected(&mut lab.fake, copies[1], true, &[]);
    lab.assert_consistent();
    assert_eq!(lab.core.status(&lab.fake).processes, 2);
    let unbind = Body::UnbindProcess(BindProcess {
        pid: 40,
        name: None,
    });
    lab.call(manager, unbind).unwrap();
    let Ok(Body::Names(list)) = lab.call(manager, Body::ListNames(Empty {})) else {
        panic!("no list");
    };
    assert!(list.names[0].processes.is_empty());
}
