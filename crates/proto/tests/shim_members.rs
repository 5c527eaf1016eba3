//! Names with several members, members that are not there, and first messages that are lost.

mod shim_rig;

use o7s_proto::shim::{Address, DownReason, FlowKey, Refusal};
use o7s_wire::shim::Message;
use shim_rig::{
    KINDS, Kind, MS, Manner, Net, Outcome, S,
    messages::{frame, source},
};

/// A name that nodes 1 and 2 have; over UDP the resolver gives 1 first.
fn two_members(seed: u64) -> Net {
    let mut net = Net::new(Kind::Udp, 3, seed);
    net.register(1, "oping");
    net.register(2, "oping");
    net
}

fn granted(net: &Net, flow: u64) -> (std::time::Duration, usize) {
    let (after, outcome) = net.outcome(0, flow).expect("an outcome");
    assert!(matches!(outcome, Outcome::Granted(_)), "{outcome:?}");
    let (member, _) = net.other_end(0, flow).expect("both ends");
    (after, member)
}

#[test]
fn the_next_address_is_asked_after_a_quarter_of_a_second() {
    let mut net = two_members(1);
    net.dead.insert(1);
    net.alloc(0, 1, "oping");
    net.run(S * 2);
    assert_eq!(granted(&net, 1), (MS * 252, 2));
    // The one that is alive is asked no more than once, and before that nobody else.
    let requests = |net: &Net, to: Address| {
        let of = net.log.iter().filter(|(from, at, bytes)| {
            *from == 0 && *at == to && bytes.len() > 4 && bytes[44] == 1
        });
        of.count()
    };
    assert_eq!(requests(&net, Kind::Udp.address(2)), 1);
    assert_eq!(requests(&net, Kind::Udp.address(1)), 1);
}

#[test]
fn the_next_address_is_asked_as_soon_as_one_refuses() {
    for code in [-1007, -1003, -16] {
        let mut net = two_members(2);
        net.nodes[1].manner = Manner::Refuse(code);
        net.alloc(0, 1, "oping");
        net.run(S);
        assert_eq!(granted(&net, 1), (MS * 4, 2));
    }
    // What concerns who we are is final.
    let mut net = two_members(3);
    net.nodes[1].manner = Manner::Refuse(-1009);
    net.alloc(0, 1, "oping");
    net.run(S);
    let refused = Outcome::Refused(Refusal::Peer(-1009));
    assert_eq!(net.outcome(0, 1), Some((MS * 2, refused)));
}

#[test]
fn all_refuse() {
    let mut net = two_members(4);
    net.nodes[1].manner = Manner::Refuse(-1007);
    net.nodes[2].manner = Manner::Refuse(-16);
    net.alloc(0, 1, "oping");
    net.run(S);
    let refused = Outcome::Refused(Refusal::Peer(-16));
    assert_eq!(net.outcome(0, 1), Some((MS * 4, refused)));
    assert_eq!(net.nodes[0].shim.stats().flows, 0);
}

#[test]
fn an_address_where_nobody_is() {
    let mut net = two_members(5);
    net.dead.insert(1);
    net.alloc(0, 1, "oping");
    net.run(MS);
    let (now, gone) = (net.now, Kind::Udp.address(1));
    let quoted = net.log[0].2.clone();
    assert!(net.nodes[0].shim.unreachable(now, gone, &quoted[..8]));
    net.run(S);
    assert_eq!(granted(&net, 1), (MS * 3, 2));
    // With no other, it is told at once, and by its name.
    let mut net = Net::new(Kind::Udp, 2, 6);
    net.register(1, "oping");
    net.dead.insert(1);
    net.alloc(0, 1, "oping");
    net.run(MS);
    let now = net.now;
    let quoted = net.log[0].2.clone();
    let mut guessed = quoted.clone();
    guessed[7] ^= 1;
    let shim = &mut net.nodes[0].shim;
    // Another address; too little of the request; an endpoint that is none; a packet of a flow.
    assert!(!shim.unreachable(now, Kind::Udp.address(7), &quoted));
    assert!(!shim.unreachable(now, gone, &quoted[..7]));
    assert!(!shim.unreachable(now, gone, &guessed));
    assert!(!shim.unreachable(now, gone, &quoted[4..]));
    net.run(MS);
    assert_eq!(net.outcome(0, 1), None);
    assert!(net.nodes[0].shim.unreachable(now, gone, &quoted));
    net.run(MS);
    let refused = Outcome::Refused(Refusal::Unreachable(gone));
    assert_eq!(net.outcome(0, 1).map(|(_, outcome)| outcome), Some(refused));
    let stats = net.nodes[0].shim.stats();
    assert_eq!((stats.flows, stats.endpoints, stats.unreachable), (0, 0, 1));
    // It may come back: the address is asked again.
    net.dead.clear();
    net.start = net.now;
    net.alloc(0, 2, "oping");
    net.run(S);
    assert_eq!(granted(&net, 2), (MS * 2, 1));
}

