//! What the configuration file describes is set up, tried again, and kept.

use std::{path::Path, time::Duration};

use o7s::{
    DirHash, ErrorKind,
    control::{Body, ConnectIpcp, IpcpJoined, LayerInfo, NameRef, Pid},
    irm::{DT_COMP, MGMT_COMP},
};

use crate::{
    config::Config,
    core::{ConnId, Report, lab::*, limits},
};

const SECOND: Duration = Duration::from_secs(1);

/// Begins to carry out a file.
pub(super) fn configure(lab: &mut Lab, text: &str) {
    let config = Config::parse(Path::new("irmd.conf"), text).unwrap();
    lab.core.configure(&mut lab.fake, config);
}

fn joined(layer: &str) -> Body {
    Body::IpcpJoined(IpcpJoined {
        layer: LayerInfo {
            name: layer.to_owned(),
            dir_hash: DirHash::Sha3_256 as u32,
        },
        shares_segments: false,
    })
}

/// What the daemon says that each of its IPCPs waits for.
fn waits(lab: &Lab) -> Vec<String> {
    let list = lab.core.list_ipcps(lab.fake.now).ipcps;
    list.into_iter().map(|ipcp| ipcp.waits).collect()
}

/// Waits for the next try; how long that was.
fn next_try(lab: &mut Lab) -> Duration {
    let at = lab.core.next_deadline().expect("a next try");
    let time = at - lab.fake.now;
    lab.advance(time);
    time
}

/// Answers a request to register or connect.
fn do_as_asked(lab: &mut Lab, channel: ConnId) -> Body {
    let (id, body) = lab.asked(channel);
    lab.done(channel, id);
    body
}

fn connect_of(body: Body) -> (String, String) {
    match body {
        Body::IpcpConnect(connect) => (connect.dst, connect.component),
        other => panic!("no connect: {other:?}"),
    }
}

/// The entry of a member that enrolls with `a`.
const MEMBER: &str =
    "[unicast.b]\nenrol = \"a\"\nautobind = true\nreg = [\"svc\"]\nconn = [\"a\"]\n";

/// Lets an IPCP do all that its entry asks for; its pid and channel.
fn completes(lab: &mut Lab) -> (i32, ConnId) {
    let (pid, channel) = lab.comes_up();
    let (id, body) = lab.asked(channel);
    assert!(matches!(body, Body::IpcpEnroll(dst) if dst.name == "a"));
    lab.send(channel, id, joined("lan"));
    assert!(matches!(do_as_asked(lab, channel), Body::IpcpReg(_)));
    for component in [MGMT_COMP, DT_COMP] {
        let asked = connect_of(do_as_asked(lab, channel));
        assert_eq!(asked, ("a".to_owned(), component.to_owned()));
    }
    assert_eq!(waits(lab), [""]);
    let bound = |name| {
        let entry = lab.core.names.get(name);
        entry.is_some_and(|entry| entry.processes.contains(&pid))
    };
    assert!(bound("b") && bound("lan"));
    (pid, channel)
}

#[test]
fn entries_are_carried_out_in_their_order() {
    let mut lab = Lab::new();
    configure(
        &mut lab,
        "[name.n]\nprog = [\"/x/o\", \"/y/o\"]\n[local.l]\nbootstrap = \"home\"\n\
         [local.spare]\n",
    );
    assert!(lab.core.names.get("n").is_some());
    assert_eq!(lab.fake.children.len(), 1, "one after the other");
    let (_, channel) = lab.comes_up();
    assert_eq!(waits(&lab), ["about to bootstrap \"home\""]);
    let (id, body) = lab.asked(channel);
    assert!(matches!(body, Body::IpcpBootstrap(_)));
    assert_eq!(lab.core.take_report(), None);
    lab.send(channel, id, joined("home"));
    lab.comes_up();
    let report = Report {
        entries: 3,
        failed: 1,
        late: 0,
    };
    assert_eq!(lab.core.take_report(), Some(report));
    assert_eq!(lab.core.take_report(), None, "once");
    assert_eq!(waits(&lab), ["", ""]);
    lab.core.stop(&mut lab.fake);
    let error = lab.core.configured().unwrap_err().to_string();
    assert!(error.starts_with("1 of 3 entries"), "{error}");
}

