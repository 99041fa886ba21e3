//! Any bytes as a number file of text: the verdict on them must not depend on how they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xinyao_gateway::xinyao::number_file::{Format, NumberFile, Verdict};

fn verdict(format: Format, chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Verdict {
    let mut file = NumberFile::default();
    chunks.into_iter().for_each(|chunk| {
        file.feed(chunk.as_ref(), &mut ());
    });
    file.finish(Some(format), None, &mut ())
}

/// `file` in pieces as long as `lengths` says, the last as long as it may be.
fn cut<'a>(mut file: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for &length in lengths {
        let (chunk, rest) = file.split_at(file.len().min(usize::from(length)));
        chunks.push(chunk);
        file = rest;
    }
    chunks.push(file);
    chunks
}

fuzz_target!(|input: (bool, Vec<u8>, Vec<u8>)| {
    let (csv, lengths, file) = input;
    let format = if csv { Format::Csv } else { Format::Txt };
    let whole = verdict(format, [&file]);
    assert_eq!(whole, verdict(format, cut(&file, &lengths)));
    assert_eq!(whole, verdict(format, file.chunks(1)));
});
