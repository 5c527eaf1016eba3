//! The rules of `spec/unicast.md` §4 and §15.5, one by one, and what hostile members do.

use o7s_wire::enroll::LinkStateConfig;

use super::*;

const A: u64 = 0x0403_0201;
const B: u64 = 0x0d0c_0b0a;
const C: u64 = 0x0000_0c0c;
const D: u64 = 0x0000_0d0d;

/// Where numbers begin that can say that a link is gone.
const UPPER: u64 = 1 << 63;

/// Flows of management and of data to the neighbours.
const MGMT_B: u32 = 1;
const MGMT_C: u32 = 2;
const DATA_B: u32 = 11;
const DATA_C: u32 = 12;

fn address(number: u64) -> Address {
    Address::new(number)
}

fn config() -> Config {
    Config::new(&LinkStateConfig::default()).unwrap()
}

fn lsu(source: u64, destination: u64, seqno: u64) -> Lsu {
    Lsu {
        destination: address(destination),
        source: address(source),
        seqno,
    }
}

/// A machine at address A with a clock of its own.
struct Rig {
    state: LinkState<u32>,
    now: Instant,
}

#[derive(Debug, Default, PartialEq)]
struct Said {
    sent: Vec<(u32, Lsu)>,
    routes: Option<Vec<(u64, Vec<u64>)>>,
    warnings: Vec<(u32, Warning)>,
}

impl Rig {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: Config) -> Self {
        let now = Instant::now();
        Self {
            state: LinkState::new(config, address(A), now),
            now,
        }
    }

    /// With both adjacencies to B and to C up, and nothing left to say.
    fn connected() -> Self {
        let mut rig = Self::new();
        rig.state.management_up(rig.now, MGMT_B);
        rig.state.management_up(rig.now, MGMT_C);
        rig.state.data_up(rig.now, DATA_B, address(B));
        rig.state.data_up(rig.now, DATA_C, address(C));
        rig.hear(MGMT_B, lsu(B, A, 0));
        rig.hear(MGMT_C, lsu(C, A, 0));
        rig.wait(Duration::from_secs(2));
        rig
    }

    fn hear(&mut self, flow: u32, lsu: Lsu) -> Said {
        self.state.handle_packet(self.now, flow, &lsu.emit());
        self.said()
    }

    /// Lets time pass, and does what is due at its time.
    fn wait(&mut self, time: Duration) -> Said {
        let end = self.now + time;
        while self.state.poll_timeout() <= end {
            self.now = self.now.max(self.state.poll_timeout());
            self.state.handle_timeout(self.now);
        }
        self.now = end;
        self.said()
    }

    fn said(&mut self) -> Said {
        let mut said = Said::default();
        while let Some(output) = self.state.poll_output() {
            match output {
                Output::Send { flow, packet } => {
                    said.sent.push((flow, Lsu::parse(&packet).unwrap()));
                }
                Output::Routes(routes) => {
                    let plain = |route: &Route| {
                        let hops = route.next_hops.iter().map(|hop| hop.get()).collect();
                        (route.destination.get(), hops)
                    };
                    said.routes = Some(routes.iter().map(plain).collect());
                }
                Output::Warning { flow, warning } => said.warnings.push((flow, warning)),
            }
        }
        said
    }

    fn links(&self) -> Vec<Lsu> {
        self.state.links(self.now).map(|link| link.lsu).collect()
    }
}

/// The exchange of `spec/unicast.md` §15.5.
#[test]
fn the_exchange_of_the_specification() {
    let mut rig = Rig::new();
    rig.state.management_up(rig.now, MGMT_B);
    assert_eq!(rig.said(), Said::default());
    rig.state.data_up(rig.now, DATA_B, address(B));
    assert_eq!(rig.said().sent, [(MGMT_B, lsu(A, B, 0))]);
    // Repeated early, then with the period of updates, which began with the machine.
    assert_eq!(rig.wait(REPEAT).sent, [(MGMT_B, lsu(A, B, 1))]);
    assert_eq!(rig.wait(Duration::from_secs(13)).sent, []);
    assert_eq!(
        rig.wait(Duration::from_secs(1)).sent,
        [(MGMT_B, lsu(A, B, 2))]
    );
    // B announces its direction: the link is usable.
    assert_eq!(rig.hear(MGMT_B, lsu(B, A, 6)).sent, []);
    let said = rig.wait(FIRST_DELAY);
    assert_eq!(said.routes, Some(vec![(B, vec![B])]));
    // The same again.
    assert_eq!(rig.hear(MGMT_B, lsu(B, A, 6)), Said::default());
    // A new neighbour gets all, ordered by destination, then source.
    rig.state.management_up(rig.now, MGMT_C);
    assert_eq!(
        rig.said().sent,
        [(MGMT_C, lsu(B, A, 6)), (MGMT_C, lsu(A, B, 2))]
    );
}

