//! Tests of the reader of captures, on files made byte by byte.

use super::{Capture, Captured};

fn all(bytes: &[u8]) -> Result<Vec<Captured>, String> {
    let mut capture = Capture::open(bytes).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    loop {
        match capture.next_frame() {
            Ok(Some(frame)) => found.push(frame),
            Ok(None) => return Ok(found),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Words in the byte order asked for.
fn words(big: bool, words: &[u32]) -> Vec<u8> {
    let bytes = |word: &u32| {
        if big {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        }
    };
    words.iter().flat_map(bytes).collect()
}

fn classic(big: bool, link: u32, frames: &[(&[u8], u32)]) -> Vec<u8> {
    let mut file = words(big, &[0xa1b2_c3d4]);
    file.extend(words(big, &[0, 0, 0, 65_535, link]));
    for (bytes, original) in frames {
        file.extend(words(big, &[1, 2, bytes.len() as u32, *original]));
        file.extend(*bytes);
    }
    file
}

fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let size = body.len() as u32 + 12;
    [words(big, &[kind, size]), body, words(big, &[size])].concat()
}

fn next(big: bool, link: u16) -> Vec<u8> {
    let section = words(big, &[0x1a2b_3c4d, 0x0000_0001, u32::MAX, u32::MAX]);
    let link = if big {
        link.to_be_bytes()
    } else {
        link.to_le_bytes()
    };
    let interface = [&link[..], &[0, 0], &words(big, &[20])].concat();
    [block(big, 0x0a0d_0d0a, &section), block(big, 1, &interface)].concat()
}

#[test]
fn both_forms_in_both_byte_orders() {
    let frame = Captured {
        frame: (0..30).collect(),
        cut: false,
    };
    let bytes = &frame.frame;
    for big in [false, true] {
        let file = classic(big, 1, &[(bytes, 30), (bytes, 30)]);
        assert_eq!(all(&file), Ok(vec![frame.clone(), frame.clone()]));
        let mut file = next(big, 1);
        let enhanced = [words(big, &[0, 1, 2, 30, 30]), bytes.clone()].concat();
        file.extend(block(big, 6, &enhanced));
        file.extend(block(big, 0x0bad, b"something of others"));
        let simple = [words(big, &[30]), bytes[..20].to_vec()].concat();
        file.extend(block(big, 3, &simple));
        let found = all(&file).unwrap();
        assert_eq!(found[0], frame);
        assert_eq!(found[1].frame[..20], bytes[..20]);
        assert_eq!((found[1].frame.len(), found[1].cut), (30, true));
    }
}

#[test]
fn packets_without_ethernet_get_a_header() {
    let v4 = [0x45, 1, 2, 3];
    let file = classic(false, 101, &[(&v4, 4)]);
    let found = all(&file).unwrap();
    assert_eq!(found[0].frame[12..], [8, 0, 0x45, 1, 2, 3]);
    let cooked = [&[0; 14][..], &[0x86, 0xdd, 0x60, 9]].concat();
    let found = all(&classic(true, 113, &[(&cooked, 18)])).unwrap();
    assert_eq!(found[0].frame[12..], [0x86, 0xdd, 0x60, 9]);
    let cooked = [&[8, 6][..], &[0; 18], &[7]].concat();
    let found = all(&classic(true, 276, &[(&cooked, 21)])).unwrap();
    assert_eq!(found[0].frame[12..], [8, 6, 7]);
}

#[test]
fn what_is_broken_is_said() {
    let good = classic(false, 1, &[(&[1; 20], 20)]);
    for (file, message) in [
        (&b""[..], "not a capture: it is neither pcap nor pcapng"),
        (b"GIF89a", "not a capture: it is neither pcap nor pcapng"),
        (&good[..20], "the capture ends inside its head"),
        (&good[..30], "the capture ends inside frame 1"),
        (&good[..50], "the capture ends inside frame 1"),
        (
            &classic(false, 127, &[]),
            "the capture has link type 127; Ethernet (1), raw IP (101) and Linux cooked (113, \
             276) are understood",
        ),
        (
            &[
                &classic(false, 1, &[])[..],
                &words(false, &[0, 0, u32::MAX, 4]),
            ]
            .concat(),
            "the capture is broken after frame 0: 4294967295 bytes at once",
        ),
        (
            &[
                &next(false, 1)[..],
                &block(false, 6, &words(false, &[3, 0, 0, 0, 0])),
            ]
            .concat(),
            "the capture is broken after frame 0: a frame of the unknown interface 3",
        ),
        (
            &[
                &next(false, 1)[..],
                &block(false, 6, &words(false, &[0, 0, 0, 99, 99])),
            ]
            .concat(),
            "the capture is broken after frame 0: a frame longer than its block",
        ),
        (
            &[&next(false, 1)[..], &words(false, &[6, 5])].concat(),
            "the capture is broken after frame 0: a block of 5 bytes",
        ),
    ] {
        assert_eq!(all(file).unwrap_err(), message);
    }
}
