//! Records any bytes as an event stream. However they are split, and whatever the writer does,
//! the recording has the same meaning. Any bytes can be read as a recording.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sse_core::{Decoded, Decoder, Recorded, Recorder, Replayer};
use sse_fuzz::{Conn, Item, Steps, decode};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    cuts: Steps,
    writes: Steps,
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let Input {
        cuts,
        writes,
        bytes,
    } = input;
    // An incomplete event is not recorded.
    let end = &b"\n\n"[..];
    let mut recorder = Recorder::new(Conn::new(b"", Steps::CALM, writes));
    let (mut decoder, mut expected) = (Decoder::new(), Vec::new());
    for (piece, second) in cuts.pieces(bytes).chain([end]).zip(0..) {
        let at = Duration::from_secs(second);
        let _ = recorder.record(at, piece);
        let items = decode(&mut decoder, [piece]).0;
        expected.extend(items.into_iter().map(|item| (at, item)));
    }
    while recorder.flush().is_err() {}

    let recording = recorder.into_parts().0.output;
    let replayed = replay(&recording);
    assert_eq!(replayed.len(), expected.len());
    for (replayed, (at, item)) in replayed.iter().zip(&expected) {
        assert_eq!(replayed.decoded(), item);
        // A comment within an event has the time of the event's end.
        assert!(replayed.at() >= *at);
        if let Decoded::Event(_) = item {
            assert_eq!(replayed.at(), *at);
        }
    }

    // A recording cut at any byte can be continued.
    let mut replayer = Replayer::new(bytes);
    let before = Vec::from_iter(
        replayer
            .by_ref()
            .map(|item| item.expect("no limit is near")),
    );
    let whole = usize::try_from(replayer.whole()).expect("a part of the input");
    let gone_on = [&bytes[..whole], b":T+1.000000000\ndata: goes on\n\n"].concat();
    let after = replay(&gone_on);
    let (last, rest) = after.split_last().expect("what was added");
    // The incomplete event may contain a comment or a reconnection time.
    let (kept, torn) = before.split_at(rest.len());
    let decoded = |items: &[Recorded<'_>]| {
        Vec::from_iter(items.iter().map(|item| item.decoded().clone().into_owned()))
    };
    assert_eq!(decoded(rest), decoded(kept));
    assert!(
        !decoded(torn)
            .iter()
            .any(|item| matches!(item, Item::Event(_)))
    );
    assert_eq!(last.at(), Duration::from_secs(1));
    assert!(matches!(last.decoded(), Item::Event(event) if event.data() == "goes on"));
});

fn replay(recording: &[u8]) -> Vec<Recorded<'static>> {
    let items = Replayer::new(recording);
    items.map(|item| item.expect("no limit is near")).collect()
}