#[test]
fn an_enrollment_that_fails_is_tried_again_with_growing_delays() {
    let mut lab = Lab::new();
    configure(&mut lab, MEMBER);
    let (_, channel) = lab.comes_up();
    let mut expected = limits::KEEP_FIRST;
    for attempt in 0..12 {
        let (id, body) = lab.asked(channel);
        assert!(matches!(body, Body::IpcpEnroll(_)));
        lab.refuse(channel, id, ErrorKind::TimedOut);
        let late = (attempt == 0).then_some(Report {
            entries: 1,
            failed: 0,
            late: 1,
        });
        assert_eq!(lab.core.take_report(), late, "the daemon does not wait");
        let [told] = &waits(&lab)[..] else {
            panic!("one IPCP")
        };
        let begin = "waits to enroll with \"a\": refused by the layer; next try in ";
        assert!(told.starts_with(begin) && told.ends_with(" s"), "{told}");
        let delay = next_try(&mut lab);
        assert!(
            delay >= expected * 3 / 4 && delay <= expected * 5 / 4,
            "{delay:?} {attempt}"
        );
        expected = (expected * 2).min(limits::KEEP_MAX);
    }
    let (id, _) = lab.asked(channel);
    lab.send(channel, id, joined("lan"));
    // What follows is not late any more.
    do_as_asked(&mut lab, channel);
    do_as_asked(&mut lab, channel);
    do_as_asked(&mut lab, channel);
    assert_eq!(waits(&lab), [""]);
    lab.core.stop(&mut lab.fake);
    assert!(lab.core.configured().is_ok());
}

#[test]
fn one_that_died_is_started_again_and_all_is_done_anew() {
    let mut lab = Lab::new();
    configure(&mut lab, MEMBER);
    let (first, _) = completes(&mut lab);
    lab.advance(limits::KEPT_STEADY);
    lab.child_exited(first);
    let list = lab.core.list_ipcps(lab.fake.now);
    assert!(list.ipcps.is_empty());
    let told = &list.absent[0].waits;
    assert!(told.starts_with("waits to start: IPCP b ("), "{told}");
    let delay = next_try(&mut lab);
    assert!(delay <= limits::KEEP_FIRST * 5 / 4, "{delay:?}");
    let (second, _) = completes(&mut lab);
    assert_ne!(first, second);
}

#[test]
fn one_that_dies_again_and_again_is_started_ever_more_slowly() {
    let mut lab = Lab::new();
    configure(&mut lab, "[local.l]\n");
    let begin = lab.fake.now;
    let mut starts = 0;
    while lab.fake.now < begin + 100 * SECOND {
        let (pid, _) = lab.comes_up();
        starts += 1;
        lab.advance(Duration::from_millis(1));
        lab.child_exited(pid);
        next_try(&mut lab);
    }
    assert!((12..25).contains(&starts), "{starts}");
}

#[test]
fn a_program_that_cannot_be_started_is_tried_again() {
    let mut lab = Lab::new();
    lab.fake.no_program = true;
    configure(&mut lab, "[local.l]\n[local.m]\n");
    let report = lab.core.take_report().unwrap();
    assert_eq!((report.entries, report.late), (2, 2));
    next_try(&mut lab);
    lab.fake.no_program = false;
    for _ in 0..2 {
        while lab.fake.children.is_empty() {
            next_try(&mut lab);
        }
        lab.comes_up();
    }
}

#[test]
fn a_neighbour_that_left_is_connected_again() {
    let mut lab = Lab::new();
    configure(&mut lab, MEMBER);
    let (pid, channel) = completes(&mut lab);
    lab.advance(limits::KEPT_STEADY);
    let left = |component: &str| {
        Body::IpcpParted(ConnectIpcp {
            dst: "a".to_owned(),
            component: component.to_owned(),
            ..ConnectIpcp::default()
        })
    };
    lab.send(channel, 0, left(DT_COMP));
    lab.send(channel, 0, left(DT_COMP));
    lab.send(channel, 0, left(MGMT_COMP));
    // Nobody asked for that one.
    lab.send(
        channel,
        0,
        Body::IpcpParted(ConnectIpcp {
            dst: "c".to_owned(),
            component: DT_COMP.to_owned(),
            ..ConnectIpcp::default()
        }),
    );
    assert!(waits(&lab)[0].starts_with("waits; next try in"));
    next_try(&mut lab);
    // The first fails: the second would, too, and is not tried.
    let (id, body) = lab.asked(channel);
    assert_eq!(connect_of(body).1, MGMT_COMP);
    lab.refuse(channel, id, ErrorKind::Ipcp);
    let told = &waits(&lab)[0];
    assert!(
        told.starts_with("waits to connect Management to \"a\":"),
        "{told}"
    );
    next_try(&mut lab);
    assert_eq!(connect_of(do_as_asked(&mut lab, channel)).1, MGMT_COMP);
    // One that is there still is as good as a new one.
    let (id, body) = lab.asked(channel);
    assert_eq!(connect_of(body).1, DT_COMP);
    lab.refuse(channel, id, ErrorKind::Exists);
    assert_eq!(waits(&lab), [""]);
    assert_eq!(lab.core.list_ipcps(lab.fake.now).ipcps[0].pid, pid);
}

