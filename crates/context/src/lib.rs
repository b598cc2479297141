//! What a VM is told: the table of context variables, parsing and validation
