//! What the rules of the specification ask of one member, and what hostile ones must not get from it.

use o7s_wire::dht::Nodes;
use proptest::prelude::*;

use super::*;

const UNIX: u64 = 1_800_000_000;

fn key(first: u8, rest: u8) -> Key {
    let mut bytes = [rest; 32];
    bytes[0] = first;
    Key::from_bytes(&bytes).unwrap()
}

fn contact(number: u32) -> Contact {
    let hash = o7s_wire::hash::DirHash::Sha3_256.digest(&number.to_be_bytes());
    Contact {
        id: Key::try_from(&hash).unwrap(),
        address: number.into(),
    }
}

/// A member with address 1 and what it has sent.
struct Rig {
    dht: Dht,
    now: Instant,
}

impl Rig {
    fn new(peer: Option<u32>) -> Self {
        Self::with(Config::new(Address::new(1), peer.map(Address::from)))
    }

    fn with(config: Config) -> Self {
        let now = Instant::now();
        Self {
            dht: Dht::new(config, [7; 32], now, UNIX),
            now,
        }
    }

    fn sent(&mut self) -> Vec<(Address, Message)> {
        let mut bytes = Vec::new();
        let mut sent = Vec::new();
        while let Some(to) = self.dht.poll_transmit(&mut bytes) {
            sent.push((to, Message::parse(&bytes, 32).unwrap()));
        }
        sent
    }

    fn hear(&mut self, src: Contact, body: Body) -> Vec<(Address, Message)> {
        self.dht
            .handle_message(self.now, &Message { src, body }.emit());
        self.sent()
    }

    /// Time passes, with the timers.
    fn wait(&mut self, time: Duration) -> Vec<(Address, Message)> {
        let until = self.now + time;
        let mut sent = self.sent();
        while let Some(at) = self.dht.poll_timeout()
            && at <= until
        {
            self.now = self.now.max(at);
            self.dht.handle_timeout(self.now);
            sent.extend(self.sent());
        }
        self.now = until;
        sent
    }

    /// The member that is asked answers with these contacts and values.
    fn answer(&mut self, from: Contact, request: &Message, contacts: &[Contact], values: &[u32]) {
        let (Body::FindNodeReq(find) | Body::FindValueReq(find)) = &request.body else {
            panic!("no request: {request}");
        };
        let nodes = Nodes {
            cookie: find.cookie,
            key: find.key,
            contacts: contacts.to_vec(),
        };
        let body = match request.body {
            Body::FindNodeReq(_) => Body::FindNodeRsp(nodes),
            _ => Body::FindValueRsp {
                nodes,
                values: values.iter().map(|&v| Value::Address(v.into())).collect(),
            },
        };
        self.dht
            .handle_message(self.now, &Message { src: from, body }.emit());
    }

    /// Makes members known that answer what they are asked.
    fn befriend(&mut self, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            let sent = self.hear(contact(number), find_node(9));
            for (to, message) in sent {
                if matches!(message.body, Body::FindNodeReq(_)) {
                    assert_eq!(to, Address::from(number));
                    self.answer(contact(number), &message, &[], &[]);
                }
            }
        }
        self.sent();
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.dht.poll_event()).collect()
    }
}

fn find_node(first: u8) -> Body {
    Body::FindNodeReq(Find {
        cookie: 5,
        key: key(first, 0),
    })
}

fn find_value(key: Key) -> Body {
    Body::FindValueReq(Find { cookie: 5, key })
}

fn store(key: Key, address: u32, expiry: u64) -> Body {
    Body::Store {
        key,
        value: Value::Address(address.into()),
        expiry: u32::try_from(expiry).unwrap(),
    }
}

fn values(sent: &[(Address, Message)]) -> Vec<u32> {
    let of = |message: &Message| match &message.body {
        Body::FindValueRsp { values, .. } => values
            .iter()
            .map(|value| value.address().unwrap().to_u32().unwrap())
            .collect(),
        _ => Vec::new(),
    };
    sent.iter().flat_map(|(_, message)| of(message)).collect()
}