#[test]
fn what_is_done_by_hand_is_not_done_again() {
    let mut lab = Lab::new();
    configure(&mut lab, "[unicast.b]\nenrol = \"a\"\n");
    let (pid, channel) = lab.comes_up();
    let (id, _) = lab.asked(channel);
    lab.refuse(channel, id, ErrorKind::TimedOut);
    let manager = lab.manager();
    let boot = o7s::control::BootstrapIpcp {
        pid,
        config: config_of(o7s::irm::IpcpType::Unicast, "own"),
    };
    let request = lab.start(manager, Body::BootstrapIpcp(boot));
    let (id, _) = lab.asked(channel);
    lab.send(channel, id, joined("own"));
    lab.outcome(manager, request).unwrap();
    next_try(&mut lab);
    assert_eq!(waits(&lab), [""]);
}

#[test]
fn a_membership_that_is_told_late_counts() {
    let mut lab = Lab::new();
    configure(&mut lab, "[unicast.b]\nenrol = \"a\"\n");
    let (_, channel) = lab.comes_up();
    let (id, _) = lab.asked(channel);
    lab.advance(limits::IPCP_REMOTE_CALL);
    assert!(
        waits(&lab)[0].contains("did not answer to"),
        "{:?}",
        waits(&lab)
    );
    lab.send(channel, id, joined("lan"));
    next_try(&mut lab);
    assert_eq!(waits(&lab), [""]);
    assert_eq!(lab.core.list_ipcps(lab.fake.now).ipcps[0].layer, "lan");
}

#[test]
fn one_that_is_destroyed_by_request_stays_away() {
    let mut lab = Lab::new();
    configure(&mut lab, MEMBER);
    let (pid, _) = completes(&mut lab);
    let manager = lab.manager();
    let id = lab.start(manager, Body::DestroyIpcp(Pid { pid }));
    lab.child_exited(pid);
    lab.outcome(manager, id).unwrap();
    lab.advance(100 * SECOND);
    assert!(lab.core.list_ipcps(lab.fake.now).ipcps.is_empty());
    lab.core.stop(&mut lab.fake);
    assert!(lab.core.configured().is_ok());
}

#[test]
fn one_that_does_not_run_can_be_destroyed_too() {
    let forget = |name: &str| {
        Body::ForgetIpcp(NameRef {
            name: name.to_owned(),
        })
    };
    for runs in [false, true] {
        let mut lab = Lab::new();
        configure(&mut lab, MEMBER);
        let (pid, _) = completes(&mut lab);
        let manager = lab.manager();
        let error = lab.call(manager, forget("c")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        if !runs {
            lab.child_exited(pid);
            assert_eq!(lab.core.list_ipcps(lab.fake.now).absent[0].name, "b");
        }
        let id = lab.start(manager, forget("b"));
        if runs {
            lab.child_exited(pid);
        }
        lab.outcome(manager, id).unwrap();
        let children = lab.fake.children.len();
        lab.advance(100 * SECOND);
        let list = lab.core.list_ipcps(lab.fake.now);
        assert!(list.ipcps.is_empty() && list.absent.is_empty());
        assert_eq!(lab.fake.children.len(), children, "it is not started again");
        assert!(lab.core.configured().is_ok());
    }
}

#[test]
fn nothing_is_started_while_the_daemon_stops() {
    let mut lab = Lab::new();
    configure(&mut lab, MEMBER);
    let (pid, _) = completes(&mut lab);
    lab.core.stop(&mut lab.fake);
    lab.child_exited(pid);
    assert!(lab.core.is_stopped());
    lab.advance(100 * SECOND);
    assert!(lab.core.is_stopped());
    assert!(lab.core.configured().is_ok());
}
