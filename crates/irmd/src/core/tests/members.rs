//! IPCPs of every type as members of layers: bootstrap, enrollment, neighbours, and as processes
//! that use flows of lower layers.

use o7s::{
    DirHash, ErrorKind,
    control::{
        Body, BootstrapIpcp, ConnectIpcp, EnrollIpcp, FlowInfo, IpcpJoined, IpcpState, IpcpStatus,
        IpcpType, LayerInfo, Pid, StatusSection,
    },
    irm::{DIR_HASH_MD5, DT_COMP, MGMT_COMP},
};

use super::network::{asked_for, bring, response};
use crate::core::{ConnId, lab::*, limits};

fn joined(layer: &str, hash: DirHash) -> Body {
    Body::IpcpJoined(IpcpJoined {
        layer: LayerInfo {
            name: layer.to_owned(),
            dir_hash: hash as u32,
        },
        shares_segments: false,
    })
}

fn enroll_body(pid: i32, dst: &str) -> Body {
    Body::EnrollIpcp(EnrollIpcp {
        pid,
        dst: dst.to_owned(),
    })
}

fn connect(pid: i32, dst: &str, component: &str) -> ConnectIpcp {
    ConnectIpcp {
        pid,
        dst: dst.to_owned(),
        component: component.to_owned(),
        qos: None,
    }
}

#[test]
fn every_type_is_made_and_started_with_the_hash_it_must_have() {
    for ipcp_type in IpcpType::ALL {
        let mut lab = Lab::new();
        let (pid, channel) = lab.ipcp(ipcp_type, "i");
        let manager = lab.manager();
        let mut config = config_of(ipcp_type, "home");
        let expected = match ipcp_type {
            IpcpType::Udp4 | IpcpType::Udp6 => DIR_HASH_MD5,
            IpcpType::Broadcast => DirHash::Sha3_256 as u32,
            _ => DirHash::Sha3_224 as u32,
        };
        // As programs of 0.23 and its configuration file leave it.
        config.layer.dir_hash = 0;
        let boot = BootstrapIpcp {
            pid,
            config: config.clone(),
        };
        let id = lab.start(manager, Body::BootstrapIpcp(boot.clone()));
        let (call, asked) = lab.asked(channel);
        config.layer.dir_hash = expected;
        assert_eq!(asked, Body::IpcpBootstrap(config));
        let hash = DirHash::from_number(expected).unwrap();
        lab.send(channel, call, joined("home", hash));
        assert!(matches!(lab.outcome(manager, id), Ok(Body::Layer(_))));
        let list = lab.core.list_ipcps(lab.fake.now).ipcps;
        assert_eq!(
            (list[0].ipcp_type(), list[0].state()),
            (ipcp_type, IpcpState::Operational)
        );
        assert_eq!((&*list[0].layer, list[0].dir_hash), ("home", expected));
        // Once only.
        let error = lab.call(manager, Body::BootstrapIpcp(boot)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IpcpState, "{error}");
    }
}

#[test]
fn a_name_is_asked_for_by_the_hash_of_each_layer() {
    let mut lab = Lab::new();
    let (_, channel) = lab.layer_of(IpcpType::Udp4, "net", false);
    let client = lab.process(11, "c");
    lab.start(client, alloc_body("oping"));
    match lab.asked(channel).1 {
        Body::IpcpQuery(hash) => {
            assert_eq!(hash.hash, DirHash::Md5.digest(b"oping").as_bytes());
        }
        other => panic!("{other:?}"),
    }
    // And a request that arrives with such a hash finds the name.
    lab.bind(client, 11, "oping");
    let (request, _) = lab.far_request("oping");
    let arrived = o7s::control::FlowReqArr {
        hash: DirHash::Md5.digest(b"oping").as_bytes().to_vec(),
        qos: o7s::QosSpec::RAW.into(),
        mpl_ms: 5000,
        piggyback: request,
        local_flow_id: None,
        max_packet: 0,
    };
    lab.send(channel, 77, Body::FlowReqArr(arrived));
    assert!(matches!(lab.answer(channel, 77), Some(Body::FlowId(_))));
}

