//! Records and headers with a right checksum, as the decision page describes the format: written
//! here once more, so that a change of it is noticed.

use store::queue::crc32c;

use crate::pick::Raw;

/// A record from raw bytes. Sequences stay below 2^40: nobody writes more.
pub(super) fn record(raw: &mut Raw<'_>) -> Vec<u8> {
    let sequence = u64::from(raw.u16());
    let synced = u64::from(raw.u16());
    let body = match raw.u8() % 7 {
        0 => letter(b"L", raw),
        1 => {
            let progress = raw.piece();
            let mut head = vec![b'C'];
            head.extend_from_slice(&u64::from(raw.u16()).to_le_bytes());
            head.extend_from_slice(&(progress.len() as u32).to_le_bytes());
            head.extend_from_slice(progress);
            letter(&head, raw)
        }
        2 => note(b'K', raw, &[]),
        3 => note(b'Z', raw, &7_u64.to_le_bytes()),
        4 => {
            let paragraph = raw.piece();
            note(b'D', raw, paragraph)
        }
        5 => [&[b'X'][..], &u64::from(raw.u16()).to_le_bytes()].concat(),
        _ => [&[b'?'][..], raw.piece()].concat(),
    };
    sealed(sequence, synced, &body)
}

fn note(kind: u8, raw: &mut Raw<'_>, more: &[u8]) -> Vec<u8> {
    let (id, index) = (u64::from(raw.u16()), u32::from(raw.u8()).wrapping_sub(1));
    [&[kind][..], &id.to_le_bytes(), &index.to_le_bytes(), more].concat()
}

fn letter(head: &[u8], raw: &mut Raw<'_>) -> Vec<u8> {
    // 0: its bytes follow; 1: they lie apart, as version 1 had it; 2: in the file whose name follows.
    let (apart, finishes) = (raw.u8() % 3, u64::from(raw.u16()));
    let fields: [&[u8]; 2] = [raw.piece(), raw.piece()];
    let envelope: Vec<u8> = fields
        .iter()
        .flat_map(|f| [f.iter().copied().filter(|&c| c != 0).collect(), vec![0]].concat())
        .collect();
    let bytes = if apart == 1 { &[][..] } else { raw.piece() };
    let size = if apart == 0 { bytes.len() as u64 } else { u64::from(raw.u16()) };
    [
        head,
        &[apart],
        &finishes.to_le_bytes(),
        &9_u64.to_le_bytes(),
        &[1; 8],
        &size.to_le_bytes(),
        &(envelope.len() as u32).to_le_bytes(),
        &envelope,
        bytes,
    ]
    .concat()
}

/// Head, body and padding.
pub(super) fn sealed(sequence: u64, synced: u64, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32).to_le_bytes();
    let counted = [sequence.to_le_bytes(), synced.to_le_bytes()].concat();
    let crc = crc32c(crc32c(crc32c(0, &len), &counted), body).to_le_bytes();
    let mut record = [&len, &crc, &counted[..], body].concat();
    record.resize(record.len().next_multiple_of(8), 0);
    record
}

/// A segment's header from raw bytes.
pub(super) fn header(raw: &mut Raw<'_>) -> Vec<u8> {
    let mut out = b"qmqueue\n".to_vec();
    out.extend_from_slice(&(1 + u32::from(raw.u8() / 250)).to_le_bytes());
    for _ in 0..3 {
        out.extend_from_slice(&u64::from(raw.u16()).to_le_bytes());
    }
    let size = if raw.u8() < 250 { 5 * 4_096 } else { u64::from(raw.u16()) };
    out.extend_from_slice(&size.to_le_bytes());
    let crc = crc32c(0, &out).to_le_bytes();
    out.extend_from_slice(&crc);
    out.resize(512, 0);
    out
}
