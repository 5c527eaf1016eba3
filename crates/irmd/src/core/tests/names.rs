//! Names and bindings.

use std::time::Duration;

use o7s::{
    ErrorKind,
    control::{Balance, BindProcess, Body, Empty, NameInfo, NameRef, UnbindProgram},
};

use crate::core::{lab::*, limits};

fn list(lab: &mut Lab) -> Vec<NameInfo> {
    let manager = lab.manager();
    let names = match lab.call(manager, Body::ListNames(Empty {})).unwrap() {
        Body::Names(list) => list.names,
        other => panic!("{other:?}"),
    };
    lab.disconnect(manager);
    names
}

#[test]
fn creating_again_needs_the_same_attributes() {
    let mut lab = Lab::new();
    let conn = lab.manager();
    lab.call(conn, name_body("n", Balance::Spill)).unwrap();
    lab.call(conn, name_body("n", Balance::Spill)).unwrap();
    let error = lab.call(conn, name_body("n", Balance::RoundRobin));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Exists);
    for bad in [String::new(), "n".repeat(256), "a\0b".to_owned()] {
        let error = lab.call(conn, name_body(&bad, Balance::Spill)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let policy = NameInfo {
        name: "m".to_owned(),
        balance: 7,
        ..NameInfo::default()
    };
    let error = lab.call(conn, Body::CreateName(policy)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(list(&mut lab).len(), 1);
}

#[test]
fn destroying_a_name_drops_its_bindings_and_requests() {
    let mut lab = Lab::new();
    let server = lab.process(10, "server");
    let client = lab.process(11, "client");
    lab.bind(server, 10, "n");
    lab.call(server, program_body("/bin/other", "n", false))
        .unwrap();
    let waiting = lab.start(client, alloc_body("n"));
    let name = || {
        Body::DestroyName(NameRef {
            name: "n".to_owned(),
        })
    };
    lab.call(server, name()).unwrap();
    assert_eq!(lab.failure(client, waiting), ErrorKind::Name);
    assert_eq!(
        lab.call(server, name()).unwrap_err().kind(),
        ErrorKind::Name
    );
    assert!(list(&mut lab).is_empty());
    assert!(lab.core.names.programs().is_empty());
    assert!(lab.core.processes[&10].names.is_empty());
}

#[test]
fn a_program_is_known_by_its_base_name() {
    let mut lab = Lab::new();
    let conn = lab.manager();
    lab.call(conn, program_body("/usr/bin/srv", "a", false))
        .unwrap();
    lab.call(conn, program_body("srv", "b", false)).unwrap();
    let again = lab.call(conn, program_body("/opt/srv", "a", true));
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Exists);
    let relative = lab.call(conn, program_body("srv", "c", true));
    assert_eq!(relative.unwrap_err().kind(), ErrorKind::Invalid);
    for bad in ["", "/", "..", "a\0b"] {
        let error = lab.call(conn, program_body(bad, "c", false)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
    }

    lab.process(10, "srv");
    let names = list(&mut lab);
    assert_eq!(names.len(), 2);
    for info in &names {
        assert_eq!(info.balance(), Balance::Spill);
        assert_eq!(info.processes, [10]);
        assert_eq!(info.programs, ["srv"]);
    }

    let unbind = |program: &str, name: Option<&str>| {
        Body::UnbindProgram(UnbindProgram {
            program: program.to_owned(),
            name: name.map(str::to_owned),
        })
    };
    lab.call(conn, unbind("/elsewhere/srv", Some("a"))).unwrap();
    assert!(list(&mut lab)[0].processes.is_empty());
    let error = lab.call(conn, unbind("srv", Some("a"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    lab.call(conn, unbind("srv", None)).unwrap();
    let error = lab.call(conn, unbind("srv", None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(list(&mut lab).iter().all(|info| info.processes.is_empty()));
}

#[test]
fn a_program_that_runs_already_serves_the_name_too() {
    let mut lab = Lab::new();
    let server = lab.process(10, "srv");
    let accept = lab.start(server, accept_body(None));
    let conn = lab.manager();
    lab.call(conn, program_body("/usr/bin/srv", "a", false))
        .unwrap();
    let client = lab.process(11, "client");
    let alloc = lab.start(client, alloc_body("a"));
    lab.flow(client, alloc);
    lab.flow(server, accept);
}

#[test]
fn binding_waits_a_moment_for_the_process() {
    let mut lab = Lab::new();
    let conn = lab.manager();
    let early = lab.start(conn, bind_body(10, "n"));
    assert!(lab.answer(conn, early).is_none());
    lab.process(10, "srv");
    assert_eq!(lab.outcome(conn, early).unwrap(), Body::Done(Empty {}));
    let again = lab.call(conn, bind_body(10, "n")).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Exists);

    let never = lab.start(conn, bind_body(12, "n"));
    lab.advance(limits::BIND_WAIT - Duration::from_nanos(1));
    assert!(lab.answer(conn, never).is_none());
    lab.advance(Duration::from_nanos(1));
    assert_eq!(lab.failure(conn, never), ErrorKind::NotFound);

    let unbind = |pid, name: Option<&str>| {
        Body::UnbindProcess(BindProcess {
            pid,
            name: name.map(str::to_owned),
        })
    };
    lab.call(conn, unbind(10, Some("n"))).unwrap();
    let error = lab.call(conn, unbind(10, Some("n"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    lab.bind(conn, 10, "n");
    lab.bind(conn, 10, "m");
    lab.call(conn, unbind(10, None)).unwrap();
    assert!(list(&mut lab).iter().all(|info| info.processes.is_empty()));
    let error = lab.call(conn, unbind(77, None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn strangers_bind_their_own_processes_and_nothing_else() {
    let mut lab = Lab::new();
    lab.process(10, "owners");
    let stranger = lab.process_as(20, STRANGER, "strangers");
    lab.bind(stranger, 20, "n");
    let error = lab.call(stranger, bind_body(10, "n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    for body in [
        program_body("/bin/x", "n", true),
        name_body("m", Balance::Spill),
        Body::ListNames(Empty {}),
        Body::ListIpcps(Empty {}),
        Body::Status(Empty {}),
        Body::DestroyName(NameRef {
            name: "n".to_owned(),
        }),
        reg_body("n", 1),
        Body::DestroyIpcp(o7s::control::Pid { pid: 10 }),
    ] {
        let error = lab.call(stranger, body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permission);
        assert!(error.to_string().contains("user 1000, root"), "{error}");
    }
    let owner = lab.manager();
    lab.bind(owner, 20, "m");
}

#[test]
fn a_stranger_cannot_make_names_without_end() {
    let mut lab = Lab::new();
    let stranger = lab.process_as(20, STRANGER, "s");
    for number in 0..limits::NAMES_PER_USER {
        lab.bind(stranger, 20, &format!("n{number}"));
    }
    let error = lab.call(stranger, bind_body(20, "more")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoMemory);
    let owner = lab.manager();
    lab.call(owner, name_body("more", Balance::Spill)).unwrap();
}