#[test]
fn layers_are_asked_in_order_and_the_late_ones_are_named() {
    let mut lab = Lab::new();
    // Made in the wrong order.
    let (_, eth) = lab.layer_of(IpcpType::EthDix, "eth", false);
    let (_, unicast) = lab.layer_of(IpcpType::Unicast, "lan", false);
    let (_, broadcast) = lab.layer_of(IpcpType::Broadcast, "bc", false);
    let client = lab.process(11, "c");
    lab.start(client, alloc_body("far"));
    let (q1, _) = lab.asked(eth);
    let (q2, _) = lab.asked(unicast);
    assert!(lab.fake.sent.iter().all(|(to, ..)| *to != broadcast));
    // The second in order knows it first; the first may still say so.
    lab.done(eth, q1);
    assert!(lab.fake.sent.is_empty());
    lab.done(unicast, q2);
    lab.work_all();
    assert!(matches!(lab.asked(unicast).1, Body::IpcpFlowAlloc(_)));

    let alloc = lab.start(client, alloc_body("nowhere"));
    let (q1, _) = lab.asked(unicast);
    lab.refuse(unicast, q1, ErrorKind::Name);
    lab.advance(limits::QUERY);
    let error = lab.outcome(client, alloc).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("2 layers asked: lan, eth (no answer within 2.5s)"),
        "{error}"
    );
}

#[test]
fn enrollment_goes_through_and_fails_with_the_reason() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    for ipcp_type in [IpcpType::Local, IpcpType::EthLlc, IpcpType::Udp6] {
        let (pid, _) = lab.ipcp(ipcp_type, ipcp_type.as_str());
        let error = lab.call(manager, enroll_body(pid, "lan")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSupported, "{error}");
    }
    for ipcp_type in [IpcpType::Unicast, IpcpType::Broadcast] {
        let (pid, channel) = lab.ipcp(ipcp_type, ipcp_type.as_str());
        let first = lab.start(manager, enroll_body(pid, "lan"));
        let (call, asked) = lab.asked(channel);
        assert!(
            matches!(&asked, Body::IpcpEnroll(dst) if dst.name == "lan"),
            "{asked:?}"
        );
        // Others are served meanwhile.
        assert!(
            lab.call(manager, Body::ListIpcps(o7s::control::Empty {}))
                .is_ok()
        );
        lab.refuse(channel, call, ErrorKind::TimedOut);
        assert_eq!(lab.failure(manager, first), ErrorKind::TimedOut);

        let silent = lab.start(manager, enroll_body(pid, "lan"));
        lab.asked(channel);
        lab.advance(limits::IPCP_REMOTE_CALL);
        let error = lab.outcome(manager, silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ipcp);
        assert!(
            error.to_string().contains("\"enroll\" within 30s"),
            "{error}"
        );

        let last = lab.start(manager, enroll_body(pid, "lan"));
        let (call, _) = lab.asked(channel);
        lab.send(channel, call, joined("lan", DirHash::Sha3_512));
        let layer = lab.outcome(manager, last).unwrap();
        assert!(matches!(layer, Body::Layer(layer) if layer.name == "lan"));
        let again = lab.call(manager, enroll_body(pid, "lan")).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::IpcpState, "{again}");
    }
}

