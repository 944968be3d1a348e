//! Just enough of HTTP/2 (RFC 9113) for a gRPC client that costs as little as possible: requests are written as ready
//! bytes, windows are as large as they can be, and headers that come back are not decoded.

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const FRAME_HEAD_BYTES: usize = 9;
const WINDOW_MAX: u32 = (1 << 31) - 1;
const WINDOW_FIRST: u32 = 65_535;

/// What a client begins with.
pub(crate) fn preface() -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut out, (SETTINGS, 0), 0, &[&[0, 4], &WINDOW_MAX.to_be_bytes()[..]].concat());
    frame(&mut out, (WINDOW_UPDATE, 0), 0, &(WINDOW_MAX - WINDOW_FIRST).to_be_bytes());
    out
}

/// The head of a call: an HPACK block (RFC 7541) of indexed fields and literals that touch no dynamic table.
pub(crate) fn head(path: &str) -> Vec<u8> {
    let mut head = vec![0x83, 0x86]; // :method POST, :scheme http
    literal(&mut head, &[0x04], path);
    literal(&mut head, &[0x01], "localhost");
    literal(&mut head, &[0x0f, 0x10], "application/grpc");
    literal(&mut head, b"\x00\x02te", "trailers");
    head
}

fn literal(head: &mut Vec<u8>, name: &[u8], value: &str) {
    head.extend_from_slice(name);
    head.push(u8::try_from(value.len()).expect("a short value"));
    head.extend_from_slice(value.as_bytes());
}

/// Opens a stream.
pub(crate) fn open(out: &mut Vec<u8>, stream: u32, head: &[u8]) {
    frame(out, (HEADERS, END_HEADERS), stream, head);
}

/// A message on it, and whether there are more.
pub(crate) fn message(out: &mut Vec<u8>, stream: u32, is_last: bool, message: &[u8]) {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    let flags = if is_last { END_STREAM } else { 0 };
    frame(out, (DATA, flags), stream, &[&[0][..], &length, message].concat());
}

fn frame(out: &mut Vec<u8>, (kind, flags): (u8, u8), stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a short payload");
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// What came on a stream.
pub(crate) enum Came<'a> {
    /// A message, in one frame.
    #[allow(dead_code, reason = "one bench counts answers and reads none")]
    Message(u32, &'a [u8]),
    /// Its end.
    End,
}

/// Takes whole frames, and acknowledges what must be; bytes that were taken.
pub(crate) fn take(input: &[u8], out: &mut Vec<u8>, mut came: impl FnMut(Came<'_>, &mut Vec<u8>)) -> usize {
    let mut used = 0;
    while let Some(head) = input.get(used..used + FRAME_HEAD_BYTES) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let Some(payload) = input.get(used + FRAME_HEAD_BYTES..used + FRAME_HEAD_BYTES + length) else { break };
        let (kind, flags) = (head[3], head[4]);
        match (kind, flags) {
            (DATA, _) if !payload.is_empty() => came(Came::Message(stream, &payload[5..]), out),
            (SETTINGS, 0) => frame(out, (SETTINGS, ACK), 0, &[]),
            (PING, 0) => frame(out, (PING, ACK), 0, payload),
            (GOAWAY, _) => panic!("the server refuses: {payload:?}"),
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            came(Came::End, out);
        }
        used += FRAME_HEAD_BYTES + length;
    }
    used
}