/// Both accept: the first answer wins, and the other end is over at once.
#[test]
fn a_late_answer_is_given_back() {
    let mut net = two_members(7);
    net.nodes[1].manner = Manner::Accept(MS * 600);
    net.alloc(0, 1, "oping");
    net.run(S * 5);
    assert_eq!(granted(&net, 1), (MS * 252, 2));
    assert_eq!(net.nodes[1].flows().len(), 0);
    assert_eq!(net.nodes[1].shim.stats().given_back, 1);
    let [(_, reason)] = net.nodes[1].downs[..] else {
        panic!("{:?}", net.nodes[1].downs);
    };
    assert_eq!(reason, DownReason::PeerLeft);
    // The flow itself goes on.
    net.send(0, FlowKey(1), b"hello");
    net.run(S);
    assert_eq!(net.nodes[2].received.len(), 1);
}

/// A program gave its allocation up: who accepts it afterwards does not keep a flow with nobody.
#[test]
fn an_answer_to_an_allocation_that_is_given_up() {
    for kind in KINDS {
        let mut net = Net::new(kind, 2, 8);
        net.register(1, "oping");
        net.nodes[1].manner = Manner::Accept(MS * 500);
        net.alloc(0, 1, "oping");
        net.run(MS * 100);
        let now = net.now;
        net.nodes[0]
            .shim
            .dealloc(now, FlowKey(1), S)
            .expect("it is under way");
        net.run(S);
        assert_eq!(net.nodes[1].flows().len(), 0, "{kind:?}");
        assert_eq!(net.nodes[1].shim.stats().given_back, 1);
    }
}

/// Only the peer of a new flow can give it back.
#[test]
fn flows_are_not_ended_by_others() {
    for kind in KINDS {
        let mut net = Net::new(kind, 3, 9);
        net.register(1, "oping");
        net.alloc(0, 1, "oping");
        net.run(S);
        let (_, end) = net.other_end(0, 1).expect("both ends");
        let path = net.nodes[1].path(end).expect("it is up");
        let back = |acceptor, repeats| Message::FlowReply {
            requester: path.local,
            acceptor,
            response: -104,
            piggyback: b"",
            repeats,
        };
        let now = net.now;
        for (from, message) in [
            (2, back(path.peer, true)),
            (0, back(path.peer + 1, true)),
            (0, back(path.peer, false)),
        ] {
            let bytes = frame(kind, from, 1, &message);
            net.nodes[1].receive(now, &bytes, source(kind, from));
            assert_eq!(net.nodes[1].downs, [], "{kind:?}");
        }
        // Nor an old one by anybody.
        let message = back(path.peer, true);
        let bytes = frame(kind, 0, 1, &message);
        net.nodes[1].receive(now + S * 31, &bytes, source(kind, 0));
        assert_eq!(net.nodes[1].downs, []);
    }
}

/// A first request over UDP that is lost, or its answer: the peer is found to be one of ours, to which the
/// request can be repeated.
#[test]
fn a_lost_first_request_or_reply_between_nodes_of_ours() {
    for kind in KINDS {
        for lost in ["request", "reply"] {
            let mut net = Net::new(kind, 2, 10);
            net.register(1, "oping");
            if kind != Kind::Udp {
                // The name is known, and with it who has it.
                net.query(0, 1, "oping", S);
                net.run(S);
            }
            net.start = net.now;
            if lost == "request" {
                net.dead.insert(1);
            }
            net.alloc(0, 1, "oping");
            net.dead.insert(0);
            net.run(MS * 10);
            net.dead.clear();
            net.run(S * 2);
            let (after, _) = granted(&net, 1);
            assert!(after < MS * 260, "{kind:?} {lost} {after:?}");
            assert_eq!(net.nodes[1].flows().len(), 1);
        }
    }
}

/// A peer of 0.23 gets a request once: it would make a second flow of another. The question whether it is of
/// ours it drops.
#[test]
fn a_lost_first_request_to_a_node_of_0_23() {
    for kind in KINDS {
        let mut net = Net::new(kind, 2, 11);
        net.nodes[1] = {
            let mut config = kind.config(1);
            config.repeats = false;
            shim_rig::Node::new(config, 5, net.now)
        };
        net.register(1, "oping");
        net.query(0, 1, "oping", S);
        net.run(S);
        net.dead.insert(1);
        net.start = net.now;
        net.alloc(0, 1, "oping");
        net.run(MS * 10);
        net.dead.clear();
        net.run(S * 30);
        let silence = Outcome::Refused(Refusal::Silence { after: S * 21 });
        assert_eq!(net.outcome(0, 1), Some((S * 21, silence)), "{kind:?}");
        assert_eq!(net.nodes[0].shim.stats().requests_repeated, 0);
        assert_eq!(net.nodes[1].shim.stats().requests_arrived, 0);
        let probes = net.nodes[0].shim.stats().probes_sent;
        assert_eq!(probes > 0, kind == Kind::Udp);
        assert!(probes < 20, "{probes}");
    }
}
