//! Reader for the GGUF container (versions 2 and 3, little-endian).
//!
//! It works on bytes that may be anything: every length is checked against what is left before memory is
//! reserved for it, nesting is bounded, and no input makes it panic.

use std::collections::HashMap;

const MAGIC: &[u8; 4] = b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ARRAY_DEPTH: u32 = 4;
const MAX_DIMENSIONS: u32 = 4;

/// Why some bytes are not a GGUF file that we can use.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum GgufError {
    #[error("not a gguf file: it starts with {0:02x?}, expected \"GGUF\"")]
    Magic([u8; 4]),
    #[error("gguf version {0} is not supported, only 2 and 3 are")]
    Version(u32),
    #[error("the file ends at byte {len}, but {what} at byte {at} needs {need} more")]
    Truncated { what: &'static str, at: usize, need: u64, len: usize },
    #[error("{what} at byte {at} is not valid utf-8")]
    Utf8 { what: &'static str, at: usize },
    #[error("metadata value at byte {at} has the unknown type {ty}")]
    ValueType { ty: u32, at: usize },
    #[error("metadata arrays are nested deeper than {MAX_ARRAY_DEPTH} at byte {at}")]
    Depth { at: usize },
    #[error("metadata key `{0}` appears twice")]
    DuplicateKey(String),
    #[error("alignment {0} is not a power of two")]
    Alignment(u64),
    #[error("tensor `{0}` appears twice")]
    DuplicateTensor(String),
    #[error("tensor `{name}` has {dims} dimensions, at most {MAX_DIMENSIONS} are allowed")]
    Dimensions { name: String, dims: u32 },
    #[error("tensor `{name}` is larger than any file")]
    TensorSize { name: String },
    #[error("tensor `{name}` has type {ty}; only F32 (0), Q4_1 (3) and Q8_0 (8) are supported")]
    TensorType { name: String, ty: u32 },
    #[error("tensor `{name}` lies outside the file")]
    TensorRange { name: String },
    #[error("metadata key `{key}` is missing or not {expected}")]
    Metadata { key: String, expected: &'static str },
    #[error("tensor `{0}` is missing")]
    MissingTensor(String),
}

/// A metadata value. Integers of every width widen to 64 bits, floats to `f64`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(String),
    Array(Vec<Value>),
}

/// The tensor encodings that the engine computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TensorType {
    F32,
    /// Blocks of 32 weights: `f16` scale, `f16` minimum, 16 bytes of nibbles.
    Q4_1,
    /// Blocks of 32 weights: `f16` scale, 32 signed bytes.
    Q8_0,
}

impl TensorType {
    fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::F32),
            3 => Some(Self::Q4_1),
            8 => Some(Self::Q8_0),
            _ => None,
        }
    }

    /// (elements, bytes) of one block.
    fn block(self) -> (u64, u64) {
        match self {
            Self::F32 => (1, 4),
            Self::Q4_1 => (32, 20),
            Self::Q8_0 => (32, 34),
        }
    }
}

/// One tensor: its shape (fastest dimension first, as in the file) and its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Tensor<'a> {
    pub(crate) dims: Vec<usize>,
    pub(crate) ty: TensorType,
    pub(crate) data: &'a [u8],
}

/// A parsed file. Tensor data is borrowed from the bytes it was parsed from.
#[derive(Debug)]
pub(crate) struct Gguf<'a> {
    metadata: HashMap<String, Value>,
    tensors: HashMap<String, Tensor<'a>>,
}

struct TensorHead {
    name: String,
    dims: Vec<u64>,
    ty: u32,
    offset: u64,
}

impl<'a> Gguf<'a> {
    /// Parses the header and checks that every tensor lies inside `bytes`.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, GgufError> {
        let mut reader = Reader { bytes, at: 0 };
        let magic = reader.array::<4>("the magic")?;
        if &magic != MAGIC {
            return Err(GgufError::Magic(magic));
        }
        let version = reader.u32("the version")?;
        if !(2..=3).contains(&version) {
            return Err(GgufError::Version(version));
        }
        let tensor_count = reader.u64("the tensor count")?;
        let key_count = reader.u64("the metadata count")?;
        let metadata = read_metadata(&mut reader, key_count)?;
        let heads = read_heads(&mut reader, tensor_count)?;
        let base = data_start(&metadata, reader.at)?;
        let mut tensors = HashMap::with_capacity(heads.len());
        for head in heads {
            let name = head.name.clone();
            let tensor = locate(bytes, base, head)?;
            if tensors.insert(name.clone(), tensor).is_some() {
                return Err(GgufError::DuplicateTensor(name));
            }
        }
        Ok(Self { metadata, tensors })
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<&Tensor<'a>, GgufError> {
        self.tensors.get(name).ok_or_else(|| GgufError::MissingTensor(name.to_owned()))
    }

    pub(crate) fn unsigned(&self, key: &str) -> Result<u64, GgufError> {
        match self.get(key) {
            Some(Value::Unsigned(value)) => Ok(*value),
            Some(Value::Signed(value)) => {
                u64::try_from(*value).map_err(|_| missing(key, "a number of at least 0"))
            }
            _ => Err(missing(key, "an integer")),
        }
    }

    pub(crate) fn float(&self, key: &str) -> Result<f64, GgufError> {
        match self.get(key) {
            Some(Value::Float(value)) => Ok(*value),
            _ => Err(missing(key, "a float")),
        }
    }

    pub(crate) fn string(&self, key: &str) -> Result<&str, GgufError> {
        match self.get(key) {
            Some(Value::String(value)) => Ok(value),
            _ => Err(missing(key, "a string")),
        }
    }

    pub(crate) fn array(&self, key: &str) -> Result<&[Value], GgufError> {
        match self.get(key) {
            Some(Value::Array(values)) => Ok(values),
            _ => Err(missing(key, "an array")),
        }
    }
}