#[test]
fn joining_asks_the_peer_for_the_own_identifier_until_it_answers() {
    let mut rig = Rig::new(Some(2));
    let own = rig.dht.own();
    let asked = rig.wait(Duration::from_secs(20));
    assert!((6..40).contains(&asked.len()), "{}", asked.len());
    for (to, message) in &asked {
        assert_eq!(*to, Address::new(2));
        assert_eq!(message.src, own);
        assert!(
            matches!(&message.body, Body::FindNodeReq(find) if find.key == own.id && find.cookie != 0)
        );
    }
    let mut again = Vec::new();
    while again.is_empty() {
        again = rig.wait(Duration::from_millis(20));
    }
    rig.answer(contact(2), &again[0].1, &[contact(3)], &[]);
    // It asks the one that was named, too.
    assert!(rig.sent().iter().any(|(to, _)| *to == Address::new(3)));
}

#[test]
fn answers_repeat_key_and_cookie_and_never_lack_a_contact() {
    let mut rig = Rig::new(None);
    let sent = rig.hear(contact(2), find_value(key(9, 9)));
    let (to, answer) = sent
        .iter()
        .find(|(_, m)| matches!(m.body, Body::FindValueRsp { .. }))
        .unwrap();
    assert_eq!(*to, Address::new(2));
    let Body::FindValueRsp { nodes, values } = &answer.body else {
        unreachable!();
    };
    assert_eq!((nodes.cookie, nodes.key), (5, key(9, 9)));
    assert_eq!(nodes.contacts, [contact(2)]);
    assert!(values.is_empty());
}

#[test]
fn a_store_is_kept_until_it_expires_and_never_shortened() {
    let mut rig = Rig::new(None);
    let k = key(4, 4);
    rig.hear(contact(2), store(k, 2, UNIX + 100));
    rig.hear(contact(3), store(k, 3, UNIX - 1));
    rig.hear(contact(2), store(k, 2, UNIX + 50));
    assert_eq!(values(&rig.hear(contact(9), find_value(k))), [2]);
    rig.wait(Duration::from_secs(90));
    assert_eq!(values(&rig.hear(contact(9), find_value(k))), [2]);
    rig.wait(Duration::from_secs(15));
    assert!(values(&rig.hear(contact(9), find_value(k))).is_empty());
    assert_eq!(rig.dht.sizes().values, 0);
}

/// A member of 0.23 stores once a day and at three members: whoever has it passes it on, unchanged.
#[test]
fn values_of_others_are_passed_on_with_their_expiry() {
    let mut rig = Rig::with(Config {
        t_refresh: 86_400,
        ..Config::new(Address::new(1), None)
    });
    rig.befriend(2..6);
    rig.hear(contact(2), store(key(4, 4), 2, UNIX + 86_400));
    rig.hear(contact(3), store(key(5, 4), 3, UNIX + 86_400));
    let sent = rig.wait(Duration::from_secs(1_300));
    for (first, address) in [(4, 2), (5, 3)] {
        let body = store(key(first, 4), address, UNIX + 86_400);
        let copies = sent.iter().filter(|(_, message)| message.body == body);
        // All contacts but the registrant.
        assert_eq!(copies.count(), 3, "key {first}");
    }
}

#[test]
fn a_query_skips_the_own_address_and_tries_the_other_values() {
    let mut rig = Rig::new(None);
    rig.befriend([2]);
    let name = NameHash::from(&key(4, 4));
    rig.dht.query(rig.now, &name).unwrap();
    let (_, request) = rig.sent().pop().unwrap();
    rig.answer(contact(2), &request, &[], &[1, 5, 6]);
    let addresses = vec![Address::new(5), Address::new(6)];
    assert_eq!(rig.events(), [Event::Found { name, addresses }]);
}

#[test]
fn a_query_without_contacts_is_answered_at_once_by_a_first_member_and_soon_by_others() {
    let name = NameHash::from(&key(4, 4));
    let nobody = Event::Found {
        name: name.clone(),
        addresses: Vec::new(),
    };
    let mut first = Rig::new(None);
    first.dht.query(first.now, &name).unwrap();
    assert_eq!(first.events(), std::slice::from_ref(&nobody));
    let mut other = Rig::new(Some(2));
    other.dht.query(other.now, &name).unwrap();
    assert!(other.events().is_empty());
    other.wait(Duration::from_secs(3));
    assert_eq!(other.events(), [nobody]);
}

