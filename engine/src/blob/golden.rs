//! The formats as bytes: a change of any of them shows here first, and needs a new version byte.

use super::{
    BlobRecord, Body, ChunkList, Content, Header, RefPage, ScopeTag, SignedHeader, SnapshotEntry, SnapshotWriter,
};
use super::{open_body, sample, seal_body};
use crate::codec::Canonical;
use crate::id::{Epoch, Secret};
use bytes::Bytes;

const HEADER: &str = "\
     01*34 02000000 03*32 0200000020000000 aa*32 30000000 bb*48 02 00*6 01 00*31 02 00*28 \
     efcdab8967452301ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92 421eea691446d22c 08*8 01 00*6 05 \
     00*28 01 00*6 09 00*28 cc*32 e8030000";
const SIGNATURE: &str = "\
     e360c3622691d13c6546d487075e9842af9bf92cc17c7d206573512700f96ca2 \
     ffac95d9d90ada1dfd4197c514b44b2b472a72d51404f144780d371991ce1f00";
const BODY_INLINE: &str = "\
     0105000000612f6b6579010000000001000000040000006d6f64650400000030 \
     3634340001090000007468652076616c7565";
const BODY_CHUNKS: &str = "\
     0105000000612f6b6579010000000001000000040000006d6f64650400000030 36343400020b 00*8 02 00*6 01 00*63 \
     02 00*28 05 00*10 02 00*31 01 00*31 03 00*28 06 00*7";
const BODY_GONE: &str = "\
     0105000000612f6b6579010000000001000000040000006d6f64650400000030 3634340000";
const SEALED_BODY: &str = "\
     014887802108e606542b6b98dc6ada8cfe476f9c63eb89db9e92eb38b76ce908 \
     36fbec1e62b6d674ae58306bf9d440a1fafe61853087a785a057956c11e5144c \
     f00615ca2f046ac58f8aca56ba959ea22d3c55206e7b6eb6c8e659f0698d7a0e 63f698bb786cb9f8f1";
const RECORD: &str = "\
     01 04*32 05 00*7 060007 00*7 03000000 01*16 02*32 03*48 \
     738df0d9d0c99cef366eb59a110bdccb63e69c16ca10fd931306f70252f21862 \
     6af6227cc5960fce4c2aa2395cd9608c6359c09475dc62162830f411628f4b0a 00 82010000 01*34 02000000 03*32 \
     0200000020000000 aa*32 30000000 bb*48 02 00*6 01 00*31 02 00*28 \
     efcdab8967452301ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92 421eea691446d22c 08*8 01 00*6 05 \
     00*28 01 00*6 09 00*28 93980ac779ef8508550d4c46a51d3b00adf0660ae85c3eebfdd05c9a050ca832 \
     69000000014887802108e606542b6b98dc6ada8cfe476f9c63eb89db9e92eb38 \
     b76ce90836fbec1e62b6d674ae58306bf9d440a1fafe61853087a785a057956c \
     11e5144cf00615ca2f046ac58f8aca56ba959ea22d3c55206e7b6eb6c8e659f0 698d7a0e63f698bb786cb9f8f1";
const REF_PAGE: &str = "\
     0102 00*6 01 00*31 02 00*28";
const CHUNK_LIST: &str = "\
     010102 00*6 01 00*63 02 00*28 05 00*10 02 00*31 01 00*31 03 00*28 06 00*7";

