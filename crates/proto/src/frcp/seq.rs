//! Sequence numbers: 32 bits that wrap around (`spec/frcp.md` §2), and edges of 24 bits (§9.1).

use o7s_wire::frcp::WINDOW_MASK;

/// Whether `a` comes before `b`: the signed 32-bit difference is negative.
#[inline]
pub(super) fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// The number with the low 24 bits `field` that is nearest to `edge` (§9.1, §18.1).
#[inline]
pub(super) fn nearest_edge(edge: u32, field: u32) -> u32 {
    const SPAN: u32 = WINDOW_MASK + 1;
    let ahead = field.wrapping_sub(edge) & WINDOW_MASK;
    if ahead < SPAN / 2 {
        edge.wrapping_add(ahead)
    } else {
        edge.wrapping_sub(SPAN - ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_wraps_at_two_to_the_32() {
        assert!(before(u32::MAX, 0));
        assert!(!before(0, u32::MAX));
        assert!(!before(7, 7));
        assert!(before(5, 5 + (1 << 31) - 1));
    }

    /// `spec/frcp.md` §18.1, with the nearest-candidate reading in the third row.
    #[test]
    fn edge_reconstruction() {
        assert_eq!(nearest_edge(0x0000_0140, 0x00_0150), 0x0000_0150);
        assert_eq!(nearest_edge(0x00ff_fff0, 0x00_0010), 0x0100_0010);
        assert_eq!(nearest_edge(0x0100_0010, 0xff_fff0), 0x00ff_fff0);
        assert_eq!(nearest_edge(0x0000_0040, 0x00_0000), 0);
        assert_eq!(nearest_edge(0xffff_ffff, 0x00_0001), 1);
        assert_eq!(nearest_edge(1, 0xff_ffff), 0xffff_ffff);
    }

    proptest! {
        #[test]
        fn an_edge_within_half_the_span_is_found(edge: u32, delta in -(1i32 << 23) + 1..1i32 << 23) {
            let real = edge.wrapping_add_signed(delta);
            prop_assert_eq!(nearest_edge(edge, real & WINDOW_MASK), real);
        }
    }
}
