//! Captures of unicast layers of 0.23: a whole node of ours in the place of each member says what that one
//! said, byte for byte but for the identifiers that it draws, and hears from its peers what that one heard.
//!
//! What it says besides is bounded: its directory asks more (`spec/directory-enrollment.md` §8), and its
//! updates are numbered one ahead, since the first is repeated (`spec/unicast.md` §14 trap 17).

mod conversation;
mod unicast_replay;

use std::{ops::Range, time::Duration};

use o7s_proto::unicast::{NodeError, Outcome};
use o7s_wire::{
    dht::Body,
    dt::Address,
    enroll::{Layer, LayerConfig, UnicastConfig},
    hash::DirHash,
    name::Name,
};
use unicast_replay::{Cut, Part, Report, Said, replay};

/// MAC addresses of the hosts.
const A: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];
const B_TO_C: [u8; 6] = [2, 0, 0, 0, 0, 0x1b];
const C: [u8; 6] = [2, 0, 0, 0, 0, 0x0c];

/// Addresses in 06, 07 and 12 (`captures/README.md`).
const A_06: Address = Address::new(0x3462_727b);
const B_06: Address = Address::new(0xa669_a813);
const A_07: Address = Address::new(0x7e1b_3b82);
const B_07: Address = Address::new(0x3961_9e72);
const C_07: Address = Address::new(0x0c8e_bf7b);
const A_12: Address = Address::new(0x3729_721a);
const B_12: Address = Address::new(0xe283_f663);

/// When nothing passed between B and C, since the first frame at A; the file of C begins this much later.
const CUT: Range<Duration> = Duration::from_millis(18_925)..Duration::from_millis(36_950);
const LATER: Duration = Duration::from_micros(3_121_600);

/// A member that starts or enters a layer and stays.
fn part(captures: &'static [&'static str], host: &'static [[u8; 6]]) -> Part {
    Part {
        captures,
        host,
        bootstrap: None,
        leaves: None,
        cut: None,
    }
}

/// The layer as its first member starts it: times of link state in s.
fn layer(t_recalc: u32, t_update: u32, t_timeo: u32) -> Option<LayerConfig> {
    let mut unicast = UnicastConfig::default();
    unicast.dt.routing.t_recalc = t_recalc;
    unicast.dt.routing.t_update = t_update;
    unicast.dt.routing.t_timeo = t_timeo;
    Some(LayerConfig {
        name: Name::new("uni").expect("a name"),
        hash: DirHash::Sha3_256,
        layer: Layer::Unicast(unicast),
    })
}

/// The member `own` said all of its captured words, `same` packets, in no others, and little besides.
#[track_caller]
fn check(report: &Report, own: Address, same: usize) {
    assert_eq!(report.unsaid, []);
    assert_eq!(report.other, []);
    assert_eq!(report.same.len(), same);
    assert_eq!(report.warnings, [""; 0]);
    for added in &report.added {
        match added {
            Said::Directory(_, message) => {
                assert_eq!(message.src.address, own);
                let asks = matches!(message.body, Body::FindNodeReq(_) | Body::FindValueReq(_));
                assert!(
                    asks || matches!(message.body, Body::Store { .. }),
                    "{message:?}"
                );
            }
            Said::Update(update) => assert_eq!(update.source, own),
            other => panic!("{other:?}"),
        }
    }
}

/// How many updates of its own links, and messages of its directory, a member said besides.
fn added(report: &Report) -> [usize; 2] {
    let updates = report.added.iter();
    let updates = updates.filter(|said| matches!(said, Said::Update(_)));
    let updates = updates.count();
    [updates, report.added.len() - updates]
}

/// How the operations of a member ended: (joined, done, allocated, failed).
fn outcomes(report: &Report) -> (usize, usize, usize, Vec<&NodeError>) {
    let (mut joined, mut done, mut allocated, mut failed) = (0, 0, 0, Vec::new());
    for outcome in &report.done {
        match outcome {
            Ok(Outcome::Joined(config)) => {
                assert_eq!(config.name.as_str(), "uni");
                joined += 1;
            }
            Ok(Outcome::Done) => done += 1,
            Ok(Outcome::Allocated { data, .. }) => {
                // OAP: fixed part, and the hash of the request.
                assert_eq!(data.len(), 36 + 48);
                allocated += 1;
            }
            Err(error) => failed.push(error),
        }
    }
    (joined, done, allocated, failed)
}