/// §4.4, with split horizon: to all but the one from which it came.
#[test]
fn updates_are_flooded_by_their_number() {
    let mut rig = Rig::connected();
    assert_eq!(
        rig.hear(MGMT_B, lsu(B, D, 0)).sent,
        [(MGMT_C, lsu(B, D, 0))]
    );
    assert_eq!(rig.hear(MGMT_C, lsu(B, D, 0)).sent, []);
    assert_eq!(
        rig.hear(MGMT_C, lsu(B, D, 9)).sent,
        [(MGMT_B, lsu(B, D, 9))]
    );
    // One that has an old number gets the present one, now and then.
    assert_eq!(
        rig.hear(MGMT_B, lsu(B, D, 8)).sent,
        [(MGMT_B, lsu(B, D, 9))]
    );
    assert_eq!(rig.hear(MGMT_C, lsu(B, D, 8)).sent, []);
    assert!(rig.links().contains(&lsu(B, D, 9)));
    // Not from an adjacency that is none, nor of data.
    assert_eq!(rig.hear(DATA_B, lsu(B, D, 10)), Said::default());
    rig.state.management_down(MGMT_B);
    assert_eq!(rig.hear(MGMT_B, lsu(B, D, 10)), Said::default());
    assert_eq!(rig.hear(MGMT_C, lsu(B, D, 10)).sent, []);
}

/// Trap 14 the other way round: a local link that goes down is out of the routes at once.
#[test]
fn a_local_link_that_goes_down_leaves_the_routes_at_once() {
    let mut rig = Rig::connected();
    rig.hear(MGMT_B, lsu(B, C, 0));
    rig.hear(MGMT_C, lsu(C, B, 0));
    rig.wait(Duration::from_secs(5));
    rig.state.data_down(rig.now, DATA_B);
    assert_eq!(rig.state.poll_timeout(), rig.now);
    let said = rig.wait(Duration::ZERO);
    assert_eq!(said.routes, Some(vec![(C, vec![C]), (B, vec![C])]));
    // The link is taken back, once more after a while in case that was lost, and is not refreshed.
    let gone = |seqno| [(MGMT_B, lsu(A, B, seqno)), (MGMT_C, lsu(A, B, seqno))];
    assert_eq!(said.sent, gone(UPPER + 1));
    assert_eq!(rig.wait(REPEAT).sent, gone(UPPER + 3));
    let said = rig.wait(Duration::from_secs(15));
    assert!(
        !said
            .sent
            .iter()
            .any(|(_, sent)| sent.destination == address(B))
    );
    // Up again: with the next number (trap 16).
    rig.state.data_up(rig.now, DATA_B, address(B));
    assert_eq!(rig.said().sent, gone(UPPER + 4));
    assert_eq!(rig.wait(REPEAT).sent, gone(UPPER + 6));
}

/// Trap 18.
#[test]
fn a_link_lasts_as_long_as_one_of_its_adjacencies() {
    let mut rig = Rig::connected();
    rig.state.data_up(rig.now, 99, address(B));
    rig.state.data_down(rig.now, DATA_B);
    assert_eq!(rig.wait(Duration::ZERO), Said::default());
    rig.state.data_down(rig.now, 99);
    let said = rig.wait(Duration::ZERO);
    assert_eq!(said.routes, Some(vec![(C, vec![C])]));
    assert_eq!(said.sent.len(), 2);
    // What is not there changes nothing.
    rig.state.data_down(rig.now, 99);
    assert_eq!(rig.wait(Duration::ZERO), Said::default());
}