/// A first member has no contacts for some milliseconds after the way to another one is found.
#[test]
fn who_is_asked_for_the_first_time_is_waited_for() {
    let name = NameHash::from(&key(4, 4));
    let two = || {
        let mut first = Rig::new(None);
        first.dht.reachable(first.now, Address::new(2));
        let probe = first.sent().remove(0).1;
        (first, probe)
    };

    let (mut asks, probe) = two();
    asks.dht.query(asks.now, &name).unwrap();
    assert_eq!(asks.events(), []);
    asks.answer(contact(2), &probe, &[], &[]);
    let sent = asks.sent();
    let is_question = |(_, message): &&(Address, Message)| matches!(&message.body, Body::FindValueReq(find) if find.key == key(4, 4));
    let (_, question) = sent.iter().find(is_question).unwrap();
    asks.answer(contact(2), question, &[], &[3]);
    let addresses = vec![Address::new(3)];
    let found = Event::Found {
        name: name.clone(),
        addresses,
    };
    assert_eq!(asks.events(), [found]);

    let (mut has, probe) = two();
    has.dht.register(has.now, &name).unwrap();
    assert_eq!(has.events(), []);
    has.answer(contact(2), &probe, &[], &[]);
    assert_eq!(has.events(), []);
    let sent = has.sent();
    let (_, question) = sent.iter().find(is_question).unwrap();
    has.answer(contact(2), question, &[], &[1]);
    assert_eq!(has.events(), [Event::Published { name, copies: 1 }]);
}

#[test]
fn a_value_that_was_suspected_is_not_given_and_its_registrant_is_asked() {
    let mut rig = Rig::new(None);
    let (k, name) = (key(4, 4), NameHash::from(&key(4, 4)));
    rig.hear(contact(2), store(k, 2, UNIX + 1_000));
    rig.dht.suspect(rig.now, &name, Address::new(2));
    let asked: Vec<_> = rig.sent();
    let (_, request) = asked
        .iter()
        .find(|(to, m)| *to == Address::new(2) && matches!(m.body, Body::FindValueReq(_)))
        .unwrap()
        .clone();
    rig.answer(contact(2), &request, &[], &[]);
    assert!(values(&rig.hear(contact(9), find_value(k))).is_empty());
}

#[test]
fn answers_that_nobody_asked_for_teach_nothing() {
    let mut rig = Rig::new(None);
    let nodes = Nodes {
        cookie: 5,
        key: key(1, 1),
        contacts: vec![contact(8)],
    };
    assert!(rig.hear(contact(7), Body::FindNodeRsp(nodes)).is_empty());
    assert_eq!(rig.dht.sizes().contacts, 0);
    assert_eq!(rig.dht.stats().unasked, 1);
}

#[test]
fn made_up_members_displace_nobody_and_are_not_handed_out() {
    let mut rig = Rig::new(None);
    rig.befriend(2..12);
    for n in 0..5_000 {
        rig.hear(contact(1_000_000 + n), find_node(9));
        if n % 100 == 0 {
            rig.wait(Duration::from_millis(20));
        }
    }
    let sizes = rig.dht.sizes();
    assert_eq!(sizes.proven, 10);
    assert!(sizes.contacts < 150 && sizes.requests <= 256, "{sizes:?}");
    rig.wait(Duration::from_secs(2));
    let sent = rig.hear(contact(2), find_node(9));
    for (_, message) in sent {
        if let Body::FindNodeRsp(nodes) = message.body {
            assert!(nodes.contacts.iter().all(|c| c.address < Address::new(12)));
        }
    }
}

/// What a stranger says makes at most one answer and one question, and in all no more than the rates allow.
#[test]
fn floods_are_not_amplified() {
    let mut rig = Rig::new(None);
    rig.befriend(2..12);
    let (mut sent, mut received) = (0, 0);
    for n in 0..10_000 {
        received += 1;
        sent += rig.hear(contact(50 + n % 7), find_value(key(1, 2))).len();
    }
    assert!(sent <= 2 * 2_048 + 128 && received == 10_000, "{sent}");
    let answers = rig.hear(contact(3), find_node(9));
    assert_eq!(answers.len(), 1, "a contact is served during a flood");
}

