//! A unicast layer of many members: who joins, connects, crashes, and what passes over the links.
//!
//! Members do what an administrator has them do: the first one bootstraps, the others enroll with a neighbour
//! and connect management and data transfer to all neighbours that are there. What fails is tried again. All
//! N-1 flows between two members share the link between them, as they share a wire.

mod carry;
mod operate;
mod report;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use o7s_proto::unicast::{Command, Lower, NodeError, Op, Outcome, Settings};
use o7s_wire::{
    enroll::{Layer, LayerConfig, UnicastConfig},
    hash::{DirHash, NameHash},
    name::Name,
};

use crate::{
    agenda::{Agenda, Time, Trace},
    dice::Dice,
    link::{Direction, Model, nanos},
    member::{Member, Stage},
    topology::Shape,
    traffic::Traffic,
};

pub use report::{Kinds, State};

/// Wall clock at the start, Unix seconds.
const WALL: u64 = 1_800_000_000;

/// Between the starts of two members.
const STAGGER: Duration = Duration::from_millis(20);

/// What a network is to be like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Members.
    pub members: usize,
    /// Who is connected to whom.
    pub shape: Shape,
    /// What all chance comes from.
    pub seed: u64,
    /// The links.
    pub link: Model,
    /// Links that are different, by the members at their ends (the lower number first).
    pub special: Vec<((usize, usize), Model)>,
    /// The layer.
    pub layer: UnicastConfig,
    /// After this time a member notices that a link or a neighbour is gone; none: never (routing does, in
    /// its time).
    pub detection: Option<Duration>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            members: 10,
            shape: Shape::Random { degree: 4 },
            seed: 0,
            link: Model::default(),
            special: Vec::new(),
            layer: UnicastConfig::default(),
            detection: Some(Duration::from_millis(500)),
        }
    }
}

/// A link and its state.
pub(crate) struct Link {
    /// Members at its ends.
    pub(crate) ends: [usize; 2],
    /// From the first to the second, and back.
    pub(crate) directions: [Direction; 2],
    pub(crate) up: bool,
    /// Management and data transfer are connected, or being connected.
    pub(crate) connected: [bool; 2],
}

/// What is going to happen.
pub(crate) enum Event {
    /// A member starts.
    Start(usize),
    /// A member's deadline.
    Timer(usize, u32),
    /// A packet arrives on an N-1 flow.
    Packet {
        to: usize,
        life: u32,
        lower: Lower,
        bytes: Vec<u8>,
    },
    /// A neighbour wants an N-1 flow.
    Accept {
        from: (usize, u32, o7s_proto::unicast::Request),
        to: usize,
        link: usize,
        qos: o7s_wire::qos::QosSpec,
    },
    /// There is an N-1 flow, or none.
    Allocated {
        at: (usize, u32, o7s_proto::unicast::Request),
        result: Result<(Lower, usize, usize, Lower, u32), &'static str>,
    },
    /// The other end of an N-1 flow is gone.
    Gone { at: usize, life: u32, lower: Lower },
    /// A member notices that a link is up or down.
    Notice { link: usize, up: bool },
    /// A member does what it has to do next to be part of the layer.
    Operate(usize, u32),
    /// A flow of users may send.
    Send(usize),
    /// A steady flow sends its next packet, unless it has been stopped since it was started so many times.
    Beat(usize, u32),
    /// A flow of users is asked for again.
    Ask(usize),
}

/// A network that runs.
pub struct Network {
    plan: Plan,
    epoch: Instant,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) trace: Trace,
    pub(crate) dice: Dice,
    pub(crate) members: Vec<Option<Member>>,
    lives: Vec<u32>,
    pub(crate) links: Vec<Link>,
    /// Links of each member.
    adjacent: Vec<Vec<usize>>,
    /// Numbers of links by their ends.
    by_ends: BTreeMap<(usize, usize), usize>,
    next_op: u64,
    pub(crate) kinds: Kinds,
    pub(crate) traffic: Traffic,
}