fn missing(key: &str, expected: &'static str) -> GgufError {
    GgufError::Metadata { key: key.to_owned(), expected }
}

fn read_metadata(reader: &mut Reader<'_>, count: u64) -> Result<HashMap<String, Value>, GgufError> {
    let mut metadata = HashMap::new();
    for _ in 0..count {
        let key = reader.string("a metadata key")?;
        let ty = reader.u32("a metadata type")?;
        let value = reader.value(ty, 0)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(GgufError::DuplicateKey(key));
        }
    }
    Ok(metadata)
}

fn read_heads(reader: &mut Reader<'_>, count: u64) -> Result<Vec<TensorHead>, GgufError> {
    let mut heads = Vec::new();
    for _ in 0..count {
        let name = reader.string("a tensor name")?;
        let dims = reader.u32("a dimension count")?;
        if dims > MAX_DIMENSIONS {
            return Err(GgufError::Dimensions { name, dims });
        }
        let dims = (0..dims).map(|_| reader.u64("a dimension")).collect::<Result<_, _>>()?;
        let ty = reader.u32("a tensor type")?;
        let offset = reader.u64("a tensor offset")?;
        heads.push(TensorHead { name, dims, ty, offset });
    }
    Ok(heads)
}

fn data_start(metadata: &HashMap<String, Value>, header_end: usize) -> Result<u64, GgufError> {
    let alignment = match metadata.get("general.alignment") {
        Some(Value::Unsigned(value)) => *value,
        _ => DEFAULT_ALIGNMENT,
    };
    if !alignment.is_power_of_two() {
        return Err(GgufError::Alignment(alignment));
    }
    let end = u64::try_from(header_end).unwrap_or(u64::MAX);
    end.checked_next_multiple_of(alignment).ok_or(GgufError::Alignment(alignment))
}