/// Trap 14: what ages out changes the routes, down to none.
#[test]
fn what_ages_out_leaves_the_routes() {
    let mut rig = Rig::connected();
    let said = rig.wait(Duration::from_secs(80));
    assert_eq!(said.routes, Some(Vec::new()));
    // Own links live on; nobody else's does.
    let mut links = rig.links();
    links.retain(|link| link.source != address(A));
    assert_eq!(links, []);
    assert_eq!(rig.links().len(), 2);
    assert_eq!(rig.state.stats().expired, 2);
}

/// Trap 15: neither taken in nor passed on, and refreshed by nobody, but taken back.
#[test]
fn own_links_that_are_gone_do_not_come_back() {
    let mut rig = Rig::connected();
    let said = rig.hear(MGMT_B, lsu(A, D, 40));
    let gone = |seqno| [(MGMT_B, lsu(A, D, seqno)), (MGMT_C, lsu(A, D, seqno))];
    assert_eq!(said.sent, gone(UPPER + 1));
    assert_eq!(said.warnings, [(MGMT_B, Warning::OwnLink(lsu(A, D, 40)))]);
    assert!(!rig.links().contains(&lsu(A, D, 40)));
    // Whoever insists, perhaps a member with the same address, is not answered at any speed.
    assert_eq!(rig.hear(MGMT_B, lsu(A, D, UPPER + 8)), Said::default());
    let said = rig.wait(Duration::from_secs(15));
    assert!(
        !said
            .sent
            .iter()
            .any(|(_, sent)| sent.destination == address(D))
    );
    assert_eq!(
        rig.hear(MGMT_B, lsu(A, D, UPPER + 10)).sent,
        gone(UPPER + 11)
    );
    // The number is known if the link comes back.
    rig.state.data_up(rig.now, 14, address(D));
    assert_eq!(rig.said().sent, gone(UPPER + 12));
}

/// What another member takes back is out of the routes, stays so when old copies come, and is passed on.
#[test]
fn a_link_that_its_owner_takes_back_is_gone() {
    let mut rig = Rig::connected();
    rig.hear(MGMT_B, lsu(B, D, 7));
    rig.hear(MGMT_B, lsu(D, B, 7));
    rig.wait(Duration::from_secs(5));
    let said = rig.hear(MGMT_B, lsu(B, D, UPPER + 1));
    assert_eq!(said.sent, [(MGMT_C, lsu(B, D, UPPER + 1))]);
    let routes = rig.wait(FIRST_DELAY).routes.unwrap();
    assert!(!routes.iter().any(|(to, _)| *to == D));
    let said = rig.hear(MGMT_C, lsu(B, D, 8));
    assert_eq!(said.sent, [(MGMT_C, lsu(B, D, UPPER + 1))]);
    assert!(rig.state.links(rig.now).any(|link| link.gone));
    // New neighbours hear of it.
    rig.state.management_up(rig.now, 7);
    assert!(rig.said().sent.contains(&(7, lsu(B, D, UPPER + 1))));
    // There again.
    rig.hear(MGMT_B, lsu(B, D, UPPER + 2));
    let routes = rig.wait(Duration::from_secs(1)).routes.unwrap();
    assert!(routes.iter().any(|(to, _)| *to == D));
}

/// Invented own links neither fill the memory nor keep real ones from being taken back.
#[test]
fn invented_own_links_are_bounded() {
    let mut rig = Rig::connected();
    let mut sent = 0;
    for node in 0..2 * GONE_MAX as u64 {
        sent += rig.hear(MGMT_B, lsu(A, 0x1_0000 + node, 3)).sent.len();
    }
    assert_eq!(sent, 2 * GONE_MAX);
    rig.state.data_down(rig.now, DATA_B);
    assert_eq!(rig.said().sent[0], (MGMT_B, lsu(A, B, UPPER + 1)));
    assert_eq!(rig.state.gone.len(), GONE_MAX);
    rig.wait(Duration::from_secs(150));
    assert_eq!(rig.state.gone.len(), 0);
    assert_eq!(rig.links(), [lsu(A, C, 11)]);
}

