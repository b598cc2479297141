//! `onefed init`: finds out which zones there are and what they have, and writes a plan file to start from.

mod args;
mod ask;
mod choose;
mod discover;
mod file;
mod login;
mod names;
mod probe;
mod report;
mod zone;

use std::io::Write as _;
use std::path::Path;

use futures_util::future::join_all;
use onefed_appliance::files::{Readers, write};

use self::ask::{Ask, Terminal};
use self::login::Start;
use crate::failure::{Done, Exit, Failure, join};
use crate::output::Output;
use crate::table::plain;

pub(crate) use self::args::InitArgs;

/// Finds out, asks, writes. Nothing is written unless all of it is good.
pub(crate) async fn run(args: &InitArgs, output: Output) -> Done {
    let out = &args.out;
    if out.exists() && !args.force {
        return Err(there_already(out));
    }
    let start = Start::read(args)?;
    let mut zones = discover::zones(&start).await?;
    let asked = join_all(zones.iter_mut().map(|zone| probe::ask(&start, zone))).await;
    if let Some(failure) = join(asked.into_iter().filter_map(Result::err).collect()) {
        return Err(failure);
    }
    output.say(report::table(&zones));
    for note in zones.iter().flat_map(|zone| &zone.notes) {
        output.say(format!("  note: {}", plain(note)));
    }
    let mut terminal = if args.yes { None } else { Terminal::of(output) };
    let ask = terminal.as_mut().map(|terminal| terminal as &mut dyn Ask);
    let directory = directory(out);
    let choice = choose::choose(&zones, args, directory.as_deref(), ask)?;
    let text = file::render(&choice);
    check(&text)?;
    save(out, &text, args.force)?;

    let name =
        if *out == Path::new("federation.toml") { String::new() } else { format!(" -f {}", out.display()) };
    let next = [
        format!("look through {}, it says what can be changed", out.display()),
        format!("onefed plan{name}     shows what would be made"),
        format!("onefed apply{name}    makes it"),
        format!("onefed status{name}   shows how it is"),
    ];
    output.text(format!("{} describes federation {}", out.display(), choice.name));
    output.say(format!("next:\n  {}", next.join("\n  ")));
    output.json(&report::Document {
        schema_version: 1,
        federation: &choice.name,
        zones: &zones,
        coordinator: &choice.coordinator,
        sites: report::sites(&choice),
        written: out.display().to_string(),
        next: next.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect(),
    });
    Ok(Exit::Ok)
}

/// What is written must be a plan, whatever the zones call their things.
fn check(text: &str) -> Result<(), Failure> {
    onefed_federation::parse(text).map(drop).map_err(|errors| {
        let first = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let mut failure = Failure::new(
            Exit::BadInput,
            "init-plan",
            format!("what was found and given makes no plan, nothing was written: {first}"),
        );
        failure.problems = errors;
        failure
    })
}

/// Without `force`, a file that has appeared meanwhile is left alone too.
fn save(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    if force {
        return write(path, text.as_bytes(), Readers::All).map_err(|why| Failure::file(path, why));
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    match file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_data())) {
        Ok(()) => Ok(()),
        Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => Err(there_already(path)),
        Err(why) => Err(Failure::file(path, why)),
    }
}

fn there_already(path: &Path) -> Failure {
    let text = format!("{} is there already; it was not touched", path.display());
    Failure::new(Exit::BadInput, "file-exists", text)
        .hint("write over it with --force, or name another file with --out")
}

/// The name of the directory that a file goes to: what a federation is called if nobody says otherwise.
fn directory(file: &Path) -> Option<String> {
    let whole = std::path::absolute(file).ok()?;
    Some(whole.parent()?.file_name()?.to_str()?.to_owned())
}
