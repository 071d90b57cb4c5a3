//! ASCII spellings of characters: the table of the `unidecode` crate, packed by the build script.

/// All spellings, one after the other.
static TEXT: &str = include_str!(concat!(env!("OUT_DIR"), "/spellings.txt"));
/// Length of each character's spelling, by code point.
static LENGTHS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/spelling_lengths.bin"));
/// Where in the text each block of 256 characters begins: little-endian, four bytes.
static STARTS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/spelling_starts.bin"));

/// Characters of a block.
const BLOCK: usize = 256;

/// The spelling of a character; empty beyond the Basic Multilingual Plane.
pub(super) fn spelling(character: char) -> &'static str {
    find(character as usize).unwrap_or_default()
}

fn find(point: usize) -> Option<&'static str> {
    let block = point / BLOCK;
    let length = usize::from(*LENGTHS.get(point)?);
    let start: [u8; 4] = STARTS.get(block * 4..)?.first_chunk().copied()?;
    let before: usize = LENGTHS.get(block * BLOCK..point)?.iter().map(|length| usize::from(*length)).sum();
    let start = usize::try_from(u32::from_le_bytes(start)).ok()? + before;
    TEXT.get(start..start + length)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_character_is_spelt_as_by_the_crate() {
        for character in '\0'..=char::MAX {
            assert_eq!(super::spelling(character), unidecode::unidecode_char(character), "{character:?}");
        }
    }
}
