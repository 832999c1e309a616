//! Reads packet captures: classic pcap (both byte orders, micro- and nanoseconds) and pcapng
//! (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng). One frame at a time, so a capture may be of
//! any size.
//!
//! May not import anything of this crate. Invariant: never holds more than one block, of at most
//! [`LONGEST`] bytes; every length is checked before it is believed.

use std::io::{self, BufRead, Read};

/// Largest block or frame that is read, in bytes. The kernel's frames end at 256 KiB.
pub const LONGEST: u32 = 16 << 20;

/// Locally administered addresses, for packets that were captured without a link layer.
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// Link types that are understood.
mod link {
    pub(super) const ETHERNET: u16 = 1;
    /// Raw IP: 101 in files, 12 and 14 as some systems write it.
    pub(super) const RAW: [u16; 3] = [101, 12, 14];
    pub(super) const RAW_IPV4: u16 = 228;
    pub(super) const RAW_IPV6: u16 = 229;
    /// Linux cooked capture, of the device `any`.
    pub(super) const COOKED: u16 = 113;
    /// The same, version 2.
    pub(super) const COOKED_2: u16 = 276;
}

/// Why a capture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The system's answer.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file does not hold what it announces.
    #[error("{0}")]
    Format(String),
}

fn format_error(text: impl Into<String>) -> CaptureError {
    CaptureError::Format(text.into())
}

/// One captured frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Captured {
    /// The frame, from its Ethernet header on. What the capture had cut off is filled up with
    /// zeros, so that the lengths inside stay true.
    pub frame: Vec<u8>,
    /// Whether something had been cut off.
    pub cut: bool,
}

/// How numbers are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let pair: [u8; 2] = std::array::from_fn(|i| bytes.get(at + i).copied().unwrap_or(0));
        match self {
            Self::Little => u16::from_le_bytes(pair),
            Self::Big => u16::from_be_bytes(pair),
        }
    }

    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let four: [u8; 4] = std::array::from_fn(|i| bytes.get(at + i).copied().unwrap_or(0));
        match self {
            Self::Little => u32::from_le_bytes(four),
            Self::Big => u32::from_be_bytes(four),
        }
    }
}

/// A capture that is being read.
#[derive(Debug)]
pub struct Capture<R> {
    from: R,
    form: Form,
    /// Frames so far, for messages.
    frames: u64,
}

#[derive(Debug)]
enum Form {
    Classic {
        order: Order,
        link: u16,
    },
    /// Interfaces of the section: link type and snap length.
    Next {
        order: Order,
        links: Vec<(u16, u32)>,
    },
}

/// First word of a pcapng section.
const SECTION: u32 = 0x0a0d_0d0a;
/// Second word of a section header, which tells the byte order.
const ORDER_MARK: u32 = 0x1a2b_3c4d;

