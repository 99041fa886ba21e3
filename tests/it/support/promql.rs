//! As much of PromQL as alerts and dashboards need: which metrics and labels an expression asks for.

use std::collections::BTreeMap;

/// What comes before a parenthesis, or between two vectors, and names no metric.
const WORDS: &[&str] = &[
    "abs",
    "and",
    "by",
    "changes",
    "histogram_quantile",
    "increase",
    "max",
    "max_over_time",
    "min",
    "or",
    "predict_linear",
    "rate",
    "sum",
    "unless",
];

/// What an expression asks for.
#[derive(Debug, Default)]
pub struct Asked {
    /// Vectors.
    pub selectors: Vec<Selector>,
    /// Labels that are grouped by.
    pub grouped: Vec<String>,
}

/// A vector.
#[derive(Debug)]
pub struct Selector {
    /// The metric, with the suffix of its samples.
    pub metric: String,
    /// Label, operator, value.
    pub matchers: Vec<(String, String, String)>,
}

impl Asked {
    /// Reads an expression; what it does not know it takes for a metric.
    pub fn of(expression: &str) -> Self {
        let mut asked = Self::default();
        let mut tokens = tokens(expression).into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token.as_str() {
                "by" => {
                    let labels = tokens.by_ref().skip(1).take_while(|token| token != ")");
                    asked.grouped.extend(labels.filter(|token| token != ","));
                }
                name if is_name(name) && !WORDS.contains(&name) => {
                    let mut matchers = Vec::new();
                    if tokens.next_if(|next| next == "{").is_some() {
                        let inner: Vec<String> = tokens.by_ref().take_while(|token| token != "}").collect();
                        matchers = inner.split(|token| token == ",").map(matcher).collect();
                    }
                    asked.selectors.push(Selector { metric: token, matchers });
                }
                _ => {}
            }
        }
        asked
    }
}

fn matcher(tokens: &[String]) -> (String, String, String) {
    let [label, operator, value] = tokens else { panic!("{tokens:?} is no label matcher") };
    (label.clone(), operator.clone(), value.trim_matches('"').to_owned())
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Names, numbers, strings and signs; ranges in brackets are left out.
fn tokens(expression: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => rest[1..].find('"').expect("the string ends") + 2,
            '[' => rest.find(']').expect("the range ends") + 1,
            _ if is_word(first) => rest.find(|next| !is_word(next)).unwrap_or(rest.len()),
            '=' | '!' | '<' | '>' => rest.find(|next| !"=!<>~".contains(next)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        if first != '[' {
            tokens.push(rest[..end].to_owned());
        }
        rest = rest[end..].trim_start();
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_:.".contains(character)
}

/// What a gateway exports: series by the name of their samples.
#[derive(Debug, Default)]
pub struct Exported(BTreeMap<String, Vec<BTreeMap<String, String>>>);

impl Exported {
    /// Takes in what `/metrics` says.
    pub fn add(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, _) = line.rsplit_once(' ').expect("a sample has a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| label.split_once("=\"").expect("a label has a value"));
            let labels =
                labels.map(|(label, value)| (label.to_owned(), value.trim_end_matches('"').to_owned()));
            self.0.entry(name.to_owned()).or_default().push(labels.collect());
        }
    }

    /// The names of its metrics, of a histogram's with their suffixes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What the expression asks for in vain.
    pub fn lacks(&self, expression: &str) -> Vec<String> {
        let asked = Asked::of(expression);
        let mut lacking: Vec<String> = asked.selectors.iter().filter_map(|one| self.lacks_of(one)).collect();
        let grouped = asked.grouped.iter().filter(|label| {
            !is_targets(label) && !asked.selectors.iter().any(|one| self.has_label(&one.metric, label))
        });
        lacking.extend(grouped.map(|label| format!("grouped by {label}")));
        lacking
    }

    fn lacks_of(&self, selector: &Selector) -> Option<String> {
        let Selector { metric, matchers } = selector;
        if metric == "up" {
            return None;
        }
        let Some(series) = self.0.get(metric) else { return Some(metric.clone()) };
        let own: Vec<_> = matchers.iter().filter(|(label, ..)| !is_targets(label)).collect();
        if let Some((label, ..)) = own.iter().find(|(label, ..)| !self.has_label(metric, label)) {
            return Some(format!("{metric} has no label {label}"));
        }
        let found = series.iter().any(|labels| {
            own.iter().all(|(label, operator, value)| {
                let is = labels.get(label).map_or("", String::as_str);
                value.contains('$') || operator.starts_with('!') || matches(is, operator, value)
            })
        });
        (!found).then(|| format!("no {metric} is like {own:?}"))
    }

    fn has_label(&self, metric: &str, label: &str) -> bool {
        self.0.get(metric).is_some_and(|series| series.iter().any(|labels| labels.contains_key(label)))
    }
}

/// Labels that Prometheus gives to whom it scrapes.
fn is_targets(label: &str) -> bool {
    matches!(label, "job" | "instance")
}

/// Of regular expressions, alternatives that may end in `.*`.
fn matches(is: &str, operator: &str, value: &str) -> bool {
    match operator {
        "=" => is == value,
        "=~" => value.split('|').any(|one| match one.strip_suffix(".*") {
            Some(start) => is.starts_with(start),
            None => is == one,
        }),
        _ => panic!("{operator} is no operator of matchers"),
    }
}
