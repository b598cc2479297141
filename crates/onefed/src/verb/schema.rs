//! `onefed schema`: JSON schemas of what people write by hand.

use onefed_context::context_schema;

use crate::cli::SchemaOf;
use crate::failure::{Done, Exit, Failure};
use crate::output::{Format, Output};

/// Writes a schema. It is JSON in either format, and as it stands in the repository.
pub(crate) fn run(of: SchemaOf, mut output: Output) -> Done {
    let schema = match of {
        SchemaOf::Context => context_schema(),
    };
    let schema = schema.map_err(|why| Failure::new(Exit::Failed, why.code, why.message))?;
    output.format = Format::Text;
    output.text(schema);
    Ok(Exit::Ok)
}
