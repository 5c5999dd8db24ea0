//! What the fuzzer sends, read as a list of decisions.

/// Bytes that are used up from the front. Behind the end there are zeros.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn number(&mut self) -> u64 {
        self.take(8).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// From 0 up to, but not including, `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let number =
            if end > 256 { u16::from_be_bytes([self.byte(), self.byte()]) } else { self.byte().into() };
        usize::from(number) % end.max(1)
    }

    pub fn of<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        &choices[self.below(choices.len())]
    }

    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// Text of up to 31 bytes.
    pub fn text(&mut self) -> String {
        let length = usize::from(self.byte() & 31);
        String::from_utf8_lossy(self.take(length)).into_owned()
    }

    /// Edits `bytes` once, perhaps with parts of one of `others`.
    pub fn edit(&mut self, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
        let operation = self.byte();
        let length = bytes.len();
        // Beginnings and ends are where most mistakes are.
        let at = match operation >> 4 & 3 {
            0 => self.below(length),
            1 => usize::from(self.byte() & 15).min(length.saturating_sub(1)),
            _ => length.saturating_sub(1 + usize::from(self.byte() & 63)),
        };
        match operation & 7 {
            0 if length > 0 => bytes[at] = self.byte(),
            1 if length > 0 => bytes[at] ^= 1 << (self.byte() & 7),
            2 if length > 0 => bytes[at] ^= 0x20,
            3 => {
                let count = usize::from(self.byte() & 15);
                bytes.splice(at..at, self.take(count).iter().copied());
            }
            4 => {
                let end = (at + usize::from(self.byte())).min(length);
                bytes.drain(at..end);
            }
            5 => bytes.truncate(at),
            6 => {
                let other = self.of(others);
                let from = self.below(other.len());
                let to = (from + usize::from(self.byte())).min(other.len());
                let end = (at + to - from).min(length);
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            // Dots separate a token's parts.
            7 => {
                let mut parts: Vec<_> = bytes.split(|byte| *byte == b'.').map(<[u8]>::to_vec).collect();
                let theirs: Vec<_> = self.of(others).split(|byte| *byte == b'.').collect();
                let place = self.below(parts.len());
                parts[place] = self.of(&theirs).to_vec();
                *bytes = parts.join(&b'.');
            }
            _ => {}
        }
    }
}
