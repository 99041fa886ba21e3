//! YAML text to [`Node`]s, within bounds: how deep, and how much aliases may multiply.

use std::collections::{HashMap, HashSet};

use serde_yaml::granit_parser::{
    Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag, options,
};

use super::node::{Content, Entry, Node, Place, Scalar};
use super::report::{Report, quote};

/// Most nodes, those that aliases repeat included.
const MAX_NODES: usize = 50_000;
/// Most levels.
const MAX_DEPTH: usize = 48;

/// The one document in `text`; `None` when it is empty, or broken in a way that leaves no tree.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    let mut builder = Builder {
        events: Parser::new_from_str_with_options(text, parser_options()),
        anchors: HashMap::new(),
        left: MAX_NODES,
        report,
    };
    match builder.document() {
        Ok(root) => root,
        Err(Stop::Scan(error)) => {
            let start = error.marker().byte_offset().unwrap_or(0);
            builder.report.syntax(Place { start, end: start }, &error.info());
            None
        }
        Err(Stop::Said) => None,
    }
}

/// A default, or another text of our own, as if it stood at `place`.
pub(super) fn snippet(text: &str, place: Place) -> Node {
    let mut node =
        parse(text, &mut Report::new("", text)).unwrap_or_else(|| Node::scalar(place, Scalar::default()));
    node.move_to(place);
    node
}

fn parser_options() -> Options {
    options! { emit_comments: false, block_nesting_limit: MAX_DEPTH, flow_nesting_limit: MAX_DEPTH }
}

struct Builder<'t, 'r> {
    events: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    left: usize,
    report: &'r mut Report,
}

/// Why there is no tree.
enum Stop {
    /// It is no YAML.
    Scan(ScanError),
    /// A bound was passed, and reported.
    Said,
}

type Spanned<'t> = (Event<'t>, Span);

