//! The framework with an IPCP of type local.

use super::*;
use crate::local::{Local, MPL_MS};
use o7s::{
    QosSpec,
    control::{
        ConnectIpcp, FlowEnd, FlowId, Hash, IpcpFlowAlloc, IpcpStatus, IpcpType, NameRef,
        StatusSection,
    },
};
use proptest::prelude::*;

fn config(ipcp_type: IpcpType, dir_hash: u32) -> Body {
    Body::IpcpBootstrap(IpcpConfig {
        ipcp_type: ipcp_type.into(),
        layer: LayerInfo {
            name: "home".to_owned(),
            dir_hash,
        },
        ..IpcpConfig::default()
    })
}

fn hash(name: &str) -> Vec<u8> {
    DirHash::Sha3_256
        .digest(name.as_bytes())
        .as_bytes()
        .to_vec()
}

fn alloc(flow_id: u64, name: &str) -> Body {
    Body::IpcpFlowAlloc(IpcpFlowAlloc {
        flow_id,
        hash: hash(name),
        qos: QosSpec::RAW.into(),
        piggyback: vec![7],
        end: None,
    })
}

fn response(flow_id: u64, refusal: Option<Failure>) -> FlowResponse {
    FlowResponse {
        flow_id,
        refusal,
        piggyback: vec![8],
        ..FlowResponse::default()
    }
}

trait Tell {
    /// A message without descriptors.
    fn tell(&mut self, id: u64, body: Body) -> Vec<(u64, Body)>;
}

impl Tell for Process<Local> {
    fn tell(&mut self, id: u64, body: Body) -> Vec<(u64, Body)> {
        self.message(Instant::now(), id, body, Vec::new())
    }
}

fn local() -> Local {
    Local::new(Post::new().0)
}

/// The only message that comes of it.
fn one(process: &mut Process<Local>, id: u64, body: Body) -> Body {
    let mut messages = process.tell(id, body);
    assert_eq!(messages.len(), 1, "{messages:?}");
    let (got, body) = messages.remove(0);
    assert_eq!(got, id);
    body
}

fn refused(process: &mut Process<Local>, body: Body) -> ErrorKind {
    match one(process, 9, body) {
        Body::Failure(failure) => Error::from(failure).kind(),
        other => panic!("not refused: {other:?}"),
    }
}

fn operational() -> Process<Local> {
    let mut process = Process::new(local());
    let joined = one(&mut process, 2, config(IpcpType::Local, 1));
    assert!(matches!(joined, Body::IpcpJoined(joined)
        if joined.layer.name == "home" && joined.shares_segments));
    process
}

#[test]
fn what_a_type_lacks_is_refused_in_every_state() {
    let connect = || ConnectIpcp {
        dst: "n".to_owned(),
        ..ConnectIpcp::default()
    };
    for mut process in [Process::new(local()), operational()] {
        let enroll = Body::IpcpEnroll(NameRef {
            name: "n".to_owned(),
        });
        for body in [
            enroll,
            Body::IpcpConnect(connect()),
            Body::IpcpDisconnect(connect()),
        ] {
            assert_eq!(refused(&mut process, body), ErrorKind::NotSupported);
        }
    }
}

#[test]
fn states() {
    let mut process = Process::new(local());
    for body in [
        Body::IpcpQuery(Hash { hash: hash("n") }),
        Body::IpcpReg(Hash { hash: hash("n") }),
        alloc(1, "n"),
    ] {
        assert_eq!(refused(&mut process, body), ErrorKind::IpcpState);
    }
    let wrong_type = config(IpcpType::Unicast, 1);
    assert_eq!(refused(&mut process, wrong_type), ErrorKind::Invalid);
    for wrong_hash in [4, 5, 6] {
        let wrong_hash = config(IpcpType::Local, wrong_hash);
        assert_eq!(refused(&mut process, wrong_hash), ErrorKind::Invalid);
    }
    let mut process = operational();
    let again = config(IpcpType::Local, 1);
    assert_eq!(refused(&mut process, again), ErrorKind::IpcpState);
    let nonsense = Body::Status(Empty {});
    assert_eq!(refused(&mut process, nonsense), ErrorKind::Invalid);
}

