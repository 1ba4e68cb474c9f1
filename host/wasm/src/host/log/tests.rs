use super::*;
use crate::limits::Limits;
use crate::ticker::Clock;

fn sink(bytes_max: usize) -> LogSink {
    let volume = Volume::new("h".into(), Arc::new(Clock::default()), &Limits::default());
    LogSink::new("h".into(), bytes_max, Arc::new(volume))
}

#[test]
fn lines_of_standard_output_are_cut_from_the_stream() {
    let sink = sink(1_000);
    sink.push(Pipe::Stdout, b"one\ntw");
    assert_eq!(sink.lock().stdout, b"tw");
    assert_eq!(sink.lock().used_bytes, LINE_BYTES + 3);
    sink.push(Pipe::Stdout, b"o\n");
    assert_eq!(sink.lock().used_bytes, 2 * LINE_BYTES + 6);
}

#[test]
fn lines_beyond_the_limit_are_dropped_until_the_next_attempt() {
    let sink = sink(100);
    sink.push(Pipe::Stderr, &[b'\n'; 50]);
    assert!(sink.lock().dropping);
    sink.end_attempt();
    assert!(!sink.lock().dropping);
}

#[test]
fn an_endless_line_stays_small() {
    let sink = sink(1 << 20);
    for _ in 0..100 {
        sink.push(Pipe::Stdout, &[b'x'; 1_000]);
    }
    assert!(sink.lock().stdout.len() < PIPE_LINE_BYTES_MAX);
}

#[test]
fn a_handler_cannot_forge_lines() {
    assert_eq!(one_line("a\nERROR weir: b\x1b[0m"), "a ERROR weir: b [0m");
}

#[test]
fn what_an_attempt_drops_is_counted_for_its_handler() {
    let sink = sink(100);
    sink.push(Pipe::Stdout, &[b'\n'; 50]);
    assert_eq!(sink.volume.take_dropped(), 50 - 100 / LINE_BYTES as u64);
}

#[test]
fn fields_are_an_object_of_json_whatever_is_in_them() {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(object(&[]), "");
    let fields = [
        field("page", "/a"),
        field("say \"x\"", "\\ \n\u{1b}\u{85}ü"),
    ];
    assert_eq!(
        object(&fields),
        r#"{"page":"/a","say \"x\"":"\\ \u000a\u001b\u0085ü"}"#
    );
}
