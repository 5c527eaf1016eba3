//! What is wrong with a configuration file, shown with its line and a caret.

use std::{fmt::Write as _, ops::Range, path::Path};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// It can, but part of it has no effect.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// What.
    pub message: String,
    /// Where: bytes of the text.
    pub span: Range<usize>,
    /// What is allowed, or what to do.
    pub help: Option<String>,
}

impl Problem {
    /// The file cannot be used.
    #[must_use]
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span,
            help: None,
        }
    }

    /// Part of the file has no effect.
    #[must_use]
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message)
        }
    }

    /// With what is allowed, or what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// One line: `FILE:LINE:COLUMN: message; help`.
    #[must_use]
    pub fn line(&self, path: &Path, text: &str) -> String {
        let place = Place::of(text, self.span.start);
        let mut line = format!(
            "{}:{}:{}: {}",
            path.display(),
            place.line,
            place.column,
            self.message
        );
        if let Some(help) = &self.help {
            let _ = write!(line, "; {help}");
        }
        line
    }

    /// Several lines: the message, the place, the line of the file with carets under it, help.
    #[must_use]
    pub fn render(&self, path: &Path, text: &str) -> String {
        let place = Place::of(text, self.span.start);
        let before = &place.text[..place.offset];
        let rest = &place.text[place.offset..];
        let length = self.span.len().min(rest.len());
        let marked = rest
            .get(..length)
            .unwrap_or_default()
            .trim_end()
            .chars()
            .count();
        // Tabs stay tabs, so that the carets stand under their text.
        let indent: String = before
            .chars()
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let mut out = format!(
            "{}: {}\n{margin}--> {}:{}:{}\n{margin} |\n{number} | {}\n{margin} | {indent}{}\n",
            self.severity.as_str(),
            self.message,
            path.display(),
            place.line,
            place.column,
            shown(place.text),
            "^".repeat(marked.max(1)),
        );
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{margin} = help: {help}");
        }
        out
    }
}

/// A place in a text.
struct Place<'a> {
    /// From 1.
    line: usize,
    /// In characters, from 1.
    column: usize,
    /// The line without its end.
    text: &'a str,
    /// Bytes of the line before the place.
    offset: usize,
}

impl<'a> Place<'a> {
    fn of(text: &'a str, at: usize) -> Self {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[start..at].chars().count() + 1,
            text: text[start..end].trim_end_matches('\r'),
            offset: (at - start).min(text[start..end].trim_end_matches('\r').len()),
        }
    }
}

/// A foreign line without what could trouble a terminal.
fn shown(line: &str) -> String {
    line.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// The word that was probably meant; none if nothing is close.
pub(super) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_place_is_shown_with_carets() {
        let text = "[name.a]\n\tlb = \"spil\" # é\n";
        let start = text.find("\"spil").unwrap();
        let problem = Problem::error(start..start + 6, "no such policy").help("use spill");
        assert_eq!(
            problem.render(Path::new("irmd.conf"), text),
            "error: no such policy\n --> irmd.conf:2:7\n  |\n2 | \tlb = \"spil\" # é\n  | \t     \
             ^^^^^^\n  = help: use spill\n"
        );
        assert_eq!(
            problem.line(Path::new("irmd.conf"), text),
            "irmd.conf:2:7: no such policy; use spill"
        );
    }

    #[test]
    fn typing_errors_are_recognised() {
        let known = ["bootstrap", "enrol", "autobind", "reg"];
        assert_eq!(closest("bootstarp", known), Some("bootstrap"));
        assert_eq!(closest("regs", known), Some("reg"));
        assert_eq!(closest("port", known), None);
    }

    proptest! {
        #[test]
        fn any_span_of_any_text_can_be_shown(
            text in "(\\PC|\n|\t|\r){0,40}", start in 0_usize..60, length in 0_usize..60,
        ) {
            let problem = Problem::warning(start..start + length, "x");
            let shown = problem.render(Path::new("f"), &text);
            prop_assert!(shown.contains('^'));
            prop_assert!(problem.line(Path::new("f"), &text).starts_with("f:"));
        }
    }
}
