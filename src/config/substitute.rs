//! `${NAME}` and `${NAME:-default}`, replaced in scalars after the file was parsed: whatever a variable
//! holds, it can't change the document's structure, and it is not looked through for variables again.

use super::environment::Environment;
use super::node::{Content, Node, Scalar};
use super::report::{Report, quote};

/// Replaces variables in `node`, which stands at `path` (`apps[0].token`), and in all below it.
pub(super) fn substitute(node: &mut Node, path: &str, environment: &dyn Environment, report: &mut Report) {
    match &mut node.content {
        Content::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                substitute(item, &format!("{path}[{index}]"), environment, report);
            }
        }
        Content::Map(entries) => {
            for entry in entries {
                let dot = if path.is_empty() { "" } else { "." };
                substitute(&mut entry.value, &format!("{path}{dot}{}", entry.key), environment, report);
            }
        }
        Content::Scalar(scalar) if scalar.text.contains("${") => match replaced(&scalar.text, environment) {
            Ok(text) => {
                let before = std::mem::replace(&mut scalar.text, text);
                *scalar = Scalar { before: Some(before), ..std::mem::take(scalar) };
            }
            Err(problem) => {
                let (message, help) = problem.describe(path);
                report.fault(node.place, message).help(help);
                node.content = Content::Broken;
            }
        },
        Content::Scalar(_) | Content::Broken => {}
    }
}

/// Why a text could not be completed.
#[derive(Debug, PartialEq, Eq)]
enum Problem {
    /// The variable is not set, and there is no default.
    Unset(String),
    /// `${` that is no variable.
    Malformed,
}

impl Problem {
    fn describe(&self, path: &str) -> (String, String) {
        match self {
            Self::Unset(name) => (
                format!("{}: variable {name} is not set", quote(path)),
                format!("set {name} in the environment, or give a default: `${{{name}:-default}}`"),
            ),
            Self::Malformed => (
                format!("{}: `${{` without a variable's name and `}}`", quote(path)),
                "write ${NAME} or ${NAME:-default}; a `${` that is meant so has to come out of a variable"
                    .to_owned(),
            ),
        }
    }
}

fn replaced(text: &str, environment: &dyn Environment) -> Result<String, Problem> {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, behind) = after.split_once('}').ok_or(Problem::Malformed)?;
        done.push_str(before);
        done.push_str(&value(inside, environment)?);
        rest = behind;
    }
    done.push_str(rest);
    Ok(done)
}

/// The value of `NAME` or `NAME:-default`. As in a shell, the default also stands in for an empty value.
fn value(inside: &str, environment: &dyn Environment) -> Result<String, Problem> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err(Problem::Malformed);
    }
    match (environment.var(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Problem::Unset(name.to_owned())),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn variables_are_replaced_once() {
        let set = environment(&[("A", "1"), ("EMPTY", ""), ("NESTED", "${A}: [x]")]);
        for (text, expected) in [
            ("${A}", "1"),
            ("a${A}b${A}", "a1b1"),
            ("${B:-d}", "d"),
            ("${B:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-d}", "d"),
            ("${NESTED}", "${A}: [x]"),
            ("$A {A} $", "$A {A} $"),
            ("${B:-http://x:80}", "http://x:80"),
        ] {
            assert_eq!(replaced(text, &set).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(replaced("${B}", &set), Err(Problem::Unset("B".to_owned())));
        for text in ["${", "${A", "${}", "${1A}", "${A-b}", "${ A }"] {
            assert_eq!(replaced(text, &set), Err(Problem::Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[${}:A-C-]{0,40}") {
            let _ = replaced(&text, &environment(&[("A", "${B}")]));
        }

        #[test]
        fn a_value_comes_through_as_it_is(value in "(?s).+") {
            prop_assert_eq!(replaced("<${A}>", &environment(&[("A", &value)])), Ok(format!("<{value}>")));
        }
    }
}
