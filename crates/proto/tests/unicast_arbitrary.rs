//! A unicast node and arbitrary commands, events and packets.

mod unicast_steps;

use proptest::{collection::vec, prelude::*};

proptest! {
    #[test]
    fn a_node_stands_whatever_comes(steps in vec(any::<u8>(), 0..4000)) {
        unicast_steps::run(&steps);
    }
}
