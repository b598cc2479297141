//! federation.toml to a validated plan: objects wanted per zone, difference, steps. No IO