/// Members that exist only in the answers of a hostile one do not keep the others from being asked.
#[test]
fn a_liar_does_not_hide_a_name() {
    let mut rig = Rig::new(None);
    rig.befriend(2..5);
    let name = NameHash::from(&key(4, 4));
    // The liar names members right at the key, again and again.
    let lies: Vec<_> = (0..8)
        .map(|n| Contact {
            id: key(4, 5 + n),
            address: Address::new(100 + u64::from(n)),
        })
        .collect();
    rig.dht.query(rig.now, &name).unwrap();
    let mut found = Vec::new();
    let mut asked = rig.sent();
    for _ in 0..200 {
        for (to, request) in std::mem::take(&mut asked) {
            match to.get() {
                2 => rig.answer(contact(2), &request, &lies, &[]),
                3 => rig.answer(contact(3), &request, &[contact(6)], &[]),
                6 => rig.answer(contact(6), &request, &[], &[77]),
                _ => {}
            }
        }
        asked.extend(rig.wait(Duration::from_millis(50)));
        found.extend(rig.events());
        if !found.is_empty() {
            break;
        }
    }
    let addresses = vec![Address::new(77)];
    assert_eq!(found, [Event::Found { name, addresses }]);
}

#[test]
fn names_can_be_registered_by_the_thousand() {
    let mut rig = Rig::new(None);
    rig.befriend([2]);
    let names: Vec<_> = (0..3_000_u32)
        .map(|n| o7s_wire::hash::DirHash::Sha3_256.digest(&n.to_be_bytes()))
        .collect();
    for name in &names {
        rig.dht.register(rig.now, name).unwrap();
    }
    let mut published = 0;
    let mut asked = rig.sent();
    for _ in 0..2_000 {
        for (_, message) in std::mem::take(&mut asked) {
            if matches!(message.body, Body::FindNodeReq(_) | Body::FindValueReq(_)) {
                rig.answer(contact(2), &message, &[], &[1]);
            }
        }
        asked = rig.sent();
        if asked.is_empty() {
            asked = rig.wait(Duration::from_millis(10));
        }
        for event in rig.events() {
            assert!(matches!(event, Event::Published { copies: 1, .. }));
            published += 1;
        }
        if published == names.len() {
            return;
        }
    }
    panic!("{published} of {} are published", names.len());
}

#[test]
fn hashes_of_other_lengths_are_refused() {
    let mut rig = Rig::new(None);
    let short = NameHash::from_bytes(&[1; 28]);
    let error = CommandError::HashLength {
        len: 28,
        expected: 32,
    };
    assert_eq!(rig.dht.register(rig.now, &short), Err(error));
    assert_eq!(rig.dht.query(rig.now, &short), Err(error));
    let absent = NameHash::from_bytes(&[1; 32]);
    let error = CommandError::NotRegistered;
    assert_eq!(rig.dht.unregister(rig.now, &absent), Err(error));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes: no panic, deadlines that move on, bounded memory.
    #[test]
    fn arbitrary_messages_and_times(steps in proptest::collection::vec(
        (0_u8..8, 0_u32..40, 0_u8..6, 0_u64..3_000), 1..120)) {
        let mut rig = Rig::new(Some(2));
        let mut asked: Vec<(Address, Message)> = Vec::new();
        for (what, who, first, pause) in steps {
            let k = key(first, 1);
            match what {
                0 => { rig.hear(contact(who), find_node(first)); }
                1 => { rig.hear(contact(who), find_value(k)); }
                2 => { rig.hear(contact(who), store(k, who % 9, UNIX + pause)); }
                3 => { let _ = rig.dht.register(rig.now, &(&k).into()); }
                4 => { let _ = rig.dht.unregister(rig.now, &(&k).into()); }
                5 => { let _ = rig.dht.query(rig.now, &(&k).into()); }
                6 => rig.dht.unreachable(rig.now, who.into()),
                _ => rig.dht.reachable(rig.now, who.into()),
            }
            asked.extend(rig.wait(Duration::from_millis(pause)));
            if let Some((to, request)) = asked.pop()
                && matches!(request.body, Body::FindNodeReq(_) | Body::FindValueReq(_))
                && let Some(number) = to.to_u32()
            {
                rig.answer(contact(number), &request, &[contact(who)], &[who % 5]);
            }
            prop_assert!(rig.dht.poll_timeout().is_none_or(|at| at >= rig.now
                || rig.dht.care.due() == Some(at)));
        }
        prop_assert!(rig.dht.sizes().requests < 200);
    }
}
