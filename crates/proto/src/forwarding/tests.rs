//! Policies, failures, and the table against a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use o7s_wire::dt::Eid;

const EID: Eid = Eid(0x1122_3344_0000_0041);

fn address(number: u64) -> Address {
    Address::new(number)
}

fn route(destination: u64, next_hops: &[u64]) -> Route {
    Route {
        destination: address(destination),
        next_hops: next_hops.iter().copied().map(Address::new).collect(),
    }
}

/// Neighbour n has the flows 10n and 10n + 1, neighbour 9 none.
fn table(policy: Policy, routes: &[Route]) -> Table {
    let flows: BTreeMap<u64, [FlowToken; 2]> = (2..9)
        .map(|n| (n, [FlowToken(10 * n as u32), FlowToken(10 * n as u32 + 1)]))
        .collect();
    Table::build(policy, routes, 7, |neighbour| {
        flows.get(&neighbour.get()).map_or(&[], |flows| flows)
    })
}

fn flows(numbers: &[u32]) -> Vec<FlowToken> {
    numbers.iter().copied().map(FlowToken).collect()
}

#[test]
fn simple_uses_the_flows_of_one_next_hop() {
    let table = table(Policy::Simple, &[route(4, &[9, 2, 3]), route(5, &[9])]);
    assert_eq!(table.flows(address(4)), flows(&[20, 21]));
    assert_eq!(table.len(), 1);
    let mut down = DownFlows::default();
    assert_eq!(table.lookup(address(4), EID, &down), Ok(FlowToken(20)));
    assert_eq!(table.lookup(address(5), EID, &down), Err(NoPath::Unknown));
    assert_eq!(
        table.lookup(Address::INVALID, EID, &down),
        Err(NoPath::Unknown)
    );
    assert!(down.set(FlowToken(20), true));
    assert_eq!(table.lookup(address(4), EID, &down), Ok(FlowToken(21)));
    assert!(down.set(FlowToken(21), true));
    assert_eq!(table.lookup(address(4), EID, &down), Err(NoPath::Down));
}

/// A failed flow is left at once, and taken again when it is up.
#[test]
fn alternate_takes_over_at_once() {
    let table = table(Policy::LoopFreeAlternates, &[route(4, &[2, 3, 2])]);
    assert_eq!(table.flows(address(4)), flows(&[20, 21, 30, 31]));
    let mut down = DownFlows::default();
    for (flow, next) in [(20, 21), (21, 30), (30, 31)] {
        assert!(down.set(FlowToken(flow), true));
        assert!(!down.set(FlowToken(flow), true));
        assert_eq!(table.lookup(address(4), EID, &down), Ok(FlowToken(next)));
    }
    assert!(down.set(FlowToken(20), false));
    assert_eq!(table.lookup(address(4), EID, &down), Ok(FlowToken(20)));
    assert!(!down.set(FlowToken(4711), false));
}

#[test]
fn multipath_keeps_a_flow_on_its_path_and_splits_flows_evenly() {
    let table = table(Policy::EqualCost, &[route(4, &[2, 3])]);
    let mut down = DownFlows::default();
    let mut chosen = BTreeMap::new();
    for high in 0..10_000_u64 {
        let eid = Eid(high.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 0x40);
        let flow = table.lookup(address(4), eid, &down).expect("a route");
        assert_eq!(table.lookup(address(4), eid, &down), Ok(flow));
        *chosen.entry(flow).or_insert(0) += 1;
    }
    assert_eq!(chosen.len(), 4);
    assert!(
        chosen.values().all(|count| (2250..2750).contains(count)),
        "{chosen:?}"
    );
    // EIDs in a row, as a counter would give them.
    let in_a_row: std::collections::BTreeSet<_> = (64..96)
        .map(|eid| table.lookup(address(4), Eid(eid), &down).expect("a route"))
        .collect();
    assert_eq!(in_a_row.len(), 4);
    // Flows on a path that fails move, the others stay.
    down.set(FlowToken(20), true);
    for number in 0..1000_u64 {
        let eid = Eid(number << 16 | 64);
        let before = table.lookup(address(4), eid, &DownFlows::default());
        let after = table.lookup(address(4), eid, &down);
        if before == Ok(FlowToken(20)) {
            assert_eq!(after, Ok(FlowToken(21)));
        } else {
            assert_eq!(after, before);
        }
    }
}

#[test]
fn nothing_is_known_to_an_empty_table() {
    let table = Table::default();
    assert!(table.is_empty());
    assert_eq!(
        table.lookup(address(1), EID, &DownFlows::default()),
        Err(NoPath::Unknown)
    );
}

proptest! {
    #[test]
    fn table_is_the_map_of_its_routes(
        routes in proptest::collection::vec((0u64..200, 2u64..9), 0..300),
        wide: bool,
        seed: u64,
    ) {
        // Addresses that differ in their high bits only, too.
        let place = |number: u64| if wide { number << 56 } else { number };
        let mut expected = BTreeMap::new();
        let mut list = Vec::new();
        for (destination, hop) in &routes {
            if *destination != 0 {
                expected.entry(place(*destination)).or_insert(*hop as u32);
            }
            list.push(route(place(*destination), &[*hop]));
        }
        let tokens = flows(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let table = Table::build(Policy::Simple, &list, seed, |hop| {
            let hop = hop.get() as usize;
            &tokens[hop..=hop]
        });
        prop_assert_eq!(table.len(), expected.len());
        prop_assert_eq!(table.iter().count(), expected.len());
        let down = DownFlows::default();
        for number in 0..256 {
            let found = table.lookup(address(place(number)), EID, &down).ok();
            prop_assert_eq!(found, expected.get(&place(number)).copied().map(FlowToken));
        }
    }
}
