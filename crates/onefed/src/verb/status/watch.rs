//! Looking again and again.

use std::time::Duration;

use super::Status;
use crate::failure::{Done, Exit};
use crate::output::{Format, Output};
use crate::verb::sandbox::stop_signal;

/// Between two blocks where the screen cannot be drawn anew.
const LINE: &str = "----------------------------------------";

/// Looks every so often until it is told to stop, and ends as the last look did. A look that was cut short does not
/// count; before the first one nothing is known, and that is not well.
pub(super) async fn run(look: impl AsyncFn() -> Status, every: Duration, output: Output) -> Done {
    let mut exit = Exit::Failed;
    let mut stop = std::pin::pin!(stop_signal());
    let mut first = true;
    loop {
        let status = tokio::select! {
            status = look() => status,
            () = &mut stop => return Ok(exit),
        };
        exit = status.exit();
        // Whoever reads has gone: there is nobody to look for.
        if !show(&status, std::mem::take(&mut first), output) {
            return Ok(exit);
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = &mut stop => return Ok(exit),
        }
    }
}

/// False when nobody reads any more.
fn show(status: &Status, first: bool, output: Output) -> bool {
    match output.format {
        Format::Json | Format::One | Format::Metrics => output.json_line(status),
        Format::Text if output.redraws() => output.redraw(status.render()),
        Format::Text if first => output.block(status.render()),
        Format::Text => output.block(format!("{LINE}\n{}", status.render())),
    }
}
