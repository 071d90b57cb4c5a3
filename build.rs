//! Packs the table of the `unidecode` crate. As 47 000 string slices it would cost every cold start as many relocations,
//! and megabytes that are written to; as one text and the lengths of its pieces it costs nothing until it is used.

use std::path::Path;
use std::{env, fs, io};

/// Characters of a block, whose start in the text is known.
const BLOCK: u32 = 256;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let (mut text, mut lengths, mut starts) = (String::new(), Vec::new(), Vec::new());
    for point in 0..=0xffff_u32 {
        if point % BLOCK == 0 {
            starts.extend(u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes());
        }
        let spelling = char::from_u32(point).map_or("", unidecode::unidecode_char);
        lengths.push(u8::try_from(spelling.len()).map_err(io::Error::other)?);
        text.push_str(spelling);
    }
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("no OUT_DIR"))?;
    let write = |name: &str, bytes: &[u8]| fs::write(Path::new(&out).join(name), bytes);
    write("spellings.txt", text.as_bytes())?;
    write("spelling_lengths.bin", &lengths)?;
    write("spelling_starts.bin", &starts)
}