/// The bytes of a golden text: hexadecimal words, `xx*n` standing for `n` bytes of one value.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let hex: String = text
        .split_whitespace()
        .map(|word| {
            word.split_once('*').map_or_else(|| word.to_owned(), |(byte, count)| byte.repeat(count.parse().unwrap()))
        })
        .collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_header_is_the_one_in_the_format() {
    assert_eq!(hex(&sample::header().encode()), hex(&bytes(HEADER)));
    assert_eq!(Header::decode(&bytes(HEADER)), Ok(sample::header()));
    assert_eq!(sample::header().id().to_string(), "8808836f5713453f1400f93738126c08b67c35f0359ede2de069852a791f0258");
    assert_eq!(
        hex(&sample::header().body_binding()),
        "140e7284eb74ab62d616cceee7a9fe50451f6d0f8d151f78b01652644a95c5e7"
    );
    assert_eq!(hex(sample::signed_header().signature().signature().as_bytes()), hex(&bytes(SIGNATURE)));
    let mut signed = vec![SignedHeader::VERSION];
    signed.extend_from_slice(&(bytes(HEADER).len() as u32).to_le_bytes());
    signed.extend_from_slice(&bytes(HEADER));
    signed.extend_from_slice(&bytes(SIGNATURE));
    signed.push(0);
    assert_eq!(SignedHeader::decode(&signed), Ok(sample::signed_header()));
    assert_eq!(hex(&ScopeTag::of(Epoch(2), &[0]).0), "e11d3eadb1e2ebf1");
}

#[test]
fn bodies_are_those_in_the_format() {
    let inline = sample::body();
    let chunks = Content::Chunks { len: 11, depth: 0, chunks: sample::chunks(&[5, 6]) };
    for (content, golden) in [(inline.content.clone(), BODY_INLINE), (chunks, BODY_CHUNKS), (Content::Gone, BODY_GONE)]
    {
        let body = Body { content, ..inline.clone() };
        assert_eq!(hex(&body.encode()), hex(&bytes(golden)));
        assert_eq!(Body::decode(&bytes(golden)), Ok(body));
    }
    assert_eq!(hex(&inline.commitment()), "896c3bbad27af1e3f42bf2ea69e1e1e15a0f234a5d92b58de3caa0c3f64f5dcd");
    assert_eq!(hex(&inline.content_commitment()), "af2e7d3a6e2ce785d054e2923a2819834fe95f66ca9b52af9c0ea9272a889368");
}

#[test]
fn the_sealed_body_is_the_one_in_the_format() {
    let (key, binding) = (Secret::new([9; 32]), sample::header().body_binding());
    assert_eq!(hex(&seal_body(&sample::body(), &key, &binding).unwrap()), hex(&bytes(SEALED_BODY)));
    assert_eq!(open_body(&bytes(SEALED_BODY), &key, &binding), Ok(sample::body()));
}

#[test]
fn the_record_is_the_one_in_the_format() {
    let record = sample::record();
    assert_eq!(hex(&record.encode()), hex(&bytes(RECORD)));
    let read = BlobRecord::decode(&Bytes::from(bytes(RECORD))).unwrap();
    assert_eq!(read, record);
    assert_eq!(read.verify(), Ok(()));
}

#[test]
fn lists_are_those_in_the_format() {
    let page = RefPage { seals: vec![sample::seal(1), sample::seal(2)] };
    assert_eq!(hex(&page.encode()), hex(&bytes(REF_PAGE)));
    assert_eq!(RefPage::decode(&bytes(REF_PAGE)), Ok(page.clone()));
    assert_eq!(page.id().to_string(), "44e54b80475e47ebff51effdbcb04b2a30e561cfcef602e41437b4e52ab06686");
    let list = ChunkList { depth: 1, chunks: sample::chunks(&[5, 6]) };
    assert_eq!(hex(&list.encode()), hex(&bytes(CHUNK_LIST)));
    assert_eq!(ChunkList::decode(&bytes(CHUNK_LIST)), Ok(list));
    let mut writer = SnapshotWriter::new();
    let mut out = writer.start().to_vec();
    for (name, id) in [(&b"a"[..], 1), (b"b/c", 2)] {
        writer.push(&SnapshotEntry { name: name.to_vec(), id: sample::blob(id) }, &mut out).unwrap();
    }
    assert_eq!(hex(&out), hex(&bytes("01 0100 61 00000001 00*28 0300 622f63 00000002 00*28")));
}
