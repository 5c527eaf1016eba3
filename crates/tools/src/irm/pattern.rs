//! Patterns with `*`, the only special character (`spec/irm-tools.md` §7.1).

/// Whether `pattern` matches all of `text`; `*` stands for any run, also an empty one.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A filter of lists: a pattern if it has a `*`, else the beginning of the text.
#[must_use]
pub fn filters(filter: &str, text: &str) -> bool {
    if filter.contains('*') {
        matches(filter, text)
    } else {
        text.starts_with(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, text, expected) in [
            ("local", "local", true),
            ("local", "local2", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("eth*", "eth", true),
            ("eth*", "eth0", true),
            ("*0", "eth0", true),
            ("e*h*", "eth0", true),
            ("e*x*", "eth0", false),
            ("a*a", "a", false),
            ("a*ab", "aab", true),
            ("*ab*b", "abab", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(filters("oe", "oecho") && filters("*cho", "oecho"));
        assert!(!filters("oecho2", "oecho"));
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_with_any_run_starred(text in "[a-c]{0,12}", a: usize, b: usize) {
            let (a, b) = (a % (text.len() + 1), b % (text.len() + 1));
            let (a, b) = (a.min(b), a.max(b));
            let starred = format!("{}*{}", &text[..a], &text[b..]);
            prop_assert!(matches(&starred, &text));
        }
    }
}
