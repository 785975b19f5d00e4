//! `/v1/images/generations`: black and white stripes as wide as the prompt says by its hash. And the sizes of images
//! that are sent.

use super::{Answer, Answered, Wrong, integer, number_of};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const SIDE_MAX: u32 = 4_096;
/// Most that a block of a deflate stream holds as it is.
const BLOCK_MAX: usize = 65_535;

pub(crate) fn draw(body: &Value) -> Answered {
    let prompt = body["prompt"].as_str().ok_or_else(|| Wrong("prompt", "there is no prompt".to_owned()))?;
    let size = body["size"].as_str().unwrap_or("1024x1024");
    let side = |text: &str| text.parse().ok().filter(|side| (1..=SIDE_MAX).contains(side));
    let size = size.split_once('x').and_then(|(width, height)| Some((side(width)?, side(height)?)));
    let (width, height) = size.ok_or_else(|| Wrong("size", "size is no size".to_owned()))?;
    let one = |index: usize| {
        let stripe = 1 + (number_of(&format!("{index} {prompt}")) % 16);
        json!({"b64_json": STANDARD.encode(png(width, height, stripe)), "revised_prompt": prompt})
    };
    let data: Vec<Value> = (0..integer(body, "n")?.unwrap_or(1)).map(one).collect();
    Ok(Answer::Whole(json!({"created": 1_700_000_000, "data": data})))
}

/// Width and height of a PNG in a data URL.
pub(crate) fn size(url: &str) -> Option<(u32, u32)> {
    let bytes = STANDARD.decode(url.strip_prefix("data:image/png;base64,")?).ok()?;
    let rest = bytes.strip_prefix(SIGNATURE)?;
    let number = |at: usize| Some(u32::from_be_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    Some((number(8)?, number(12)?))
}

/// One bit per pixel.
fn png(width: u32, height: u32, stripe: u64) -> Vec<u8> {
    let mut row = vec![0];
    for byte in 0..width.div_ceil(8) {
        row.push(if (u64::from(byte) / stripe).is_multiple_of(2) { 0xff } else { 0 });
    }
    let pixels = row.repeat(usize::try_from(height).unwrap_or(0));
    let mut stream = vec![0x78, 0x01];
    let blocks = pixels.chunks(BLOCK_MAX).count();
    for (index, block) in pixels.chunks(BLOCK_MAX).enumerate() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        stream.push(u8::from(index + 1 == blocks));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    stream.extend(adler(&pixels).to_be_bytes());
    let head = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    [SIGNATURE, &chunk(b"IHDR", &head), &chunk(b"IDAT", &stream), &chunk(b"IEND", &[])].concat()
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let named = [kind, data].concat();
    [&length.to_be_bytes()[..], &named, &crc(&named).to_be_bytes()].concat()
}

fn adler(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    high << 16 | low
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}