/// Trap 16: a node that was started again finds its old numbers with others.
#[test]
fn an_old_number_is_exceeded_at_once() {
    let mut rig = Rig::connected();
    let said = rig.hear(MGMT_C, lsu(A, B, 500));
    let all = [(MGMT_B, lsu(A, B, 501)), (MGMT_C, lsu(A, B, 501))];
    assert_eq!(said.sent, all);
    assert_eq!(said.warnings, []);
    assert_eq!(rig.hear(MGMT_B, lsu(A, B, 500)), Said::default());
    // Somebody who goes on like that is not followed at any speed.
    let mut sent = 0;
    for seqno in (1000..1200).step_by(2) {
        sent += rig.hear(MGMT_C, lsu(A, B, seqno)).sent.len();
    }
    assert!(sent <= 2 * usize::from(UPDATES_BURST), "{sent} updates");
    // But answered in the end.
    let all = [(MGMT_B, lsu(A, B, 1200)), (MGMT_C, lsu(A, B, 1200))];
    assert_eq!(rig.wait(REPEAT).sent, all);
}

#[test]
fn absurd_numbers_are_told_once() {
    let mut rig = Rig::connected();
    let said = rig.hear(MGMT_C, lsu(A, B, u64::MAX));
    assert_eq!(said.sent, []);
    let warning = Warning::Absurd(lsu(A, B, u64::MAX));
    assert_eq!(said.warnings, [(MGMT_C, warning)]);
    for absurd in [
        lsu(A, B, u64::MAX - 1),
        lsu(A, D, u64::MAX),
        lsu(B, D, u64::MAX),
    ] {
        assert_eq!(rig.hear(MGMT_C, absurd), Said::default());
    }
    // The link is kept, its number grows as before.
    let said = rig.wait(Duration::from_secs(15));
    assert!(said.sent.contains(&(MGMT_B, lsu(A, B, 2))), "{said:?}");
}

/// One update with a number near the end of what is believed must not silence the owner of the link for ever.
#[test]
fn the_owner_of_a_link_is_heard_again_after_an_invented_number() {
    for invented in number::BELIEVED_MAX - 9..=number::BELIEVED_MAX {
        // A is the owner; B, with the same clock, is a neighbour of it.
        let mut owner = Rig::connected();
        let mut other = Rig::new();
        (other.state.own, other.now) = (address(B), owner.now);
        other.state.management_up(other.now, MGMT_B);
        other.state.management_up(other.now, MGMT_C);
        other.state.data_up(other.now, DATA_B, address(A));
        other.hear(MGMT_C, lsu(A, B, invented));
        let mut to_owner = vec![lsu(A, B, invented)];
        let mut heard = 0;
        for second in 0..600 {
            let mut to_other = Vec::new();
            for lsu in std::mem::take(&mut to_owner) {
                to_other.extend(owner.hear(MGMT_B, lsu).sent);
            }
            to_other.extend(owner.wait(Duration::from_secs(1)).sent);
            let said = other.wait(Duration::from_secs(1)).sent;
            to_owner.extend(said.iter().map(|(_, lsu)| *lsu));
            let of_link = to_other.iter().filter(|(flow, lsu)| {
                *flow == MGMT_B && lsu.source == address(A) && lsu.destination == address(B)
            });
            for (_, lsu) in of_link {
                assert!(lsu.seqno <= number::BELIEVED_MAX, "{lsu}");
                let said = other.hear(MGMT_B, *lsu).sent;
                let back = said.iter().filter(|(flow, _)| *flow == MGMT_B);
                to_owner.extend(back.map(|(_, lsu)| *lsu));
                // Passed on: it was taken.
                heard += u32::from(second > 400 && said.iter().any(|(flow, _)| *flow == MGMT_C));
            }
        }
        assert!(heard > 5, "{invented}: heard {heard} times");
        assert!(other.state.graph.is_usable(address(A), address(B)));
    }
}

#[test]
fn what_cannot_be_is_dropped_and_told_once() {
    let mut rig = Rig::connected();
    let before = rig.links();
    for bad in [lsu(0, B, 1), lsu(B, 0, 1), lsu(B, B, 1), lsu(1 << 32, B, 1)] {
        assert_eq!(rig.hear(MGMT_B, bad).sent, []);
    }
    for len in [0, 1, 23, 25, 4000] {
        rig.state.handle_packet(rig.now, MGMT_B, &vec![1; len]);
    }
    assert_eq!(rig.links(), before);
    let stats = *rig.state.stats();
    assert_eq!((stats.impossible, stats.malformed), (4, 4));
    assert_eq!(rig.said().warnings, [(MGMT_B, Warning::Malformed(1))]);
}

