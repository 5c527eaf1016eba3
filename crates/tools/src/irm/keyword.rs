//! Matching of words: a prefix of a keyword is the keyword, the first in table order wins
//! (`spec/irm-tools.md` §7.1).

/// The first keyword that `word` is a prefix of, as its index.
pub(super) fn find<'a>(word: &str, keywords: impl IntoIterator<Item = &'a str>) -> Option<usize> {
    keywords
        .into_iter()
        .position(|keyword| keyword.starts_with(word))
}

/// The keyword that was probably meant by a word that matches none.
pub(crate) fn closest<'a>(
    word: &str,
    keywords: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // A third of the letters may be wrong, and two always in words that are long enough.
    let limit = (word.chars().count() / 3).max(1);
    keywords
        .into_iter()
        .map(|keyword| (strsim::damerau_levenshtein(word, keyword), keyword))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, keyword)| keyword)
}

/// `did you mean` line for a word, empty if nothing is close.
pub(super) fn suggestion<'a>(word: &str, keywords: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, keywords).map_or_else(String::new, |keyword| {
        format!("\nDid you mean \"{keyword}\"?")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keyword_wins() {
        let words = ["create", "destroy", "connect", "disconnect"];
        assert_eq!(find("c", words), Some(0));
        assert_eq!(find("d", words), Some(1));
        assert_eq!(find("co", words), Some(2));
        assert_eq!(find("di", words), Some(3));
        assert_eq!(find("", words), Some(0));
        assert_eq!(find("createx", words), None);
    }

    #[test]
    fn near_misses_are_found() {
        let words = ["create", "destroy", "bootstrap"];
        assert_eq!(closest("craete", words), Some("create"));
        assert_eq!(closest("destory", words), Some("destroy"));
        assert_eq!(closest("bootstap", words), Some("bootstrap"));
        assert_eq!(closest("zzz", words), None);
    }
}
