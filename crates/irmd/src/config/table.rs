//! Tables of the configuration file: values of the right type, with complaints that name the place.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Display,
    ops::{Range, RangeInclusive},
};

use o7s::{Name, irm::IpcpType};
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{At, Problem, problem::closest};

pub(super) type Key<'a> = Spanned<DeString<'a>>;
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// The entries of a table in the order of the file.
pub(super) fn in_order<'t, 'a>(table: &'t DeTable<'a>) -> Vec<(&'t Key<'a>, &'t Value<'a>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// What is found while reading.
pub(super) struct Reader {
    /// Where lines end.
    ends: Vec<usize>,
    /// Everything wrong so far.
    pub(super) problems: Vec<Problem>,
    /// Names of IPCPs, with their lines.
    pub(super) ipcps: HashMap<String, usize>,
}

impl Reader {
    pub(super) fn new(text: &str) -> Self {
        Self {
            ends: text.match_indices('\n').map(|(at, _)| at).collect(),
            problems: Vec::new(),
            ipcps: HashMap::new(),
        }
    }

    pub(super) fn tell(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.ends.partition_point(|end| *end < at) + 1
    }

    fn at<T>(&self, span: &Range<usize>, value: T) -> At<T> {
        At {
            line: self.line(span.start),
            value,
        }
    }

    /// A top-level key that means nothing.
    pub(super) fn unknown_section(&mut self, key: &Key) {
        let known = || std::iter::once("name").chain(IpcpType::ALL.map(IpcpType::as_str));
        let word: &str = key.get_ref();
        let near = closest(word, known())
            .map(|near| format!("did you mean {near:?}? "))
            .unwrap_or_default();
        let all: Vec<&str> = known().collect();
        self.tell(
            Problem::error(key.span(), format!("unknown top-level key {word:?}"))
                .help(format!("{near}allowed are {}", all.join(", "))),
        );
    }

    /// A valid name, or none after a complaint.
    pub(super) fn name(&mut self, span: Range<usize>, text: &str, what: &str) -> Option<String> {
        match Name::new(text) {
            Ok(name) => Some(name.as_str().to_owned()),
            Err(error) => {
                self.tell(Problem::error(span, format!("this is no {what}: {error}")));
                None
            }
        }
    }

    /// The table of an entry, or none after a complaint.
    pub(super) fn table<'t, 'v>(
        &mut self,
        key: &Key,
        value: &'t Value<'v>,
        section: &str,
    ) -> Option<Table<'t, 'v>> {
        if let Some(table) = value.get_ref().as_table() {
            return Some(Table {
                table,
                asked: BTreeSet::new(),
            });
        }
        let word: &str = key.get_ref();
        self.tell(
            Problem::error(
                value.span(),
                format!("{word:?} must be a table, not {}", article(value)),
            )
            .help(format!("write [{section}.{word:?}] and its keys below it")),
        );
        None
    }
}

/// The keys of one entry. Every key that is asked for is known; what is left is told at the end.
pub(super) struct Table<'t, 'v> {
    table: &'t DeTable<'v>,
    asked: BTreeSet<&'static str>,
}

impl<'t, 'v> Table<'t, 'v> {
    /// The value of a key, which may be spelt in several ways; the first is shown.
    pub(super) fn get(
        &mut self,
        reader: &mut Reader,
        words: &[&'static str],
    ) -> Option<(&'t Key<'v>, &'t Value<'v>)> {
        self.asked.extend(words);
        let mut found: Option<(&Key, &Value)> = None;
        for word in words {
            let Some((key, value)) = self.table.get_key_value(*word) else {
                continue;
            };
            if let Some((first, _)) = found {
                let first: &str = first.get_ref();
                reader.tell(Problem::error(
                    key.span(),
                    format!("{word:?} is another spelling of {first:?}, which is there too"),
                ));
            } else {
                found = Some((key, value));
            }
        }
        found
    }

    /// A string.
    pub(super) fn string(
        &mut self,
        reader: &mut Reader,
        words: &[&'static str],
    ) -> Option<Spanned<&'t str>> {
        let (key, value) = self.get(reader, words)?;
        match value.get_ref().as_str() {
            Some(text) => Some(Spanned::new(value.span(), text)),
            None => {
                wrong_type(reader, key, value, "a string", "\"…\"");
                None
            }
        }
    }

    /// One of some words; each has spellings, the first of which is shown.
    pub(super) fn word<T: Copy>(
        &mut self,
        reader: &mut Reader,
        key: &[&'static str],
        words: &[(&[&str], T)],
    ) -> Option<T> {
        let given = self.string(reader, key)?;
        let found = words
            .iter()
            .find(|(spellings, _)| spellings.contains(given.get_ref()));
        if let Some((_, value)) = found {
            return Some(*value);
        }
        let known: Vec<String> = words
            .iter()
            .filter_map(|(spellings, _)| spellings.first().map(|word| format!("{word:?}")))
            .collect();
        let shown = key.first().copied().unwrap_or_default();
        reader.tell(
            Problem::error(
                given.span(),
                format!("{:?} is no value of {shown}", given.get_ref()),
            )
            .help(format!("allowed are {}", known.join(", "))),
        );
        None
    }

    /// A whole number in a range.
    pub(super) fn number<T>(
        &mut self,
        reader: &mut Reader,
        words: &[&'static str],
        range: RangeInclusive<T>,
    ) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let (key, value) = self.get(reader, words)?;
        let Some(integer) = value.get_ref().as_integer() else {
            let digits = value
                .get_ref()
                .as_str()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty());
            let example = digits.map_or_else(|| range.start().to_string(), str::to_owned);
            wrong_type(reader, key, value, "a whole number", &example);
            return None;
        };
        let number = i128::from_str_radix(&integer.as_str().replace('_', ""), integer.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number));
        if number.is_none() {
            let word: &str = key.get_ref();
            reader.tell(
                Problem::error(value.span(), format!("{word} is out of range")).help(format!(
                    "allowed are {} to {}",
                    range.start(),
                    range.end()
                )),
            );
        }
        number
    }

    /// A quantity that people write as a number or a text, such as `0.5` and `"500ppm"`.
    pub(super) fn quantity(
        &mut self,
        reader: &mut Reader,
        word: &'static str,
        parse: fn(&str) -> Option<u32>,
        allowed: &str,
    ) -> Option<u32> {
        let (key, value) = self.get(reader, &[word])?;
        let value_ref = value.get_ref();
        let text = (value_ref.as_str())
            .or_else(|| value_ref.as_integer().map(toml::de::DeInteger::as_str))
            .or_else(|| value_ref.as_float().map(toml::de::DeFloat::as_str));
        let Some(text) = text else {
            wrong_type(reader, key, value, "a number or a string", "1.5");
            return None;
        };
        let quantity = parse(text);
        if quantity.is_none() {
            reader.tell(
                Problem::error(value.span(), format!("{text:?} is no value of {word}"))
                    .help(allowed.to_owned()),
            );
        }
        quantity
    }

    /// A table of strings, or of arrays of them: key, text and their places, in the order of the file; the key
    /// of an array comes with each of its strings.
    pub(super) fn pairs(
        &mut self,
        reader: &mut Reader,
        word: &'static str,
        example: &str,
    ) -> Vec<(Spanned<&'t str>, Spanned<&'t str>)> {
        let Some((key, value)) = self.get(reader, &[word]) else {
            return Vec::new();
        };
        let Some(table) = value.get_ref().as_table() else {
            wrong_type(reader, key, value, "a table of strings", example);
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for (name, value) in in_order(table) {
            let texts = match value.get_ref().as_array() {
                Some(array) => array.iter().collect(),
                None => vec![value],
            };
            for value in texts {
                match value.get_ref().as_str() {
                    Some(text) => pairs.push((
                        Spanned::new(name.span(), name.get_ref().as_ref()),
                        Spanned::new(value.span(), text),
                    )),
                    None => wrong_type(reader, name, value, "a string", "\"…\""),
                }
            }
        }
        pairs
    }

    /// True or false.
    pub(super) fn flag(&mut self, reader: &mut Reader, word: &'static str) -> Option<bool> {
        let (key, value) = self.get(reader, &[word])?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            wrong_type(reader, key, value, "true or false", "true");
        }
        flag
    }

    /// Strings, each with its place.
    pub(super) fn strings(
        &mut self,
        reader: &mut Reader,
        words: &[&'static str],
    ) -> Vec<Spanned<&'t str>> {
        let Some((key, value)) = self.get(reader, words) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            wrong_type(reader, key, value, "an array of strings", "[\"…\", \"…\"]");
            return Vec::new();
        };
        let mut strings = Vec::new();
        for value in array {
            match value.get_ref().as_str() {
                Some(text) => strings.push(Spanned::new(value.span(), text)),
                None => wrong_type(reader, key, value, "an array of strings", "[\"…\", \"…\"]"),
            }
        }
        strings
    }

    /// An array of names, each with its line.
    pub(super) fn names(
        &mut self,
        reader: &mut Reader,
        word: &'static str,
        what: &str,
    ) -> Vec<At<String>> {
        let strings = self.strings(reader, &[word]);
        strings
            .into_iter()
            .filter_map(|text| {
                let name = reader.name(text.span(), text.get_ref(), what)?;
                Some(reader.at(&text.span(), name))
            })
            .collect()
    }

    /// Tells the keys that nobody asked for. `elsewhere` are keys that other entries have.
    pub(super) fn finish(self, reader: &mut Reader, entry: &str, elsewhere: &[&str]) {
        for (key, _) in in_order(self.table) {
            let word: &str = key.get_ref();
            if self.asked.contains(word) {
                continue;
            }
            let problem = if elsewhere.contains(&word) {
                Problem::warning(key.span(), format!("{word} has no effect on {entry}"))
                    .help("remove it")
            } else {
                let near = closest(word, self.asked.iter().copied())
                    .map(|near| format!("did you mean {near:?}? "))
                    .unwrap_or_default();
                let known: Vec<&str> = self.asked.iter().copied().collect();
                Problem::warning(key.span(), format!("unknown key {word:?} is ignored"))
                    .help(format!("{near}keys of {entry} are {}", known.join(", ")))
            };
            reader.tell(problem);
        }
    }
}

/// A value with its line.
pub(super) fn located<T>(reader: &Reader, value: &Spanned<T>) -> At<T>
where
    T: Clone,
{
    reader.at(&value.span(), value.get_ref().clone())
}

fn wrong_type(reader: &mut Reader, key: &Key, value: &Value, wanted: &str, example: &str) {
    let word: &str = key.get_ref();
    reader.tell(
        Problem::error(
            value.span(),
            format!("{word} must be {wanted}, not {}", article(value)),
        )
        .help(format!("write {word} = {example}")),
    );
}

/// "a string", "an integer", …
fn article(value: &Value) -> String {
    let kind = value.get_ref().type_str();
    let n = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "n"
    } else {
        ""
    };
    format!("a{n} {kind}")
}