#[test]
fn neighbours_are_connected_by_component() {
    let mut lab = Lab::new();
    let manager = lab.manager();
    let (pid, _) = lab.layer("local");
    let error = lab.call(manager, Body::ConnectIpcp(connect(pid, "n2", DT_COMP)));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Ipcp);
    let (pid, _) = lab.ipcp(IpcpType::Unicast, "early");
    let error = lab.call(manager, Body::ConnectIpcp(connect(pid, "n2", DT_COMP)));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::IpcpState);
    let (pid, _) = lab.layer_of(IpcpType::Broadcast, "bc", false);
    let error = lab.call(manager, Body::ConnectIpcp(connect(pid, "n2", MGMT_COMP)));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);

    let (pid, channel) = lab.layer_of(IpcpType::Unicast, "lan", false);
    let forms: [fn(ConnectIpcp) -> Body; 2] = [Body::ConnectIpcp, Body::DisconnectIpcp];
    for (form, make) in forms.into_iter().zip([true, false]) {
        for component in [MGMT_COMP, DT_COMP] {
            let wanted = connect(pid, "n2", component);
            let id = lab.start(manager, form(wanted.clone()));
            let (call, asked) = lab.asked(channel);
            let told = match asked {
                Body::IpcpConnect(told) if make => told,
                Body::IpcpDisconnect(told) if !make => told,
                other => panic!("{other:?}"),
            };
            assert_eq!(told, wanted);
            assert!(lab.answer(manager, id).is_none());
            lab.done(channel, call);
            assert!(lab.outcome(manager, id).is_ok());
        }
    }
    let id = lab.start(manager, Body::ConnectIpcp(connect(pid, "n3", DT_COMP)));
    let (call, _) = lab.asked(channel);
    lab.refuse(channel, call, ErrorKind::Name);
    assert_eq!(lab.failure(manager, id), ErrorKind::Name);
}

#[test]
fn a_bound_ipcp_accepts_flows_like_a_program() {
    // Bound before it uses flows itself, and after.
    for early in [true, false] {
        let mut lab = Lab::new();
        let (_, eth) = lab.network("eth");
        let (pid, _) = lab.layer_of(IpcpType::Unicast, "lan", false);
        let manager = lab.manager();
        if early {
            lab.bind(manager, pid, "lan");
        }
        let own = lab.process(pid, "ipcpd");
        if !early {
            lab.bind(manager, pid, "lan");
        }
        assert!(lab.call(manager, bind_body(pid, "lan")).is_err());
        let accept = lab.start(own, accept_body(None));

        let (request, _) = lab.far_request("lan");
        let hash = lab.core.ipcp_hash(50_001);
        assert_eq!(hash, DirHash::Sha3_256);
        bring(&mut lab, eth, "lan", request);
        assert!(matches!(lab.answer(eth, 77), Some(Body::FlowId(_))));
        let (call, _) = response(&mut lab, eth);
        lab.done(eth, call);
        let info = lab.flow(own, accept);
        assert_eq!((info.side, info.peer_pid, &*info.name), (1, 50_001, "lan"));

        // Another IPCP of this machine enrolls with it directly.
        let (second, _) = lab.ipcp(IpcpType::Unicast, "n2");
        let other = lab.process(second, "ipcpd");
        let accept = lab.start(own, accept_body(None));
        let alloc = lab.start(other, alloc_body("lan"));
        assert_eq!(lab.flow(own, accept).peer_pid, second);
        assert!(lab.flow(other, alloc).direct);

        let status = lab.core.status(&lab.fake);
        assert_eq!((status.ipcps, status.processes), (3, 0));
        lab.child_exited(pid);
        assert!(!lab.core.processes.contains_key(&pid));
        assert!(lab.core.names.get("lan").unwrap().processes.is_empty());
    }
}

