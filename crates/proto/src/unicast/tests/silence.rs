//! Neighbours that fall silent, and connections that are there already.

use super::*;

const DATA: (Component, usize) = (Component::Data, 1);

impl Net {
    /// A member whose packets are lost in both directions from now on; nobody is told.
    fn cut(&mut self, at: usize) -> BTreeMap<Lower, Far> {
        let flows = std::mem::take(&mut self.members[at].far);
        for (to, theirs) in flows.values() {
            self.members[*to].far.remove(theirs);
        }
        flows
    }

    /// Undoes it.
    fn mend(&mut self, at: usize, flows: BTreeMap<Lower, Far>) {
        for (mine, (to, theirs)) in flows {
            self.members[at].far.insert(mine, (to, theirs));
            self.members[to].far.insert(theirs, (at, mine));
        }
    }

    fn routes(&self, at: usize) -> usize {
        self.members[at].node.status(self.now).routes.len()
    }

    /// Connects a component to a member; what comes of it.
    fn try_connect(
        &mut self,
        from: usize,
        (component, to): (Component, usize),
    ) -> Result<Outcome, NodeError> {
        let dst = name(&format!("n{to}"));
        self.run(from, |op| Command::Connect {
            op,
            dst,
            component,
            qos: QosSpec::RAW,
        })
    }
}

impl Net {
    /// A line in which one member says no hellos, as those of 0.23.
    fn quiet(count: usize, quiet: usize) -> Self {
        let mut net = Self::new(count);
        let seed = [9; 32];
        let wall = Duration::from_secs(1_800_000_000);
        net.members[quiet].node = Node::new(Settings { seed, wall }, net.now);
        net.join_line();
        net
    }
}

/// Three members, each connected to both others.
fn triangle() -> Net {
    let mut net = Net::line(3);
    net.connect(2, 0);
    net.wait(Duration::from_secs(5));
    net
}

#[test]
fn a_silent_death_is_noticed_within_two_seconds() {
    let mut net = triangle();
    net.cut(1);
    net.wait(Duration::from_millis(1600));
    for at in [0, 2] {
        assert_eq!(net.routes(at), 1, "n{at} reaches the other one only");
    }
    let parted = |at: usize| {
        let mut parted = net.members[at].parted.clone();
        parted.sort_by_key(|(_, component)| *component);
        parted
    };
    assert_eq!(parted(0), [], "it connected to nobody");
    let n1 = name("n1");
    let both = [(n1.clone(), Component::Data), (n1, Component::Management)];
    assert_eq!(parted(2), both);
    let silent = net.members[2].node.status(net.now).neighbours;
    assert_eq!(silent.iter().filter(|it| it.down).count(), 2);
}

#[test]
fn who_is_heard_again_is_a_neighbour_again() {
    let mut net = triangle();
    let flows = net.cut(1);
    net.wait(Duration::from_secs(20));
    assert_eq!(net.routes(0), 1);
    net.mend(1, flows);
    net.wait(Duration::from_secs(3));
    for at in 0..3 {
        assert_eq!(net.routes(at), 2, "n{at}");
        let neighbours = net.members[at].node.status(net.now).neighbours;
        assert!(neighbours.iter().all(|it| !it.down));
    }
}

#[test]
fn a_second_connection_is_not_made_while_the_first_works() {
    let mut net = Net::line(2);
    for component in [Component::Management, Component::Data] {
        let again = net.try_connect(1, (component, 0));
        let Err(NodeError::Connected { dst, .. }) = &again else {
            panic!("{again:?}");
        };
        assert_eq!(dst, "n0");
    }
    assert_eq!(net.members[1].node.status(net.now).neighbours.len(), 2);
    // From the other side it is another one: its name here is another one.
    assert!(net.try_connect(0, DATA).is_ok());
    let op = net.next_op;
    let dst = name("n0");
    let outcome = net.run(1, |op| Command::Disconnect {
        op,
        dst,
        component: Component::Data,
    });
    assert!(outcome.is_ok() && net.next_op == op + 1);
    assert_eq!(net.members[1].parted, [], "it was asked for");
    assert!(net.try_connect(1, (Component::Data, 0)).is_ok());
}