fn locate(bytes: &[u8], base: u64, head: TensorHead) -> Result<Tensor<'_>, GgufError> {
    let name = head.name;
    let ty = TensorType::from_code(head.ty)
        .ok_or_else(|| GgufError::TensorType { name: name.clone(), ty: head.ty })?;
    let too_large = || GgufError::TensorSize { name: name.clone() };
    let mut elements = 1u64;
    let mut dims = Vec::with_capacity(head.dims.len());
    for dim in head.dims {
        elements = elements.checked_mul(dim).ok_or_else(too_large)?;
        dims.push(usize::try_from(dim).map_err(|_| too_large())?);
    }
    let (per_block, block_bytes) = ty.block();
    let row = dims.first().map_or(1, |dim| *dim);
    if u64::try_from(row).unwrap_or(1) % per_block != 0 {
        return Err(too_large());
    }
    let len = (elements / per_block).checked_mul(block_bytes).ok_or_else(too_large)?;
    let outside = || GgufError::TensorRange { name: name.clone() };
    let start = base.checked_add(head.offset).ok_or_else(outside)?;
    let end = start.checked_add(len).ok_or_else(outside)?;
    let range =
        usize::try_from(start).map_err(|_| outside())?..usize::try_from(end).map_err(|_| outside())?;
    let data = bytes.get(range).ok_or_else(outside)?;
    Ok(Tensor { dims, ty, data })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64, what: &'static str) -> Result<&'a [u8], GgufError> {
        let truncated = GgufError::Truncated { what, at: self.at, need: len, len: self.bytes.len() };
        let Ok(wanted) = usize::try_from(len) else { return Err(truncated) };
        let Some(end) = self.at.checked_add(wanted) else { return Err(truncated) };
        let Some(slice) = self.bytes.get(self.at..end) else { return Err(truncated) };
        self.at = end;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        let len = u64::try_from(N).unwrap_or(u64::MAX);
        out.copy_from_slice(self.take(len, what)?);
        Ok(out)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn string(&mut self, what: &'static str) -> Result<String, GgufError> {
        let len = self.u64(what)?;
        let at = self.at;
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| GgufError::Utf8 { what, at })
    }

    fn value(&mut self, ty: u32, depth: u32) -> Result<Value, GgufError> {
        const WHAT: &str = "a metadata value";
        let at = self.at;
        Ok(match ty {
            0 => Value::Unsigned(self.array::<1>(WHAT).map(u8::from_le_bytes)?.into()),
            1 => Value::Signed(self.array(WHAT).map(i8::from_le_bytes)?.into()),
            2 => Value::Unsigned(self.array(WHAT).map(u16::from_le_bytes)?.into()),
            3 => Value::Signed(self.array(WHAT).map(i16::from_le_bytes)?.into()),
            4 => Value::Unsigned(self.u32(WHAT)?.into()),
            5 => Value::Signed(self.array(WHAT).map(i32::from_le_bytes)?.into()),
            6 => Value::Float(self.array(WHAT).map(f32::from_le_bytes)?.into()),
            7 => Value::Bool(self.array::<1>(WHAT)? != [0]),
            8 => Value::String(self.string(WHAT)?),
            9 => self.array_value(depth)?,
            10 => Value::Unsigned(self.u64(WHAT)?),
            11 => Value::Signed(self.array(WHAT).map(i64::from_le_bytes)?),
            12 => Value::Float(self.array(WHAT).map(f64::from_le_bytes)?),
            _ => return Err(GgufError::ValueType { ty, at }),
        })
    }

    fn array_value(&mut self, depth: u32) -> Result<Value, GgufError> {
        const WHAT: &str = "a metadata array";
        let at = self.at;
        if depth >= MAX_ARRAY_DEPTH {
            return Err(GgufError::Depth { at });
        }
        let ty = self.u32(WHAT)?;
        let count = self.u64(WHAT)?;
        // Every element takes at least one byte, so a count beyond the rest of the file is a lie.
        let left = self.bytes.len().saturating_sub(self.at);
        match usize::try_from(count) {
            Ok(count) if count <= left => {}
            _ => return Err(GgufError::Truncated { what: WHAT, at, need: count, len: self.bytes.len() }),
        }
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(ty, depth + 1)?);
        }
        Ok(Value::Array(values))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    fn string(out: &mut Vec<u8>, text: &str) {
        out.extend(u64::try_from(text.len()).unwrap().to_le_bytes());
        out.extend(text.as_bytes());
    }

    /// A small valid file: two keys and one F32 tensor of two elements.
    fn sample() -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(1u64.to_le_bytes());
        out.extend(2u64.to_le_bytes());
        string(&mut out, "answer");
        out.extend(4u32.to_le_bytes());
        out.extend(42u32.to_le_bytes());
        string(&mut out, "words");
        out.extend(9u32.to_le_bytes());
        out.extend(8u32.to_le_bytes());
        out.extend(1u64.to_le_bytes());
        string(&mut out, "hello");
        string(&mut out, "t");
        out.extend(1u32.to_le_bytes());
        out.extend(2u64.to_le_bytes());
        out.extend(0u32.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(1.5f32.to_le_bytes());
        out.extend(2.5f32.to_le_bytes());
        out
    }

    #[test]
    fn reads_keys_and_tensors() {
        let bytes = sample();
        let gguf = Gguf::parse(&bytes).unwrap();
        assert_eq!(gguf.unsigned("answer"), Ok(42));
        assert_eq!(gguf.array("words").unwrap(), [Value::String("hello".into())]);
        let tensor = gguf.tensor("t").unwrap();
        assert_eq!((tensor.dims.as_slice(), tensor.ty), ([2].as_slice(), TensorType::F32));
        assert_eq!(tensor.data.len(), 8);
        assert_eq!(gguf.string("answer"), Err(missing("answer", "a string")));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = sample();
        for end in 0..bytes.len() {
            assert!(Gguf::parse(&bytes[..end]).is_err(), "prefix of {end} bytes");
        }
    }

    #[test]
    fn a_lying_array_length_reserves_nothing() {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.extend(1u64.to_le_bytes());
        string(&mut out, "a");
        out.extend(9u32.to_le_bytes());
        out.extend(0u32.to_le_bytes());
        out.extend(u64::MAX.to_le_bytes());
        assert!(matches!(Gguf::parse(&out), Err(GgufError::Truncated { what: "a metadata array", .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Gguf::parse(&bytes);
        }

        #[test]
        fn damaged_files_never_panic(at in 0usize..200, byte in any::<u8>(), tail in any::<u64>()) {
            let mut bytes = sample();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Gguf::parse(&bytes);
            let wide = at.min(bytes.len() - 8);
            bytes[wide..wide + 8].copy_from_slice(&tail.to_le_bytes());
            let _ = Gguf::parse(&bytes);
        }
    }
}