/// 06: A starts the layer, enrolls B, registers oping and serves it.
#[test]
fn first_of_two_members() {
    let report = replay(Part {
        bootstrap: layer(4, 5, 60),
        ..part(&["06-unicast-2nodes"], &[A])
    });
    check(&report, A_06, 22);
    assert_eq!(outcomes(&report), (1, 1, 0, Vec::new()));
    assert_eq!(added(&report), [0, 3]);
    // Three pings; five packets of FRCP.
    assert_eq!(report.received, 7);
}

/// 06: B enrolls with A, pings oping, finds no `nosuch`, and leaves.
#[test]
fn second_of_two_members() {
    let report = replay(Part {
        leaves: Some(Duration::from_secs(21)),
        ..part(&["06-unicast-2nodes"], &[B])
    });
    check(&report, B_06, 22);
    // Connected twice, registered, disconnected twice.
    let unreachable = NodeError::Unreachable;
    assert_eq!(outcomes(&report), (1, 5, 2, vec![&unreachable]));
    // The link is taken back, which 0.23 does not do.
    assert_eq!(added(&report), [2, 4]);
    assert_eq!(report.received, 5);
}

/// 07: A at the end of the line pings C, before and after the link B–C was cut.
#[test]
fn first_of_a_line() {
    let report = replay(Part {
        bootstrap: layer(2, 3, 10),
        cut: Some(Cut {
            member: C_07,
            flows: usize::MAX,
            time: CUT,
        }),
        ..part(&["07-line-AB"], &[A])
    });
    check(&report, A_07, 41);
    assert_eq!(outcomes(&report), (1, 0, 3, Vec::new()));
    assert_eq!(added(&report), [0, 3]);
    assert_eq!(report.received, 10);
}

/// 07: B in the middle enrolls with A, enrolls C, floods updates and forwards packets between them.
#[test]
fn middle_of_a_line() {
    let report = replay(Part {
        cut: Some(Cut {
            member: C_07,
            flows: 3,
            time: CUT,
        }),
        ..part(&["07-line-AB", "07-line-BC"], &[B, B_TO_C])
    });
    check(&report, B_07, 114);
    assert_eq!(outcomes(&report), (1, 2, 0, Vec::new()));
    assert_eq!(added(&report), [0, 5]);
    assert_eq!(report.received, 0);
}

/// 07: C at the other end registers oping and serves it.
#[test]
fn last_of_a_line() {
    let report = replay(Part {
        cut: Some(Cut {
            member: B_07,
            flows: 0,
            time: CUT.start - LATER..CUT.end - LATER,
        }),
        ..part(&["07-line-BC"], &[C])
    });
    check(&report, C_07, 31);
    assert_eq!(outcomes(&report), (1, 3, 0, Vec::new()));
    // What it says after the cut: it had given the others up.
    assert_eq!(added(&report), [0, 16]);
    assert_eq!(report.received, 11);
}

/// 12: A's packets are marked, and B's reports of congestion arrive.
#[test]
fn sender_of_a_congested_flow() {
    let report = replay(Part {
        bootstrap: layer(4, 30, 60),
        ..part(&["12-mb-ecn"], &[A])
    });
    check(&report, A_12, 520);
    assert_eq!(outcomes(&report), (1, 0, 1, Vec::new()));
    assert_eq!(added(&report), [1, 1]);
    assert_eq!(report.levels.len(), 32);
    assert_eq!(report.levels[..4], [1, 3, 11, 19]);
    assert_eq!(report.levels[30..], [279, 0]);
}

/// 12: B reports the congestion of the packets that arrive.
#[test]
fn receiver_of_a_congested_flow() {
    let report = replay(part(&["12-mb-ecn"], &[B]));
    check(&report, B_12, 41);
    assert_eq!(outcomes(&report), (1, 3, 0, Vec::new()));
    assert_eq!(added(&report), [1, 4]);
    assert_eq!(report.received, 512);
}

/// x4: data is connected, management is not: each side says who it is, and nothing follows.
#[test]
fn members_without_management() {
    for (host, bootstrap) in [(&[A], layer(4, 5, 60)), (&[B], None)] {
        let own = Address::new(if host == &[A] {
            0x7f6e_a1c6
        } else {
            0xfbfb_285a
        });
        let report = replay(Part {
            bootstrap,
            ..part(&["x4-query-race"], host)
        });
        check(&report, own, if host == &[A] { 3 } else { 4 });
        assert_eq!(added(&report), [0, 0]);
    }
}
