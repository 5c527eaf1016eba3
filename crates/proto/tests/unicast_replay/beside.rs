//! What our member says, put beside what the captured one said, and the answers that a capture cannot have.

use std::{collections::BTreeMap, time::Duration};

use o7s_proto::unicast::{Lower, NodeError, Outcome};
use o7s_wire::{
    dht::{Body, Contact, Find, Message as Directory, Nodes},
    dt::{Address, Eid, Repr},
    enroll::WallTime,
};

use super::{Cut, Replay, Said, Speaker, map};

/// Something that the captured member said.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) frame: (&'static str, usize),
    pub(super) flow: usize,
    pub(super) said: Said,
    /// Ours has said it, too.
    pub(super) matched: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What both said, in the same words.
    pub(crate) same: Vec<Said>,
    /// What both said, in other words: those of ours, with the captured identifiers, and the captured ones.
    pub(crate) other: Vec<(Said, Said)>,
    /// What the captured member alone said.
    pub(crate) unsaid: Vec<((&'static str, usize), Said)>,
    /// What our member alone said.
    pub(crate) added: Vec<Said>,
    /// Outcomes of what the member was told to do.
    pub(crate) done: Vec<Result<Outcome, NodeError>>,
    /// Payloads that reached flows of users.
    pub(crate) received: usize,
    /// Levels of congestion that were reported to us.
    pub(crate) levels: Vec<u16>,
    pub(crate) warnings: Vec<String>,
}

impl Replay {
    /// Our member says something: put beside what the captured one said.
    pub(super) fn say(&mut self, lower: Lower, packet: &[u8]) {
        let number = lower.0 as usize;
        if self.cut().is_some_and(|cut| cut.flows <= number) {
            return;
        }
        let flow = self.flows.get_mut(&number).expect("there");
        let place = flow.place(Speaker::Ours);
        let said = Said::parse(place, packet);
        let alike = map(&self.theirs, said.clone());
        let found = self
            .script
            .iter_mut()
            .find(|line| line.flow == number && !line.matched && line.said.is_about(&alike));
        let Some(line) = found else {
            if let Said::Directory(header, message) = &alike {
                self.answer(lower, header.destination, message);
            }
            self.report.added.push(alike);
            return;
        };
        line.matched = true;
        let captured = line.said.clone();
        self.learn(&captured, &said);
        let alike = map(&self.theirs, said);
        if let Said::Directory(header, message) = &alike
            && let Body::Store { key, value, .. } = &message.body
        {
            let value = value.clone();
            self.stored.push((header.destination, *key, value));
        }
        let alike = self.comparable(alike, &captured);
        if alike == captured {
            assert_eq!(alike.emit(), captured.emit());
            self.report.same.push(alike);
        } else {
            self.report.other.push((alike, captured));
        }
    }

    /// The cut that is in force.
    fn cut(&self) -> Option<&Cut> {
        let cut = self.part.cut.as_ref()?;
        cut.time.contains(&self.time).then_some(cut)
    }

    /// A peer answers what it was not asked in the capture.
    fn answer(&mut self, lower: Lower, peer: Address, message: &Directory) {
        if self.cut().is_some_and(|cut| cut.member == peer) {
            return;
        }
        let nodes = |find: &Find| Nodes {
            cookie: find.cookie,
            key: find.key,
            contacts: vec![message.src],
        };
        let body = match &message.body {
            Body::FindNodeReq(find) => Body::FindNodeRsp(nodes(find)),
            Body::FindValueReq(find) => {
                let known = self.stored.iter();
                let known = known.filter(|(at, key, _)| (*at, *key) == (peer, find.key));
                Body::FindValueRsp {
                    nodes: nodes(find),
                    values: known.map(|(.., value)| value.clone()).collect(),
                }
            }
            _ => return,
        };
        let header = Repr {
            destination: message.src.address,
            cube: 0,
            ttl: 60,
            ecn: 0,
            eid: Eid::DIRECTORY,
        };
        let src = Contact {
            id: self.members[&peer],
            address: peer,
        };
        let at = self.time + Duration::from_millis(1);
        let said = Said::Directory(header, Directory { src, body });
        self.answers.push_back((at, lower, said));
    }

    /// What stands in the same place in both is the same identifier.
    fn learn(&mut self, captured: &Said, said: &Said) {
        // Contacts in an answer are for the member to choose; what is before them is not.
        let certain = match captured {
            Said::Directory(_, message) if answers(&message.body) => 3,
            _ => usize::MAX,
        };
        let (captured, said) = (captured.identifiers(), said.identifiers());
        for (captured, ours) in captured.into_iter().zip(said).take(certain) {
            if captured != ours
                && !self.theirs.contains_key(&ours)
                && !self.ours.contains_key(&captured)
            {
                self.theirs.insert(ours.clone(), captured.clone());
                self.ours.insert(captured, ours);
            }
        }
    }

    /// Times, which differ, are checked and made equal.
    fn comparable(&self, mut ours: Said, captured: &Said) -> Said {
        let wall = self.wall + self.time;
        match (&mut ours, captured) {
            (Said::EnrollResponse(ours), Said::EnrollResponse(captured)) => {
                let wall = WallTime {
                    sec: i64::try_from(wall.as_secs()).expect("this century"),
                    nsec: wall.subsec_nanos(),
                };
                assert_eq!(ours.time, wall);
                assert!(ours.time.apart_ms(captured.time) < 50);
                ours.time = captured.time;
            }
            (Said::Directory(_, ours), Said::Directory(_, captured)) => {
                if let (Body::Store { expiry, .. }, Body::Store { expiry: theirs, .. }) =
                    (&mut ours.body, &captured.body)
                {
                    // Own names are renewed, so that they need not outlive a crash by a day.
                    let renewed = wall.as_secs() + 900..=u64::from(*theirs);
                    assert!(renewed.contains(&(*expiry).into()));
                    *expiry = *theirs;
                }
                // Contacts have no order, and who asks for itself need not be among them.
                let others = |nodes: &Nodes| {
                    let contacts = nodes.contacts.iter();
                    let others = contacts.filter(|contact| contact.id != nodes.key);
                    others
                        .map(|it| (it.address, it.id))
                        .collect::<BTreeMap<_, _>>()
                };
                if let (Body::FindNodeRsp(ours), Body::FindNodeRsp(captured)) =
                    (&mut ours.body, &captured.body)
                    && !ours.contacts.is_empty()
                    && others(ours) == others(captured)
                {
                    ours.contacts.clone_from(&captured.contacts);
                }
            }
            _ => {}
        }
        ours
    }
}

fn answers(body: &Body) -> bool {
    matches!(body, Body::FindNodeRsp(_) | Body::FindValueRsp { .. })
}
