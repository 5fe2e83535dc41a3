//! Parses and validates the request head of Chromium's `EventSource`, compared with parsing by
//! httparse.

use std::hint::black_box;
use std::time::UNIX_EPOCH;

use sse_core::{Head, Rejection, Upgrader};

use crate::turns::Report;

pub fn measure(report: &mut Report) {
    let upgrader = Upgrader::new();
    let checked = || read(&upgrader, black_box(CHROMIUM.as_bytes()));
    let accepted = || {
        let head = checked()?;
        let accepting = upgrader.accept(&head)?;
        Ok::<_, Rejection>(
            upgrader
                .reply(accepting, Some(&head), Some(UNIX_EPOCH))
                .encode(),
        )
    };
    assert_eq!(
        checked().unwrap().headers().count(),
        parse(CHROMIUM.as_bytes())
    );
    assert!(accepted().unwrap().starts_with(b"HTTP/1.1 200 "));

    compare(report, "head read and checked", checked);
    compare(report, "head read, checked and answered", accepted);
}

fn compare<T>(report: &mut Report, name: &str, ours: impl Fn() -> Result<T, Rejection>) {
    let Some(mut case) = report.case(name, 1) else {
        return;
    };
    case.engine("floor: httparse", || {
        black_box(parse(black_box(CHROMIUM.as_bytes())));
    });
    case.engine("ours", || {
        let _ = black_box(ours());
    });
    case.measure();
}

fn read(upgrader: &Upgrader, mut input: &[u8]) -> Result<Head, Rejection> {
    let head = upgrader
        .head_reader()
        .read(&mut input)?
        .expect("a whole head");
    upgrader.check(&head)?;
    Ok(head)
}

/// The number of headers.
fn parse(input: &[u8]) -> usize {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    assert!(request.parse(input).unwrap().is_complete());
    black_box(&request).headers.len()
}

const CHROMIUM: &str = "GET /sse HTTP/1.1\r\n\
    Host: 127.0.0.1:31337\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/142.0.0.0 Safari/537.36\r\n\
    Accept: text/event-stream\r\n\
    sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n\
    Last-Event-ID: 1042\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Dest: empty\r\n\
    Referer: http://127.0.0.1:31337/\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9\r\n\
    \r\n";