impl<R: BufRead> Capture<R> {
    /// Reads the head of a capture.
    ///
    /// # Errors
    /// What is not a capture.
    pub fn open(mut from: R) -> Result<Self, CaptureError> {
        let mut magic = [0; 4];
        let not_one = || format_error("not a capture: it is neither pcap nor pcapng");
        from.read_exact(&mut magic)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => not_one(),
                _ => error.into(),
            })?;
        let order = match u32::from_le_bytes(magic) {
            SECTION => {
                let mut capture = Self {
                    from,
                    form: Form::Next {
                        order: Order::Little,
                        links: Vec::new(),
                    },
                    frames: 0,
                };
                capture.section()?;
                return Ok(capture);
            }
            0xa1b2_c3d4 | 0xa1b2_3c4d => Order::Little,
            0xd4c3_b2a1 | 0x4d3c_b2a1 => Order::Big,
            _ => return Err(not_one()),
        };
        let mut head = [0; 20];
        from.read_exact(&mut head)
            .map_err(|_| format_error("the capture ends inside its head"))?;
        // The upper bits say how long the frame check sequence is.
        let link = order.u32(&head, 16) as u16;
        require_link(link)?;
        Ok(Self {
            from,
            form: Form::Classic { order, link },
            frames: 0,
        })
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// A capture that ends inside a frame, or breaks its form.
    pub fn next_frame(&mut self) -> Result<Option<Captured>, CaptureError> {
        let found = match self.form {
            Form::Classic { order, link } => self.classic(order, link)?,
            Form::Next { .. } => self.next_block_with_frame()?,
        };
        self.frames += u64::from(found.is_some());
        Ok(found)
    }

    fn classic(&mut self, order: Order, link: u16) -> Result<Option<Captured>, CaptureError> {
        let mut head = [0; 16];
        if !self.fill_or_end(&mut head)? {
            return Ok(None);
        }
        let (kept, original) = (order.u32(&head, 8), order.u32(&head, 12));
        let bytes = self.take(kept)?;
        captured(link, bytes, original).map(Some)
    }

    fn next_block_with_frame(&mut self) -> Result<Option<Captured>, CaptureError> {
        loop {
            let mut kind = [0; 4];
            if !self.fill_or_end(&mut kind)? {
                return Ok(None);
            }
            let Form::Next { order, .. } = self.form else {
                return Ok(None);
            };
            let kind = order.u32(&kind, 0);
            if kind == SECTION || kind == SECTION.swap_bytes() {
                self.section()?;
                continue;
            }
            let mut size = [0; 4];
            self.fill(&mut size)?;
            let size = order.u32(&size, 0);
            if size < 12 || size % 4 != 0 {
                return Err(self.broken(&format!("a block of {size} bytes")));
            }
            let mut body = self.take(size - 8)?;
            body.truncate(body.len() - 4);
            match kind {
                1 => self.interface(order, &body)?,
                // Enhanced packet: interface, two words of time, kept, original, data.
                6 => {
                    return self.packet(
                        &body,
                        order.u32(&body, 0),
                        order.u32(&body, 12),
                        order.u32(&body, 16),
                        20,
                    );
                }
                // The packet block of early files: interface and drops in one word.
                2 => {
                    return self.packet(
                        &body,
                        u32::from(order.u16(&body, 0)),
                        order.u32(&body, 12),
                        order.u32(&body, 16),
                        20,
                    );
                }
                // Simple packet: its length, cut to what the interface keeps.
                3 => {
                    let original = order.u32(&body, 0);
                    let room = (body.len().saturating_sub(4)) as u32;
                    let snap = match &self.form {
                        Form::Next { links, .. } => links.first().map_or(0, |link| link.1),
                        Form::Classic { .. } => 0,
                    };
                    let kept = if snap == 0 {
                        original
                    } else {
                        original.min(snap)
                    };
                    return self.packet(&body, 0, kept.min(room), original, 4);
                }
                _ => {}
            }
        }
    }

    /// A section header, whose first word has been read.
    fn section(&mut self) -> Result<(), CaptureError> {
        let mut head = [0; 8];
        self.fill(&mut head)?;
        let order = match Order::Little.u32(&head, 4) {
            ORDER_MARK => Order::Little,
            mark if mark == ORDER_MARK.swap_bytes() => Order::Big,
            _ => return Err(self.broken("a section without byte order")),
        };
        let size = order.u32(&head, 0);
        if size < 28 || size % 4 != 0 {
            return Err(self.broken(&format!("a section header of {size} bytes")));
        }
        self.take(size - 12)?;
        self.form = Form::Next {
            order,
            links: Vec::new(),
        };
        Ok(())
    }

    fn interface(&mut self, order: Order, body: &[u8]) -> Result<(), CaptureError> {
        if body.len() < 8 {
            return Err(self.broken("an interface without link type"));
        }
        if let Form::Next { links, .. } = &mut self.form {
            links.push((order.u16(body, 0), order.u32(body, 4)));
        }
        Ok(())
    }

    fn packet(
        &self,
        body: &[u8],
        interface: u32,
        kept: u32,
        original: u32,
        at: usize,
    ) -> Result<Option<Captured>, CaptureError> {
        let Form::Next { links, .. } = &self.form else {
            return Ok(None);
        };
        let Some(&(link, _)) = links.get(interface as usize) else {
            return Err(self.broken(&format!("a frame of the unknown interface {interface}")));
        };
        require_link(link)?;
        let Some(bytes) = body.get(at..at.saturating_add(kept as usize)) else {
            return Err(self.broken("a frame longer than its block"));
        };
        captured(link, bytes.to_vec(), original).map(Some)
    }

    /// Fills the buffer; false if the file ends before its first byte.
    fn fill_or_end(&mut self, buffer: &mut [u8]) -> Result<bool, CaptureError> {
        if self.from.fill_buf()?.is_empty() {
            return Ok(false);
        }
        self.fill(buffer).map(|()| true)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), CaptureError> {
        match self.from.read_exact(buffer) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.ended()),
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self, size: u32) -> Result<Vec<u8>, CaptureError> {
        if size > LONGEST {
            return Err(self.broken(&format!("{size} bytes at once")));
        }
        let mut bytes = Vec::new();
        self.from
            .by_ref()
            .take(u64::from(size))
            .read_to_end(&mut bytes)?;
        if bytes.len() < size as usize {
            return Err(self.ended());
        }
        Ok(bytes)
    }

    fn ended(&self) -> CaptureError {
        format_error(format!("the capture ends inside frame {}", self.frames + 1))
    }

    fn broken(&self, what: &str) -> CaptureError {
        format_error(format!(
            "the capture is broken after frame {}: {what}",
            self.frames
        ))
    }
}

fn require_link(link: u16) -> Result<(), CaptureError> {
    let known = [
        link::ETHERNET,
        link::RAW_IPV4,
        link::RAW_IPV6,
        link::COOKED,
        link::COOKED_2,
    ];
    if known.contains(&link) || link::RAW.contains(&link) {
        return Ok(());
    }
    Err(format_error(format!(
        "the capture has link type {link}; Ethernet (1), raw IP (101) and Linux cooked (113, 276) \
         are understood"
    )))
}

/// An Ethernet frame of what was captured.
fn captured(link: u16, mut bytes: Vec<u8>, original: u32) -> Result<Captured, CaptureError> {
    let cut = original as usize > bytes.len();
    if original > LONGEST {
        return Err(format_error(format!("a frame of {original} bytes")));
    }
    bytes.resize(bytes.len().max(original as usize), 0);
    let ip = |bytes: &[u8]| match bytes.first().map(|byte| byte >> 4) {
        Some(6) => 0x86dd,
        _ => 0x0800,
    };
    let (ethertype, skip) = match link {
        link::ETHERNET => return Ok(Captured { frame: bytes, cut }),
        link::COOKED => (Order::Big.u16(&bytes, 14), 16),
        link::COOKED_2 => (Order::Big.u16(&bytes, 0), 20),
        _ => (ip(&bytes), 0),
    };
    let mut frame = MACS.to_vec();
    frame.extend(ethertype.to_be_bytes());
    frame.extend(bytes.get(skip..).unwrap_or_default());
    Ok(Captured { frame, cut })
}

#[cfg(test)]
mod tests;
