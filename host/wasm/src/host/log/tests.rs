use super::*;

#[test]
fn lines_of_standard_output_are_cut_from_the_stream() {
    let sink = LogSink::new("h".into(), 1_000);
    sink.push(Pipe::Stdout, b"one\ntw");
    assert_eq!(sink.lock().stdout, b"tw");
    assert_eq!(sink.lock().used_bytes, LINE_BYTES + 3);
    sink.push(Pipe::Stdout, b"o\n");
    assert_eq!(sink.lock().used_bytes, 2 * LINE_BYTES + 6);
}

#[test]
fn lines_beyond_the_limit_are_dropped_until_the_next_attempt() {
    let sink = LogSink::new("h".into(), 100);
    sink.push(Pipe::Stderr, &[b'\n'; 50]);
    assert!(sink.lock().dropping);
    sink.end_attempt();
    assert!(!sink.lock().dropping);
}

#[test]
fn an_endless_line_stays_small() {
    let sink = LogSink::new("h".into(), 1 << 20);
    for _ in 0..100 {
        sink.push(Pipe::Stdout, &[b'x'; 1_000]);
    }
    assert!(sink.lock().stdout.len() < PIPE_LINE_BYTES_MAX);
}

#[test]
fn a_handler_cannot_forge_lines() {
    assert_eq!(one_line("a\nERROR weir: b\x1b[0m"), "a ERROR weir: b [0m");
}
