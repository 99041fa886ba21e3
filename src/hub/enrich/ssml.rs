//! What is said in an SSML text.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

/// The text without its markup; what is not well-formed XML with markup in it stays as it is.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains('<') {
        return Cow::Borrowed(text);
    }
    spoken(text).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn spoken(text: &str) -> Option<String> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    let (mut said, mut depth) = (String::with_capacity(text.len()), 0_usize);
    loop {
        match reader.read_event().ok()? {
            Event::Text(part) => said.push_str(&part),
            Event::CData(part) => said.push_str(&part),
            Event::GeneralRef(reference) => said.push_str(&resolved(&reference)?),
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.checked_sub(1)?,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => return (depth == 0).then_some(said),
        }
    }
}

fn resolved(reference: &BytesRef<'_>) -> Option<String> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character.into());
    }
    resolve_predefined_entity(reference).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markup_goes_and_what_is_said_stays() {
        let ssml = "<speak><phoneme alphabet=\"py\" ph=\"wei2\" >喂</phoneme>，您好<break time=\"500ms\"/>您好</speak>";
        assert_eq!(plain(ssml), "喂，您好您好");
        assert_eq!(plain("a<break/>b"), "ab");
        assert_eq!(plain("<s>R&amp;D &#x559C;&#20320; <![CDATA[1 < 2]]><!-- no --></s>"), "R&D 喜你 1 < 2");
    }

    #[test]
    fn what_is_no_xml_stays_as_it_is() {
        for text in [
            "",
            "好的",
            "R&D",
            "R&amp;D",
            "1 < 2",
            "<speak>喂",
            "a</b>",
            "<a></b>",
            "<s>R&D</s>",
            "<s>&x;</s>",
            "<",
        ] {
            assert_eq!(plain(text), text);
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{}喂{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
        assert_eq!(plain(&deep), "喂");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[<>/&;a!\\[\\]\\-?\"= ]{0,40}") {
            plain(&text);
        }

        #[test]
        fn text_survives_being_marked_up(text in "[^<&>\\r]{0,40}") {
            let marked = format!("<speak>{text}<break/></speak>");
            prop_assert_eq!(plain(&marked), text);
        }
    }
}
