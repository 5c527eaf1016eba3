//! Programs that are started when somebody asks for their name.

use std::time::Duration;

use o7s::{ErrorKind, control::NameRef};

use crate::core::{lab::*, limits};

#[test]
fn one_instance_is_started_and_serves_all() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    lab.call(manager, program_body("/usr/bin/srv", "n", true))
        .unwrap();
    let client = lab.process(11, "c");
    let allocs: Vec<_> = (0..5).map(|_| lab.start(client, alloc_body("n"))).collect();
    assert_eq!(lab.fake.started.len(), 1);
    let program = &lab.fake.started[0];
    assert_eq!(
        (&*program.path, &*program.args),
        ("/usr/bin/srv", &["-l".to_owned()][..])
    );
    assert_eq!((program.uid, program.gid), (OWNER, OWNER));
    // It calls itself something else; what counts is for whom it was started.
    let pid = lab.fake.next_child;
    let server = lab.process(pid, "renamed");
    for alloc in allocs {
        let accept = lab.start(server, accept_body(None));
        lab.flow(server, accept);
        lab.flow(client, alloc);
    }
    // It runs: no second one, even if it does not accept.
    lab.start(client, alloc_body("n"));
    assert_eq!(lab.fake.started.len(), 1);
    // It ends: the request that waits starts it anew.
    lab.advance(limits::QUICK_EXIT);
    lab.child_exited(pid);
    assert_eq!(lab.fake.started.len(), 2);
}

#[test]
fn a_program_that_ends_at_once_is_not_started_for_ever() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    lab.call(manager, program_body("/usr/bin/false", "n", true))
        .unwrap();
    let client = lab.process(11, "c");
    let alloc = lab.start(client, alloc_body("n"));
    let mut delay = limits::BACK_OFF;
    for starts in 1..limits::VAIN_STARTS as usize {
        lab.child_exited(lab.fake.next_child);
        lab.advance(delay - Duration::from_nanos(1));
        assert_eq!(lab.fake.started.len(), starts);
        lab.advance(Duration::from_nanos(1));
        assert_eq!(lab.fake.started.len(), starts + 1);
        delay *= 2;
    }
    lab.child_exited(lab.fake.next_child);
    let error = lab.outcome(client, alloc).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ipcp);
    assert!(error.to_string().contains("/usr/bin/false"), "{error}");
    assert!(error.to_string().contains("exit status 1"), "{error}");
    // The next request has to wait its turn.
    let alloc = lab.start(client, alloc_body("n"));
    assert_eq!(lab.fake.started.len(), limits::VAIN_STARTS as usize);
    lab.advance(delay);
    assert_eq!(lab.fake.started.len(), limits::VAIN_STARTS as usize + 1);
    assert!(lab.answer(client, alloc).is_none());
}

#[test]
fn a_program_that_cannot_be_started_is_an_answer() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    lab.call(manager, program_body("/nowhere/srv", "n", true))
        .unwrap();
    lab.fake.no_program = true;
    let client = lab.process(11, "c");
    let error = lab.call(client, alloc_body("n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ipcp);
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn forgetting_the_name_ends_the_starts() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    lab.call(manager, program_body("/usr/bin/false", "n", true))
        .unwrap();
    let client = lab.process(11, "c");
    lab.start(client, alloc_body("n"));
    lab.child_exited(lab.fake.next_child);
    let destroy = o7s::control::Body::DestroyName(NameRef {
        name: "n".to_owned(),
    });
    lab.call(manager, destroy).unwrap();
    lab.advance(Duration::from_secs(60));
    assert_eq!(lab.fake.started.len(), 1);
    assert_eq!(lab.core.timers.len(), 0);
}

#[test]
fn a_server_that_runs_is_enough() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    lab.call(manager, program_body("/usr/bin/srv", "n", true))
        .unwrap();
    let server = lab.process(10, "srv");
    assert!(
        lab.call(server, accept_body(Some(Duration::ZERO))).is_err(),
        "nothing waits"
    );
    let client = lab.process(11, "c");
    lab.start(client, alloc_body("n"));
    assert!(lab.fake.started.is_empty());
    // When it dies, one is started.
    lab.core.process_exited(&mut lab.fake, 10, 10);
    assert_eq!(lab.fake.started.len(), 1);
}

#[test]
fn a_client_of_the_same_program_is_no_server() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    lab.call(manager, program_body("/usr/bin/srv", "n", true))
        .unwrap();
    let client = lab.process(10, "srv");
    lab.start(client, alloc_body("n"));
    assert_eq!(lab.fake.started.len(), 1);
}

#[test]
fn a_request_waits_a_little_for_a_server_to_turn_up() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    lab.call(manager, program_body("/usr/bin/srv", "n", false))
        .unwrap();
    let client = lab.process(10, "srv");
    let alloc = lab.start(client, alloc_body("n"));
    lab.advance(limits::ARRIVAL - Duration::from_nanos(1));
    assert!(lab.answer(client, alloc).is_none());
    lab.advance(Duration::from_nanos(1));
    let error = lab.outcome(client, alloc).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ipcp);
    assert!(error.to_string().contains("start one"), "{error}");

    let alloc = lab.start(client, alloc_body("n"));
    let server = lab.process(11, "srv");
    let accept = lab.start(server, accept_body(None));
    lab.flow(server, accept);
    lab.flow(client, alloc);
    assert_eq!(lab.core.timers.len(), 0);

    // A server that is known may take longer.
    let alloc = lab.start(client, alloc_body("n"));
    lab.advance(limits::ARRIVAL * 2);
    assert!(lab.answer(client, alloc).is_none());
}
