//! The state of an IPCP: aligned tables for people, objects for programs.

use o7s::irm::{IpcpStatus, StatusSection};
use serde_json::{Map, Value};

use super::list;
use crate::output::shown;

/// Tables with a heading each. Columns are as wide as their widest cell; numbers stand right.
pub(super) fn tables(status: &IpcpStatus) -> String {
    let tables: Vec<String> = status.sections.iter().map(table).collect();
    tables.join("\n")
}

fn table(section: &StatusSection) -> String {
    let mut text = format!("{}:\n", shown(&section.name));
    if section.rows.is_empty() {
        text.push_str("  (none)\n");
        return text;
    }
    let titles: Vec<String> = section.columns.iter().map(|title| shown(title)).collect();
    let rows: Vec<Vec<String>> = section
        .rows
        .iter()
        .map(|row| row.cells.iter().map(|cell| shown(cell)).collect())
        .collect();
    let columns = rows
        .iter()
        .map(Vec::len)
        .max()
        .unwrap_or(0)
        .max(titles.len());
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            let cells = rows.iter().map(|row| cell(row, at).chars().count());
            cells
                .max()
                .unwrap_or(0)
                .max(cell(&titles, at).chars().count())
        })
        .collect();
    let right: Vec<bool> = (0..columns)
        .map(|at| rows.iter().all(|row| is_number(&cell(row, at))))
        .collect();
    for row in std::iter::once(&titles).chain(&rows) {
        let mut line = String::new();
        for at in 0..columns {
            let (cell, width) = (cell(row, at), widths[at]);
            line.push_str("  ");
            line.push_str(&if right[at] {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty()
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// An object with a member per section: an array with an object per row. A section of properties
/// and values is one object. Whole numbers are numbers, all else strings.
pub(super) fn json(status: &IpcpStatus) -> String {
    let mut object = Map::new();
    for section in &status.sections {
        object.insert(section.name.clone(), value(section));
    }
    list::json(&Value::Object(object))
}

fn value(section: &StatusSection) -> Value {
    if section.columns == ["property", "value"] {
        let pairs = section.rows.iter().filter_map(|row| match &*row.cells {
            [property, value] => Some((property.clone(), scalar(value))),
            _ => None,
        });
        return Value::Object(pairs.collect());
    }
    let rows = section.rows.iter().map(|row| {
        let cells = section.columns.iter().zip(&row.cells);
        Value::Object(
            cells
                .map(|(title, cell)| (title.clone(), scalar(cell)))
                .collect(),
        )
    });
    Value::Array(rows.collect())
}

/// A number only if its text is that of the number: hexadecimal ids with leading zeros stay texts.
fn scalar(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => Value::from(number),
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> IpcpStatus {
        let mut head = StatusSection::new("ipcp", &["property", "value"]);
        head.push([&"name", &"n1"]);
        head.push([&"pid", &42]);
        let mut flows = StatusSection::new("flows", &["eid", "peer", "packets"]);
        flows.push([&"00fe", &"a\u{1b}b", &7]);
        flows.push([&"12", &"x", &12_345]);
        IpcpStatus {
            sections: vec![head, flows, StatusSection::new("directory", &["hash"])],
        }
    }

    #[test]
    fn tables_for_people() {
        let expected = "\
ipcp:
  property  value
  name      n1
  pid       42

flows:
  eid   peer      packets
  00fe  a\\u{1b}b        7
  12    x           12345

directory:
  (none)
";
        assert_eq!(tables(&status()), expected);
    }

    #[test]
    fn objects_for_programs() {
        let value: Value = serde_json::from_str(&json(&status())).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "ipcp": {"name": "n1", "pid": 42},
                "flows": [
                    {"eid": "00fe", "peer": "a\u{1b}b", "packets": 7},
                    {"eid": 12, "peer": "x", "packets": 12345},
                ],
                "directory": [],
            })
        );
    }

    #[test]
    fn rows_of_a_wrong_length_do_not_matter() {
        let mut odd = StatusSection::new("odd", &["a", "b"]);
        odd.rows = vec![o7s::irm::StatusRow {
            cells: vec!["1".to_owned(); 3],
        }];
        let status = IpcpStatus {
            sections: vec![odd],
        };
        assert!(tables(&status).contains("1  1  1"));
        assert!(json(&status).contains("\"b\": 1"));
    }
}