impl<'t> Builder<'t, '_> {
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::DocumentStart(..) if root.is_some() => {
                    let place = place(span);
                    let fault = self.report.fault(place, "a second document begins here");
                    fault.help("the gateway reads one document a file; remove the `---` and what follows");
                    return Ok(root);
                }
                Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        Ok(root)
    }

    fn next(&mut self) -> Result<Option<Spanned<'t>>, Stop> {
        self.events.next_event().transpose().map_err(Stop::Scan)
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Stop> {
        let place = place(span);
        self.spend(1, place)?;
        self.check_depth(depth, place)?;
        let tagged = self.tag(&event, place);
        let (mut node, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let quoted = style != ScalarStyle::Plain || tagged == Tagged::Text;
                let scalar = Scalar { text: text.into_owned(), before: None, quoted };
                (Node::scalar(place, scalar), anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.list(place, depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(place, depth)?, anchor),
            Event::Alias(anchor) => (self.alias(anchor, place, depth)?, 0),
            _ => (Node { place, content: Content::Broken, height: 0 }, 0),
        };
        if tagged == Tagged::Unknown {
            node.content = Content::Broken;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, start: Place, depth: usize) -> Result<Node, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                None | Some((Event::SequenceEnd, _)) => break,
                Some((event, span)) => items.push(self.node(event, span, depth + 1)?),
            }
        }
        let height = items.iter().map(|item| item.height + 1).max().unwrap_or(0);
        let place = if start.start < start.end { start } else { items.first().map_or(start, |i| i.place) };
        Ok(Node { place, content: Content::List(items), height })
    }

    fn map(&mut self, start: Place, depth: usize) -> Result<Node, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged = Vec::new();
        let mut seen = HashMap::new();
        loop {
            let key = match self.next()? {
                None | Some((Event::MappingEnd, _)) => break,
                Some((event, span)) => self.node(event, span, depth + 1)?,
            };
            let Some((event, span)) = self.next()? else { break };
            let value = self.node(event, span, depth + 1)?;
            match self.key(&key) {
                Some(name) if name == "<<" => merged.push(value),
                Some(name) => match seen.get(&name) {
                    Some(first) => self.twice(&name, key.place, *first),
                    None => {
                        seen.insert(name.clone(), key.place);
                        entries.push(Entry { key: name, place: key.place, value });
                    }
                },
                None => {}
            }
        }
        let place = if start.start < start.end { start } else { entries.first().map_or(start, |e| e.place) };
        self.merge(&mut entries, merged, place)?;
        let height = entries.iter().map(|entry| entry.value.height + 1).max().unwrap_or(0);
        Ok(Node { place, content: Content::Map(entries), height })
    }

    /// The text of a key, which has to be a scalar.
    fn key(&mut self, key: &Node) -> Option<String> {
        if let Content::Scalar(scalar) = &key.content {
            return Some(scalar.text.clone());
        }
        self.report.fault(key.place, "a key has to be a single word");
        None
    }

    fn twice(&mut self, name: &str, place: Place, first: Place) {
        let line = self.report.line(first);
        let fault = self.report.fault(place, format!("duplicate key {}", quote(name)));
        fault.help(format!("it is given in line {line} already; keep one of them"));
    }

    /// `<<: *other`: keys of another mapping, where they are not given here.
    fn merge(&mut self, entries: &mut Vec<Entry>, merged: Vec<Node>, place: Place) -> Result<(), Stop> {
        let mut seen: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        let mut sources = Vec::new();
        for node in merged {
            match node.content {
                Content::List(items) => sources.extend(items),
                _ => sources.push(node),
            }
        }
        for source in sources {
            let Content::Map(more) = source.content else {
                self.report.fault(source.place, "`<<` merges mappings only");
                continue;
            };
            self.spend(more.len(), place)?;
            entries.extend(more.into_iter().filter(|entry| seen.insert(entry.key.clone())));
        }
        Ok(())
    }

    /// The anchored node once more, standing where the alias stands in the bounds but not in messages.
    fn alias(&mut self, anchor: usize, place: Place, depth: usize) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            self.report.fault(place, "an alias inside what it stands for");
            return Err(Stop::Said);
        };
        self.spend(count(&node), place)?;
        self.check_depth(depth + node.height, place)?;
        Ok(node)
    }

    fn spend(&mut self, nodes: usize, place: Place) -> Result<(), Stop> {
        match self.left.checked_sub(nodes) {
            Some(left) => self.left = left,
            None => {
                let fault = self.report.fault(place, format!("more than {MAX_NODES} values in one file"));
                fault.help("aliases count as often as they are used");
                return Err(Stop::Said);
            }
        }
        Ok(())
    }

    fn check_depth(&mut self, depth: usize, place: Place) -> Result<(), Stop> {
        if depth <= MAX_DEPTH {
            return Ok(());
        }
        self.report.fault(place, format!("nested more than {MAX_DEPTH} levels deep"));
        Err(Stop::Said)
    }

    fn tag(&mut self, event: &Event<'_>, place: Place) -> Tagged {
        let Some(tag) = event.tag() else { return Tagged::Not };
        if Tag::is_yaml_core_schema(tag) {
            let text = tag.core_suffix() == Some("str");
            return if text { Tagged::Text } else { Tagged::Not };
        }
        self.report.fault(place, "tags (`!…`) mean nothing here").help("put the value in quotes");
        Tagged::Unknown
    }
}

#[derive(PartialEq, Eq)]
enum Tagged {
    Not,
    Text,
    Unknown,
}

fn count(node: &Node) -> usize {
    match &node.content {
        Content::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Content::Map(entries) => 1 + entries.iter().map(|entry| 1 + count(&entry.value)).sum::<usize>(),
        Content::Scalar(_) | Content::Broken => 1,
    }
}

fn place(span: Span) -> Place {
    let range = span.byte_range().unwrap_or(0..0);
    Place { start: range.start, end: range.end }
}
