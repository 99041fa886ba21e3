//! Puts originals back into an answer while it streams by.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem::Finder;

use super::Originals;

/// Changes what stands for an address back into the address. Of the answer it holds back no more than could be
/// the beginning of one.
#[derive(Debug)]
pub struct Restorer {
    originals: Arc<Originals>,
    /// What a URL begins with, as JSON may write it: with `/`, or with `\/`.
    prefixes: Vec<Finder<'static>>,
    reach: usize,
    held: Vec<u8>,
}

impl Restorer {
    /// For an answer that may name these.
    pub fn new(originals: Arc<Originals>) -> Self {
        let plain = originals.prefixes.iter().cloned();
        let escaped = originals.prefixes.iter().map(|prefix| prefix.replace('/', "\\/"));
        let prefixes: Vec<Vec<u8>> = plain.chain(escaped).map(String::into_bytes).collect();
        let rest = originals.urls.iter().map(|(rest, _)| rest.len()).max().unwrap_or(0);
        let reach = prefixes.iter().map(Vec::len).max().unwrap_or(0) + rest;
        let prefixes = prefixes.iter().map(|prefix| Finder::new(prefix).into_owned()).collect();
        Self { originals, prefixes, reach, held: Vec::new() }
    }

    /// What may go out once `data` has come.
    pub fn feed(&mut self, data: &[u8]) -> Bytes {
        self.held.extend_from_slice(data);
        self.pass(self.reach)
    }

    /// The rest.
    pub fn finish(&mut self) -> Bytes {
        self.pass(0)
    }

    fn pass(&mut self, keep: usize) -> Bytes {
        let mut out = Vec::with_capacity(self.held.len());
        let mut from = 0;
        // One that begins before this is there whole.
        let until = self.held.len().saturating_sub(keep);
        while let Some((at, length, original)) = self.next(from).filter(|(at, ..)| *at < until || keep == 0) {
            out.extend_from_slice(&self.held[from..at]);
            out.extend_from_slice(original.as_bytes());
            from = at + length;
        }
        let until = until.max(from);
        out.extend_from_slice(&self.held[from..until]);
        self.held.drain(..until);
        out.into()
    }

    /// The first that stands from `from` on: where, how long it is, and what belongs there.
    fn next(&self, from: usize) -> Option<(usize, usize, String)> {
        let found = self.prefixes.iter().filter_map(|prefix| self.next_of(prefix, from));
        found.min_by_key(|(at, ..)| *at)
    }

    fn next_of(&self, prefix: &Finder<'_>, mut from: usize) -> Option<(usize, usize, String)> {
        loop {
            let at = from + prefix.find(&self.held[from..])?;
            let rest = &self.held[at + prefix.needle().len()..];
            let known = self.originals.urls.iter().find(|(url, _)| rest.starts_with(url.as_bytes()));
            if let Some((url, original)) = known {
                let text = serde_json::Value::from(original.as_str()).to_string();
                return Some((at, prefix.needle().len() + url.len(), text[1..text.len() - 1].to_owned()));
            }
            from = at + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn restorer() -> Restorer {
        Restorer::new(Arc::new(Originals {
            prefixes: vec!["http://g/callbacks/crm/t1/".into(), "http://g/callbacks/crm/t2/".into()],
            urls: vec![("team-a".into(), "http://a/\"x\"".into()), ("team-b".into(), "http://b".into())],
        }))
    }

    const TEXT: &str = r#"[{"team_url":"http://g/callbacks/crm/t1/team-a"},{"team_url":"http:\/\/g\/callbacks\/crm\/t2\/team-b"},"http://g/callbacks/crm/t1/vip","http://g/callbacks/crm/t1/team-"#;
    const RESTORED: &str = r#"[{"team_url":"http://a/\"x\""},{"team_url":"http://b"},"http://g/callbacks/crm/t1/vip","http://g/callbacks/crm/t1/team-"#;

    #[test]
    fn originals_come_back() {
        let mut whole = restorer();
        let mut out = whole.feed(TEXT.as_bytes()).to_vec();
        out.extend_from_slice(&whole.finish());
        assert_eq!(String::from_utf8(out).unwrap(), RESTORED);
    }

    proptest! {
        #[test]
        fn however_it_is_cut(cuts in proptest::collection::vec(0..TEXT.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.push(TEXT.len());
            cuts.sort_unstable();
            let (mut restorer, mut out, mut from) = (restorer(), Vec::new(), 0);
            for cut in cuts {
                out.extend_from_slice(&restorer.feed(&TEXT.as_bytes()[from..cut]));
                from = cut;
            }
            out.extend_from_slice(&restorer.finish());
            prop_assert_eq!(String::from_utf8(out).unwrap(), RESTORED);
        }
    }
}