#[test]
fn a_link_with_too_many_updates_is_not_passed_on() {
    let mut rig = Rig::connected();
    let mut passed = 0;
    for seqno in 0..1000 {
        passed += rig.hear(MGMT_B, lsu(B, D, seqno)).sent.len();
    }
    assert!(passed <= usize::from(UPDATES_BURST), "{passed} passed on");
    rig.wait(UPDATES_PERIOD);
    assert_eq!(rig.hear(MGMT_B, lsu(B, D, 1000)).sent.len(), 1);
}

/// A flood of invented nodes fills a bounded table. What cannot be reached goes first.
#[test]
fn a_flood_of_invented_nodes_is_bounded() {
    let mut rig = Rig::connected();
    let invent = |at: usize| lsu(0x1_0000 + at as u64, 0x2_0000 + at as u64, 0);
    let mut warnings = Vec::new();
    for at in 0..LINKS_MAX {
        warnings.extend(rig.hear(MGMT_B, invent(at)).warnings);
    }
    assert!(rig.links().len() <= LINKS_MAX);
    assert_eq!(warnings, []);
    // Most of them were dropped when a link came that no longer fitted; it did.
    rig.hear(MGMT_C, lsu(C, D, 0));
    assert!(rig.links().contains(&lsu(C, D, 0)));
    assert!(rig.links().len() < 100, "{}", rig.links().len());
    // Invented nodes that hang on one that is there stay until they age out.
    let mut refused = 0;
    for at in 0..LINKS_MAX as u64 {
        let (node, before) = (0x10_0000 + at, if at == 0 { B } else { 0x10_0000 + at - 1 });
        for update in [lsu(before, node, 0), lsu(node, before, 0)] {
            let said = rig.hear(MGMT_B, update);
            refused += said.warnings.len();
        }
    }
    assert_eq!(refused, 1);
    assert!(rig.links().len() <= LINKS_MAX);
    // Known links are refreshed all the same.
    assert_eq!(rig.hear(MGMT_C, lsu(C, D, 1)).sent.len(), 1);
    let said = rig.wait(Duration::from_secs(80));
    assert_eq!(rig.links().len(), 2);
    assert_eq!(said.routes, Some(Vec::new()));
}

/// A burst of changes costs few calculations, and the last change is never left out.
#[test]
fn recalculations_are_few_while_changes_go_on() {
    let mut rig = Rig::connected();
    rig.wait(Duration::from_secs(10));
    let before = rig.state.stats().recalculations;
    let mut last = B;
    for step in 0..1000 {
        let node = 0x100 + step;
        rig.hear(MGMT_B, lsu(last, node, 0));
        rig.hear(MGMT_B, lsu(node, last, 0));
        rig.wait(Duration::from_millis(4));
        last = node;
    }
    let calculated = rig.state.stats().recalculations - before;
    assert!((5..=10).contains(&calculated), "{calculated} calculations");
    let routes = rig.wait(Duration::from_secs(4)).routes.unwrap();
    assert_eq!(routes.len(), 1002);
}

/// A large database goes out in portions; what is about to age out stays here.
#[test]
fn a_replica_is_paced_and_fresh() {
    let mut rig = Rig::connected();
    for node in 0..1000 {
        rig.hear(MGMT_B, lsu(0x1000 + node, B, 0));
    }
    rig.state.management_up(rig.now, 7);
    assert_eq!(rig.said().sent.len(), REPLICA_BURST);
    let rest = rig.wait(Duration::from_millis(100)).sent.len();
    assert_eq!(rest + REPLICA_BURST, rig.links().len());
    rig.wait(Duration::from_secs(31));
    rig.state.management_up(rig.now, 8);
    let sent = rig.said().sent;
    assert_eq!(sent.len(), 2, "own links only");
    assert!(sent.iter().all(|(_, sent)| sent.source == address(A)));
}

/// Trap 17.
#[test]
fn periods_that_let_own_links_age_out_are_refused() {
    let mut config = LinkStateConfig {
        t_update: 60,
        ..LinkStateConfig::default()
    };
    let text = Config::new(&config).unwrap_err().to_string();
    assert!(text.contains("t_update is 60 s"), "{text}");
    config.t_update = 0;
    assert!(Config::new(&config).is_err());
    config.t_update = 59;
    assert!(Config::new(&config).is_ok());
}
