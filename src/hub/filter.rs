//! `where`: which of the events that a subscriber takes it really wants.

use std::collections::BTreeMap;

use crate::store::Event;
use crate::xinyao::callback::facets::{self, Facet};

/// Every named field must match; an empty filter matches everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    label: Option<Vec<String>>,
    facets: Vec<(Facet, Vec<String>)>,
}

impl Filter {
    /// From field names and the texts that match each.
    pub fn new(wanted: &BTreeMap<String, Vec<String>>) -> Self {
        let facets = Facet::ALL
            .into_iter()
            .filter_map(|facet| wanted.get(facet.name()).map(|texts| (facet, texts.clone())))
            .collect();
        Self { label: wanted.get("label").cloned(), facets }
    }

    /// Whether `event` matches. A body that can't be read to its end has no fields.
    pub fn matches(&self, event: &Event) -> bool {
        self.label_matches(event.label.as_deref()) && self.body_matches(&event.body)
    }

    fn label_matches(&self, label: Option<&str>) -> bool {
        self.label.as_ref().is_none_or(|wanted| wanted.iter().any(|text| Some(text.as_str()) == label))
    }

    fn body_matches(&self, body: &[u8]) -> bool {
        if self.facets.is_empty() {
            return true;
        }
        let mut matched = vec![false; self.facets.len()];
        let whole = facets::scan(body, &mut |facet, text| {
            for ((wanted, texts), matched) in self.facets.iter().zip(&mut matched) {
                *matched |= *wanted == facet && texts.iter().any(|one| one == text);
            }
        });
        whole && matched.into_iter().all(|matched| matched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::dispatch::testing::event;

    fn filter(fields: &[(&str, &[&str])]) -> Filter {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Filter::new(&fields.iter().map(|(name, wanted)| ((*name).to_owned(), texts(wanted))).collect())
    }

    fn matches(fields: &[(&str, &[&str])], body: &str) -> bool {
        let mut event = event(1, body);
        event.label = Some("vip".into());
        filter(fields).matches(&event)
    }

    #[test]
    fn all_named_fields_match_and_any_entry_of_an_array() {
        let body = r#"{"task_id":1,"call_sn":"9","calls":[{"state":"1"},{"state":775}]}"#;
        assert!(matches(&[], body));
        assert!(matches(&[("task_id", &["2", "1"])], body));
        assert!(matches(&[("task_id", &["1"]), ("state", &["775"]), ("label", &["vip"])], body));
        assert!(!matches(&[("task_id", &["1"]), ("state", &["776"])], body));
        assert!(!matches(&[("task_id", &["1"]), ("label", &["other"])], body));
        assert!(!matches(&[("degree_name", &["A类"])], body));
        assert!(matches(&[("degree_name", &["A类"])], r#"{"degrees":[{"degree_name":"A类"}]}"#));
    }

    #[test]
    fn a_body_that_cannot_be_read_has_no_fields() {
        assert!(matches(&[("label", &["vip"])], "not json"));
        assert!(!matches(&[("task_id", &["1"])], r#"{"task_id":"1","#));
    }
}