#[test]
fn an_ipcp_is_no_neighbour_of_itself_and_does_not_carry_itself() {
    let mut lab = Lab::new();
    let (_, eth) = lab.network("eth");
    let (low, low_channel) = lab.layer_of(IpcpType::Unicast, "low", false);
    let (high, high_channel) = lab.layer_of(IpcpType::Unicast, "high", false);
    let manager = lab.manager();
    for (pid, name) in [(low, "low"), (high, "high")] {
        lab.bind(manager, pid, name);
    }
    let low_own = lab.process(low, "ipcpd");
    let high_own = lab.process(high, "ipcpd");
    let silent = |lab: &Lab, channel: ConnId| lab.fake.sent.iter().all(|(to, ..)| *to != channel);

    // Its own name is elsewhere too: only layers below are asked, "high" is still beside it.
    lab.start(low_own, accept_body(None));
    lab.start(low_own, alloc_body("low"));
    assert!(silent(&lab, low_channel));
    let (query, _) = lab.asked(high_channel);
    lab.refuse(high_channel, query, ErrorKind::Name);
    let (low_query, _) = lab.asked(eth);
    lab.refuse(eth, low_query, ErrorKind::Name);

    // "high" gets a flow over "low": it stands on it now.
    let flow = over(&mut lab, high_own, low_channel, &[eth]);
    assert_eq!(lab.core.above(low), [low, high].into());
    assert_eq!(lab.core.above(high), [high].into());
    lab.fake.sent.clear();
    lab.start(low_own, alloc_body("far"));
    assert!(silent(&lab, low_channel) && silent(&lab, high_channel));
    lab.asked(eth);
    // A request out of "high" is not for "low", although "low" waits for requests.
    let (request, _) = lab.far_request("low");
    bring(&mut lab, high_channel, "low", request);
    assert!(lab.core.flows.len() == 1);

    // Nor does it get flows from another member of its own layer.
    let (second, channel) = lab.ipcp(IpcpType::Unicast, "low2");
    lab.fake.sent.clear();
    let enrolled = lab.start(manager, enroll_body(second, "low"));
    let (call, _) = lab.asked(channel);
    lab.send(channel, call, joined("low", DirHash::Sha3_256));
    assert!(lab.outcome(manager, enrolled).is_ok());
    assert_eq!(lab.core.above(low), [low, high, second].into());
    lab.child_exited(second);

    lab.call(high_own, dealloc_body(&flow)).unwrap();
    assert_eq!(lab.core.above(low), [low].into());
    // A program that is no IPCP may ask them all.
    lab.fake.sent.clear();
    let client = lab.process(11, "c");
    lab.start(client, alloc_body("far"));
    for channel in [low_channel, high_channel, eth] {
        assert!(matches!(lab.asked(channel).1, Body::IpcpQuery(_)));
    }
}

/// A flow to "far" of a process over a layer that is asked first.
fn over(lab: &mut Lab, client: ConnId, channel: ConnId, others: &[ConnId]) -> FlowInfo {
    lab.fake.sent.clear();
    let alloc = lab.start(client, alloc_body("far"));
    let (request, _) = asked_for(lab, channel);
    for other in others {
        lab.asked(*other);
    }
    let (piggyback, _) = lab.far_response("far", request.piggyback.clone());
    let reply = o7s::control::FlowResponse {
        flow_id: request.flow_id,
        piggyback,
        ..o7s::control::FlowResponse::default()
    };
    lab.send(channel, 0, Body::FlowAllocReply(reply));
    lab.flow(client, alloc)
}

#[test]
fn the_state_of_an_ipcp_is_shown() {
    let mut lab = Lab::new();
    let (pid, channel) = lab.layer_of(IpcpType::Unicast, "lan", false);
    let manager = lab.manager();
    lab.bind(manager, pid, "n1");
    let id = lab.start(manager, Body::ShowIpcp(Pid { pid }));
    let (call, asked) = lab.asked(channel);
    assert!(matches!(asked, Body::IpcpShow(_)));
    let mut section = StatusSection::new("neighbours", &["address", "cost"]);
    section.push([&"1.2.3.4", &7]);
    let told = IpcpStatus {
        sections: vec![section.clone()],
    };
    lab.send(channel, call, Body::IpcpStatus(told));
    let Ok(Body::IpcpStatus(status)) = lab.outcome(manager, id) else {
        panic!("no status");
    };
    let [head, rest] = &*status.sections else {
        panic!("{status:?}");
    };
    assert_eq!(*rest, section);
    let value = |property: &str| {
        let row = head.rows.iter().find(|row| row.cells[0] == property);
        row.map(|row| row.cells[1].clone())
    };
    assert_eq!(value("layer").as_deref(), Some("lan"));
    assert_eq!(value("bound_to").as_deref(), Some("n1"));
    assert_eq!(value("pid"), Some(pid.to_string()));

    let error = lab
        .call(manager, Body::ShowIpcp(Pid { pid: 3 }))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let stranger = lab.process_as(12, STRANGER, "x");
    let error = lab.call(stranger, Body::ShowIpcp(Pid { pid })).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
}
