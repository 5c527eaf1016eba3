//! Help and usage texts, made from the tables of the grammar.

use std::fmt::Write;

use super::{
    command::Topic,
    grammar::{GROUPS, Group, OTHERS, Operation},
};

/// Help for a topic.
pub(super) fn text(topic: Topic) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = match topic {
        Topic::Irm => irm(&mut out),
        Topic::Group(group) => of_group(&mut out, group),
        Topic::Operation(operation) => of_operation(&mut out, operation),
    };
    out
}

fn irm(out: &mut String) -> std::fmt::Result {
    writeln!(out, "Usage: irm [--json] COMMAND [OPERATION] [WORD...]\n")?;
    writeln!(
        out,
        "Manages the IPC processes, names and bindings of this machine.\n"
    )?;
    writeln!(out, "Commands:")?;
    for group in GROUPS {
        writeln!(out, "  {:12} {}", group.word, group.help)?;
        let words: Vec<&str> = group.words().collect();
        writeln!(out, "  {:12} {}", "", words.join(", "))?;
    }
    for (word, help) in OTHERS {
        writeln!(out, "  {word:12} {help}")?;
    }
    writeln!(
        out,
        "\nEvery word may be cut short; the first that fits in the order shown is meant. Options \
         are\npairs of keyword and value in any order."
    )?;
    writeln!(
        out,
        "\n  --json       lists and status as JSON, anywhere before \"--\"\
         \n  -h, --help   help for the words given so far\
         \n  --version    print the version"
    )?;
    writeln!(
        out,
        "\nA layer on this machine, a name in it, a program behind the name:"
    )?;
    for line in [
        "irm i b t local n local l local",
        "irm n r oecho l local",
        "irm b prog ./oecho.py n oecho",
    ] {
        writeln!(out, "  {line}")?;
    }
    writeln!(
        out,
        "\nThe daemon is looked for in $OUROBOROS_RUNTIME_DIR, else /run/ouroboros for root, \
         else\n$XDG_RUNTIME_DIR/ouroboros, else /tmp/ouroboros-UID."
    )
}

fn of_group(out: &mut String, group: &Group) -> std::fmt::Result {
    writeln!(out, "Usage: irm {} OPERATION [WORD...]\n", group.word)?;
    writeln!(out, "{}\n", sentence(group.help))?;
    writeln!(out, "Operations:")?;
    for operation in group.operations {
        let first = operation.help.lines().next().unwrap_or_default();
        writeln!(out, "  {:12} {first}", operation.word)?;
        let synopsis = operation.synopsis;
        writeln!(
            out,
            "  {:12} irm {} {} {synopsis}",
            "", group.word, operation.word
        )?;
    }
    writeln!(out, "  {:12} this text, or that of an operation", "help")
}

fn of_operation(out: &mut String, operation: &Operation) -> std::fmt::Result {
    writeln!(
        out,
        "Usage: {} {}\n",
        operation.command(),
        operation.synopsis
    )?;
    writeln!(out, "{}", sentence(operation.help))?;
    if !operation.options.is_empty() {
        writeln!(out, "\nOptions:")?;
    }
    for option in operation.options {
        let value = option.value.map_or("", |value| value.shown);
        let keyword = format!("{} {value}", option.word);
        writeln!(out, "  {keyword:24} {}", option.help)?;
    }
    if operation.rest {
        writeln!(
            out,
            "  {:24} arguments of automatic starts",
            "-- ARGUMENT..."
        )?;
    }
    writeln!(out, "\nExamples:")?;
    for example in operation.examples {
        writeln!(out, "  {example}")?;
    }
    Ok(())
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    let mut out: String = first.into_iter().flatten().chain(chars).collect();
    let end = out.find('\n').unwrap_or(out.len());
    if !out[..end].ends_with('.') {
        out.insert(end, '.');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irm::parse;

    /// What the help shows as an example works.
    #[test]
    fn every_example_is_a_command_of_its_operation() {
        for group in GROUPS {
            for operation in group.operations {
                let help = text(Topic::Operation(operation));
                assert!(!operation.examples.is_empty(), "{}", operation.command());
                for example in operation.examples {
                    assert!(help.contains(example));
                    let words: Vec<String> = example
                        .split(' ')
                        .skip(1)
                        .map(|word| word.trim_matches('\'').to_owned())
                        .collect();
                    parse::parse(&words).unwrap_or_else(|error| panic!("{example}: {error:?}"));
                    let mut with_help = words.clone();
                    with_help.insert(2, "--help".to_owned());
                    let parsed = parse::parse(&with_help).unwrap();
                    assert_eq!(
                        parsed.command,
                        crate::irm::command::Command::Help(Topic::Operation(operation)),
                        "{example}"
                    );
                }
                for option in operation.options {
                    assert!(help.contains(option.word));
                }
            }
        }
    }

    #[test]
    fn the_texts_name_what_there_is() {
        let all = text(Topic::Irm);
        for group in GROUPS {
            assert!(all.contains(group.word));
            let help = text(Topic::Group(group));
            for operation in group.operations {
                assert!(help.contains(operation.synopsis));
            }
        }
        assert_eq!(sentence("do it\nMore."), "Do it.\nMore.");
    }
}