impl Network {
    /// A network at its start: nobody is a member yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let mut dice = Dice::new(plan.seed);
        let edges = plan.shape.links(plan.members, &mut dice);
        let mut adjacent = vec![Vec::new(); plan.members];
        let mut by_ends = BTreeMap::new();
        let mut links = Vec::new();
        for (number, (a, b)) in edges.into_iter().enumerate() {
            let special = plan.special.iter().find(|(ends, _)| *ends == (a, b));
            let model = special.map_or(plan.link, |(_, model)| *model);
            adjacent[a].push(number);
            adjacent[b].push(number);
            by_ends.insert((a, b), number);
            links.push(Link {
                ends: [a, b],
                directions: [Direction::new(model), Direction::new(model)],
                up: true,
                connected: [false; 2],
            });
        }
        let mut network = Self {
            members: (0..plan.members).map(|_| None).collect(),
            lives: vec![0; plan.members],
            epoch: Instant::now(),
            agenda: Agenda::default(),
            trace: Trace::default(),
            dice,
            links,
            adjacent,
            by_ends,
            next_op: 0,
            kinds: Kinds::default(),
            traffic: Traffic::default(),
            plan,
        };
        for member in 0..network.members.len() {
            let at = nanos(STAGGER) * member as Time;
            network.agenda.plan(at, Event::Start(member));
        }
        network
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.agenda.now())
    }

    /// Events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.agenda.count()
    }

    /// Hash of all that has happened: equal for equal plans.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace.value()
    }

    /// The random numbers of the run: a scenario that draws from them is part of it.
    pub fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    pub(crate) fn now(&self) -> Instant {
        self.epoch + self.elapsed()
    }

    pub(crate) fn time_of(&self, at: Instant) -> Time {
        nanos(at.saturating_duration_since(self.epoch))
    }

    fn config(&self) -> LayerConfig {
        LayerConfig {
            name: name("layer"),
            hash: DirHash::Sha3_256,
            layer: Layer::Unicast(self.plan.layer),
        }
    }

    /// Members that run.
    pub fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.members.len()).filter(|member| self.members[*member].is_some())
    }

    /// A random member that runs and is part of the layer.
    pub fn any(&mut self) -> Option<usize> {
        let inside: Vec<usize> = self
            .alive()
            .filter(|member| self.is_inside(*member))
            .collect();
        self.dice.one_of(&inside).copied()
    }

    pub(crate) fn is_inside(&self, member: usize) -> bool {
        matches!(&self.members[member], Some(m) if m.stage == Stage::Inside)
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let limit = self.agenda.now() + nanos(time);
        while let Some(event) = self.agenda.next(limit) {
            self.happen(event);
        }
    }

    /// Lets time pass until `done`, which is looked at every 50 ms; at most so long. Whether it came to that.
    pub fn run_until(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> bool {
        /// Between two looks.
        const LOOK: Duration = Duration::from_millis(50);
        let limit = self.elapsed() + time;
        loop {
            if done(self) {
                return true;
            }
            if self.elapsed() >= limit {
                return false;
            }
            self.run(LOOK.min(limit - self.elapsed()));
        }
    }

    /// Whether each member that runs knows a way to each other one.
    #[must_use]
    pub fn has_converged(&self) -> bool {
        let alive = self.alive().count();
        alive > 0
            && self.alive().all(|member| {
                self.is_inside(member)
                    && self.members[member]
                        .as_ref()
                        .and_then(|m| m.dt.as_ref())
                        .is_some_and(|dt| dt.table().len() + 1 == alive)
            })
            && self.links.iter().all(|link| {
                let dead = link.ends.iter().any(|end| self.members[*end].is_none());
                dead || !link.up || link.connected == [true; 2]
            })
    }

    /// Gives a member a command; its outcome comes with [`outcome`](Self::outcome).
    pub fn command(&mut self, member: usize, command: impl FnOnce(Op) -> Command) -> Op {
        let op = self.new_op();
        let now = self.now();
        if let Some(m) = &mut self.members[member] {
            m.node.command(now, command(op));
            self.settle(member);
        }
        op
    }

    pub(crate) fn new_op(&mut self) -> Op {
        self.next_op += 1;
        Op(self.next_op)
    }

    /// What became of an operation; once.
    pub fn outcome(&mut self, member: usize, op: Op) -> Option<Result<Outcome, NodeError>> {
        self.members[member].as_mut()?.done.remove(&op)
    }

    /// Gives a command and waits for its outcome, at most for a minute; none: the member died, or time is up.
    pub fn ask(
        &mut self,
        member: usize,
        command: impl FnOnce(Op) -> Command,
    ) -> Option<Result<Outcome, NodeError>> {
        let op = self.command(member, command);
        let is_done = |network: &Self| {
            network.members[member]
                .as_ref()
                .is_none_or(|m| m.done.contains_key(&op))
        };
        let limit = self.agenda.now() + nanos(Duration::from_secs(60));
        while !is_done(self)
            && let Some(event) = self.agenda.next(limit)
        {
            self.happen(event);
        }
        self.outcome(member, op)
    }

    /// Registers a name and waits until others can find it.
    pub fn register(&mut self, member: usize, name: &NameHash) -> bool {
        let hash = name.clone();
        let outcome = self.ask(member, |op| Command::Register { op, hash });
        matches!(outcome, Some(Ok(_)))
    }

    /// Whether a member finds a name, and how long that took.
    pub fn query(&mut self, member: usize, name: &NameHash) -> (bool, Duration) {
        let asked = self.elapsed();
        let hash = name.clone();
        let outcome = self.ask(member, |op| Command::Query { op, hash });
        (matches!(outcome, Some(Ok(_))), self.elapsed() - asked)
    }

    /// Kills a member: nobody is told.
    pub fn crash(&mut self, member: usize) {
        let Some(dead) = self.members[member].take() else {
            return;
        };
        self.trace.add(member as u64);
        if let Some(detection) = self.plan.detection {
            let at = self.agenda.now() + nanos(detection);
            for end in dead.ends.values() {
                let life = self.lives[end.peer];
                let gone = Event::Gone {
                    at: end.peer,
                    life,
                    lower: end.far,
                };
                self.agenda.plan(at, gone);
            }
        }
        for link in &self.adjacent[member] {
            self.links[*link].connected = [false; 2];
        }
        self.traffic.member_died(member);
    }

    /// Starts a member that had crashed, after some time: it knows nothing of its former life.
    pub fn restart(&mut self, member: usize, after: Duration) {
        let at = self.agenda.now() + nanos(after);
        self.agenda.plan(at, Event::Start(member));
    }

    /// Cuts or restores the links for which `choose` is true, by the members at their ends.
    pub fn set_links(&mut self, up: bool, choose: impl Fn(usize, usize) -> bool) {
        for number in 0..self.links.len() {
            let link = &mut self.links[number];
            let [a, b] = link.ends;
            if link.up != up && choose(a, b) {
                link.up = up;
                if let Some(detection) = self.plan.detection {
                    let at = self.agenda.now() + nanos(detection);
                    self.agenda.plan(at, Event::Notice { link: number, up });
                }
            }
        }
    }

    /// The members at the other ends of the links of a member, whatever their state.
    pub fn neighbours(&self, member: usize) -> impl Iterator<Item = usize> + '_ {
        let ends = self.adjacent[member]
            .iter()
            .map(|link| self.links[*link].ends);
        ends.map(move |ends| ends[usize::from(ends[0] == member)])
    }

    /// Whether two members that run are connected by links that are up and members that run.
    #[must_use]
    pub fn connected(&self, from: usize, to: usize) -> bool {
        let mut seen = vec![false; self.members.len()];
        let mut open = vec![from];
        seen[from] = true;
        while let Some(member) = open.pop() {
            if member == to {
                return true;
            }
            for link in &self.adjacent[member] {
                let link = &self.links[*link];
                let other = link.ends[usize::from(link.ends[0] == member)];
                if link.up && !seen[other] && self.is_inside(other) {
                    seen[other] = true;
                    open.push(other);
                }
            }
        }
        false
    }

    fn start(&mut self, member: usize) {
        if self.members[member].is_some() {
            return;
        }
        self.lives[member] += 1;
        let settings = Settings {
            seed: self.dice.seed(),
            wall: Duration::from_secs(WALL) + self.elapsed(),
        };
        let life = self.lives[member];
        self.members[member] = Some(Member::new(settings, self.now(), life));
        self.operate(member);
    }
}

/// A name in the simulation.
pub(crate) fn name(text: &str) -> Name {
    // Only texts of this crate come here.
    Name::new(text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

/// The hash of a name of a user.
#[must_use]
pub fn user_name(number: u64) -> NameHash {
    DirHash::Sha3_256.digest(format!("name {number}").as_bytes())
}
