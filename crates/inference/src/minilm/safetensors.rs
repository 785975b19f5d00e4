//! Reading the safetensors format: a JSON header that says where in the file each tensor lies.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Longest header that is read.
const HEADER_MAX: usize = 1 << 20;

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SafetensorsError {
    #[error("the file is cut off or its header is malformed")]
    Header,
    #[error("tensor `{0}` is missing")]
    Missing(String),
    #[error("tensor `{name}` does not hold {expected} floats of 32 bits")]
    Shape { name: String, expected: usize },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Tensor { dtype: String, data_offsets: (usize, usize) },
    Other(IgnoredAny),
}

/// The tensors of a file that stays in memory.
pub(super) struct Safetensors<'a> {
    entries: HashMap<String, Entry>,
    data: &'a [u8],
}

impl<'a> Safetensors<'a> {
    pub(super) fn parse(file: &'a [u8]) -> Result<Self, SafetensorsError> {
        let (len, rest) = file.split_first_chunk::<8>().ok_or(SafetensorsError::Header)?;
        let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| SafetensorsError::Header)?;
        if len > HEADER_MAX {
            return Err(SafetensorsError::Header);
        }
        let (header, data) = rest.split_at_checked(len).ok_or(SafetensorsError::Header)?;
        let entries = serde_json::from_slice(header).map_err(|_| SafetensorsError::Header)?;
        Ok(Self { entries, data })
    }

    /// The numbers of a tensor, row by row, of which there must be `len`.
    pub(super) fn floats(&self, name: &str, len: usize) -> Result<Vec<f32>, SafetensorsError> {
        let entry = self.entries.get(name).ok_or_else(|| SafetensorsError::Missing(name.to_owned()))?;
        let shape = || SafetensorsError::Shape { name: name.to_owned(), expected: len };
        let Entry::Tensor { dtype, data_offsets: (start, end) } = entry else { return Err(shape()) };
        let bytes = self.data.get(*start..*end).filter(|_| dtype == "F32").ok_or_else(shape)?;
        let (floats, rest) = bytes.as_chunks::<4>();
        if floats.len() != len || !rest.is_empty() {
            return Err(shape());
        }
        Ok(floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let len = u64::try_from(header.len()).unwrap().to_le_bytes();
        [&len[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn tensors_are_found_and_checked() {
        let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},
                        "b":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"c":{"dtype":"F32","shape":[9],"data_offsets":[4,99]}}"#;
        let bytes = file(header, &[0, 0, 0, 0, 0, 0, 128, 63]);
        let tensors = Safetensors::parse(&bytes).unwrap();
        assert_eq!(tensors.floats("a", 1).unwrap(), [1.0]);
        assert_eq!(tensors.floats("x", 1), Err(SafetensorsError::Missing("x".into())));
        for name in ["a", "b", "c", "__metadata__"] {
            assert!(matches!(tensors.floats(name, 2), Err(SafetensorsError::Shape { .. })), "{name}");
        }
        for len in [0, 7, 12, bytes.len() - 9] {
            assert!(Safetensors::parse(&bytes[..len]).is_err() || len > header.len());
        }
        assert!(Safetensors::parse(&[255; 16]).is_err());
    }
}
