//! Just enough of the pprof format to add up a profile's samples, written from its `profile.proto` alone.

use std::io::Read;
use std::path::Path;

const PROFILE_SAMPLE: u64 = 2;
const SAMPLE_VALUE: u64 = 2;

/// The sum over all samples of their first value, from the gzipped pprof profile at `path`.
///
/// # Panics
/// If it is no such profile.
#[must_use]
pub fn sum_of_first_values(path: &Path) -> i64 {
    let compressed = std::fs::File::open(path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(compressed).read_to_end(&mut bytes).expect("a gzipped profile");
    let samples = Fields(&bytes).filter(|(number, _)| *number == PROFILE_SAMPLE);
    samples.map(|(_, field)| first_value(&field)).sum()
}

fn first_value(field: &Field<'_>) -> i64 {
    let Field::Bytes(sample) = field else { panic!("a sample is a message") };
    match Fields(sample).find(|(number, _)| *number == SAMPLE_VALUE) {
        Some((_, Field::Bytes(mut packed))) => varint(&mut packed).cast_signed(),
        Some((_, Field::Varint(value))) => value.cast_signed(),
        None => panic!("a sample has values"),
    }
}

enum Field<'data> {
    Varint(u64),
    Bytes(&'data [u8]),
}

/// The fields of one message.
struct Fields<'data>(&'data [u8]);

impl<'data> Iterator for Fields<'data> {
    type Item = (u64, Field<'data>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let tag = varint(&mut self.0);
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut self.0)),
            2 => {
                let length = varint(&mut self.0) as usize;
                let (value, rest) = self.0.split_at_checked(length).expect("a field inside its message");
                self.0 = rest;
                Field::Bytes(value)
            }
            kind => panic!("pprof has no fields of wire type {kind}"),
        };
        Some((tag >> 3, field))
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number of more than 64 bits")
}

#[cfg(test)]
mod tests {
    use super::{Fields, first_value};

    #[test]
    fn the_first_value_of_a_sample_is_found() {
        // Profile { sample: [{ location_id: [1], value: [300, 5] }], time_nanos: 1 }
        let profile = [0x12, 0x08, 0x0a, 0x01, 0x01, 0x12, 0x03, 0xac, 0x02, 0x05, 0x48, 0x01];
        let values: Vec<i64> =
            Fields(&profile).filter(|(number, _)| *number == 2).map(|(_, field)| first_value(&field)).collect();
        assert_eq!(values, [300]);
    }
}
