//! Makes the texts of log events harmless before they are written.

use std::fmt::Debug;
use std::io::{self, Write};

use tracing::field::{Field, Value, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::harmless;

/// A layer that is told events with harmless texts. Spans, of which there are none, are not passed on.
pub(super) struct Harmless<L>(pub L);

impl<S: Subscriber, L: Layer<S>> Layer<S> for Harmless<L> {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let fields = event.metadata().fields();
        let mut collected = Collected(Vec::new());
        collected.0.resize_with(fields.len(), || None);
        event.record(&mut collected);
        let values: Vec<_> = collected.0.iter().map(Option::as_deref).collect();
        let values = fields.value_set_all(&values);
        self.0
            .on_event(&Event::new(event.metadata(), &values), context);
    }
}

/// The values of an event, by the index of their field.
struct Collected(Vec<Option<Box<dyn Value>>>);

impl Collected {
    fn put(&mut self, field: &Field, value: impl Value + 'static) {
        if let Some(place) = self.0.get_mut(field.index()) {
            *place = Some(Box::new(value));
        }
    }
}

impl Visit for Collected {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, harmless::message(value).into_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = harmless::message(&format!("{value:?}")).into_owned();
        self.put(field, tracing::field::display(text));
    }
}

/// Stderr for lines of JSON.
pub(super) struct JsonStderr;

impl Write for JsonStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        io::stderr().write_all(harmless::json(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Kept;

        fn make_writer(&'a self) -> Kept {
            self.clone()
        }
    }

    #[test]
    fn no_text_forges_a_line_or_moves_the_cursor() {
        let kept = Kept::default();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(kept.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false);
        let subscriber = tracing_subscriber::registry().with(Harmless(layer));
        tracing::subscriber::with_default(subscriber, || {
            let text = "a\nERROR forged \x1b[2J\u{9b}\u{202e}";
            tracing::info!(job = text, rows = 3, note = %text, "said: {text}");
            tracing::warn!("plain");
        });
        let lines = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(
            !lines.contains(|c| harmless::is_harmful(c) && c != '\n'),
            "{lines}"
        );
        let begun: Vec<_> = lines
            .lines()
            .filter(|line| !line.starts_with("    "))
            .collect();
        assert_eq!(begun.len(), 2, "{lines}");
        assert!(lines.contains(r"ERROR forged \x1b[2J\x9b\u202e"), "{lines}");
        assert!(lines.contains("rows=3"), "{lines}");
    }
}