#[test]
fn a_connection_to_one_that_seems_dead_is_made_anew_and_replaces_the_old_one() {
    let mut net = triangle();
    let flows = net.cut(1);
    net.wait(Duration::from_secs(5));
    for component in [Component::Management, Component::Data] {
        assert!(net.try_connect(2, (component, 1)).is_ok());
    }
    net.wait(Duration::from_secs(5));
    assert_eq!(net.routes(2), 2);
    let neighbours = net.members[2].node.status(net.now).neighbours;
    let to_n1 = neighbours.iter().filter(|it| it.dst == Some(name("n1")));
    assert_eq!(to_n1.count(), 2);
    drop(flows);
}

#[test]
fn a_connection_to_one_that_died_just_now_is_made_anew_once_that_is_known() {
    let mut net = triangle();
    let flows = net.cut(1);
    let dst = name("n1");
    let op = net.begin(2, |op| Command::Connect {
        op,
        dst,
        component: Component::Data,
        qos: QosSpec::RAW,
    });
    let dst = name("n1");
    let second = net.try_connect(2, (Component::Data, 1));
    assert_eq!(
        second,
        Err(NodeError::State(
            "this connection is being made already; wait until that is done"
        ))
    );
    net.wait(Duration::from_secs(2));
    assert_eq!(net.members[2].done.remove(&op), Some(Ok(Outcome::Done)));
    let neighbours = net.members[2].node.status(net.now).neighbours;
    let to_n1 = neighbours
        .iter()
        .filter(|it| it.dst == Some(dst.clone()) && it.component == Component::Data && !it.down);
    assert_eq!(to_n1.count(), 1);
    // One that is given up is not made.
    let op = net.begin(2, |op| Command::Connect {
        op,
        dst,
        component: Component::Data,
        qos: QosSpec::RAW,
    });
    net.begin(2, |_| Command::Cancel { op });
    assert_eq!(
        net.members[2].done.remove(&op),
        Some(Err(NodeError::Cancelled))
    );
    drop(flows);
}

#[test]
fn a_member_of_0_23_is_never_missed_and_its_connection_is_there() {
    let mut net = Net::quiet(2, 0);
    let flows = net.cut(1);
    net.wait(Duration::from_secs(100));
    let again = net.try_connect(1, (Component::Data, 0));
    assert!(
        matches!(again, Err(NodeError::Connected { .. })),
        "{again:?}"
    );
    for at in 0..2 {
        let neighbours = net.members[at].node.status(net.now).neighbours;
        assert!(neighbours.iter().all(|it| !it.down), "n{at}");
    }
    net.mend(1, flows);
    net.wait(Duration::from_secs(20));
    assert_eq!((net.routes(0), net.routes(1)), (1, 1));
}

#[test]
fn an_answer_waits_for_the_way_back() {
    let mut net = Net::line(2);
    let hash = hash("svc");
    let registered = net.run(1, |op| Command::Register {
        op,
        hash: hash.clone(),
    });
    assert!(registered.is_ok());
    let (lower, _) = net.members[1]
        .roles
        .iter()
        .find(|(_, role)| matches!(role, Role::Data { .. }))
        .expect("a data adjacency");
    let lower = *lower;
    for back in [true, false] {
        let op = net.begin(0, |op| Command::Alloc {
            op,
            hash: hash.clone(),
            qos: QosSpec::RAW,
            data: Vec::new(),
        });
        net.wait(Duration::from_millis(500));
        let request = net.members[1].requests.pop().expect("a request");
        let now = net.now;
        net.members[1]
            .node
            .lower_event(now, lower, LowerEvent::Down);
        net.wait(Duration::ZERO);
        assert_eq!(net.routes(1), 0);
        net.members[1].node.command(
            now,
            Command::Respond {
                flow: request.flow,
                response: 0,
                data: Vec::new(),
            },
        );
        net.settle();
        if back {
            let now = net.now;
            net.members[1].node.lower_event(now, lower, LowerEvent::Up);
        }
        net.wait(Duration::from_secs(4));
        let granted = matches!(net.members[0].done.remove(&op), Some(Ok(_)));
        assert_eq!(granted, back);
    }
}

#[test]
fn the_deallocation_by_a_neighbour_is_told_once() {
    let mut net = Net::line(2);
    net.kill(0);
    let mut parted = net.members[1].parted.clone();
    parted.sort_by_key(|(_, component)| *component);
    let n0 = name("n0");
    assert_eq!(
        parted,
        [(n0.clone(), Component::Data), (n0, Component::Management)]
    );
}