#[test]
fn the_directory() {
    let mut process = operational();
    let known = || Hash { hash: hash("n") };
    let query = || Body::IpcpQuery(known());
    assert_eq!(refused(&mut process, query()), ErrorKind::Name);
    for _ in 0..2 {
        let done = one(&mut process, 3, Body::IpcpReg(known()));
        assert_eq!(done, Body::Done(Empty {}));
    }
    assert_eq!(one(&mut process, 3, query()), Body::Done(Empty {}));
    for _ in 0..2 {
        let done = one(&mut process, 3, Body::IpcpUnreg(known()));
        assert_eq!(done, Body::Done(Empty {}));
    }
    assert_eq!(refused(&mut process, query()), ErrorKind::Name);
    for length in [0, 31, 33, 64] {
        let short = Hash {
            hash: vec![1; length],
        };
        let kind = refused(&mut process, Body::IpcpReg(short));
        assert_eq!(kind, ErrorKind::Invalid);
    }
}

/// Starts an allocation; the id of the request to the daemon.
fn started(process: &mut Process<Local>, flow_id: u64) -> u64 {
    let messages = process.tell(20, alloc(flow_id, "n"));
    match &messages[..] {
        [(20, Body::Done(_)), (id, Body::FlowReqArr(arrived))] => {
            assert_eq!(arrived.local_flow_id, Some(flow_id));
            assert_eq!((arrived.mpl_ms, &*arrived.piggyback), (MPL_MS, &[7][..]));
            assert_eq!(arrived.hash, hash("n"));
            *id
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_overlap_and_find_their_answers() {
    let mut process = operational();
    let ids: Vec<u64> = (1..=3).map(|flow| started(&mut process, flow)).collect();
    let twice = refused(&mut process, alloc(2, "n"));
    assert_eq!(twice, ErrorKind::Invalid);
    for (flow_id, id) in (1..=3).zip(ids) {
        let early = Body::IpcpFlowAllocResp(response(flow_id, None));
        assert_eq!(refused(&mut process, early), ErrorKind::NotAllocated);
        let answer = Body::FlowId(FlowId { flow_id });
        assert!(process.tell(id, answer).is_empty());
    }
    for flow_id in [3, 1, 2] {
        let accepted = Body::IpcpFlowAllocResp(response(flow_id, None));
        let messages = process.tell(30, accepted);
        let granted = FlowResponse {
            mpl_ms: MPL_MS,
            ..response(flow_id, None)
        };
        let expected = [
            (30, Body::Done(Empty {})),
            (0, Body::FlowAllocReply(granted)),
        ];
        assert_eq!(messages, expected);
        let again = Body::IpcpFlowAllocResp(response(flow_id, None));
        assert_eq!(refused(&mut process, again), ErrorKind::NotAllocated);
    }
}

#[test]
fn refusals_reach_the_requester_at_once() {
    let mut process = operational();
    let failure = Failure {
        errno: ErrorKind::Name.errno(),
        message: "no".to_owned(),
    };
    // By the daemon.
    let id = started(&mut process, 1);
    let messages = process.tell(id, Body::Failure(failure.clone()));
    assert!(matches!(
        &messages[..],
        [(0, Body::FlowAllocReply(reply))]
            if reply.flow_id == 1 && reply.refusal.as_ref() == Some(&failure)
    ));
    // By the program.
    let id = started(&mut process, 2);
    process.tell(id, Body::FlowId(FlowId { flow_id: 2 }));
    let refusal = Body::IpcpFlowAllocResp(response(2, Some(failure.clone())));
    let messages = process.tell(31, refusal);
    assert!(matches!(
        &messages[..],
        [(31, Body::Done(_)), (0, Body::FlowAllocReply(reply))]
            if reply.refusal.as_ref() == Some(&failure)
    ));
    // By deallocation.
    started(&mut process, 3);
    let end = FlowEnd {
        flow_id: 3,
        ..FlowEnd::default()
    };
    let messages = process.tell(32, Body::IpcpFlowDealloc(end));
    assert!(matches!(
        &messages[..],
        [(32, Body::Done(_)), (0, Body::FlowAllocReply(reply))] if reply.refusal.is_some()
    ));
}

proptest! {
    /// Every request is answered exactly once, whatever comes before it.
    #[test]
    fn every_request_has_one_answer(
        steps in prop::collection::vec((0..8_u8, 0..4_u64, 0..40_usize), 0..60),
    ) {
        let mut process = operational();
        for (step, flow_id, length) in steps {
            let hash = Hash { hash: vec![1; length] };
            let refusal = (length % 2 == 0).then(Failure::default);
            let end = FlowEnd { flow_id, ..FlowEnd::default() };
            let body = match step {
                0 => Body::IpcpReg(hash),
                1 => Body::IpcpUnreg(hash),
                2 => Body::IpcpQuery(hash),
                3 => alloc(flow_id, "n"),
                4 => Body::IpcpFlowAllocResp(response(flow_id, refusal)),
                5 => Body::IpcpFlowDealloc(end),
                6 => config(IpcpType::Local, 1),
                _ => {
                    // Answers to its own requests are not answered.
                    let out = process.tell(flow_id, Body::FlowId(FlowId { flow_id }));
                    prop_assert!(out.is_empty());
                    continue;
                }
            };
            let out = process.tell(1_000, body);
            let answers = out.iter().filter(|(id, _)| *id == 1_000).count();
            prop_assert_eq!(answers, 1);
        }
    }
}

/// Answers everything later, in any order, when it is told to.
#[derive(Default)]
struct Slow {
    asked: Vec<Operation>,
    timeout: Option<Instant>,
}

impl Slow {
    fn later<T>(&mut self, operation: Operation) -> Result<Answer<T>> {
        self.asked.push(operation);
        Ok(Answer::Later)
    }
}

impl Ipcp for Slow {
    type Event = (Operation, Result<Outcome>);

    fn ipcp_type(&self) -> IpcpType {
        IpcpType::Udp4
    }

    fn bootstrap(
        &mut self,
        operation: Operation,
        _config: &IpcpConfig,
        _turn: &mut Turn,
    ) -> Result<Answer> {
        self.later(operation)
    }

    fn enrolls(&self) -> bool {
        true
    }

    fn enroll(
        &mut self,
        operation: Operation,
        _: &Name,
        _: &mut Turn,
    ) -> Result<Answer<LayerInfo>> {
        self.later(operation)
    }

    fn status(&mut self, operation: Operation, _: &mut Turn) -> Result<Answer<IpcpStatus>> {
        self.later(operation)
    }

    fn directory(&mut self) -> Option<&mut dyn Directory> {
        Some(self)
    }

    fn flows(&mut self) -> Option<&mut dyn FlowAllocator> {
        None
    }

    fn event(&mut self, (operation, outcome): Self::Event, turn: &mut Turn) -> Result<()> {
        turn.done(operation, outcome);
        Ok(())
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    fn timeout(&mut self, turn: &mut Turn) {
        self.timeout = None;
        for operation in self.asked.drain(..) {
            let error = Error::new(ErrorKind::TimedOut, "nobody answered");
            turn.done(operation, Err(error));
        }
    }
}

impl Directory for Slow {
    fn register(&mut self, operation: Operation, _: NameHash, _: &mut Turn) -> Result<Answer> {
        self.later(operation)
    }

    fn unregister(&mut self, operation: Operation, _: &NameHash, _: &mut Turn) -> Result<Answer> {
        self.later(operation)
    }

    fn query(&mut self, operation: Operation, _: &NameHash, _: &mut Turn) -> Result<Answer> {
        self.later(operation)
    }
}

impl Process<Slow> {
    fn nothing(&mut self, id: u64, body: Body) -> Operation {
        let messages = self.message(Instant::now(), id, body, Vec::new());
        assert_eq!(messages, []);
        *self.ipcp.asked.last().unwrap()
    }

    fn outcome(&mut self, operation: Operation, outcome: Result<Outcome>) -> Vec<(u64, Body)> {
        let event = Event::Own((operation, outcome));
        self.event(Instant::now(), event).unwrap()
    }
}

#[test]
fn operations_are_answered_when_they_are_done() {
    let mut process = Process::new(Slow::default());
    let bootstrap = process.nothing(2, config(IpcpType::Udp4, 1));
    // Not twice, nor anything else before it is done.
    for body in [
        config(IpcpType::Udp4, 5),
        Body::IpcpEnroll(NameRef { name: "n".into() }),
        Body::IpcpQuery(Hash { hash: vec![1; 16] }),
    ] {
        let messages = process.message(Instant::now(), 3, body, Vec::new());
        assert!(
            matches!(&messages[..], [(3, Body::Failure(failure))]
                if failure.errno == ErrorKind::IpcpState.errno()),
            "{messages:?}"
        );
    }
    // It fails, and may be tried again.
    let refused = Err(Error::new(ErrorKind::Permission, "no"));
    let messages = process.outcome(bootstrap, refused);
    assert!(matches!(&messages[..], [(2, Body::Failure(_))]));
    let enroll = process.nothing(4, Body::IpcpEnroll(NameRef { name: "n".into() }));
    let refused = Err(Error::new(ErrorKind::TimedOut, "no"));
    assert_eq!(process.outcome(enroll, refused).len(), 1);
    let bootstrap = process.nothing(5, config(IpcpType::Udp4, 1));
    let messages = process.outcome(bootstrap, Ok(Outcome::Done));
    // UDP layers use MD5, whatever the configuration says.
    assert!(matches!(&messages[..], [(5, Body::IpcpJoined(joined))] if joined.layer.dir_hash == 5));
    // Others overlap.
    let hash = || Hash { hash: vec![1; 16] };
    let one = process.nothing(6, Body::IpcpReg(hash()));
    let two = process.nothing(7, Body::IpcpQuery(hash()));
    let three = process.nothing(8, Body::IpcpShow(Empty {}));
    let status = IpcpStatus {
        sections: vec![StatusSection::new("flows", &["id"])],
    };
    assert_eq!(
        process.outcome(three, Ok(Outcome::Status(status.clone()))),
        [(8, Body::IpcpStatus(status))]
    );
    assert_eq!(
        process.outcome(two, Ok(Outcome::Done)),
        [(7, Body::Done(Empty {}))]
    );
    assert_eq!(
        process.outcome(one, Ok(Outcome::Done)),
        [(6, Body::Done(Empty {}))]
    );
    // A second outcome is one too many.
    assert_eq!(process.outcome(one, Ok(Outcome::Done)), []);
    // Nobody waits for the answer to a notification.
    let unasked = process.nothing(0, Body::IpcpUnreg(hash()));
    assert_eq!(process.outcome(unasked, Ok(Outcome::Done)), []);
}

#[test]
fn time_goes_to_the_type() {
    let mut process = Process::new(Slow::default());
    let now = Instant::now();
    process.nothing(2, config(IpcpType::Udp4, 5));
    process.ipcp.timeout = Some(now);
    assert_eq!(process.next_timeout(), Some(now));
    let messages = process.timeout(now);
    assert!(matches!(&messages[..], [(2, Body::Failure(_))]));
    assert_eq!(process.next_timeout(), None);
    assert_eq!(process.timeout(now), []);
}
